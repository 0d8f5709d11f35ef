"""A training whose steps another library's trainer takes: what `trl_adapter` has in common.

The shell is ours (folder, report, progress, end on a loss that is no number); steps, checkpoints,
several processes and sharded weights are those of transformers' `Trainer`.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback

from selfchallenge.errors import StageError, UsageError
from selfchallenge.learner import adapters, parallel, processes
from selfchallenge.learner.checkpoints import publish
from selfchallenge.learner.means import check_trl
from selfchallenge.learner.step import MILDER, fitting, held_in, token_limit
from selfchallenge.learner.training import Progress, StepRecord, Training, TrainingReport
from selfchallenge.models.quiet import without_future_warnings
from selfchallenge.task import content_hash


class Warmed:
    """Mixed into a trainer: our warm-up. That of transformers begins with a learning rate of 0.

    Attributes:
        warmup: steps until the learning rate is whole.
    """

    warmup = 1
    lr_scheduler: Any
    optimizer: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The scheduler, made once; DeepSpeed asks a copy of the trainer for it."""
        del num_training_steps
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, partial(_warmed, self.warmup)
            )
            self._created_lr_scheduler = True  # as its own method does
        return self.lr_scheduler


def _warmed(warmup: int, done: int) -> float:
    return min(1.0, (done + 1) / warmup)


def on_one_device(config: Any) -> Any:
    """A configuration of TRL's that takes one GPU a process: several would be one batch's."""
    if config.n_gpu > 1:
        config._n_gpu = 1  # noqa: SLF001 - as transformers does for models in parts
    return config


def _configure_deepspeed(plugin: Any) -> None:
    """Let DeepSpeed put whole weights together at the end, and leave the warm-up to us.

    Raises:
        UsageError: its configuration has a scheduler.
    """
    if plugin is None:
        return
    config = plugin.deepspeed_config
    if "scheduler" in config:
        raise UsageError(
            "DeepSpeed's configuration has a scheduler, which would stand in for the warm-up",
            where="--engine trl",
            fix="leave the scheduler out of it: the warm-up is rft.warmup, of others alike",
        )
    config.setdefault("zero_optimization", {})["stage3_gather_16bit_weights_on_model_save"] = True


class EndedEarly(Exception):  # noqa: N818 - no error
    """Ends a training of TRL's after the steps that it has taken."""


@dataclass
class TrlTraining(Training):
    """A training whose steps TRL takes; its folder and its report are those of `Training`.

    Attributes:
        noted: figures of the step under way that TRL does not know.
    """

    noted: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows an optimiser step, over all processes: samples, pairs or attempts."""
        raise NotImplementedError

    @property
    def longest(self) -> int:
        """Most tokens that a row has."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Everything that decides the result, the engine too."""
        return content_hash([super().fingerprint, "trl"])

    @property
    def work(self) -> Path:
        """Where TRL keeps its checkpoints; those of other inputs lie elsewhere."""
        return self.state_file.with_name(f"trl-{self.fingerprint[:12]}")

    def trainer(self) -> Any:
        """TRL's trainer of the algorithm, ready to train."""
        raise NotImplementedError

    def told(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Fields of a step's record that are the algorithm's own: tokens, read and figures."""
        raise NotImplementedError

    def record(self, logs: dict[str, Any]) -> StepRecord:
        """A step as it was logged."""
        return StepRecord(
            step=int(logs["step"]),
            steps=self.steps,
            loss=float(logs["loss"]),
            norm=float(logs["grad_norm"]),
            learning_rate=float(logs["learning_rate"]),
            seconds=float(logs["seconds"]),
            **self.told(logs),
        )

    def recorded(self, history: Sequence[dict[str, Any]]) -> list[StepRecord]:
        """The records of all steps, also of those before a resumption."""
        return [self.record(logs) for logs in history if "loss" in logs]

    def arguments(self) -> dict[str, Any]:
        """What all of TRL's configurations are told."""
        settings = self.settings
        check_trl(settings)
        share = self._share()
        return {
            "output_dir": str(self.work),
            "learning_rate": settings.learning_rate,
            "max_grad_norm": settings.clip,
            "weight_decay": 0.0,
            "seed": settings.seed,
            "bf16": self.dtype == torch.bfloat16,
            "gradient_checkpointing": settings.gradient_checkpointing,
            "use_cpu": self.model.module.device.type == "cpu",
            "per_device_train_batch_size": share,
            "gradient_accumulation_steps": self.rows // (share * processes.count()),
            "num_train_epochs": 1,
            "save_strategy": "steps",
            "save_steps": settings.checkpoint * self.algorithm.round,
            "save_total_limit": 2,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "disable_tqdm": True,
            "report_to": "none",
        }

    def peft(self) -> Any:
        """Adapters as our own engine has them; None trains all weights."""
        settings = self.settings
        return adapters.lora(settings.rank, settings.alpha) if settings.rank else None

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's, which TRL asks for padding and nothing else."""
        found = self.model.tokenizer
        if not isinstance(found, PreTrainedTokenizerBase):
            raise StageError(
                f"TRL cannot train {self.model.name}, whose tokenizer is not one of transformers",
                where="--engine trl",
                fix="give a local --model with a tokenizer of its own, or use --engine own",
            )
        return found

    def reference(self) -> Any:
        """The untrained model, where no adapter can be switched off to have it."""
        return None if self.settings.rank else copy.deepcopy(self.model.module)

    def _share(self) -> int:
        """Rows a process has in memory at once."""
        each, odd = divmod(self.rows, processes.count())
        if odd:
            raise UsageError(
                f"{processes.count()} processes cannot share {self.rows} rows a step evenly",
                where="--engine trl",
                fix="set a batch that is a multiple of the number of processes",
            )
        most = token_limit(self.settings.micro_tokens, self.dtype) // self.longest
        return max(n for n in range(1, each + 1) if each % n == 0 and n <= max(1, most))

    def _train(self, progress: Progress) -> TrainingReport:
        module = self.model.module
        cached = module.config.use_cache
        if self.settings.rank:
            module.requires_grad_(requires_grad=False)
        else:
            adapters.attach(module, self.model.name, 0, 0, self.settings.seed)
        with ExitStack() as stack:
            stack.callback(self._release, cached=cached)
            stack.enter_context(without_future_warnings())
            trainer = self.trainer()
            if self.dtype == torch.float32:  # TRL multiplies in what it finds
                stack.enter_context(held_in(module, self.dtype))
            trainer.warmup = max(1, self.settings.warmup)
            _configure_deepspeed(trainer.accelerator.state.deepspeed_plugin)
            recorder = _Recorder(self, progress)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(recorder)
            last = self._last()
            if last is not None:
                self.resumed = int(last.name.rpartition("-")[2])
            with suppress(EndedEarly), fitting(f"TRL's step of {self.rows} rows"):
                trainer.train(resume_from_checkpoint=str(last) if last else None)
            self.records = self.recorded(trainer.state.log_history)
            report = self._report(
                sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
            )
            self._publish(trainer, report)
            shutil.rmtree(self.state_file.parent, ignore_errors=True)
        return report

    def _release(self, *, cached: bool) -> None:
        """Leave the module as one that is not trained."""
        module = self.model.module
        module.config.use_cache = cached
        module.requires_grad_(requires_grad=False)
        module.eval()

    def _last(self) -> Path | None:
        """The last whole checkpoint; TRL writes the state of the trainer last."""
        found = self.work.glob("checkpoint-*/trainer_state.json")
        numbered = {int(file.parent.name.rpartition("-")[2]): file.parent for file in found}
        return numbered[max(numbered)] if numbered else None

    def _publish(self, trainer: Any, report: TrainingReport) -> None:
        """Publish the model; where weights are sharded all processes put them together."""
        adapted = trainer.accelerator.unwrap_model(trainer.model)
        if self.settings.rank:
            adapters.name_base(adapted, self.model.name)
        whole = self.work / "model"
        if trainer.is_fsdp_enabled:
            trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            trainer.save_model(str(whole))
        elif processes.is_main():
            adapters.save(adapted, whole)
        if not parallel.gathered(_has_weights(whole))[0]:
            raise StageError(
                "the weights that several processes hold could not be put together",
                where=str(whole),
                fix="let DeepSpeed gather them (stage3_gather_16bit_weights_on_model_save); the "
                "same command goes on from the last checkpoint",
            )
        if processes.is_main():

            def write(folder: Path) -> None:
                for file in whole.iterdir():
                    file.rename(folder / file.name)
                self.describe(folder, report)

            publish(self.directory, write)
        parallel.gathered(None)


def _has_weights(folder: Path) -> bool:
    return any(file.suffix in {".safetensors", ".bin"} for file in folder.glob("*model*"))


class _Recorder(TrainerCallback):  # type: ignore[misc]
    """Makes step records of what TRL logs, and stops a training that diverges."""

    def __init__(self, training: TrlTraining, progress: Progress) -> None:
        self.training, self.progress, self.started = training, progress, time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        del args, state, control
        self.started = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Tell of a step, before its checkpoint is written."""
        del args, control
        if "loss" not in logs:
            return
        # What is in the history comes back with a checkpoint.
        own = {"seconds": time.perf_counter() - self.started}
        state.log_history[-1].update(own | self.training.noted)
        record = self.training.record(state.log_history[-1])
        if not (math.isfinite(record.loss) and math.isfinite(record.norm)):
            raise StageError(
                f"training diverged: loss {record.loss}, gradient norm {record.norm}",
                fix=MILDER,
            )
        self.progress(record)
