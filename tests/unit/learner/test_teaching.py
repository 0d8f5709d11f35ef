import sys
from pathlib import Path

import pytest
from tiny_learner import make_episode

from selfchallenge.episode import CUT, FIRST_REPLY, StopReason, Turn
from selfchallenge.errors import ModelError
from selfchallenge.learner.samples import samples_from
from selfchallenge.learner.teaching import in_tokens_of, speaks
from selfchallenge.models.base import Message, Prompt
from selfchallenge.models.rendering import render

sys.path.append(str(Path(__file__).parents[1] / "models"))
from tiny_model import END, make_tokenizer

BLOCK = "I look.\n```python\nprint(1)\n```"


def said(role, content, ids=(), sampled=0):
    return Turn(role=role, content=content, token_ids=ids, logprobs=(-1.0,) * sampled)


def episode(turns, first=4, stop=StopReason.ANSWER):
    given = [
        said("system", "tools"),
        said("user", "example"),
        said("assistant", "shown"),
        said("user", "task"),
    ]
    update = {"turns": (*given, *turns), "meta": {FIRST_REPLY: first}, "stop": stop}
    return make_episode().model_copy(update=update)


def spoken(tokenizer, sample):
    """The stretches that are trained, as text."""
    stretches, last = [], False
    for token, trained in zip(sample.ids, sample.mask, strict=True):
        if trained:
            stretches = stretches if last else [*stretches, []]
            stretches[-1].append(token)
        last = trained
    return [tokenizer.decode(stretch) for stretch in stretches]


def test_a_teacher_known_by_its_text_is_put_into_the_students_tokens():
    tokenizer = make_tokenizer()
    silent = episode(
        [said("assistant", BLOCK), said("user", "Output:\n1"), said("assistant", "It is 1.")]
    )
    (retold,) = in_tokens_of(tokenizer, [silent])
    (sample,) = samples_from([retold], 10_000).samples

    # What the student's template renders of the whole conversation, less what it puts after the
    # last reply, and less the mark after the action, which ends with its block.
    messages = [{"role": turn.role, "content": turn.content} for turn in silent.turns]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(sample.ids) == whole.removesuffix("\n")
    assert spoken(tokenizer, sample) == [BLOCK, "It is 1.<|im_end|>"]
    assert sample.ids[-1] == END


def test_what_a_teacher_tells_a_user_ends_with_the_mark_of_the_template():
    turns = [said("assistant", "Who are you?"), said("user", "Ada."), said("assistant", "Done.")]
    tokenizer = make_tokenizer()
    (retold,) = in_tokens_of(tokenizer, [episode(turns, stop=StopReason.USER)])
    (sample,) = samples_from([retold], 10_000).samples
    assert spoken(tokenizer, sample) == ["Who are you?<|im_end|>", "Done.<|im_end|>"]


def test_an_answer_that_was_cut_off_does_not_teach_to_end_there():
    tokenizer = make_tokenizer()
    (retold,) = in_tokens_of(tokenizer, [episode([said("assistant", BLOCK)], stop="steps")])
    (sample,) = samples_from([retold], 10_000).samples
    assert spoken(tokenizer, sample) == [BLOCK]


def test_a_reply_that_reached_the_limit_of_tokens_does_not_teach_to_end_there():
    tokenizer = make_tokenizer()
    turns = [
        said("assistant", "Who are"),
        said("user", "Ada."),
        said("assistant", "The sum of thr"),
    ]
    told = episode(turns)
    cut = told.model_copy(update={"meta": {**told.meta, CUT: [4, 6]}})
    (retold,) = in_tokens_of(tokenizer, [cut])
    (sample,) = samples_from([retold], 10_000).samples
    assert spoken(tokenizer, sample) == ["Who are", "The sum of thr"]


def test_a_teacher_of_the_same_vocabulary_keeps_what_it_sampled():
    tokenizer = make_tokenizer()
    ids = tuple(tokenizer("It is 1.").input_ids)
    silent = episode([said("assistant", "It is 1.")])
    messages = tuple(Message(turn.role, turn.content) for turn in silent.turns[:4])
    given = render(tokenizer, Prompt(messages), (END,))
    native = episode([said("assistant", "It is 1.", (*given, *ids, END), len(ids) + 1)])
    assert speaks(tokenizer, native)
    assert in_tokens_of(tokenizer, [native]) == [native]


def test_a_teacher_with_another_template_is_rendered_by_the_students():
    tokenizer = make_tokenizer()
    ids = tuple(tokenizer(BLOCK).input_ids)[:-3]  # as it was sampled, not as it would be written
    text = tokenizer.decode(ids)
    answer = tuple(tokenizer("It is 1.").input_ids)
    turns = [
        said("assistant", text, (1, 2, *ids), len(ids)),
        said("user", "Output:\n1"),
        said("assistant", "It is 1.", (3, *answer, END), len(answer) + 1),
    ]
    (retold,) = in_tokens_of(tokenizer, [episode(turns)])
    replies = [turn for turn in retold.turns if turn.logprobs]
    assert [turn.sampled_ids for turn in replies] == [ids, (*answer, END)]
    assert all(set(turn.logprobs) == {-1.0} for turn in replies)
    whole = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in retold.turns], tokenize=False
    )
    (sample,) = samples_from([retold], 10_000).samples
    assert tokenizer.decode(sample.ids) == whole.removesuffix("\n")


@pytest.mark.parametrize("ids", [(5, 6, 7), (9_999, 5)])
def test_ids_of_another_vocabulary_are_not_taken_over(ids):
    tokenizer = make_tokenizer()
    foreign = episode([said("assistant", "It is 1.", (1, *ids), len(ids))])
    assert not speaks(tokenizer, foreign)
    (retold,) = in_tokens_of(tokenizer, [foreign])
    (sample,) = samples_from([retold], 10_000).samples
    assert spoken(tokenizer, sample) == ["It is 1.<|im_end|>"]


def test_a_student_without_a_chat_template_is_named():
    tokenizer = make_tokenizer(template=None)
    with pytest.raises(ModelError, match="no chat template") as error:
        in_tokens_of(tokenizer, [episode([said("assistant", "hi")])])
    assert "teacher" in error.value.fix
