"""The proposer of PAE: what it is shown, and what becomes of any reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.challenger.propose import PaeSettings, Proposer
from selfchallenge.environments.library import Library
from selfchallenge.errors import UsageError
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.task import Check


def proposals(reply, numbers=(0, 1, 2), **changes):
    model = ScriptedModel("m", reply if callable(reply) else lambda _: reply)
    writer = Proposer(model, Library, PaeSettings(**changes))
    return list(writer.write(numbers, [None, "m01"])), model


def test_a_proposal_is_a_task_without_any_code_that_could_pass():
    (first, *_), _ = proposals("Lend b03 to Ada.\n</instruction> and more")
    assert (first.task.instruction, first.writer) == ("Lend b03 to Ada.", "pae")
    assert first.task.meta["reward"] == "judge"
    assert "return False" in first.task.verifier


def test_it_sees_the_documentation_and_nothing_of_the_world():
    _, model = proposals("x</instruction>", wave=2)
    state = Library("m01")
    for prompt in model.prompts:
        shown = prompt.messages[0].content
        assert "get_book(" in shown
        assert not [book for book in state.books if f"'{book}'" in shown]
        assert prompt.begin == "<instruction>\n"


def test_proposals_are_steered_to_different_functions():
    _, model = proposals("x</instruction>", numbers=range(30))
    assert len({prompt.messages[0].content for prompt in model.prompts}) > 3


@pytest.mark.parametrize(
    ("reply", "evidence"), [("Lend it", "does not end"), ("  </instruction>", "empty"), ("", "end")]
)
def test_garbage_is_a_recorded_failure(reply, evidence):
    found, _ = proposals(reply)
    assert [one.failed for one in found] == ["format"] * 3
    assert all(one.task is None and evidence in one.evidence for one in found)


@given(st.text(max_size=200))
def test_no_reply_makes_it_raise(reply):
    (one,), _ = proposals(reply, numbers=[0])
    assert (one.task is None) == (one.failed is not None) == bool(one.evidence)


def test_there_is_nothing_to_revise():
    (one, *_), model = proposals("x</instruction>")
    writer = Proposer(model, Library, PaeSettings())
    assert writer.revise(one, Check(name="mutants_fail", passed=False)) is one


def test_the_number_and_the_seed_decide_what_is_asked():
    def asked(seed):
        model = ScriptedModel("m", lambda _: "x</instruction>")
        list(Proposer(model, Library, PaeSettings(), seed).write(range(8), [None]))
        return model.prompts

    assert asked(3) == asked(3)
    assert asked(3) != asked(4)


def test_nothing_is_sampled_without_tokens():
    with pytest.raises(UsageError, match="max_tokens"):
        PaeSettings(max_tokens=0)
