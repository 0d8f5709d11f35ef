"""How to train, without loading torch: the settings of the learner's room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfchallenge.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class RftSettings:
    """How to train; the defaults are for a model of half a billion weights on a CPU.

    Attributes:
        epochs: passes over the samples.
        batch: samples an optimiser step.
        learning_rate: of AdamW, after the warm-up constant.
        warmup: steps over which the learning rate rises from 0.
        clip: largest norm of the gradient.
        rank: LoRA rank on all linear layers; 0 trains all weights.
        alpha: LoRA scale is alpha / rank.
        per_task: at most this many successes of one task.
        max_length: longest sample in tokens; longer ones are dropped.
        micro_tokens: at most this many tokens in memory at once, shared beginnings counted once;
            a batch with more is cut and its gradients added. In float32 half as many.
        precision: what matrices are multiplied in; `auto` is bfloat16 where the device has it.
        checkpoint: steps between two saved states.
        seed: of the adapters' initial values and the order of samples.
    """

    epochs: int = 2
    batch: int = 8
    learning_rate: float = 3e-4
    warmup: int = 3
    clip: float = 1.0
    rank: int = 16
    alpha: int = 32
    per_task: int = 4
    max_length: int = 2048
    micro_tokens: int = 1600
    precision: Precision = "auto"
    checkpoint: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "learning_rate", "clip", "per_task", "max_length")
        for name in (*positive, "micro_tokens", "checkpoint"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.rank < 0 or self.warmup < 0:
            raise UsageError("rank and warmup cannot be negative")
