"""Attempts at tasks as an online algorithm has them: drawn, made, scored, and credited."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from selfchallenge.episode import Episode
from selfchallenge.errors import SpoiltError, StageError
from selfchallenge.learner.samples import (
    SPOILT_BY_SANDBOX,
    Sample,
    in_words,
    what_to_change,
)


@dataclass(frozen=True)
class Draw:
    """Attempts to be made: at `task`, numbered `first` to `first + count - 1`."""

    task: str
    first: int
    count: int


class Attempts(Protocol):
    """Makes attempts with the model as it is; those recorded before are handed out again."""

    def __call__(self, draws: Sequence[Draw], /) -> list[list[Episode]]:
        """The episodes of each draw, in order."""
        ...


def draw(tasks: Sequence[str], place: int, group: int, seed: int) -> Draw:
    """What lies at a place of the deck: all tasks in a random order, then all in another one."""
    lap, card = divmod(place, len(tasks))
    order = list(tasks)
    random.Random(f"{seed}/{lap}").shuffle(order)
    return Draw(order[card], lap * group, group)


@dataclass(frozen=True)
class Attempted:
    """One attempt to learn from, scored; all tensors are [n], one entry a sampled token.

    Attributes:
        sample: its tokens.
        old: log-probabilities under the policy that is about to be updated.
        reference: the same under the untrained model; `old` when nobody asks.
        values: what the value head expected; 0 without one.
        advantages: how much better than expected each token was.
        returns: what the values should have been.
        weights: of each token in the loss.
    """

    sample: Sample
    old: Tensor
    reference: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Said:
    """What the models say of an attempt before the update; all tensors are [n]."""

    sample: Sample
    reward: float
    old: Tensor
    reference: Tensor
    values: Tensor

    @property
    def sampled(self) -> Tensor:
        """Log-probabilities that the tokens were drawn from, [n]."""
        return self.old.new_tensor(self.sample.logprobs)


Rewarded = tuple[Sample, float]
"""What an attempt said, and what it earned."""


@dataclass
class Iteration:
    """Attempts of one iteration.

    Attributes:
        place: in the deck, behind the groups that were attempted.
        groups: attempts to learn from, by task.
        tried: groups attempted.
        rewards: of the attempts that can be learnt from, also of groups that were dropped.
        outside: groups that came out both ways, and not within the band.
        left_out: attempts that cannot be learnt from, by reason.
    """

    place: int
    groups: list[list[Rewarded]] = field(default_factory=list)
    tried: int = 0
    rewards: list[float] = field(default_factory=list)
    outside: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def figures(self) -> dict[str, float]:
        """What is said of the attempts beside each step on them."""
        return {
            "place": self.place,
            "attempts": sum(map(len, self.groups)),
            "untrainable": self.left_out.total(),
            "groups": len(self.groups),
            "tried": self.tried,
            "reward": fmean(self.rewards),
        }

    def after(self, other: Iteration) -> Iteration:
        """Both as one, of which the other came first and gave nothing to learn from."""
        return Iteration(
            self.place,
            self.groups,
            other.tried + self.tried,
            other.rewards + self.rewards,
            other.outside + self.outside,
            other.left_out + self.left_out,
        )


def samples_of(attempted: Attempted) -> Sequence[Sample]:
    """The one sequence of an attempt."""
    return (attempted.sample,)


def joined(piece: Iterable[Any], name: str) -> Tensor:
    """One tensor of all attempts of a piece, token after token."""
    return torch.cat([getattr(attempted, name) for attempted in piece])


def spoilt(iteration: Iteration) -> StageError:
    """What to say of an iteration none of whose attempts can be learnt from."""
    count = iteration.left_out.total()
    kind = SpoiltError if SPOILT_BY_SANDBOX in iteration.left_out else StageError
    return kind(
        f"none of {count} attempts at {iteration.tried} tasks can be learnt from: "
        f"{in_words(iteration.left_out)}",
        where="train",
        fix=what_to_change(iteration.left_out),
    )


def noted(said: Sequence[Said]) -> dict[str, float]:
    """How far sampling and training are apart, in nats a token."""
    return {"mismatch": float((joined(said, "old") - joined(said, "sampled")).abs().mean())}
