"""Group-relative policy optimisation: an attempt is better or worse than its group (section 5.3).

The attempts at one task are compared with each other; the advantage of an attempt is that of each
of its sampled tokens. A group whose attempts all came out alike has nothing to compare, and its
place is taken by the group of the next task. How tokens are weighed is one of three published ways
(`losses.token_weights`), and unlikely tokens may grow further than they may shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from selfchallenge.errors import StageError
from selfchallenge.learner.attempts import Attempted, Attempts, Iteration, Said, joined
from selfchallenge.learner.losses import (
    group_advantages,
    kl_k3,
    token_weights,
)
from selfchallenge.learner.online import Online
from selfchallenge.learner.samples import in_words
from selfchallenge.learner.settings import Engine, GrpoSettings
from selfchallenge.learner.step import Forward, resolve_precision
from selfchallenge.learner.training import Progress, Trainable, Training, TrainingReport


def train_grpo(
    model: Trainable,
    tasks: Sequence[str],
    attempts: Attempts,
    directory: Path,
    settings: GrpoSettings | None = None,
    *,
    temperature: float = 1.0,
    band: tuple[float, float] = (0.0, 1.0),
    progress: Progress | None = None,
    engine: Engine = "own",
) -> TrainingReport:
    """Learn from groups of attempts; the model in memory is the trained one afterwards.

    Args:
        model: the executor, untrained.
        tasks: ids of the tasks.
        attempts: makes attempts with the model as it is.
        directory: where adapter, tokenizer and `training.json` go; made whole in one rename.
        settings: how to train.
        temperature: that attempts are sampled at, above 0.
        band: lowest and highest share of a group's attempts that succeed, or it is not learnt from.
        progress: called after each step of this call.
        engine: whose step is taken. TRL leaves the model in memory with its own wrappers on:
            load what it wrote to `directory`.

    Raises:
        StageError: all attempts at each task came out alike, or the training diverged (the
            checkpoint is kept).
        StorageError: the disk is full, or `directory` holds another training.
    """
    settings = settings or GrpoSettings()
    dtype = resolve_precision(settings.precision, model.module.device)
    algorithm = Grpo(model, tasks, attempts, settings, temperature, band)
    if engine == "trl":
        from selfchallenge.learner import trl_adapter  # noqa: PLC0415 - slow to import

        training = trl_adapter.GroupRelative(model, directory, settings, algorithm, dtype)
        return training.run(progress)
    return Training(model, directory, settings, algorithm, dtype).run(progress)


@dataclass
class Grpo(Online):
    """Advantages within groups, the clipped surrogate, and the divergence in the loss."""

    settings: GrpoSettings

    def collect(self, place: int) -> Iteration:
        """Attempt tasks until enough of them came out both ways."""
        wanted = self.settings.tasks
        most = min(wanted * self.settings.draws, self.settings.most_groups - place)
        iteration = Iteration(place)
        while len(iteration.groups) < wanted and iteration.tried < most:
            missing = min(wanted - len(iteration.groups), most - iteration.tried)
            groups = self.next_groups(iteration, missing)
            iteration.groups += [g for g in groups if len({reward for _, reward in g}) > 1]
        return iteration

    def nothing(self, iteration: Iteration) -> StageError:
        """All groups were of one class, or outside the band."""
        if iteration.outside:
            wider, (lowest, highest) = super().nothing(iteration), self.band
            return StageError(
                f"of {iteration.tried} groups {iteration.outside} came out both ways, and none of "
                f"them with a pass rate between {lowest} and {highest}",
                where=wider.where,
                fix=wider.fix,
            )
        solved = sum(reward == 1.0 for reward in iteration.rewards)
        way = "ask for harder tasks, raise the temperature"
        if not solved:
            way = "learn from successes first (--algorithm rft), ask for easier tasks"
        fix = (
            f"{way}, or make more attempts at each (--set grpo.group=N), in a new run; "
            "--tasks-from takes the tasks of this one"
        )
        also = f"; left out: {in_words(iteration.left_out)}" if iteration.left_out else ""
        return StageError(
            f"in {iteration.tried} groups all attempts came out alike ({solved} of "
            f"{len(iteration.rewards)} attempts succeeded), so there is nothing to compare{also}",
            where="train",
            fix=fix,
        )

    def credit(self, said: list[list[Said]]) -> list[Attempted]:
        """An attempt's advantage goes to all of its tokens."""
        flat = [one for group in said for one in group]
        advantages = torch.cat([self._advantages(group) for group in said])
        lengths = torch.tensor([one.sample.trained for one in flat])
        owners = torch.arange(len(flat)).repeat_interleave(lengths)
        weights = token_weights(owners, len(flat), self.settings.loss, self.settings.max_length)
        return [
            Attempted(
                sample=one.sample,
                old=one.old,
                reference=one.reference,
                values=one.values,
                advantages=torch.full_like(one.old, float(advantage)),
                returns=one.values,
                weights=self.corrected(weight.to(one.old), one),
            )
            for one, advantage, weight in zip(
                flat, advantages, torch.split(weights, lengths.tolist()), strict=True
            )
        ]

    def loss(self, piece: list[Attempted], said: Forward) -> tuple[Tensor, dict[str, Tensor]]:
        """The clipped surrogate, and the divergence from the untrained model."""
        settings, weights = self.settings, joined(piece, "weights")
        per_token, figures = self.surrogate(piece, said, settings.clip_low, settings.clip_high)
        if settings.kl:
            figures["kl"] = kl_k3(said.logprobs, joined(piece, "reference"))
            per_token = per_token + settings.kl * figures["kl"]
        return (per_token * weights).sum(), figures

    def _advantages(self, group: list[Said]) -> Tensor:
        rewards = torch.tensor([[one.reward for one in group]])
        return group_advantages(rewards, scaled=self.settings.loss != "dr_grpo")[0]
