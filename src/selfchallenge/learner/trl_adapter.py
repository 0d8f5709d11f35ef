"""TRL's trainers on our samples (`--engine trl`): for FSDP, DeepSpeed and what its launcher does.

The ids and masks are those of our own engine: what was sampled is trained, as it was sampled, and
TRL is given nothing that it could tokenise again. The hooks that this needs (`_prepare_dataset`,
the collator of preferences, `rollout_func`) are not promised to stay, so all of them are in this
file, TRL has an upper bound, and `tests/contract/test_trl_adapter.py` holds its steps to ours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selfchallenge.learner import processes
from selfchallenge.learner.attempts import Rewarded
from selfchallenge.learner.dpo import Preference
from selfchallenge.learner.grpo import Grpo
from selfchallenge.learner.rft import Likelihood
from selfchallenge.learner.samples import Pair, Sample
from selfchallenge.learner.settings import DpoSettings, GrpoSettings, RftSettings
from selfchallenge.learner.training import reach
from selfchallenge.learner.trl_training import EndedEarly, TrlTraining, Warmed, on_one_device

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import trl
from datasets import Dataset
from trl.trainer.dpo_trainer import DataCollatorForPreference

IGNORED = -100
"""Label of a token that is read and not learnt, as transformers has it."""


@dataclass
class Sft(TrlTraining):
    """`rft` and `distill`: TRL's SFTTrainer on ids and labels."""

    settings: RftSettings
    algorithm: Likelihood

    @property
    def samples(self) -> list[Sample]:
        """All samples of all epochs, in the order in which they are trained."""
        return [sample for batch in self.algorithm.plan for sample in batch]

    @property
    def rows(self) -> int:
        """Samples a step."""
        return self.settings.batch

    @property
    def longest(self) -> int:
        """Tokens of the longest sample."""
        return max(sample.length for sample in self.samples)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return -(-len(self.samples) // self.rows)

    def trainer(self) -> Any:
        """Pre-tokenised rows are taken as they are."""
        rows = [
            {
                "input_ids": list(s.ids),
                "labels": [i if m else IGNORED for i, m in zip(s.ids, s.mask, strict=True)],
            }
            for s in map(_trimmed, self.samples)
        ]
        config = trl.SFTConfig(
            max_length=None, train_sampling_strategy="sequential", **self.arguments()
        )
        return _Pretokenised(
            self.model.module,
            args=on_one_device(config),
            train_dataset=Dataset.from_list(rows),
            processing_class=self.tokenizer(),
            peft_config=self.peft(),
        )

    def told(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Tokens of the step's rows."""
        step = int(logs["step"])
        batch = self.samples[(step - 1) * self.rows : step * self.rows]
        return {"tokens": sum(s.trained for s in batch), "read": sum(s.length for s in batch)}


@dataclass
class Dpo(TrlTraining):
    """`dpo`: TRL's DPOTrainer with what the policy did not say masked out."""

    settings: DpoSettings
    algorithm: Preference

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of all epochs, in the order in which they are trained."""
        found = self.algorithm.found.pairs
        return [found[i] for batch in self.algorithm.plan for i in batch]

    @property
    def rows(self) -> int:
        """Pairs a step."""
        return self.settings.batch

    @property
    def longest(self) -> int:
        """Tokens of the longest pair."""
        return max(2 * max(s.length for s in pair.samples) for pair in self.pairs)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return -(-len(self.pairs) // self.rows)

    def trainer(self) -> Any:
        """Ids and masks go through to the collator."""
        tokenizer = self.tokenizer()
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        config = trl.DPOConfig(
            beta=self.settings.beta,
            max_length=None,
            remove_unused_columns=False,
            train_sampling_strategy="sequential",
            **self.arguments(),
        )
        return _Paired(
            self.model.module,
            ref_model=self.reference(),
            args=on_one_device(config),
            train_dataset=Dataset.from_list([_columns(pair) for pair in self.pairs]),
            processing_class=tokenizer,
            data_collator=_MaskedCollator(pad_token_id=pad),
            peft_config=self.peft(),
        )

    def told(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Tokens of the step's pairs, and how many prefer the success by now."""
        step = int(logs["step"])
        batch = self.pairs[(step - 1) * self.rows : step * self.rows]
        both = [sample for pair in batch for sample in pair.samples]
        return {
            "tokens": sum(s.trained for s in both),
            "read": sum(s.length for s in both),
            "figures": {"preferred": float(logs["rewards/accuracies"])},
        }


class _Pretokenised(Warmed, trl.SFTTrainer):  # type: ignore[misc]
    """Takes rows as they are, as TRL does with ids and labels."""


class _Grouped(Warmed, trl.GRPOTrainer):  # type: ignore[misc]
    """Takes attempts from us."""


class _Paired(Warmed, trl.DPOTrainer):  # type: ignore[misc]
    """Takes rows as they are."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class _MaskedCollator(DataCollatorForPreference):  # type: ignore[misc]
    """Leaves what was not sampled out of both sides of a pair."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        masks = [e["chosen_mask"] for e in examples] + [e["rejected_mask"] for e in examples]
        width = batch["completion_mask"].shape[1]
        padded = [mask + [0] * (width - len(mask)) for mask in masks]
        batch["completion_mask"] = batch["completion_mask"] * torch.tensor(padded)
        return batch


def _columns(pair: Pair) -> dict[str, list[int]]:
    """A pair as the collator wants it; the masks are those of the whole sequences."""
    chosen, rejected = map(_trimmed, pair.samples)
    shortest = min(sample.mask.index(True) for sample in (chosen, rejected))
    both = zip(chosen.ids[:shortest], rejected.ids[:shortest], strict=True)
    shared = next((i for i, (a, b) in enumerate(both) if a != b), shortest)
    return {
        "prompt_ids": list(chosen.ids[:shared]),
        "chosen_ids": list(chosen.ids[shared:]),
        "rejected_ids": list(rejected.ids[shared:]),
        "chosen_mask": list(map(int, chosen.mask)),
        "rejected_mask": list(map(int, rejected.mask)),
    }


def _trimmed(sample: Sample) -> Sample:
    """The sample without what stands behind its last sampled token."""
    return Sample(sample.ids[: sample.length], sample.mask[: sample.length], sample.logprobs)


@dataclass
class GroupRelative(TrlTraining):
    """`grpo`: TRL's GRPOTrainer on attempts that are made by us.

    Which groups a round has is decided as by our own engine. TRL does not correct for what sampling
    and training disagree about: `grpo.mismatch` means nothing here. And its batches are of one
    size: an attempt that cannot be learnt from, or a group that was not found, is a row that earns
    nothing and has no token.
    """

    settings: GrpoSettings
    algorithm: Grpo

    @property
    def rows(self) -> int:
        """Attempts a step."""
        return self.settings.tasks * self.settings.group

    @property
    def longest(self) -> int:
        """Tokens of the longest attempt there may be."""
        return reach(self.model, self.settings)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.algorithm.steps

    def trainer(self) -> Any:
        """A trainer that asks us for attempts; its prompts are no more than their number."""
        processes.require_plain("attempts by the model that is trained")
        own = self.settings
        prompts = [{"prompt": str(number)} for number in range(own.iterations * own.tasks)]
        config = trl.GRPOConfig(
            loss_type=own.loss,
            scale_rewards="none" if own.loss == "dr_grpo" else "group",
            epsilon=own.clip_low,
            epsilon_high=own.clip_high,
            beta=own.kl,
            use_bias_correction_kl=False,  # the divergence as in GRPO's equation 4
            num_generations=own.group,
            num_iterations=own.updates,
            max_completion_length=own.max_length,
            temperature=self.algorithm.temperature,
            shuffle_dataset=False,
            **self.arguments(),
        )
        return _Grouped(
            self.model.module,
            reward_funcs=_reward,
            rollout_func=self.roll_out,
            args=on_one_device(config),
            train_dataset=Dataset.from_list(prompts),
            processing_class=self.tokenizer(),
            peft_config=self.peft(),
        )

    def roll_out(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """The rows of this process: its stretch of a round of attempts, which all make together."""
        module = self.model.module
        module.eval()
        found = self.algorithm.next_round(self.recorded(trainer.state.log_history))
        module.train()
        if found is None:
            raise EndedEarly
        samples = [sample for group in found.groups for sample, _ in group]
        self.noted = found.figures | {
            "tokens": sum(sample.trained for sample in samples),
            "read": sum(sample.length for sample in samples),
        }
        rows = [row for group in found.groups for row in self._rows(group)]
        rows += self._padding(self.rows - len(rows))
        start = processes.rank() * len(prompts)
        own = rows[start : start + len(prompts)]
        return {name: [row[name] for row in own] for name in own[0]}

    def told(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Tokens and figures of the step's attempts."""
        named = ("place", "attempts", "untrainable", "groups", "tried", "reward", "kl", "entropy")
        figures = {name: float(logs[name]) for name in named if name in logs}
        figures["clipped"] = float(logs["clip_ratio/region_mean"])
        return {"tokens": int(logs["tokens"]), "read": int(logs["read"]), "figures": figures}

    def _rows(self, group: Sequence[Rewarded]) -> list[dict[str, Any]]:
        """A group as TRL wants it, filled up to its full number."""
        rows = [_row(_trimmed(sample), reward) for sample, reward in group]
        return rows + self._padding(self.settings.group - len(rows))

    def _padding(self, count: int) -> list[dict[str, Any]]:
        end = [self.tokenizer().eos_token_id]
        row = {"prompt_ids": end, "completion_ids": end, "logprobs": [0.0], "env_mask": [0]}
        return [row | {"outcome": None}] * count


def _row(sample: Sample, reward: float) -> dict[str, Any]:
    first, drawn = sample.mask.index(True), iter(sample.logprobs)
    return {
        "prompt_ids": list(sample.ids[:first]),
        "completion_ids": list(sample.ids[first:]),
        "logprobs": [next(drawn) if sampled else 0.0 for sampled in sample.mask[first:]],
        "env_mask": [int(sampled) for sampled in sample.mask[first:]],
        "outcome": reward,
    }


def _reward(outcome: list[float | None], **_: Any) -> list[float | None]:
    """What each attempt earned; None where it is not to count."""
    return outcome
