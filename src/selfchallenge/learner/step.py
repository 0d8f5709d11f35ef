"""One optimiser step over packed samples, the same on a CPU and a GPU (paper, equation 2).

The step is our own: shared beginnings are read once, nothing is padded, logits are made for trained
tokens only, and bfloat16 is used where the device computes in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor

from selfchallenge.errors import ModelError, StageError
from selfchallenge.learner import parallel
from selfchallenge.learner.batches import micro_batches
from selfchallenge.learner.losses import nll, token_entropies, token_logprobs
from selfchallenge.learner.packing import ATTENTION, Packed, pack
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.settings import Precision
from selfchallenge.models.freed import return_freed_memory
from selfchallenge.models.packed import computes_bfloat16
from selfchallenge.models.quiet import without_future_warnings

U = TypeVar("U")

MILDER = (
    'lower the learning rate, or train in float32 (precision = "float32") where it was bfloat16: '
    "selfchallenge train DIR --set rft.learning_rate=... (of dpo: dpo.learning_rate=...), or a new "
    "run of an online algorithm"
)
"""What to do about a training that diverged."""

SMALLER = (
    "the same command goes on from the last checkpoint with --set rft.micro_tokens=N (of the other "
    "algorithms alike) below what it was, or --set rft.gradient_checkpointing=true, which helps "
    "where a single sample is too long; to several processes selfchallenge challenge ENV --out DIR "
    "--set ... says so beforehand"
)
"""What to do about a training that does not fit into memory."""

WITHOUT_GRADIENTS = 4
"""Times as many tokens at once where no layer keeps anything for a backward pass: shared beginnings
are read less often."""


def resolve_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: `auto` is bfloat16 where the device computes in it."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    return torch.bfloat16 if computes_bfloat16(device.type) else torch.float32


def token_limit(micro_tokens: int, dtype: torch.dtype) -> int:
    """Tokens that may be in memory at once: `micro_tokens` in bfloat16, half as many otherwise."""
    return micro_tokens // (1 if dtype == torch.bfloat16 else 2)


Holding = Callable[[Any, torch.dtype], AbstractContextManager[None]]
"""Holds a module's frozen weights in another precision within a block."""


@contextmanager
def training(
    module: Any,
    dtype: torch.dtype,
    *,
    gradient_checkpointing: bool = False,
    holding: Holding | None = None,
) -> Iterator[None]:
    """Set a causal language model up for `backward` and leave it as it was, bit for bit.

    Inside, attention runs over packed rows and frozen weights are held in `dtype`; weights that
    are trained stay in float32.

    Args:
        module: causal language model.
        dtype: what matrices are multiplied in.
        gradient_checkpointing: keep each layer's input only, and compute the rest of it again in
            the backward pass.
        holding: how frozen weights come to be in `dtype`; `held_in` by default.
    """
    hold = holding or held_in
    usual = module.config._attn_implementation  # noqa: SLF001 - there is no public getter
    casting = disable_input_dtype_casting(module) if dtype != torch.float32 else nullcontext()
    module.set_attn_implementation(ATTENTION)
    module.train()
    try:
        with hold(module, dtype), casting, _checkpointing(module, wanted=gradient_checkpointing):
            yield
    finally:
        module.eval()
        module.set_attn_implementation(usual)


def check_checkpointing(module: Any) -> None:
    """Make sure that a model can compute again what its layers do not keep.

    Raises:
        StageError: it cannot.
    """
    if not module.supports_gradient_checkpointing:
        raise StageError(
            f"{type(module).__name__} has no gradient checkpointing",
            where="train",
            fix="switch it off (--set rft.gradient_checkpointing=false, of the other algorithms "
            "alike)",
        )


@contextmanager
def _checkpointing(module: Any, *, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with without_future_warnings():  # the name is another one from transformers 6 on
        module.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        with without_future_warnings():
            module.gradient_checkpointing_disable()
        module.disable_input_require_grads()  # transformers does so for adapters of its own only


@contextmanager
def held_in(module: Any, dtype: torch.dtype) -> Iterator[None]:
    """Inside, frozen weights are held in `dtype`; afterwards they are what they were."""
    frozen = {p: p.data for p in module.parameters() if not p.requires_grad}
    try:
        for parameter, data in frozen.items():
            parameter.data = data.to(dtype)
        yield
    finally:
        for parameter, data in frozen.items():
            parameter.data = data


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Say what to do where `what` is more than the device's memory holds."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"out of memory: {what} ({str(error).partition('.')[0]})", where="train", fix=SMALLER
        ) from error


@dataclass(frozen=True)
class Forward:
    """What the model says of the trained tokens of a packed row, with its graph.

    Attributes:
        logprobs: natural log-probability of each token at `temperature`, [N].
        states: last hidden state where each token is predicted, [N, H].
        entropies: computes the entropy in nats of what each token was drawn from, [N].
    """

    logprobs: Tensor
    states: Tensor
    entropies: Callable[[], Tensor]


def forward(
    module: Any, packed: Packed, dtype: torch.dtype = torch.float32, temperature: float = 1.0
) -> Forward:
    """Read a packed row. Call it within `training`.

    Args:
        module: causal language model.
        packed: the row, on the module's device.
        dtype: what matrices are multiplied in.
        temperature: that log-probabilities are taken at.
    """

    def multiplying() -> AbstractContextManager[Any]:
        device = module.device.type
        return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)

    def entropies() -> Tensor:
        with multiplying():
            return token_entropies(states, head, temperature=temperature)

    with multiplying():
        hidden = module.get_decoder()(
            input_ids=packed.ids[None],
            position_ids=packed.positions[None],
            use_cache=False,
            tree=packed,
        ).last_hidden_state[0]
        states = hidden[packed.sources]
        head = module.get_output_embeddings()
        logprobs = token_logprobs(states, packed.targets, head, temperature=temperature)
        return Forward(logprobs, states, entropies)


def sequence_logprobs(module: Any, packed: Packed, dtype: torch.dtype = torch.float32) -> Tensor:
    """Natural log-probability of each trained token of a packed row, [N], with its graph.

    Call it within `training`.
    """
    return forward(module, packed, dtype).logprobs


def own_sample(unit: Sample) -> tuple[Sample, ...]:
    """The samples of a unit that is one."""
    return (unit,)


def accumulate(
    module: Any,
    units: Sequence[U],
    loss_of: Callable[[list[U], Packed, Forward], Tensor],
    *,
    samples_of: Callable[[U], Sequence[Sample]],
    tokens: int,
    dtype: torch.dtype = torch.float32,
    temperature: float = 1.0,
) -> tuple[float, int]:
    """Add the gradients of a batch's loss to the parameters, piece by piece.

    Of several processes each adds those of its share; the loss is that of the whole batch.

    Args:
        module: causal language model within `training`.
        units: the batch: samples, or pairs of them.
        loss_of: a piece's part of the batch's loss; the parts add up, however it is cut.
        samples_of: the samples of a unit.
        tokens: at most this many packed tokens in memory at once.
        dtype: what matrices are multiplied in.
        temperature: that log-probabilities are taken at.

    Returns:
        The loss, and the number of tokens read.
    """
    total, read = 0.0, 0
    for piece in micro_batches(parallel.share(units, samples_of), tokens, samples_of):
        packed = pack([s for unit in piece for s in samples_of(unit)])
        with fitting(f"a pass over {len(packed.ids)} tokens and back"):
            packed = packed.to(module.device)
            loss = loss_of(piece, packed, forward(module, packed, dtype, temperature))
            torch.autograd.backward(loss)
        total += loss.item()
        read += len(packed.ids)
        del loss
        return_freed_memory()
    both = parallel.summed({"loss": total, "read": read})
    return both["loss"], int(both["read"])


def evaluate(
    module: Any,
    samples: Sequence[Sample],
    look: Callable[[Forward], Sequence[Tensor]],
    *,
    tokens: int,
    dtype: torch.dtype = torch.float32,
    temperature: float = 1.0,
) -> list[tuple[Tensor, ...]]:
    """What `look` sees of each sample without gradients, in the order of the samples.

    Args:
        module: causal language model within `training`.
        samples: what is read.
        look: tensors of a forward pass, with one entry a trained token each, [N, ...].
        tokens: at most this many packed tokens at once where there are gradients; more fit here.
        dtype: what matrices are multiplied in.
        temperature: that log-probabilities are taken at.
    """
    found: dict[int, tuple[Tensor, ...]] = {}
    numbered = list(enumerate(samples))
    mine = parallel.share(numbered, _numbered_sample)
    with torch.no_grad(), without_dropout(module):
        for piece in micro_batches(mine, tokens * WITHOUT_GRADIENTS, _numbered_sample):
            packed = pack([sample for _, sample in piece])
            with fitting(f"a pass over {len(packed.ids)} tokens"):
                packed = packed.to(module.device)
                seen = look(forward(module, packed, dtype, temperature))
            lengths = [sample.trained for _, sample in piece]
            parts = zip(*(torch.split(tensor, lengths) for tensor in seen), strict=True)
            found |= {
                number: tuple(tensor.cpu() for tensor in part)  # as they travel between processes
                for (number, _), part in zip(piece, parts, strict=True)
            }
            return_freed_memory()
    said = {number: part for share in parallel.gathered(found) for number, part in share.items()}
    return [
        tuple(tensor.to(module.device) for tensor in said[number]) for number in range(len(samples))
    ]


@contextmanager
def without_dropout(module: Any) -> Iterator[None]:
    """Inside, the model says what it says when it samples."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def _numbered_sample(unit: tuple[int, Sample]) -> tuple[Sample]:
    return (unit[1],)


def backward(
    module: Any, batch: Sequence[Sample], tokens: int, dtype: torch.dtype = torch.float32
) -> tuple[float, int]:
    """Add the gradients of a batch's mean negative log-likelihood per trained token.

    Args:
        module: causal language model within `training`.
        batch: samples of one optimiser step.
        tokens: at most this many packed tokens in memory at once.
        dtype: what matrices are multiplied in.

    Returns:
        The loss, and the number of tokens read.
    """
    # Samples of weight 0 are not to dilute the others.
    normaliser = sum(sample.trained for sample in batch if sample.weight) or 1

    def loss_of(_: list[Sample], packed: Packed, said: Forward) -> Tensor:
        return nll(said.logprobs, packed.weights, normaliser)

    return accumulate(module, batch, loss_of, samples_of=own_sample, tokens=tokens, dtype=dtype)


def update(
    optimizer: torch.optim.Optimizer, learning_rate: float, clip: float, loss: float
) -> float:
    """Clip the gradients, take one step, clear them; returns the norm before clipping.

    A group of parameters that has a `scale` learns at that many times the rate.

    Raises:
        StageError: loss or gradient is not finite, and the parameters are left as they were; or
            the parameters are none after the step, and are not to be kept.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimizer.zero_grad()
        raise StageError(
            f"training diverged: loss {loss}, gradient norm {norm}",
            fix=MILDER,
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("scale", 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if not all(bool(torch.isfinite(p).all()) for p in parameters):
        raise StageError("training diverged: weights that are no numbers", fix=MILDER)
    return norm
