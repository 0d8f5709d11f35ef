"""Learning while attempting: each iteration attempts tasks with the policy as it is (section 5.3).

What GRPO and PPO share: an endless deck of tasks, attempts at them, what the trainer and the
untrained model say of every sampled token, and optimiser steps on them. An attempt's number follows
from its place in the deck, so an iteration that was cut short finds what it has already made, and a
resumed training meets the very attempts of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from selfchallenge.episode import Episode
from selfchallenge.errors import StageError
from selfchallenge.learner import parallel
from selfchallenge.learner.adapters import Untrained
from selfchallenge.learner.attempts import (
    Attempted,
    Attempts,
    Draw,
    Iteration,
    Rewarded,
    Said,
    draw,
    joined,
    noted,
    samples_of,
    spoilt,
)
from selfchallenge.learner.losses import clipped_surrogate, is_clipped, kl_k3, mismatch_weights
from selfchallenge.learner.packing import Packed
from selfchallenge.learner.samples import (
    Sample,
    is_own_doing,
    trainable,
)
from selfchallenge.learner.settings import OnlineSettings
from selfchallenge.learner.step import (
    Forward,
    accumulate,
    evaluate,
    token_limit,
    training,
)
from selfchallenge.learner.support import check_supported
from selfchallenge.learner.training import Account, Gradients, StepRecord, Trainable, reach

EMPTY_ROUNDS = 3
"""Rounds in a row without anything to learn from that end a training; fewer may be bad luck."""


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
    _moved: bool = True
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
        said = self._say(iteration.groups)
        self.figures = iteration.figures | noted([one for group in said for one in group])
        batch = self.credit(said)
        self._moved = False
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
        tokens = sum(attempted.sample.trained for attempted in batch)

        def loss_of(piece: list[Attempted], _: Packed, said: Forward) -> Tensor:
            loss, figures = self.loss(piece, said)
            for name, values in figures.items():
                found[name] = found.get(name, 0.0) + float(values.detach().sum()) / tokens
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
        self._moved = True
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

    def loss(self, piece: list[Attempted], said: Forward) -> tuple[Tensor, dict[str, Tensor]]:
        """A piece's part of the loss, and figures of each of its tokens, [N] each."""
        raise NotImplementedError

    def surrogate(
        self, piece: list[Attempted], said: Forward, low: float, high: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The clipped surrogate of each token, [N], and figures that show a collapse."""
        # Cut otherwise, the same policy says the same but for rounding, which is not to clip.
        old = joined(piece, "old") if self._moved else said.logprobs.detach()
        advantages = joined(piece, "advantages")
        figures = {
            "entropy": said.entropies(),
            "clipped": is_clipped(said.logprobs, old, advantages, low, high),
            "moved": kl_k3(old, said.logprobs),
        }
        return clipped_surrogate(said.logprobs, old, advantages, low, high), figures

    def values(self, said: Forward) -> Tensor:
        """What is expected before each token, [N]."""
        return torch.zeros_like(said.logprobs)

    def look(self, said: Forward) -> tuple[Tensor, Tensor]:
        """Log-probability and value of each token."""
        return said.logprobs, self.values(said)

    def corrected(self, weights: Tensor, said: Said) -> Tensor:
        """Weights corrected for what sampling and training disagree about."""
        return weights * mismatch_weights(said.old, said.sampled, self.settings.mismatch)

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


def _logprobs(said: Forward) -> tuple[Tensor]:
    return (said.logprobs,)
