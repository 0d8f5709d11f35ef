"""Proximal policy optimisation with program rewards over many turns (section 5.3).

A small network on the last hidden states says how much reward is still to come before each sampled
token, and how much better it came is the token's advantage (generalised advantage estimate). Time
is counted in sampled tokens: an observation is part of the step from one to the next. The reward of
the task is that of the last token, and each token pays for its divergence from the untrained model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfchallenge.learner.attempts import Attempted, Attempts, Said, joined
from selfchallenge.learner.losses import (
    explained_variance,
    gae,
    kl_k1,
    token_weights,
    value_loss,
    whiten,
)
from selfchallenge.learner.online import Online
from selfchallenge.learner.settings import PpoSettings
from selfchallenge.learner.step import Forward, resolve_precision
from selfchallenge.learner.training import Progress, Trainable, Training, TrainingReport


def train_ppo(
    model: Trainable,
    tasks: Sequence[str],
    attempts: Attempts,
    directory: Path,
    settings: PpoSettings | None = None,
    *,
    temperature: float = 1.0,
    band: tuple[float, float] = (0.0, 1.0),
    progress: Progress | None = None,
) -> TrainingReport:
    """Learn from attempts, token by token; the model in memory is the trained one afterwards.

    Args:
        model: the executor, untrained.
        tasks: ids of the tasks.
        attempts: makes attempts with the model as it is.
        directory: where adapter, tokenizer and `training.json` go; made whole in one rename. The
            value head is of no use afterwards and is not kept.
        settings: how to train.
        temperature: that attempts are sampled at, above 0.
        band: lowest and highest share of a group's attempts that succeed, or it is not learnt from.
        progress: called after each step of this call.

    Raises:
        StageError: no attempt can be trained, or the training diverged (the checkpoint is kept).
        StorageError: the disk is full, or `directory` holds another training.
    """
    settings = settings or PpoSettings()
    dtype = resolve_precision(settings.precision, model.module.device)
    algorithm = Ppo(model, tasks, attempts, settings, temperature, band)
    return Training(model, directory, settings, algorithm, dtype).run(progress)


@dataclass
class Ppo(Online):
    """Advantages from a value head, the clipped surrogate, and the value loss."""

    settings: PpoSettings
    _head: ValueHead | None = field(default=None, kw_only=True)

    def begin(self, adapted: Any, dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
        """Make the value head, which expects nothing at first."""
        super().begin(adapted, dtype)
        width = self.model.module.get_output_embeddings().in_features
        self._head = ValueHead(width, device=self.model.module.device)
        return {f"value_head.{name}": p for name, p in self._head.named_parameters()}

    def values(self, said: Forward) -> Tensor:
        """What the value head expects before each token, [N]."""
        if self._head is None:
            raise RuntimeError("the value head is made by begin()")
        with torch.autocast(said.states.device.type, enabled=False):
            values: Tensor = self._head(said.states.float())
        return values

    def credit(self, said: list[list[Said]]) -> list[Attempted]:
        """Advantages and returns of each token of each attempt."""
        settings, flat = self.settings, [one for group in said for one in group]
        lengths = [one.sample.trained for one in flat]
        owners = torch.arange(len(flat)).repeat_interleave(torch.tensor(lengths))
        old, values = joined(flat, "old"), joined(flat, "values")
        rewards = -settings.kl * kl_k1(old, joined(flat, "reference"))
        ends = torch.tensor(lengths).cumsum(0) - 1
        rewards[ends] += rewards.new_tensor([one.reward for one in flat])
        advantages, returns = gae(rewards, values, lengths, settings.discount, settings.trace)
        self.figures["value"] = float(values.mean())
        self.figures["explained_variance"] = explained_variance(values, returns)
        # Without a difference between rewards, whitening would blow up what the value head errs by.
        if settings.whiten and len({one.reward for one in flat}) > 1:
            advantages = whiten(advantages)
        weights = token_weights(owners, len(flat), "dapo").to(old)
        parts = (torch.split(tensor, lengths) for tensor in (advantages, returns, weights))
        return [
            Attempted(
                sample=one.sample,
                old=one.old,
                reference=one.reference,
                values=one.values,
                advantages=advantage,
                returns=came,
                weights=self.corrected(weight, one),
            )
            for one, advantage, came, weight in zip(flat, *parts, strict=True)
        ]

    def loss(self, piece: list[Attempted], said: Forward) -> tuple[Tensor, dict[str, Tensor]]:
        """The clipped surrogate and the value loss."""
        settings, weights = self.settings, joined(piece, "weights")
        clip = settings.clip_ratio
        policy, figures = self.surrogate(piece, said, clip, clip)
        value = value_loss(
            self.values(said),
            joined(piece, "values"),
            joined(piece, "returns"),
            settings.clip_value,
        )
        figures["value_loss"] = value
        if settings.kl:
            figures["kl"] = kl_k1(said.logprobs, joined(piece, "reference"))
        return ((policy + settings.value * value) * weights).sum(), figures


class ValueHead(torch.nn.Module):
    """The reward that is still to come, of hidden states [n, width]; it expects nothing at first.

    States are brought to length 1, for their size differs from model to model and a step of the
    optimiser would move the value by units where they are large.
    """

    def __init__(self, width: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width, device=device))
        self.bias = torch.nn.Parameter(torch.zeros((), device=device))

    def forward(self, states: Tensor) -> Tensor:
        """Values, [n]."""
        return torch.nn.functional.normalize(states, dim=-1) @ self.weight + self.bias
