"""Rejection fine-tuning: more of what earned the reward (paper, section 3.3, equation 2).

The successes among the training episodes become samples, LoRA adapters are trained on their sampled
tokens, and the result is left in the model in memory and saved to the run's `model/`. Every few
steps the state goes to `model.partial/`; a training that was killed goes on from there and ends, on
a CPU, with the same bits as one that was not.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from selfchallenge.episode import Episode
from selfchallenge.errors import StageError, StorageError
from selfchallenge.learner import adapters
from selfchallenge.learner.batches import plan_batches
from selfchallenge.learner.checkpoints import load_state, publish, save_state
from selfchallenge.learner.samples import (
    Sample,
    SampleSet,
    samples_from,
    select_successes,
    without_hint,
)
from selfchallenge.learner.settings import RftSettings
from selfchallenge.learner.step import (
    backward,
    check_supported,
    resolve_precision,
    return_freed_memory,
    training,
    update,
)
from selfchallenge.task import content_hash


class Trainable(Protocol):
    """What the learner needs of a model: `models.transformers.TransformersModel` has it."""

    name: str
    module: Any
    tokenizer: Any

    def forget(self) -> None:
        """Drop everything computed with the weights as they were."""
        ...


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        step: its number, from 1.
        steps: how many there will be.
        loss: mean negative log-likelihood of the batch's sampled tokens before the step.
        tokens: sampled tokens trained in this step.
        read: tokens that went through the model, shared beginnings once a forward pass.
        norm: norm of the gradient before clipping.
        learning_rate: the rate of this step.
        seconds: wall time of this step.
    """

    step: int
    steps: int
    loss: float
    tokens: int
    read: int
    norm: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        samples: how many samples were trained.
        tasks: how many tasks they come from.
        dropped: successes left out, by reason.
        steps: the record of every optimiser step, of an earlier part of it too.
        parameters: how many numbers were trained.
        precision: what matrices were multiplied in.
        seconds: wall time of all steps.
        resumed: steps that were done before this call.
    """

    samples: int
    tasks: int
    dropped: dict[str, int]
    steps: tuple[StepRecord, ...]
    parameters: int
    precision: str
    seconds: float
    resumed: int = 0

    @property
    def losses(self) -> tuple[float, ...]:
        """Loss of each step."""
        return tuple(record.loss for record in self.steps)

    @property
    def tokens(self) -> int:
        """Sampled tokens trained, each epoch counted."""
        return sum(record.tokens for record in self.steps)


Progress = Callable[[StepRecord], None]


def train_rft(
    model: Trainable,
    episodes: Iterable[Episode],
    directory: Path,
    settings: RftSettings | None = None,
    progress: Progress | None = None,
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

    Raises:
        StageError: nothing to learn from, or the training diverged (the checkpoint is kept).
        StorageError: the disk is full, or `directory` holds another training.
    """
    settings = settings or RftSettings()
    chosen = _choose(episodes, settings)
    dtype = resolve_precision(settings.precision, model.module.device)
    run = _Run(model, directory, settings, chosen, dtype)
    model.forget()
    return_freed_memory()
    if directory.exists():
        return run.load()
    check_supported(model.module, chosen.samples)
    return run.train(progress or (lambda _: None))


def _choose(episodes: Iterable[Episode], settings: RftSettings) -> SampleSet:
    attempts = without_hint(episode for episode in episodes if episode.phase == "train")
    chosen = samples_from(select_successes(attempts, settings.per_task), settings.max_length)
    if chosen.samples:
        return chosen
    if not chosen.dropped:
        raise StageError(
            f"none of the {len(attempts)} training episodes earned the reward",
            where="train",
            fix="make more attempts at each task, raise the temperature, or ask for easier tasks",
        )
    reasons = "; ".join(f"{count} {reason}" for reason, count in chosen.dropped.items())
    raise StageError(
        f"none of the successful episodes can be trained: {reasons}",
        where="train",
        fix="roll out with a local model, which shows its tokens, or raise max_length",
    )


@dataclass
class _Run:
    """One training from its inputs to its folder."""

    model: Trainable
    directory: Path
    settings: RftSettings
    chosen: SampleSet
    dtype: torch.dtype
    records: list[StepRecord] = field(default_factory=list)
    resumed: int = 0

    @property
    def state_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".partial") / "state.pt"

    @property
    def fingerprint(self) -> str:
        """Everything that decides the result."""
        samples = [[s.ids, s.mask, s.weight] for s in self.chosen.samples]
        return content_hash([self.model.name, str(self.dtype), asdict(self.settings), samples])

    def load(self) -> TrainingReport:
        """Take over what an earlier call finished."""
        done = _read_report(self.directory)
        if done.pop("fingerprint") != self.fingerprint:
            raise StorageError(
                "the folder holds a model that was trained on other episodes or otherwise",
                where=str(self.directory),
                fix="remove the folder, or choose another one",
            )
        adapters.restore(self.model.module, self.directory)
        self.model.forget()
        shutil.rmtree(self.state_file.parent, ignore_errors=True)
        records = tuple(StepRecord(**record) for record in done.pop("steps"))
        return TrainingReport(**done | {"steps": records, "resumed": len(records)})

    def train(self, progress: Progress) -> TrainingReport:
        settings, module = self.settings, self.model.module
        adapted = adapters.attach(
            module, self.model.name, settings.rank, settings.alpha, settings.seed
        )
        parameters = adapters.trained_parameters(adapted)
        optimizer = torch.optim.AdamW(parameters.values(), weight_decay=0.0)
        with _detached_on_error(adapted):
            self._resume(parameters, optimizer)
            plan = self._plan()
            with training(module, self.dtype):
                for number in range(len(self.records), len(plan)):
                    self.records.append(self._step(optimizer, plan, number))
                    progress(self.records[-1])
                    if (number + 1) % settings.checkpoint == 0 and number + 1 < len(plan):
                        self._save(parameters, optimizer)
            report = self._report(sum(p.numel() for p in parameters.values()))
            publish(self.directory, lambda folder: self._write(folder, adapted, report))
        adapters.settle(adapted)
        self.model.forget()
        shutil.rmtree(self.state_file.parent, ignore_errors=True)
        return report

    def _plan(self) -> list[list[Sample]]:
        samples, settings = self.chosen.samples, self.settings
        return [
            [samples[i] for i in batch]
            for epoch in range(settings.epochs)
            for batch in plan_batches(samples, settings.batch, f"{settings.seed}/{epoch}")
        ]

    def _step(
        self, optimizer: torch.optim.Optimizer, plan: Sequence[list[Sample]], number: int
    ) -> StepRecord:
        settings, batch, start = self.settings, plan[number], time.perf_counter()
        rate = settings.learning_rate * min(1.0, (number + 1) / max(1, settings.warmup))
        limit = settings.micro_tokens // (1 if self.dtype == torch.bfloat16 else 2)
        # Dropout must not depend on what ran before, or a resumed training differs.
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed + number)
            loss, read = backward(self.model.module, batch, limit, self.dtype)
        norm = update(optimizer, rate, settings.clip, loss)
        return StepRecord(
            step=number + 1,
            steps=len(plan),
            loss=loss,
            tokens=sum(sample.trained for sample in batch),
            read=read,
            norm=norm,
            learning_rate=rate,
            seconds=time.perf_counter() - start,
        )

    def _save(
        self, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "weights": {name: p.detach() for name, p in parameters.items()},
            "optimizer": optimizer.state_dict(),
            "records": [asdict(record) for record in self.records],
        }
        save_state(self.state_file, state)

    def _resume(
        self, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> None:
        """Go back to the last checkpoint; one of other inputs is of no use and is ignored."""
        state = load_state(self.state_file)
        if state is None or state["fingerprint"] != self.fingerprint:
            return
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state["weights"][name])
        optimizer.load_state_dict(state["optimizer"])
        self.records = [StepRecord(**record) for record in state["records"]]
        self.resumed = len(self.records)

    def _report(self, parameters: int) -> TrainingReport:
        return TrainingReport(
            samples=len(self.chosen.samples),
            tasks=len({sample.task for sample in self.chosen.samples}),
            dropped=dict(self.chosen.dropped),
            steps=tuple(self.records),
            parameters=parameters,
            precision=str(self.dtype).removeprefix("torch."),
            seconds=sum(record.seconds for record in self.records),
            resumed=self.resumed,
        )

    def _write(self, folder: Path, adapted: Any, report: TrainingReport) -> None:
        adapters.save(adapted, folder)
        self.model.tokenizer.save_pretrained(folder)
        content = {"fingerprint": self.fingerprint, **asdict(report)}
        (folder / "training.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


@contextmanager
def _detached_on_error(adapted: Any) -> Iterator[None]:
    """Give an unfinished training's model back without its adapters."""
    try:
        yield
    except BaseException:
        adapters.detach(adapted)
        raise


def _read_report(directory: Path) -> dict[str, Any]:
    path = directory / "training.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"the folder is no finished training: {error}",
            where=str(directory),
            fix="remove the folder, or choose another one",
        ) from error
    return content
