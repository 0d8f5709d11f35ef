"""Learning while attempting: each iteration attempts tasks with the policy as it is (section 5.3).

What GRPO and PPO share: an endless deck of tasks, attempts at them, what the trainer and the
untrained model say of every sampled token, and optimiser steps on them. An attempt's number follows
from its place in the deck, so an iteration that was cut short finds what it has already made, and a
resumed training meets the very attempts of one that was not.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from selfchallenge.episode import Episode
from selfchallenge.errors import StageError
from selfchallenge.learner import parallel
from selfchallenge.learner.adapters import Untrained
from selfchallenge.learner.losses import mismatch_weights
from selfchallenge.learner.packing import Packed
from selfchallenge.learner.samples import (
    Sample,
    in_words,
    is_own_doing,
    trainable,
    what_to_change,
)
from selfchallenge.learner.settings import OnlineSettings
from selfchallenge.learner.step import (
    Forward,
    accumulate,
    check_supported,
    evaluate,
    token_limit,
    training,
)
from selfchallenge.learner.training import Account, Gradients, StepRecord, Trainable, reach

EMPTY_ROUNDS = 3
"""Rounds in a row without anything to learn from that end a training; fewer may be bad luck."""


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


@dataclass
class Online:
    """An online algorithm; `collect`, `credit` and `loss` are its own.

    Attributes:
        model: the policy.
        tasks: ids of the tasks.
        attempts: makes the attempts.
        settings: of the algorithm.
        temperature: that attempts are sampled at, and log-probabilities taken at.
        band: lowest and highest share of a group's attempts that succeed, or it is not learnt from.
    """

    model: Trainable
    tasks: Sequence[str]
    attempts: Attempts
    settings: OnlineSettings
    temperature: float
    band: tuple[float, float] = (0.0, 1.0)
    dtype: torch.dtype = torch.float32
    figures: dict[str, float] = field(default_factory=dict)
    _untrained: Untrained | None = None
    _checked: bool = False
    _ended: str = ""

    def __post_init__(self) -> None:
        self.steps = self.settings.iterations * self.settings.updates
        self.round = self.settings.updates
        self.inputs = [list(self.tasks), self.temperature, list(self.band)]

    def begin(self, adapted: Any, dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
        """Keep hold of the untrained model where the divergence from it counts."""
        self.dtype = dtype
        self._untrained = Untrained(adapted) if self.settings.kl else None
        return {}

    def batches(self, records: Sequence[StepRecord]) -> Iterator[list[Attempted]]:
        """Attempt, score, and hand the same batch out for each update of the iteration."""
        iteration = self.next_round(records)
        if iteration is None:
            return iter(())
        batch = self.credit(self._say(iteration.groups))
        self.figures = iteration.figures
        return iter([batch] * self.settings.updates)

    def next_round(self, records: Sequence[StepRecord]) -> Iteration | None:
        """Attempts with the policy as it is; None when there is nothing left to learn from.

        Args:
            records: of all steps that were taken.

        Raises:
            StageError: no attempt can be learnt from, and there is no model yet, or it is not to
                blame.
        """
        place = int(records[-1].figures["place"]) if records else 0
        if place >= self.settings.most_groups:
            self._ended = "all attempts are made; rounds with nothing to learn from were no steps"
            return None
        self.model.forget()
        iteration = self._round(place)
        self.model.forget()
        if iteration.groups:
            return iteration
        why = self.nothing(iteration) if iteration.rewards else spoilt(iteration)
        if not records or not (iteration.rewards or is_own_doing(iteration.left_out)):
            raise why
        self._ended = why.what
        return None

    def gradients(self, batch: list[Attempted]) -> Gradients:
        """Add a batch's gradients."""
        found: dict[str, float] = {}

        def loss_of(piece: list[Attempted], _: Packed, said: Forward) -> Tensor:
            loss, figures = self.loss(piece, said)
            for name, value in figures.items():
                found[name] = found.get(name, 0.0) + value
            return loss

        loss, read = accumulate(
            self.model.module,
            batch,
            loss_of,
            samples_of=samples_of,
            tokens=token_limit(self.settings.micro_tokens, self.dtype),
            dtype=self.dtype,
            temperature=self.temperature,
        )
        tokens = sum(attempted.sample.trained for attempted in batch)
        return Gradients(loss, tokens, read, self.figures | parallel.summed(found))

    def account(self, records: Sequence[StepRecord]) -> Account:
        """The attempts learnt from; `tasks` counts those attempted."""
        iterations = records[:: self.settings.updates]
        place = int(records[-1].figures["place"]) if records else 0
        tasks = {self._draw(i).task for i in range(place)}
        samples = sum(int(record.figures["attempts"]) for record in iterations)
        untrainable = sum(int(record.figures["untrainable"]) for record in iterations)
        dropped = {"spoilt, without tokens or too long": untrainable} if untrainable else {}
        return Account(samples, len(tasks), dropped, self._ended)

    def _round(self, place: int) -> Iteration:
        """Attempts of one iteration; of a few where there is nothing to learn from before."""
        iteration = Iteration(place)
        for _ in range(EMPTY_ROUNDS):
            made = self.collect(iteration.place)
            if not made.rewards and not is_own_doing(made.left_out):
                return made  # others spoilt all of it, whatever came before
            iteration = made.after(iteration)
            if iteration.groups or iteration.place >= self.settings.most_groups:
                break
        return iteration

    def collect(self, place: int) -> Iteration:
        """Make the attempts of one iteration, from this place of the deck on."""
        iteration = Iteration(place)
        iteration.groups = self.next_groups(iteration, self.settings.tasks)
        return iteration

    def next_groups(self, iteration: Iteration, count: int) -> list[list[Rewarded]]:
        """Attempt the next tasks; the groups within the band, of what can be learnt from."""
        drawn = [self._draw(iteration.place + i) for i in range(count)]
        iteration.place += count
        iteration.tried += count
        groups = [self._learnable(group, iteration) for group in self.attempts(drawn)]
        iteration.rewards += [reward for group in groups for _, reward in group]
        lowest, highest = self.band
        rates = [(group, fmean(reward for _, reward in group)) for group in groups if group]
        without = [rate for _, rate in rates if not lowest <= rate <= highest]
        iteration.outside += sum(0 < rate < 1 for rate in without)
        return [group for group, rate in rates if lowest <= rate <= highest]

    def nothing(self, iteration: Iteration) -> StageError:
        """What to say of an iteration without a group to learn from, though attempts were made."""
        lowest, highest = self.band
        return StageError(
            f"none of {iteration.tried} tasks has a pass rate between {lowest} and {highest}",
            where="train",
            fix="begin a run with other tasks, or with these (--tasks-from this run) and a wider "
            "band (--set quality.hardest=RATE, quality.easiest)",
        )

    def credit(self, said: list[list[Said]]) -> list[Attempted]:
        """Give each token its advantage and its weight, group by group."""
        raise NotImplementedError

    def loss(self, piece: list[Attempted], said: Forward) -> tuple[Tensor, dict[str, float]]:
        """A piece's part of the loss, and parts of figures that add up over the pieces."""
        raise NotImplementedError

    def look(self, said: Forward) -> tuple[Tensor, Tensor]:
        """Log-probability and value of each token."""
        return said.logprobs, torch.zeros_like(said.logprobs)

    def corrected(self, weights: Tensor, said: Said) -> Tensor:
        """Weights corrected for what sampling and training disagree about."""
        sampled = said.old.new_tensor(said.sample.logprobs)
        return weights * mismatch_weights(said.old, sampled, self.settings.mismatch)

    def _draw(self, place: int) -> Draw:
        return draw(self.tasks, place, self.settings.group, self.settings.seed)

    def _learnable(self, group: Iterable[Episode], iteration: Iteration) -> list[Rewarded]:
        """The attempts of a group that can be learnt from; the others are noted."""
        kept = []
        for episode in group:
            sample = trainable(episode, reach(self.model, self.settings))
            if isinstance(sample, str):
                iteration.left_out[sample] += 1
            else:
                kept.append((sample, episode.reward))
        return kept

    def _say(self, groups: list[list[Rewarded]]) -> list[list[Said]]:
        """Score every sample before the update."""
        samples = [sample for group in groups for sample, _ in group]
        module = self.model.module
        if not self._checked:
            check_supported(module, samples)
            self._checked = True
        scored = self._evaluate(samples, self.look)
        reference = [old for old, _ in scored]
        if self._untrained is not None:
            with self._untrained.in_use():
                reference = [said for (said,) in self._evaluate(samples, _logprobs)]
        flat = iter(zip(scored, reference, strict=True))
        return [
            [
                Said(sample, reward, old, known, values)
                for (sample, reward), ((old, values), known) in zip(group, flat, strict=False)
            ]
            for group in groups
        ]

    def _evaluate(
        self, samples: Sequence[Sample], look: Callable[[Forward], Sequence[Tensor]]
    ) -> list[tuple[Tensor, ...]]:
        with training(self.model.module, self.dtype):
            return evaluate(
                self.model.module,
                samples,
                look,
                tokens=token_limit(self.settings.micro_tokens, self.dtype),
                dtype=self.dtype,
                temperature=self.temperature,
            )


def spoilt(iteration: Iteration) -> StageError:
    """What to say of an iteration none of whose attempts can be learnt from."""
    count = iteration.left_out.total()
    return StageError(
        f"none of {count} attempts at {iteration.tried} tasks can be learnt from: "
        f"{in_words(iteration.left_out)}",
        where="train",
        fix=what_to_change(iteration.left_out),
    )


def _logprobs(said: Forward) -> tuple[Tensor]:
    return (said.logprobs,)
