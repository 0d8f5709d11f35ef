"""Losses as pure functions of tensors; shapes are in the docstrings (paper, equation 2).

N is the number of trained tokens, H the width of the hidden states, V the size of the vocabulary.
Full-vocabulary logits are made for trained tokens only and a few hundred at a time: for a batch of
8 sequences of 256 tokens they are what fills the memory otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ROWS = 128
"""Trained tokens whose logits are in memory at once (V = 152k: 78 MB in float32)."""


def token_logprobs(
    hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], rows: int = ROWS
) -> Tensor:
    """Natural log-probability of each target, [N] in float32.

    The logits of a chunk are dropped after the forward pass and made again in the backward pass.

    Args:
        hidden: last hidden states at the positions that predict the targets, [N, H].
        targets: token ids, [N].
        head: the output layer, [n, H] to [n, V].
        rows: size of a chunk.
    """

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        logits = head(part).float()
        chosen = logits.gather(1, wanted[:, None])[:, 0]
        return chosen - logits.logsumexp(1)

    if not len(targets):
        return hidden.new_zeros(0, dtype=torch.float32)
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([checkpoint(chunk, h, t, use_reentrant=False) for h, t in parts])


def nll(logprobs: Tensor, weights: Tensor, normaliser: float) -> Tensor:
    """Negative log-likelihood: minus the weighted sum of log-probabilities over `normaliser`.

    With all weights 1 and the number of trained tokens of the *whole* batch as the normaliser this
    is the mean over tokens, however the batch is cut into pieces.

    Args:
        logprobs: of the trained tokens, [N].
        weights: factor of each, [N].
        normaliser: what the sum is divided by, above 0.
    """
    return -(logprobs * weights).sum() / normaliser
