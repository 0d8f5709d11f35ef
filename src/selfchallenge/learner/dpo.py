"""Direct preference optimisation on one's own attempts: a success over a failure of one task.

The reference is the model before its first step; its log-probabilities of each sequence are
computed once. Only sampled tokens count on either side: what a tool printed is no preference of the
policy (paper, section 5.3; Rafailov et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfchallenge.episode import Episode
from selfchallenge.errors import StageError
from selfchallenge.learner import parallel
from selfchallenge.learner.batches import plan_batches
from selfchallenge.learner.losses import dpo, sequence_sums
from selfchallenge.learner.packing import Packed
from selfchallenge.learner.samples import Pair, PairSet, Sample, pairs_from, without_hint
from selfchallenge.learner.settings import DpoSettings, Engine
from selfchallenge.learner.step import (
    Forward,
    accumulate,
    evaluate,
    resolve_precision,
    token_limit,
    training,
)
from selfchallenge.learner.support import check_supported
from selfchallenge.learner.training import (
    Account,
    Gradients,
    Progress,
    StepRecord,
    Trainable,
    Training,
    TrainingReport,
    reach,
)


def train_dpo(
    model: Trainable,
    episodes: Iterable[Episode],
    directory: Path,
    settings: DpoSettings | None = None,
    progress: Progress | None = None,
    *,
    engine: Engine = "own",
) -> TrainingReport:
    """Prefer successes to failures; the model in memory is the trained one afterwards.

    Args:
        model: the executor, untrained.
        episodes: all episodes; those of phase `train` are paired.
        directory: where adapter, tokenizer and `training.json` go; made whole in one rename.
        settings: how to train.
        progress: called after each step of this call.
        engine: whose step is taken. TRL leaves the model in memory with its own wrappers on:
            load what it wrote to `directory`.

    Raises:
        StageError: no task has both a success and a failure, or the training diverged (the
            checkpoint is kept).
        StorageError: the disk is full, or `directory` holds another training.
    """
    settings = settings or DpoSettings()
    found = pairs_from(without_hint(episodes), reach(model, settings), settings.per_task)
    if not found.pairs:
        raise _no_pairs(found)
    dtype = resolve_precision(settings.precision, model.module.device)
    algorithm = Preference(model.module, found, settings)
    if engine == "trl":
        from selfchallenge.learner import trl_adapter  # noqa: PLC0415 - slow to import

        return trl_adapter.Dpo(model, directory, settings, algorithm, dtype).run(progress)
    if not directory.exists():
        model.forget()
        check_supported(model.module, found.pairs[0].samples)
    return Training(model, directory, settings, algorithm, dtype).run(progress)


def _no_pairs(found: PairSet) -> StageError:
    reasons = [f"{count} episodes {reason}" for reason, count in found.dropped.items()]
    if found.one_sided:
        reasons.insert(0, f"all attempts at {found.one_sided} tasks came out alike")
    reason = "; ".join(reasons) or "there are no episodes"
    return StageError(
        f"no task has both a success and a failure to learn from: {reason}",
        where="train",
        fix="make more attempts at each task in a new run (--tasks-from this one, and --set "
        "rollouts=N or a higher temperature), or learn from successes alone in one "
        "(--learn-from this one, and --algorithm rft)"
        + ("; where they are too long, raise dpo.max_length" if found.dropped else ""),
    )


@dataclass(frozen=True)
class Judged:
    """A pair with what the untrained model says of it.

    Attributes:
        pair: a success and a failure.
        reference: log-probability of each of the two, summed over its sampled tokens, [2].
    """

    pair: Pair
    reference: Tensor


def samples_of(judged: Judged) -> Sequence[Sample]:
    """Both sequences of a pair."""
    return judged.pair.samples


class Preference:
    """The DPO loss of each batch of pairs."""

    def __init__(self, module: Any, found: PairSet, settings: DpoSettings) -> None:
        self.module, self.found, self.settings = module, found, settings
        chosen = [pair.chosen for pair in found.pairs]
        self.plan = [
            batch
            for epoch in range(settings.epochs)
            for batch in plan_batches(chosen, settings.batch, f"{settings.seed}/{epoch}")
        ]
        self.steps, self.round = len(self.plan), 1
        self.inputs = [[[s.ids, s.mask] for s in pair.samples] for pair in found.pairs]
        self.dtype, self.judged = torch.float32, list[Judged]()

    def begin(self, adapted: Any, dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
        """Ask the untrained model about every sequence."""
        del adapted
        self.dtype = dtype
        samples = [sample for pair in self.found.pairs for sample in pair.samples]
        with training(self.module, dtype):
            said = evaluate(
                self.module,
                samples,
                lambda forward: (forward.logprobs,),
                tokens=token_limit(self.settings.micro_tokens, dtype),
                dtype=dtype,
            )
        sums = torch.stack([logprobs.sum() for (logprobs,) in said]).view(-1, 2)
        self.judged = [Judged(*both) for both in zip(self.found.pairs, sums, strict=True)]
        return {}

    def batches(self, records: Sequence[StepRecord]) -> Iterator[list[Judged]]:
        """All that are left."""
        return ([self.judged[i] for i in batch] for batch in self.plan[len(records) :])

    def gradients(self, batch: list[Judged]) -> Gradients:
        """Add a batch's gradients."""
        preferred = 0

        def loss_of(piece: list[Judged], _: Packed, said: Forward) -> Tensor:
            nonlocal preferred
            samples = [sample for judged in piece for sample in judged.pair.samples]
            lengths = torch.tensor([s.trained for s in samples], device=said.logprobs.device)
            owners = torch.arange(len(samples), device=lengths.device).repeat_interleave(lengths)
            sums = sequence_sums(said.logprobs, owners, len(samples)).view(-1, 2)
            reference = torch.stack([judged.reference for judged in piece])
            gains = (sums - reference).detach()
            preferred += int((gains[:, 0] > gains[:, 1]).sum())
            (chosen, rejected), (was_chosen, was_rejected) = sums.T, reference.T
            losses = dpo(chosen, rejected, was_chosen, was_rejected, self.settings.beta)
            return losses.sum() / len(batch)

        loss, read = accumulate(
            self.module,
            batch,
            loss_of,
            samples_of=samples_of,
            tokens=token_limit(self.settings.micro_tokens, self.dtype),
            dtype=self.dtype,
        )
        tokens = sum(sample.trained for judged in batch for sample in judged.pair.samples)
        share = parallel.summed({"preferred": preferred / len(batch)})
        return Gradients(loss, tokens, read, share)

    def account(self, records: Sequence[StepRecord]) -> Account:
        """Both sides of all pairs."""
        del records
        pairs = self.found.pairs
        tasks = {pair.chosen.task for pair in pairs}
        return Account(2 * len(pairs), len(tasks), self.found.dropped)
