"""Attention over a shared prefix and ragged rows: what makes batched decoding cheap on a CPU.

The rows of a batch mostly begin with the same few hundred tokens (policy and tool documentation).
Their keys and values are kept once for all rows and attended to in one matrix product; what
differs lies in one preallocated buffer per batch that is written in place, so that a step copies
nothing. The functions plug into a transformers model as its attention implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

NAME = "selfchallenge_shared_prefix"


@dataclass
class Prefix:
    """Keys and values of a shared beginning: `[layers, 2, kv_heads, length, head_dim]`."""

    ids: tuple[int, ...]
    kv: Tensor

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return self.kv.numel() * self.kv.element_size()


@dataclass
class Rows:
    """The ragged part of a batch.

    Attributes:
        kv: `[layers, 2, rows, kv_heads, capacity, head_dim]`.
        lengths: filled positions of each row, `[rows]`.
        groups: the prefix of each run of rows, and how many rows it has, in order.
    """

    kv: Tensor
    lengths: Tensor
    groups: list[tuple[Prefix | None, int]]
    mask: Tensor | None = None
    places: Tensor | None = field(default=None, repr=False)

    def grow(self, more: int) -> None:
        """Make room for `more` positions beyond the longest row."""
        need = int(self.lengths.max()) + more
        capacity = self.kv.shape[4]
        if need > capacity:
            room = max(need, capacity + 64) - capacity
            self.kv = torch.nn.functional.pad(self.kv, (0, 0, 0, room))

    def select(self, keep: Tensor) -> None:
        """Keep these rows (ascending indices) and cut unused capacity."""
        longest = int(self.lengths[keep].max())
        self.kv = self.kv[:, :, keep, :, :longest].contiguous()
        self.lengths = self.lengths[keep]
        owners = [number for number, (_, count) in enumerate(self.groups) for _ in range(count)]
        kept = [owners[int(row)] for row in keep]
        self.groups = [
            (prefix, kept.count(number))
            for number, (prefix, _) in enumerate(self.groups)
            if number in kept
        ]

    def prepare(self, queries: int) -> Tensor:
        """Room, mask and places for `queries` new tokens a row; returns position ids."""
        self.grow(queries)
        device = self.kv.device
        steps = torch.arange(queries, device=device)
        self.places = self.lengths[:, None] + steps
        slots = torch.arange(self.kv.shape[4], device=device)
        self.mask = slots[None, None] > self.places[:, :, None]
        starts = torch.tensor(
            [len(p.ids) if p else 0 for p, count in self.groups for _ in range(count)],
            device=device,
        )
        return starts[:, None] + self.places

    def commit(self, counts: Tensor) -> None:
        """So many of the new tokens are real; the rest was padding."""
        self.lengths = self.lengths + counts

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Write the new keys and values and attend to everything before; `[rows, queries, ...]`."""
        rows, heads, queries, width = query.shape
        kv_heads = key.shape[1]
        if self.places is None or self.mask is None:
            raise RuntimeError("prepare() comes before attend()")
        keys, values = self.kv[layer, 0], self.kv[layer, 1]
        index = torch.arange(rows, device=query.device)[:, None]
        # Indexing with [rows, queries] puts those two axes first.
        keys[index, :, self.places] = key.transpose(1, 2)
        values[index, :, self.places] = value.transpose(1, 2)
        per = heads // kv_heads
        q = query.view(rows, kv_heads, per, queries, width)
        out = torch.empty_like(q)
        start = 0
        for prefix, count in self.groups:
            part = slice(start, start + count)
            out[part] = self._group(layer, prefix, q[part], keys[part], values[part], part, scale)
            start += count
        return out.view(rows, heads, queries, width).transpose(1, 2).contiguous()

    def _group(
        self,
        layer: int,
        prefix: Prefix | None,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        part: slice,
        scale: float,
    ) -> Tensor:
        rows, kv_heads, per, queries, width = q.shape
        flat = q.reshape(rows, kv_heads, per * queries, width) * scale
        own = flat @ keys.transpose(-1, -2)
        if self.mask is None:
            raise RuntimeError("prepare() comes before attend()")
        hidden = self.mask[part, None, None].expand(rows, kv_heads, per, queries, -1)
        own = own.masked_fill(hidden.reshape(own.shape), float("-inf"))
        if prefix is None:
            return (own.softmax(-1) @ values).view(q.shape)
        shared_keys, shared_values = prefix.kv[layer]
        # [kv_heads, rows * per * queries, width]: all rows meet the prefix in one product.
        folded = flat.transpose(0, 1).reshape(kv_heads, rows * per * queries, width)
        ahead = folded @ shared_keys.transpose(-1, -2)
        ahead = ahead.view(kv_heads, rows, per * queries, -1).transpose(0, 1)
        length = ahead.shape[-1]
        weights = torch.cat([ahead, own], -1).softmax(-1)
        before = weights[..., :length].transpose(0, 1).reshape(kv_heads, -1, length)
        shared = (before @ shared_values).view(kv_heads, rows, per * queries, width)
        return (shared.transpose(0, 1) + weights[..., length:] @ values).view(q.shape)


_active: list[Rows] = []


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    del attention_mask, kwargs
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return _active[-1].attend(int(module.layer_idx), query, key, value, scale), None  # type: ignore[arg-type]


AttentionInterface.register(NAME, _attention)


@contextmanager
def attending(module: PreTrainedModel, rows: Rows) -> Iterator[None]:
    """The model attends through `rows` inside the block and as before after it."""
    before = module.config._attn_implementation  # noqa: SLF001 - its only switch
    module.config._attn_implementation = NAME  # noqa: SLF001
    _active.append(rows)
    try:
        yield
    finally:
        _active.pop()
        module.config._attn_implementation = before  # noqa: SLF001


def empty_rows(
    module: PreTrainedModel, groups: list[tuple[Prefix | None, int]], capacity: int
) -> Rows:
    """Rows with nothing in them yet."""
    config = module.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    count = sum(n for _, n in groups)
    shape = (config.num_hidden_layers, 2, count, config.num_key_value_heads, capacity, width)
    kv = torch.zeros(shape, dtype=module.dtype, device=module.device)
    return Rows(kv, torch.zeros(count, dtype=torch.long, device=module.device), groups)
