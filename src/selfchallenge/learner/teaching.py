"""A teacher's attempts in the student's tokens (paper, equation 3).

What was said to a teacher is rendered by the student's own chat template, just as the student
itself would meet it. A teacher that shares the student's vocabulary has already spoken in its
tokens, and they are taken as they were sampled. Any other teacher (another family, a server that
shows no ids) is known by its text alone, and its replies are put into the student's ids once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from selfchallenge.episode import CUT, FIRST_REPLY, Episode, StopReason, Turn
from selfchallenge.errors import ModelError
from selfchallenge.executor.actions import parse_action
from selfchallenge.learner.samples import fault_of_others
from selfchallenge.models.base import Message, Prompt
from selfchallenge.models.rendering import render


def in_tokens_of(tokenizer: Any, episodes: Iterable[Episode]) -> list[Episode]:
    """The episodes with ids of the student's vocabulary; what is not learnt from stays as it is.

    Args:
        tokenizer: the student's, with a chat template.
        episodes: the teacher's attempts.

    Raises:
        ModelError: the student has no chat template, or it refuses the conversation.
    """
    return [
        e if fault_of_others(e) else _retold(tokenizer, e, keep=speaks(tokenizer, e))
        for e in episodes
    ]


def speaks(tokenizer: Any, episode: Episode) -> bool:
    """Whether the ids that were sampled mean the text that was said, in this vocabulary."""
    sampled = [turn for turn in episode.turns if turn.logprobs]
    return bool(sampled) and all(_means(tokenizer, turn) for turn in sampled)


def _means(tokenizer: Any, turn: Turn) -> bool:
    ids = list(turn.sampled_ids)
    if max(ids) >= len(tokenizer):
        return False
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text.strip() == turn.content.strip()


def _retold(tokenizer: Any, episode: Episode, *, keep: bool) -> Episode:
    """The conversation as the student reads it; what was sampled is kept, or put into its ids."""
    if getattr(tokenizer, "chat_template", None) is None:
        if keep:
            return episode
        raise ModelError(
            "the student has no chat template, so the teacher's replies cannot be put to it",
            fix="use a student with a chat template, or a teacher with the student's vocabulary",
        )
    end = tokenizer.eos_token_id
    ends = {end, *tokenizer.all_special_ids}  # a teacher of its vocabulary may end otherwise
    first = int(episode.meta.get(FIRST_REPLY, 0))
    turns: list[Turn] = []
    context: tuple[int, ...] = ()
    known = 0
    for number, turn in enumerate(episode.turns):
        if turn.role != "assistant" or number < first:
            turns.append(turn.model_copy(update={"token_ids": (), "logprobs": ()}))
            continue
        messages = tuple(Message(t.role, t.content) for t in episode.turns[:number])
        given = render(tokenizer, Prompt(messages, context=context, known=known), ends)
        if keep:
            said, logprobs = turn.sampled_ids, turn.logprobs
        else:
            said = tuple(tokenizer(turn.content, add_special_tokens=False).input_ids)
            said = (*said, end) if _ended_itself(episode, number) else said
            # The teacher's probabilities are not the student's; nothing that learns here asks.
            logprobs = (0.0,) * len(said)
        ids = given[len(context) :] + said
        turns.append(turn.model_copy(update={"token_ids": ids, "logprobs": logprobs}))
        context, known = given + said, number + 1
    return episode.model_copy(update={"turns": tuple(turns)})


def _ended_itself(episode: Episode, number: int) -> bool:
    """A reply with an action ends with its block, any other with the mark if it was not cut off."""
    if number in episode.meta.get(CUT, ()):
        return False
    went_on = number < len(episode.turns) - 1
    whole = went_on or episode.stop in (StopReason.ANSWER, StopReason.USER)
    return whole and parse_action(episode.turns[number].content) is None
