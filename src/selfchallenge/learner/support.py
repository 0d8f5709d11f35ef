"""Whether a model computes what training by packed rows assumes, asked before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from selfchallenge.errors import StageError
from selfchallenge.learner.packing import pack
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.step import fitting, sequence_logprobs, training, without_dropout


def check_supported(module: Any, samples: Sequence[Sample]) -> None:
    """Compare packed log-probabilities with the model's own forward pass on two short samples.

    Architectures with windowed attention or altered logits would otherwise learn something else
    than they were told, silently.

    Raises:
        StageError: the two differ.
    """
    short = [_start(sample) for sample in sorted(samples, key=lambda s: s.length)[:2]]
    hold = held_in_turn  # what is loaded in bfloat16 does not fit a second time, twice as large
    with torch.no_grad(), fitting("a look at two samples"):
        with hold(module, torch.float32):  # rounding is not what is compared
            plain = torch.cat([_plain_logprobs(module, sample) for sample in short])
        with training(module, torch.float32, holding=hold), without_dropout(module):
            ours = sequence_logprobs(module, pack(short).to(module.device))
    worst = float((plain - ours).abs().max())
    if not worst < 0.05:
        raise StageError(
            f"{type(module).__name__} does not compute what packed training assumes "
            f"(log-probabilities differ by {worst:.3g})",
            fix="use a decoder with full causal attention, such as Qwen2.5, Qwen3 or Llama 3",
        )


def _start(sample: Sample, around: int = 256) -> Sample:
    """The sample up to a few tokens past its first trained one, at most `around` tokens."""
    first = sample.mask.index(True)
    cut = slice(max(0, first - around), first + 8)
    ids, mask = sample.ids[cut], sample.mask[cut]
    return Sample(ids, mask, sample.logprobs[: sum(mask)])


def _plain_logprobs(module: Any, sample: Sample) -> Tensor:
    ids = torch.tensor(sample.ids, device=module.device)
    trained = torch.tensor([i for i, sampled in enumerate(sample.mask) if sampled])
    logits: Tensor = module(input_ids=ids[None], use_cache=False).logits[0, trained - 1]
    return logits.float().log_softmax(1).gather(1, ids[trained][:, None])[:, 0]


@contextmanager
def held_in_turn(module: Any, dtype: torch.dtype) -> Iterator[None]:
    """Inside, a layer's frozen weights are in `dtype` while it computes: one layer's at a time."""
    kept: dict[torch.nn.Parameter, Tensor] = {}

    def enter(layer: torch.nn.Module, _: Any) -> None:
        for parameter in layer.parameters(recurse=False):
            if not parameter.requires_grad:
                kept[parameter] = parameter.data
                parameter.data = parameter.data.to(dtype)

    def leave(layer: torch.nn.Module, *_: Any) -> None:
        for parameter in layer.parameters(recurse=False):
            if parameter in kept:
                parameter.data = kept.pop(parameter)

    with ExitStack() as stack:
        for layer in module.modules():
            stack.callback(layer.register_forward_pre_hook(enter).remove)
            stack.callback(layer.register_forward_hook(leave, always_call=True).remove)
        yield
