"""How to train, without loading torch: the settings of the learner's room.

Each algorithm has its own group, because a learning rate that suits one ruins another. The defaults
are for a model of half a billion weights on a CPU; `--preset paper` has the paper's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfchallenge.ranges import (
    ABOVE_ZERO,
    COUNT,
    LEARNING_RATE,
    POSITIVE,
    SEED,
    SHARE,
    Range,
    require,
)

Precision = Literal["auto", "float32", "bfloat16"]

Engine = Literal["own", "trl"]
"""Whose step is taken: ours, or TRL's by its trainers, which shard weights over GPUs."""


MEMORY = ("micro_tokens", "gradient_checkpointing")
"""Settings of a step that decide how much memory it takes, and how its result is rounded."""


@dataclass(frozen=True)
class StepSettings:
    """What every optimiser step needs.

    Attributes:
        learning_rate: of AdamW, after the warm-up constant.
        warmup: steps over which the learning rate rises from 0.
        clip: largest norm of the gradient.
        rank: LoRA rank on all linear layers; 0 trains all weights.
        alpha: LoRA scale is alpha / rank.
        max_length: longest sample in tokens; longer ones are dropped.
        micro_tokens: at most this many tokens in memory at once, shared beginnings counted once;
            a batch with more is cut and its gradients added. In float32 half as many; where there
            are no gradients (what is said of attempts before an update) four times as many.
        gradient_checkpointing: keep of each layer its input only and compute the rest again in the
            backward pass: less memory for long samples and large models, for one more pass forward.
        precision: what matrices are multiplied in; `auto` is bfloat16 where the device has it.
        checkpoint: steps between two saved states; of an online algorithm, rounds of attempts.
        keep: steps (of an online algorithm, rounds of attempts) between two policies that are kept
            in folders `model.steps/N`, to be measured by themselves; 0 keeps none. Only by our own
            engine.
        seed: of the adapters' initial values and the order of samples; that of the run is added.
    """

    learning_rate: float = 3e-4
    warmup: int = 3
    clip: float = 1.0
    rank: int = 16
    alpha: int = 32
    max_length: int = 2048
    micro_tokens: int = 1600
    gradient_checkpointing: bool = False
    precision: Precision = "auto"
    checkpoint: int = 5
    keep: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, learning_rate=LEARNING_RATE, clip=ABOVE_ZERO, warmup=COUNT, rank=COUNT)
        require(self, alpha=POSITIVE, max_length=POSITIVE, micro_tokens=POSITIVE)
        require(self, checkpoint=POSITIVE, keep=COUNT, seed=SEED)


@dataclass(frozen=True)
class RftSettings(StepSettings):
    """Fine-tuning on trajectories: `rft` on one's own successes, `distill` on a teacher's.

    Attributes:
        epochs: passes over the samples.
        batch: samples an optimiser step.
        per_task: at most this many successes of one task; a teacher's trajectories are all taken.
        only_success: of a teacher's trajectories, take the successes only.
    """

    epochs: int = 2
    batch: int = 8
    per_task: int = 4
    only_success: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, epochs=POSITIVE, batch=POSITIVE, per_task=POSITIVE)


@dataclass(frozen=True)
class DpoSettings(StepSettings):
    """Direct preference optimisation on pairs of a success and a failure of one task.

    Attributes:
        learning_rate: of AdamW, after the warm-up constant.
        epochs: passes over the pairs.
        batch: pairs an optimiser step.
        beta: how dearly leaving the untrained model is paid for.
        per_task: at most this many pairs of one task.
    """

    learning_rate: float = 2e-5
    epochs: int = 2
    batch: int = 8
    beta: float = 0.1
    per_task: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, epochs=POSITIVE, batch=POSITIVE, per_task=POSITIVE, beta=ABOVE_ZERO)


@dataclass(frozen=True)
class OnlineSettings(StepSettings):
    """What GRPO and PPO share: rounds of attempts with the policy as it is, each learnt from.

    Attributes:
        learning_rate: of AdamW, after the warm-up constant.
        iterations: rounds of attempts. One that gave nothing to learn from is no step, and a few of
            them in a row end the training.
        tasks: tasks a round.
        group: attempts at each of them.
        updates: optimiser steps on the attempts of a round.
        kl: weight of the divergence from the untrained model.
        mismatch: most that a token is weighed up by for being likelier in training than in
            sampling.
        checkpoint: rounds between two saved states.
    """

    learning_rate: float = 1e-4
    iterations: int = 20
    tasks: int = 8
    group: int = 4
    updates: int = 1
    kl: float = 0.001
    mismatch: float = 2.0
    checkpoint: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, iterations=POSITIVE, tasks=POSITIVE, group=POSITIVE, updates=POSITIVE)
        require(self, kl=Range(0), mismatch=ABOVE_ZERO)

    @property
    def most_groups(self) -> int:
        """Groups of attempts that a training makes at most."""
        return self.iterations * self.tasks


@dataclass(frozen=True)
class GrpoSettings(OnlineSettings):
    """Group-relative policy optimisation.

    Attributes:
        loss: `grpo`, `dr_grpo` (no division by length or deviation) or `dapo` (all tokens alike).
        clip_low: the ratio of new to old probability is clipped at 1 - clip_low,
        clip_high: and at 1 + clip_high.
        draws: a group whose attempts all came out alike teaches nothing and is replaced by that of
            another task, until this many times `tasks` have been tried in a round.
    """

    loss: Literal["grpo", "dr_grpo", "dapo"] = "dapo"
    clip_low: float = 0.2
    clip_high: float = 0.28
    draws: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        # One attempt has nothing to be compared with.
        require(self, group=Range(2), draws=POSITIVE, clip_low=ABOVE_ZERO, clip_high=ABOVE_ZERO)

    @property
    def most_groups(self) -> int:
        """Groups of attempts that a training makes at most."""
        return super().most_groups * self.draws


@dataclass(frozen=True)
class PpoSettings(OnlineSettings):
    """Proximal policy optimisation with a value head.

    Attributes:
        clip_ratio: the ratio of new to old probability is clipped to 1 -+ clip_ratio.
        clip_value: how far a value moves in one round before its loss stops pulling.
        value: weight of the value loss.
        value_learning_rate: of the value head.
        discount: gamma.
        trace: lambda of the generalised advantage estimate. Below 1 the reward of an attempt fades
            with every sampled token: at 0.95, a hundred tokens before its end 0.6 % is left.
        whiten: shift and scale the advantages of a round to mean 0 and deviation 1, unless all its
            rewards are alike.
    """

    clip_ratio: float = 0.2
    clip_value: float = 0.2
    value: float = 0.1
    value_learning_rate: float = 1e-3
    discount: float = 1.0
    trace: float = 1.0
    whiten: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, clip_ratio=ABOVE_ZERO, clip_value=ABOVE_ZERO, value=Range(0))
        require(self, value_learning_rate=LEARNING_RATE, discount=SHARE, trace=SHARE)
