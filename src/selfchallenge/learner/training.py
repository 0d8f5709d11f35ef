"""One training from its inputs to its folder, whatever is minimised: the shell of every algorithm.

An algorithm says how many steps there are, what each step's batch is and what its loss is; here is
what all of them share: adapters or all weights, AdamW, checkpoints, and a folder that appears when
it is complete. Every few steps the state goes to `model.partial/`; a training that was killed goes
on from there and ends, on a CPU, with the same bits as one that was not.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from selfchallenge.errors import StorageError
from selfchallenge.learner import adapters, parallel, processes
from selfchallenge.learner.checkpoints import load_state, publish, save_state, set_aside
from selfchallenge.learner.settings import MEMORY, StepSettings
from selfchallenge.learner.step import check_checkpointing, training, update
from selfchallenge.models.attention import window_of
from selfchallenge.task import content_hash


class Trainable(Protocol):
    """What the learner needs of a model: `models.transformers.TransformersModel` has it."""

    name: str
    module: Any
    tokenizer: Any

    def forget(self) -> None:
        """Drop everything computed with the weights as they were."""
        ...


def reach(model: Trainable, settings: StepSettings) -> int:
    """Longest sample in tokens: what the settings allow, and no more than the model can read."""
    return min(settings.max_length, window_of(model.module.config) or settings.max_length)


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        step: its number, from 1.
        steps: how many there will be.
        loss: of the batch before the step; for `rft` and `distill` the mean negative
            log-likelihood of its sampled tokens.
        tokens: sampled tokens trained in this step.
        read: tokens that went through the model, shared beginnings once a forward pass.
        norm: norm of the gradient before clipping.
        learning_rate: the rate of this step.
        seconds: wall time of this step, without the attempts made for it.
        figures: what else the algorithm has to say of it.
    """

    step: int
    steps: int
    loss: float
    tokens: int
    read: int
    norm: float
    learning_rate: float
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        samples: how many samples were trained.
        tasks: how many tasks they come from.
        dropped: what was left out, by reason.
        steps: the record of every optimiser step, of an earlier part of it too.
        parameters: how many numbers were trained.
        precision: what matrices were multiplied in.
        seconds: wall time of all steps.
        resumed: steps that were done before this call.
        ended: why there were fewer steps than planned; empty when there were not.
    """

    samples: int
    tasks: int
    dropped: dict[str, int]
    steps: tuple[StepRecord, ...]
    parameters: int
    precision: str
    seconds: float
    resumed: int = 0
    ended: str = ""

    @property
    def losses(self) -> tuple[float, ...]:
        """Loss of each step."""
        return tuple(record.loss for record in self.steps)

    @property
    def tokens(self) -> int:
        """Sampled tokens trained, each epoch counted."""
        return sum(record.tokens for record in self.steps)


Progress = Callable[[StepRecord], None]


@dataclass(frozen=True)
class Gradients:
    """What came of computing a batch's gradients.

    Attributes:
        loss: of the batch.
        tokens: sampled tokens trained.
        read: tokens that went through the model.
        figures: what else there is to say.
    """

    loss: float
    tokens: int
    read: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """What was learnt from: samples, their tasks, what was left out and why, why it ended early."""

    samples: int
    tasks: int
    dropped: Mapping[str, int]
    ended: str = ""


class Algorithm(Protocol):
    """What is minimised, step by step.

    Attributes:
        steps: how many there are.
        round: steps that `checkpoint` and `keep` count as one.
        inputs: plain values that decide the result, besides model and settings.
    """

    steps: int
    round: int
    inputs: Any

    def begin(self, adapted: Any, dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
        """Look at the model before its first step; parameters to be trained beside the model's.

        A checkpoint is loaded after this.
        """
        ...

    def batches(self, records: Sequence[StepRecord]) -> Iterator[Any]:
        """The batches of the next steps, some or all that are left; none ends the training."""
        ...

    def gradients(self, batch: Any) -> Gradients:
        """Add a batch's gradients to the parameters; called within `step.training`."""
        ...

    def account(self, records: Sequence[StepRecord]) -> Account:
        """What was learnt from in these steps."""
        ...


@dataclass
class Training:
    """An algorithm at work on a model.

    Attributes:
        model: the executor, untrained; trained in memory afterwards.
        directory: where adapter, tokenizer and `training.json` go; made whole in one rename.
        settings: of the algorithm.
        algorithm: what is minimised.
        dtype: what matrices are multiplied in.
    """

    model: Trainable
    directory: Path
    settings: StepSettings
    algorithm: Algorithm
    dtype: torch.dtype
    records: list[StepRecord] = field(default_factory=list)
    resumed: int = 0

    @property
    def state_file(self) -> Path:
        """The checkpoint."""
        return self.directory.with_name(self.directory.name + ".partial") / "state.pt"

    @property
    def kept(self) -> Path:
        """The policies of earlier rounds, a folder each, as `settings.keep` asks for."""
        return self.directory.with_name(self.directory.name + ".steps")

    @cached_property
    def fingerprint(self) -> str:
        """What decides the result: a training that ran out of memory goes on with less of it."""
        decisive = {k: v for k, v in asdict(self.settings).items() if k not in MEMORY}
        return content_hash([self.model.name, str(self.dtype), decisive, self.algorithm.inputs])

    def run(self, progress: Progress | None = None) -> TrainingReport:
        """Train, go on with a training, or load a finished one; the model in memory is the result.

        Raises:
            StageError: the training diverged, or there is nothing to learn from; the checkpoint is
                kept. The model in memory is as it was, unless all weights are trained (rank 0): it
                has to be loaded again then.
            StorageError: the disk is full, or `directory` holds another training.
        """
        self.model.forget()
        if self.directory.exists():
            return self._load()
        if self.settings.gradient_checkpointing:
            check_checkpointing(self.model.module)
        return self._train(progress or (lambda _: None))

    def _load(self) -> TrainingReport:
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

    def _train(self, progress: Progress) -> TrainingReport:
        settings, module = self.settings, self.model.module
        loaded = module.dtype
        adapted = adapters.attach(
            module, self.model.name, settings.rank, settings.alpha, settings.seed
        )
        with _detached_on_error(adapted, loaded):
            own = adapters.trained_parameters(adapted)
            beside = self.algorithm.begin(adapted, self.dtype)
            groups: list[dict[str, Any]] = [{"params": list(own.values())}]
            if beside:
                groups.append({"params": list(beside.values()), "scale": self._scale()})
            optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
            self._resume(own | beside, optimizer)
            done = -1
            while done < len(self.records) < self.algorithm.steps:
                done = len(self.records)
                batches = self.algorithm.batches(self.records)
                with training(
                    module, self.dtype, gradient_checkpointing=settings.gradient_checkpointing
                ):
                    self._steps(batches, adapted, own | beside, optimizer, progress)
            report = self._report(sum(p.numel() for p in own.values()))
            if processes.is_main():
                publish(self.directory, lambda folder: self._write(folder, adapted, report))
            parallel.gathered(None)  # nobody goes on before it is written
        adapters.settle(adapted, loaded)
        self.model.forget()
        shutil.rmtree(self.state_file.parent, ignore_errors=True)
        return report

    def _scale(self) -> float:
        rate: float = getattr(self.settings, "value_learning_rate", self.settings.learning_rate)
        return rate / self.settings.learning_rate

    def _steps(
        self,
        batches: Iterator[Any],
        adapted: Any,
        parameters: dict[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        progress: Progress,
    ) -> None:
        for batch in batches:
            self.records.append(self._step(optimizer, batch))
            progress(self.records[-1])
            rounds, within = divmod(len(self.records), self.algorithm.round)
            if within or len(self.records) == self.algorithm.steps or not processes.is_main():
                continue
            # What is kept comes first: the state says that it is there.
            if self.settings.keep and rounds % self.settings.keep == 0:
                self._keep(rounds, adapted)
            if rounds % self.settings.checkpoint == 0:
                self._save(parameters, optimizer)

    def _step(self, optimizer: torch.optim.Optimizer, batch: Any) -> StepRecord:
        settings, number, start = self.settings, len(self.records), time.perf_counter()
        rate = settings.learning_rate * min(1.0, (number + 1) / max(1, settings.warmup))
        # Dropout must not depend on what ran before, or a resumed training differs.
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed + number)
            found = self.algorithm.gradients(batch)
        parallel.add_gradients(p for group in optimizer.param_groups for p in group["params"])
        norm = update(optimizer, rate, settings.clip, found.loss)
        return StepRecord(
            step=number + 1,
            steps=self.algorithm.steps,
            loss=found.loss,
            tokens=found.tokens,
            read=found.read,
            norm=norm,
            learning_rate=rate,
            seconds=time.perf_counter() - start,
            figures=found.figures,
        )

    def _keep(self, rounds: int, adapted: Any) -> None:
        """Keep the policy as it is now, over one that a training kept which was cut short."""
        kept = self.kept / str(rounds)
        shutil.rmtree(kept, ignore_errors=True)
        report = self._report(sum(p.numel() for p in adapters.trained_parameters(adapted).values()))
        publish(kept, lambda folder: self._write(folder, adapted, report))

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
        """Go back to the last checkpoint; one of other inputs is of no use and is set aside."""
        state = load_state(self.state_file)
        if state is None or state["fingerprint"] != self.fingerprint:
            if processes.is_main():
                set_aside(self.kept)
                set_aside(self.state_file)
            return
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state["weights"][name])
        optimizer.load_state_dict(state["optimizer"])
        self.records = [StepRecord(**record) for record in state["records"]]
        self.resumed = len(self.records)

    def _report(self, parameters: int) -> TrainingReport:
        account = self.algorithm.account(self.records)
        return TrainingReport(
            samples=account.samples,
            tasks=account.tasks,
            dropped=dict(account.dropped),
            steps=tuple(self.records),
            parameters=parameters,
            precision=str(self.dtype).removeprefix("torch."),
            seconds=sum(record.seconds for record in self.records),
            resumed=self.resumed,
            ended=account.ended,
        )

    def _write(self, folder: Path, adapted: Any, report: TrainingReport) -> None:
        adapters.save(adapted, folder)
        self.describe(folder, report)

    def describe(self, folder: Path, report: TrainingReport) -> None:
        """Write tokenizer and report beside the saved weights."""
        self.model.tokenizer.save_pretrained(folder)
        content = {"fingerprint": self.fingerprint, **asdict(report)}
        (folder / "training.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


@contextmanager
def _detached_on_error(adapted: Any, loaded: torch.dtype) -> Iterator[None]:
    """Give an unfinished training's model back without its adapters."""
    try:
        yield
    except BaseException:
        adapters.detach(adapted, loaded)
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
