"""Many samples as one row of tokens in which every shared beginning stands once.

Samples of one environment begin with the same few hundred tokens (policy and tool documentation),
attempts at one task share its instruction too. The samples are laid out as a tree: a node holds the
tokens that its samples share after its ancestors, and a token attends to its ancestors' tokens and
to those before it in its own node. Nothing is padded and nothing is computed twice, and because it
is one graph the gradients are exactly those of the samples taken one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody knows
from transformers import AttentionInterface

from selfchallenge.errors import StageError
from selfchallenge.learner.samples import Sample

ATTENTION = "selfchallenge_tree"
"""Name under which the attention over a tree is registered with transformers."""

SHARE = 16
"""Shared stretches below this many tokens are not worth a node of their own."""


@dataclass(frozen=True)
class Node:
    """A stretch of tokens; `past` are the indexes of its ancestors, outermost first."""

    size: int
    past: tuple[int, ...]


@dataclass(frozen=True)
class Packed:
    """Samples as one row of T tokens with N trained tokens.

    Attributes:
        ids: token ids, [T].
        positions: place of each token in its own sequence, [T].
        nodes: the stretches of the row in order; their sizes add up to T.
        sources: place in the row of the token that predicts each trained token, [N].
        targets: ids of the trained tokens, sample after sample, [N].
        weights: factor of each trained token in the loss, [N].
        biases: who sees whom, as attention wants it, made when first asked for.
    """

    ids: Tensor
    positions: Tensor
    nodes: tuple[Node, ...]
    sources: Tensor
    targets: Tensor
    weights: Tensor
    biases: dict[tuple[int, int, torch.dtype], Tensor] = field(default_factory=dict, repr=False)

    def bias(self, node: int, groups: int, dtype: torch.dtype) -> Tensor:
        """0 where a query of the node sees a key and -inf where not, [groups * size, keys]."""
        key = (node, groups, dtype)
        if key not in self.biases:
            size, keys = self.nodes[node].size, self.seen(node)
            bias = torch.full((size, keys), float("-inf"), dtype=dtype, device=self.ids.device)
            self.biases[key] = bias.triu_(keys - size + 1).repeat(groups, 1)
        return self.biases[key]

    def seen(self, node: int) -> int:
        """Keys that a node's last token sees: those of its ancestors and its own."""
        return sum(self.nodes[i].size for i in (*self.nodes[node].past, node))

    def to(self, device: torch.device) -> Packed:
        """The same on another device."""
        return Packed(
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            nodes=self.nodes,
            sources=self.sources.to(device),
            targets=self.targets.to(device),
            weights=self.weights.to(device),
        )


def pack(samples: Sequence[Sample]) -> Packed:
    """Lay samples out as a tree; the order of the trained tokens is that of the samples."""
    tree = _Tree(samples)
    sources, targets, weights = [], [], []
    for sample, path in zip(samples, tree.paths, strict=True):
        trained = [i for i, sampled in enumerate(sample.mask) if sampled]
        sources += [path[i - 1] for i in trained]
        targets += [sample.ids[i] for i in trained]
        weights += [sample.weight] * len(trained)
    return Packed(
        ids=torch.tensor(tree.ids, dtype=torch.long),
        positions=torch.tensor(tree.positions, dtype=torch.long),
        nodes=tuple(tree.nodes),
        sources=torch.tensor(sources, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        weights=torch.tensor(weights, dtype=torch.float32),
    )


def packed_length(samples: Sequence[Sample]) -> int:
    """Tokens of the row that `pack` would make."""
    return len(_Tree(samples).ids)


class _Tree:
    """Grows nodes from the root down, depth first."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        # The last trained token is only ever predicted, so it is not read.
        self.sequences = [sample.ids[: max(0, sample.length - 1)] for sample in samples]
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.nodes: list[Node] = []
        self.paths: list[list[int]] = [[] for _ in samples]
        self.grow(range(len(samples)), 0, ())

    def grow(self, members: Iterable[int], depth: int, past: tuple[int, ...]) -> None:
        """Add what comes after the first `depth` tokens of the members, which they share."""
        branches: dict[tuple[int, ...], list[int]] = {}
        for member in members:
            key = self.sequences[member][depth : depth + SHARE]
            branches.setdefault(key, []).append(member)
        for branch in branches.values():
            shared = _common_beginning([self.sequences[member][depth:] for member in branch])
            if shared:
                self._add(branch, shared, depth, past)

    def _add(
        self, branch: list[int], shared: Sequence[int], depth: int, past: tuple[int, ...]
    ) -> None:
        start, end = len(self.ids), depth + len(shared)
        self.ids += shared
        self.positions += range(depth, end)
        self.nodes.append(Node(len(shared), past))
        for member in branch:
            self.paths[member] += range(start, len(self.ids))
        self.grow(branch, end, (*past, len(self.nodes) - 1))


def _common_beginning(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    # What the first and the last in order share, those between share too.
    first, last = min(sequences), max(sequences)
    end = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:end]


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Packed,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention over a packed row, as transformers calls it.

    Args:
        module: the attention layer.
        query: [1, heads, T, size].
        key: [1, key heads, T, size].
        value: [1, key heads, T, size].
        attention_mask: unused, the tree says who sees whom.
        tree: the packed row.
        scaling: factor of the scores.
        dropout: probability of dropping a score.
        sliding_window: how far back the model's own attention sees, None without a limit.

    Returns:
        [1, T, heads, size], and None for the scores.

    Raises:
        StageError: a sequence is longer than the sliding window.
    """
    longest = max(map(tree.seen, range(len(tree.nodes))))
    if sliding_window is not None and longest > sliding_window:
        raise StageError(
            f"a sample of {longest} tokens is longer than the model's window of {sliding_window}",
            fix="lower the longest sample that is trained (max_length)",
        )
    del module, attention_mask
    if len(tree.nodes) == 1:  # a long sample stands alone: no bias of the square of its length
        out = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True
        )
        return out.transpose(1, 2).contiguous(), None
    sizes = [node.size for node in tree.nodes]
    keys, values = torch.split(key, sizes, dim=2), torch.split(value, sizes, dim=2)
    parts = []
    for i, part in enumerate(torch.split(query, sizes, dim=2)):
        line = (*tree.nodes[i].past, i)
        seen_keys = torch.cat([keys[j] for j in line], dim=2)
        seen_values = torch.cat([values[j] for j in line], dim=2)
        # Query heads that share a key head are laid side by side: copying keys would cost memory.
        folded = part.reshape(1, key.shape[1], -1, part.shape[3])
        bias = tree.bias(i, query.shape[1] // key.shape[1], query.dtype)
        out = F.scaled_dot_product_attention(
            folded, seen_keys, seen_values, attn_mask=bias, dropout_p=dropout, scale=scaling
        )
        parts.append(out.reshape(part.shape))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, tree_attention)
