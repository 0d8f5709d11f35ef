"""One attempt at a task as data: messages, sampled tokens, masks, reward and cost (paper, eq. 1).

A bad rollout is data and not a crash: whatever happened, the episode is written with the reason
why it ended. The token ids and log-probabilities are those that were sampled; training reads them
from here and never tokenises the text again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, field_serializer

from selfchallenge.task import Record

HINTED = "hinted"
"""Key of `Episode.meta`: the example solution was shown with the task."""
USER_FAULT = "user_fault"
"""Key of `Episode.meta`: what the simulated user did wrong in an attempt that failed."""
CUT = "cut"
"""Key of `Episode.meta`: places of the turns that reached the limit of tokens and were cut off."""
ENGINE = "engine"
"""Key of `Episode.meta`: whose steps trained the policy of an online algorithm, if not our own."""

FIRST_REPLY = "first_reply"
"""Key of `Episode.meta`: place of the first turn that the executor spoke; others were given."""


def as_json(value: Any) -> Any:
    """Plain data as JSON can hold it; code may call a tool with bytes, or answer half a character.

    Tuples and sets become lists, what JSON has no word for its `repr`.
    """
    if isinstance(value, dict):
        return {
            _text(key if isinstance(key, str) else repr(key)): as_json(value[key]) for key in value
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if isinstance(value, str):
        return _text(value)
    plain = (
        value is None
        or isinstance(value, int)
        or (isinstance(value, float) and math.isfinite(value))
    )
    return value if plain else repr(value)


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


class StopReason(StrEnum):
    """Why an episode ended."""

    ANSWER = "answer"
    """The agent replied without an action: the reply is its answer."""
    STEPS = "steps"
    """The limit of steps was reached before an answer."""
    CONTEXT = "context"
    """The conversation no longer fits the model's context or the token budget."""
    USER = "user"
    """The simulated user ended the conversation."""
    TOOL = "tool"
    """The agent called a tool that ends the episode."""
    SANDBOX = "sandbox"
    """The sandbox process died and could not be used any further (not the agent's timeout)."""


class Turn(Record):
    """One message of the conversation and the tokens that stand for it.

    Attributes:
        role: who speaks; `assistant` turns are sampled, but for those of a demonstration.
        content: the text.
        token_ids: ids that this turn adds to the sequence. Only sampled turns carry ids: first the
            rendering of the given turns before it (with the template's marks), then what was
            sampled. Empty when the model does not show its tokens.
        logprobs: log-probability of each of the last `len(logprobs)` ids of `token_ids`, natural
            log, at the sampling temperature; non-empty for sampled turns only.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    @property
    def mask(self) -> tuple[bool, ...]:
        """True for each id of `token_ids` that the model sampled, and for nothing else."""
        return (False,) * len(self.given_ids) + (True,) * len(self.logprobs)

    @property
    def given_ids(self) -> tuple[int, ...]:
        """The ids of what was said before, which were not sampled."""
        return self.token_ids[: len(self.token_ids) - len(self.logprobs)]

    @property
    def sampled_ids(self) -> tuple[int, ...]:
        """The ids that the model sampled."""
        return self.token_ids[len(self.token_ids) - len(self.logprobs) :]


class Call(Record):
    """One call of a tool as the environment's own process saw it."""

    tool: str
    arguments: Any = None
    ok: bool = True
    result: Any = None

    @field_serializer("arguments", "result", when_used="json")
    def _as_json(self, value: Any) -> Any:
        return as_json(value)


class Episode(Record):
    """One attempt; the key is (`phase`, `task`, `attempt`).

    Attributes:
        phase: what the attempt was for: `train`, or a phase of the evaluation (`before`, `after`).
        task: id of the task.
        attempt: number of the attempt at this task within the phase, from 0.
        model: name of the executor.
        seed: random seed of the attempt.
        turns: the conversation, system turn first.
        answer: the final answer as the verifier was given it (plain JSON; None when there is none).
        stop: why it ended.
        reward: the one reward: `passed`, and the frame, and the grounding condition (0.0 or 1.0).
        passed: `evaluate` alone returned exactly True.
        evidence: why the reward is what it is, one sentence.
        calls: the environment's own trace.
        prompt_tokens: tokens read, each counted once although turns repeat the conversation.
        completion_tokens: tokens sampled.
        seconds: wall time of the attempt; in a batch, its share.
        isolation: isolation level in force.
    """

    phase: str
    task: str
    attempt: int
    model: str
    seed: int
    turns: tuple[Turn, ...]
    answer: Any = None
    stop: StopReason
    reward: float
    passed: bool
    evidence: str = ""
    calls: tuple[Call, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    isolation: str = "-"
    meta: dict[str, Any] = Field(default_factory=dict)

    @field_serializer("answer", when_used="json")
    def _as_json(self, value: Any) -> Any:
        return as_json(value)

    @property
    def key(self) -> str:
        """Unique name of the attempt within a run."""
        return f"{self.phase}/{self.task}/{self.attempt}"


def latest(episodes: Iterable[Episode]) -> list[Episode]:
    """Of each attempt its last record: one that the sandbox ended may have been made again."""
    return list({episode.key: episode for episode in episodes}.values())
