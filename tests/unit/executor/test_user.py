"""The simulated user: tells bit by bit, invents nothing, ends the talk; and whose fault it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.executor.user import (
    CONSENT,
    GREETING,
    PORTIONS,
    STOP,
    ModelUser,
    ScriptedUser,
    Talk,
    fault,
    portions,
)
from selfchallenge.models.scripted import ScriptedModel

INSTRUCTION = (
    "Your name is Ada Byron and your zip code is 90210. You want to cancel order #W1234567. "
    "You are in a hurry. If that fails, you ask for a human. You like cats."
)


def talk(said=(), heard=(GREETING,), instruction=INSTRUCTION):
    return Talk(instruction, list(said), list(heard))


def whole_talk(user, answers, instruction=INSTRUCTION):
    """What the user says when the agent gives these answers, and the last one for ever after."""
    going = talk(instruction=instruction)
    for turn in range(20):
        [said] = user.reply([going])
        going.said.append(said)
        if STOP in said:
            break
        going.heard.append(answers[min(turn, len(answers) - 1)])
    return going


def test_a_script_tells_everything_in_portions_and_leaves():
    going = whole_talk(ScriptedUser(), ["I see."])
    assert len(going.said) == 3 + 1
    assert going.said[-1] == STOP
    assert going.said[0].startswith("My name is Ada Byron and my zip code is 90210.")
    assert not any(" you " in f" {text.lower()} " for text in going.said)


def test_a_script_consents_a_few_times_and_then_leaves():
    going = whole_talk(ScriptedUser(patience=2), ["Shall I?"])
    assert going.said[-3:] == [CONSENT, CONSENT, STOP]


@given(st.text(min_size=1, max_size=300), st.integers(1, 6))
def test_portions_hold_all_words_and_are_no_more_than_asked_for(instruction, count):
    told = portions(instruction, count)
    assert len(told) <= count
    words = [w for w in instruction.split() if not w.strip(".,!?'\"").lower().startswith("you")]
    assert not set(words) - set(" ".join(told).split())


def test_a_script_always_says_the_same_and_never_the_whole_at_once():
    first, again = (whole_talk(ScriptedUser(), ["Hm?"]).said for _ in range(2))
    assert first == again
    assert len(portions(INSTRUCTION, PORTIONS)) == 3


def test_a_model_sees_the_talk_from_the_other_side():
    model = ScriptedModel("user", lambda prompt: f" {len(prompt.messages)} ")
    user = ModelUser(model)
    assert user.reply([]) == []
    going = talk(said=["Hello."], heard=[GREETING, "Who are you?"])
    assert user.reply([going, talk()]) == ["4", "2"]
    seen = [(message.role, message.content) for message in model.prompts[0].messages]
    assert INSTRUCTION in seen[0][1]
    assert seen[1:] == [("user", GREETING), ("assistant", "Hello."), ("user", "Who are you?")]
    assert model.prompts[0].seed != model.prompts[1].seed
    assert going.tokens > 0


@pytest.mark.parametrize("reply", [STOP, f"Thanks! {STOP}", f"{STOP} bye"])
def test_the_mark_ends_the_talk_whatever_else_is_said(reply):
    assert ModelUser(ScriptedModel("user", lambda _: reply)).reply([talk()]) == [STOP]


# -- whose fault a failure is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "needed", "ended", "blame"),
    [
        (["It is #W1234567.", STOP], ["#W1234567"], True, ""),
        (["It is #W7654321."], [], False, "invented #W7654321"),
        (["Mail me: ada@example.org"], [], False, "invented ada@example.org"),
        (["Hello.", STOP], ["#W1234567"], True, "left without telling #W1234567"),
        (["Hello."], ["#W1234567"], False, ""),
        (["Hello.", STOP], ["#W9999999"], True, ""),
        (["No.", "No.", "No."], [], False, "went round in circles"),
        ([STOP], [], True, "left without a word"),
    ],
)
def test_who_is_to_blame(said, needed, ended, blame):
    assert fault(talk(said=said), needed, ended=ended) == blame


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("on May 20, 2024", "It was May 20th, 2024."),
        ("at 11 am", "I leave at 11am."),
        ("at 11:30pm", "At 11:30 PM, please."),
        ("more than $1,000", "More than $1000."),
        ("no more than 12500", "Not above 12,500!"),
        ("zip 32190", "My zip is 32190-"),
        ("mail ada@example.org", "It is ada@example.org."),
    ],
)
def test_another_way_to_write_it_is_not_invented(known, said):
    going = talk(said=[said], instruction=f"You called {known}.")
    assert fault(going, ended=False) == ""


def test_what_the_agent_named_is_not_invented():
    going = talk(said=["Yes, #W7654321."], heard=[GREETING, "Do you mean #W7654321?"])
    assert fault(going, ended=False) == ""
