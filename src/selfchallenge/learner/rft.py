"""Fine-tuning on trajectories: one's own successes, or a teacher's (paper, equations 2 and 3).

Rejection fine-tuning takes the successes among the executor's attempts; distillation takes all
attempts of a stronger model, failures included, because they show how to act (successes only was
worse: section 5.2). Either way the mean negative log-likelihood of the sampled tokens is minimised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from selfchallenge.episode import Episode, StopReason
from selfchallenge.errors import StageError
from selfchallenge.learner.batches import plan_batches
from selfchallenge.learner.samples import (
    LONGER_CONTEXT,
    PROMPT_TOO_LONG,
    Sample,
    SampleSet,
    fault_of_others,
    in_words,
    samples_from,
    select_successes,
    select_trajectories,
    what_to_change,
    without_hint,
)
from selfchallenge.learner.settings import Engine, RftSettings
from selfchallenge.learner.step import (
    backward,
    resolve_precision,
    token_limit,
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


def train_rft(
    model: Trainable,
    episodes: Iterable[Episode],
    directory: Path,
    settings: RftSettings | None = None,
    progress: Progress | None = None,
    *,
    engine: Engine = "own",
) -> TrainingReport:
    """Fine-tune on the successes; the model in memory is the trained one afterwards.

    A second call with the same arguments and an untrained model loads the result; one after a kill
    goes on from the last checkpoint.

    Args:
        model: the executor, untrained.
        episodes: all episodes; those of phase `train` and reward 1 are used.
        directory: where adapter, tokenizer and `training.json` go; made whole in one rename.
        settings: how to train.
        progress: called after each step of this call.
        engine: whose step is taken. TRL leaves the model in memory with its own wrappers on:
            load what it wrote to `directory`.

    Raises:
        StageError: nothing to learn from, or the training diverged (the checkpoint is kept).
        StorageError: the disk is full, or `directory` holds another training.
    """
    settings = settings or RftSettings()
    attempts = without_hint(episode for episode in episodes if episode.phase == "train")
    limit = settings.per_task
    chosen = samples_from(select_successes(attempts), reach(model, settings), limit)
    if not chosen.samples:
        raise _nothing(chosen, attempts, "raise the temperature, or ask for easier tasks")
    return _fine_tune(model, chosen, directory, settings, progress, engine)


def train_distill(
    model: Trainable,
    episodes: Iterable[Episode],
    directory: Path,
    settings: RftSettings | None = None,
    progress: Progress | None = None,
    *,
    engine: Engine = "own",
) -> TrainingReport:
    """Fine-tune on a teacher's trajectories; the model in memory is the trained one afterwards.

    Args:
        model: the student, untrained.
        episodes: the teacher's attempts in the student's tokens (`teaching.in_tokens_of`).
        directory: where adapter, tokenizer and `training.json` go; made whole in one rename.
        settings: how to train; `only_success` leaves the failures out.
        progress: called after each step of this call.
        engine: whose step is taken. TRL leaves the model in memory with its own wrappers on:
            load what it wrote to `directory`.

    Raises:
        StageError: nothing to learn from, or the training diverged (the checkpoint is kept).
        StorageError: the disk is full, or `directory` holds another training.
    """
    settings, episodes = settings or RftSettings(), list(episodes)
    attempts = select_trajectories(without_hint(episodes))
    taught = [e for e in attempts if e.reward == 1.0] if settings.only_success else attempts
    chosen = samples_from(taught, reach(model, settings))
    if not chosen.samples:
        other = "take a stronger teacher"
        if settings.only_success:
            other = "learn from its failures too (leave --only-success out), or " + other
        raise _nothing(chosen, without_hint(episodes), other)
    return _fine_tune(model, chosen, directory, settings, progress, engine)


def _nothing(chosen: SampleSet, attempts: Sequence[Episode], other: str) -> StageError:
    spoilt = Counter(why for why in map(fault_of_others, attempts) if why)
    if attempts and spoilt.total() == len(attempts):
        return StageError(
            f"nothing can be learnt from {len(attempts)} attempts: {in_words(spoilt)}",
            where="train",
            fix=what_to_change(spoilt),
        )
    cut = sum(e.stop is StopReason.CONTEXT for e in attempts)
    if not chosen.dropped and 2 * cut > len(attempts):
        return StageError(
            f"none of the {len(attempts)} training episodes earned the reward: {cut} no longer "
            "fitted the model's context",
            where="train",
            fix=f"in a new run, {LONGER_CONTEXT}",
        )
    if not chosen.dropped:
        return StageError(
            f"none of the {len(attempts)} training episodes earned the reward",
            where="train",
            fix="make more attempts at each task in a new run (--tasks-from this one, and --set "
            f"rollouts=N), {other}",
        )
    return StageError(
        f"none of the episodes to learn from can be trained: {in_words(chosen.dropped)}",
        where="train",
        fix=f"in a new run, {LONGER_CONTEXT}"
        if PROMPT_TOO_LONG in chosen.dropped
        else "use a local model, which shows its tokens; where they are too long, raise "
        "rft.max_length as far as memory and the model's context go",
    )


def _fine_tune(
    model: Trainable,
    chosen: SampleSet,
    directory: Path,
    settings: RftSettings,
    progress: Progress | None,
    engine: Engine,
) -> TrainingReport:
    dtype = resolve_precision(settings.precision, model.module.device)
    algorithm = Likelihood(model.module, chosen, settings)
    if engine == "trl":
        from selfchallenge.learner import trl_adapter  # noqa: PLC0415 - slow to import

        return trl_adapter.Sft(model, directory, settings, algorithm, dtype).run(progress)
    if not directory.exists():
        model.forget()
        check_supported(model.module, chosen.samples)
    return Training(model, directory, settings, algorithm, dtype).run(progress)


class Likelihood:
    """The mean negative log-likelihood of the sampled tokens of each batch."""

    def __init__(self, module: Any, chosen: SampleSet, settings: RftSettings) -> None:
        self.module, self.chosen, self.settings = module, chosen, settings
        self.plan = [
            [chosen.samples[i] for i in batch]
            for epoch in range(settings.epochs)
            for batch in plan_batches(chosen.samples, settings.batch, f"{settings.seed}/{epoch}")
        ]
        self.steps, self.round = len(self.plan), 1
        self.inputs = [[s.ids, s.mask, s.weight] for s in chosen.samples]
        self.dtype = torch.float32

    def begin(self, adapted: Any, dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
        """Nothing is trained beside the model."""
        del adapted
        self.dtype = dtype
        return {}

    def batches(self, records: Sequence[StepRecord]) -> Iterator[list[Sample]]:
        """All that are left."""
        return iter(self.plan[len(records) :])

    def gradients(self, batch: list[Sample]) -> Gradients:
        """Add a batch's gradients."""
        limit = token_limit(self.settings.micro_tokens, self.dtype)
        loss, read = backward(self.module, batch, limit, self.dtype)
        return Gradients(loss, sum(sample.trained for sample in batch), read)

    def account(self, records: Sequence[StepRecord]) -> Account:
        """All samples."""
        del records
        samples = self.chosen.samples
        tasks = {sample.task for sample in samples}
        return Account(len(samples), len(tasks), self.chosen.dropped)
