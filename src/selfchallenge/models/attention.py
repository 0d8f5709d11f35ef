"""Keys and values of a batch in place, and the attention over them.

The rows of a batch mostly begin with the same few hundred tokens (policy and tool documentation).
Their keys and values exist once (`Prefix`), and all rows that share them meet them in one matrix
product (as in Hydragen, arXiv 2402.05099). What differs lies in one buffer (`Slots`) that is
written in place: a step copies nothing, and a row that ends gives its slot to the last one.

New tokens of all rows go through the model as one flat sequence, so nothing is padded outside the
attention. `attending` plugs this into a transformers model as its attention implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface

from selfchallenge.models.freed import return_freed_memory

NAME = "selfchallenge_slots"
"""Name under which the attention is registered with transformers."""
ROOM = 64
"""Positions by which the buffer grows and shrinks at least; of many, up to a sixteenth."""


@dataclass(frozen=True)
class Prefix:
    """A beginning that rows share: its ids, and `kv` [layers, 2, kv_heads, len(ids), head_dim]."""

    ids: tuple[int, ...]
    kv: Tensor


@dataclass(frozen=True)
class _Group:
    """Rows of a step that share a prefix; `rows` is None when all of them do."""

    prefix: Prefix
    rows: Tensor | None


@dataclass(frozen=True)
class _Step:
    """Where the new tokens of one forward pass belong.

    Attributes:
        first: number of the first slot; the step covers a run of slots.
        rows: row of each flat token, counted from `first`, [total].
        columns: which of its row's new tokens it is, [total].
        places: its position in the slot, [total].
        positions: its position in the sequence, prefix included, [total].
        widest: most new tokens of a row.
        longest: most positions in use in a slot after the step, rounded up.
        bias: 0 where a query sees a position and -inf where it must not, first those of the longest
            prefix and then those of the slot, [rows, 1, widest, 1, before + longest].
        before: length of the longest prefix.
        groups: the prefixes to be seen besides.
    """

    first: int
    count: int
    rows: Tensor
    columns: Tensor
    places: Tensor
    positions: Tensor
    widest: int
    longest: int
    bias: Tensor
    before: int
    groups: tuple[_Group, ...]


class Slots:
    """Keys and values of the rows of a batch, beyond their prefixes.

    Attributes:
        lengths: positions in use, one for each row; row `i` lives in slot `i`.
        prefixes: what each row begins with.
    """

    def __init__(self, module: Any, slots: int, capacity: int, dtype: torch.dtype) -> None:
        config = module.config
        width = getattr(config, "head_dim", None)
        width = width or config.hidden_size // config.num_attention_heads
        shape = (2, slots, config.num_key_value_heads, capacity, width)
        # One tensor a layer, so that a change of length copies one layer at a time. Zeros and not
        # garbage: a masked NaN would still spoil the sum.
        self._layers = [
            torch.zeros(shape, dtype=dtype, device=module.device)
            for _ in range(config.num_hidden_layers)
        ]
        self.lengths: list[int] = []
        self.prefixes: list[Prefix | None] = []
        self._step: _Step | None = None

    def add(self, prefix: Prefix | None, own: Tensor | None = None) -> int:
        """A row with these beginnings; `own` [layers, 2, kv_heads, length, head_dim]."""
        row = len(self.lengths)
        length = 0 if own is None else own.shape[3]
        if length > self._capacity:
            self._fit(length)
        if own is not None:
            for layer, mine in zip(self._layers, own, strict=True):
                layer[:, row, :, :length] = mine
        self.lengths.append(length)
        self.prefixes.append(prefix)
        return row

    def copy(self, row: int) -> int:
        """A second row that holds the same."""
        return self.add(self.prefixes[row], self.own(row))

    def own(self, row: int) -> Tensor:
        """A copy of what a row holds beyond its prefix."""
        return torch.stack([layer[:, row, :, : self.lengths[row]] for layer in self._layers])

    def drop(self, row: int) -> None:
        """Remove a row; the last one moves into its slot."""
        length, prefix = self.lengths.pop(), self.prefixes.pop()
        last = len(self.lengths)
        if row != last:
            for layer in self._layers:
                layer[:, row, :, :length] = layer[:, last, :, :length]
            self.lengths[row], self.prefixes[row] = length, prefix

    def begin(self, first: int, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Prepare for `counts` new tokens of the rows from `first` on.

        Returns:
            The position of each new token in its sequence, [total], and the index of the last one
            of each row, [rows].
        """
        starts = self.lengths[first : first + len(counts)]
        after = [start + n for start, n in zip(starts, counts, strict=True)]
        self._fit(max(*after, *self.lengths))
        prefixes = self.prefixes[first : first + len(counts)]
        self._step = _plan(first, starts, counts, prefixes, self._layers[0])
        for row, n in enumerate(counts, first):
            self.lengths[row] += n
        ends = torch.tensor(list(accumulate(counts)), device=self._device) - 1
        return self._step.positions, ends

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Store new keys and values and attend to all before them.

        Args:
            layer: number of the layer.
            query: [total, heads, head_dim].
            key: [total, kv_heads, head_dim].
            value: like `key`.
            scale: factor of the scores.

        Returns:
            [total, heads, head_dim].
        """
        step = self._step
        if step is None:
            raise RuntimeError("begin() comes before attend()")
        run = slice(step.first, step.first + step.count)
        keys, values = self._layers[layer][:, run]
        keys[step.rows, :, step.places] = key.to(keys.dtype)
        values[step.rows, :, step.places] = value.to(values.dtype)
        folded = _fold(query.to(keys.dtype) * scale, step, keys.shape[1])
        asked = folded.flatten(2, 3)
        scores = asked @ keys[:, :, : step.longest].transpose(-1, -2)
        if step.groups:
            scores = torch.cat([_prefix_scores(asked, step, layer), scores], -1)
        scores = scores.view(*folded.shape[:-1], -1).add_(step.bias)
        weights = scores.softmax(-1).flatten(2, 3)
        out = weights[..., step.before :] @ values[:, :, : step.longest]
        for group in step.groups:
            _add_prefix(out, weights, group, layer)
        return _unfold(out.view(folded.shape), step, query)

    def _fit(self, length: int) -> None:
        """Make the buffer as long as its longest row needs: a step of all rows then reads it whole.

        Of a part, which does not lie densely, the matrix products of a CPU would make a copy.
        """
        capacity, wanted = self._capacity, _rounded(length)
        for number, layer in enumerate(self._layers):
            if wanted > capacity:
                self._layers[number] = pad(layer, (0, 0, 0, wanted - capacity))
            elif wanted < capacity:
                self._layers[number] = layer[..., :wanted, :].clone()
        if wanted != capacity:  # the old layers are gaps too small for the new ones
            return_freed_memory()

    @property
    def _capacity(self) -> int:
        return self._layers[0].shape[3]

    @property
    def _device(self) -> torch.device:
        return self._layers[0].device


def _rounded(length: int) -> int:
    room = max(ROOM, (1 << length.bit_length()) >> 5)
    return -(-length // room) * room


def _plan(
    first: int,
    starts: Sequence[int],
    counts: Sequence[int],
    prefixes: Sequence[Prefix | None],
    like: Tensor,
) -> _Step:
    device = like.device

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, device=device)

    widest = max(counts)
    longest = _rounded(max(start + n for start, n in zip(starts, counts, strict=True)))
    columns = [column for n in counts for column in range(n)]
    rows = [row for row, n in enumerate(counts) for _ in range(n)]
    before = [0 if prefix is None else len(prefix.ids) for prefix in prefixes]
    places = [starts[row] + column for row, column in zip(rows, columns, strict=True)]
    positions = [before[row] + place for row, place in zip(rows, places, strict=True)]
    longest_prefix = max(before)
    last_seen = tensor(list(starts))[:, None] + torch.arange(widest, device=device)
    hidden = torch.arange(longest, device=device) > last_seen[:, :, None]
    beyond = torch.arange(longest_prefix, device=device) >= tensor(before)[:, None, None]
    hidden = torch.cat([beyond.expand(-1, widest, -1), hidden], -1)
    bias = torch.zeros(hidden.shape, dtype=like.dtype, device=device)
    return _Step(
        first=first,
        count=len(counts),
        rows=tensor(rows),
        columns=tensor(columns),
        places=tensor(places),
        positions=tensor(positions),
        widest=widest,
        longest=longest,
        bias=bias.masked_fill_(hidden, float("-inf"))[:, None, :, None, :],
        before=longest_prefix,
        groups=_groups(prefixes, device),
    )


def _groups(prefixes: Sequence[Prefix | None], device: torch.device) -> tuple[_Group, ...]:
    members: dict[int, list[int]] = {}
    for row, prefix in enumerate(prefixes):
        if prefix is not None:
            members.setdefault(id(prefix), []).append(row)
    found = []
    for rows in members.values():
        prefix = prefixes[rows[0]]
        if prefix is not None:
            everyone = len(rows) == len(prefixes)
            found.append(_Group(prefix, None if everyone else torch.tensor(rows, device=device)))
    return tuple(found)


def _fold(query: Tensor, step: _Step, kv_heads: int) -> Tensor:
    """[total, heads, width] -> [rows, kv_heads, widest, heads / kv_heads, width], padded."""
    total, heads, width = query.shape
    if step.widest == 1:
        padded = query.view(total, 1, kv_heads, heads // kv_heads, width)
    else:
        shape = (step.count, step.widest, kv_heads, heads // kv_heads, width)
        padded = query.new_zeros(shape)
        padded[step.rows, step.columns] = query.view(total, *shape[2:])
    return padded.transpose(1, 2)


def _unfold(out: Tensor, step: _Step, query: Tensor) -> Tensor:
    """What `_fold` did, backwards."""
    out = out.transpose(1, 2)
    flat = out[:, 0] if step.widest == 1 else out[step.rows, step.columns]
    return flat.reshape(query.shape).to(query.dtype)


def _prefix_scores(asked: Tensor, step: _Step, layer: int) -> Tensor:
    """How much each query wants of each position of its prefix, [rows, kv_heads, queries, before].

    Args:
        asked: [rows, kv_heads, queries, width], scaled.
        step: its groups are those of these rows.
        layer: number of the layer.
    """
    rows, kv_heads, queries, _ = asked.shape
    found = asked.new_zeros(rows, kv_heads, queries, step.before)
    for group in step.groups:
        keys = group.prefix.kv[layer, 0]
        scores = _together(asked if group.rows is None else asked[group.rows], keys.transpose(1, 2))
        if group.rows is None:
            return scores
        found[group.rows, :, :, : keys.shape[1]] = scores
    return found


def _add_prefix(out: Tensor, weights: Tensor, group: _Group, layer: int) -> None:
    """Add what a group's rows see in their prefix to `out` [rows, kv_heads, queries, width]."""
    values = group.prefix.kv[layer, 1]
    mine = weights[..., : values.shape[1]]
    if group.rows is None:
        out += _together(mine, values)
    else:
        out[group.rows] += _together(mine[group.rows], values)


def window_of(config: Any) -> int | None:
    """Ids that a model of this configuration reads at most as attention here shows them to it.

    A model with a sliding window would see less of a longer text than that.
    """
    limits = (getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window"))
    return min(filter(None, limits), default=None)


def _together(rows: Tensor, shared: Tensor) -> Tensor:
    """All rows [rows, kv_heads, n, a] times one matrix a head [kv_heads, a, b], in one product."""
    count, kv_heads, n, _ = rows.shape
    product = rows.transpose(0, 1).reshape(kv_heads, count * n, -1) @ shared
    return product.view(kv_heads, count, n, -1).transpose(0, 1)


_active: list[Slots] = []


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *_: Any,
    scaling: float | None = None,
    **__: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: [1, heads, total, width] -> [1, total, heads, width]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    flat = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return _active[-1].attend(layer, flat[0], flat[1], flat[2], scale)[None], None


AttentionInterface.register(NAME, _attention)


@contextmanager
def attending(module: Any, slots: Slots) -> Iterator[None]:
    """The model attends through `slots` inside the block and as before after it."""
    before = module.config._attn_implementation  # noqa: SLF001 - there is no public getter
    module.config._attn_implementation = NAME  # noqa: SLF001 - the setter checks for seconds
    _active.append(slots)
    try:
        yield
    finally:
        _active.pop()
        module.config._attn_implementation = before  # noqa: SLF001
