"""Losses as pure functions of tensors; shapes are in the docstrings (paper, section 3.3 and 5).

N is the number of trained tokens of all sequences, laid one after the other; S is the number of
sequences, and `owners` [N] says which one a token belongs to. H is the width of the hidden states,
V the size of the vocabulary. What is averaged over a batch is a weighted sum here, with weights
that are known beforehand (`token_weights`), so that a batch can be cut into pieces anywhere.

Full-vocabulary logits are made for trained tokens only and a few hundred at a time: for a batch of
8 sequences of 256 tokens they are what fills the memory otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody knows
from torch.utils.checkpoint import checkpoint

Aggregation = Literal["grpo", "dr_grpo", "dapo"]
"""How the losses of tokens become the loss of a batch, by the paper that proposed it."""

STD_FLOOR = 1e-4
"""Added to the standard deviation of a group's rewards, which is 0 when all are equal."""

VARIANCE_FLOOR = 1e-3
"""Variance of returns below which all came out alike: one success of a thousand has this much."""

ROWS = 128
"""Trained tokens whose logits are in memory at once (V = 152k: 78 MB in float32)."""


def token_logprobs(
    hidden: Tensor,
    targets: Tensor,
    head: Callable[[Tensor], Tensor],
    rows: int = ROWS,
    temperature: float = 1.0,
) -> Tensor:
    """Natural log-probability of each target, [N] in float32.

    The logits of a chunk are dropped after the forward pass and made again in the backward pass.

    Args:
        hidden: last hidden states at the positions that predict the targets, [N, H].
        targets: token ids, [N].
        head: the output layer, [n, H] to [n, V].
        rows: size of a chunk.
        temperature: that the logits are divided by: the one that the tokens were sampled at.
    """

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        logits = head(part).float() / temperature
        chosen = logits.gather(1, wanted[:, None])[:, 0]
        return chosen - logits.logsumexp(1)

    if not len(targets):
        return hidden.new_zeros(0, dtype=torch.float32)
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([checkpoint(chunk, h, t, use_reentrant=False) for h, t in parts])


@torch.no_grad()
def token_entropies(
    hidden: Tensor, head: Callable[[Tensor], Tensor], rows: int = ROWS, temperature: float = 1.0
) -> Tensor:
    """Entropy in nats of what each token was drawn from, [N] in float32, without a graph.

    Args:
        hidden: last hidden states at the positions that predict the tokens, [N, H].
        head: the output layer, [n, H] to [n, V].
        rows: size of a chunk.
        temperature: that the logits are divided by.
    """
    if not len(hidden):
        return hidden.new_zeros(0, dtype=torch.float32)
    parts = []
    for part in torch.split(hidden, rows):
        logprobs = (head(part).float() / temperature).log_softmax(1)
        parts.append(-(logprobs.exp() * logprobs).sum(1))
    return torch.cat(parts)


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


def sequence_sums(values: Tensor, owners: Tensor, sequences: int) -> Tensor:
    """Sum of each sequence's values, [S].

    Args:
        values: one a token, [N].
        owners: which sequence each token belongs to, [N].
        sequences: S.
    """
    return values.new_zeros(sequences).index_add(0, owners, values)


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> Tensor:
    """Loss of each pair, [pairs] (Rafailov et al. 2023, Direct Preference Optimization, eq. 7).

    Args:
        chosen: log-probability of each preferred sequence, summed over its sampled tokens, [pairs].
        rejected: of each other one, [pairs].
        reference_chosen: the same under the model before training, [pairs].
        reference_rejected: the same under the model before training, [pairs].
        beta: how dearly leaving the reference is paid for.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin)


def group_advantages(rewards: Tensor, *, scaled: bool) -> Tensor:
    """Reward less the mean of its group, [groups, attempts] (Shao et al. 2024, GRPO, section 4.1).

    Args:
        rewards: one a sequence, [groups, attempts].
        scaled: divide by the group's standard deviation too. Without it hard and easy tasks do not
            count for more than others (Liu et al. 2025, Dr. GRPO, section 3.1).
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + STD_FLOOR) if scaled else centred


def token_weights(
    owners: Tensor, sequences: int, how: Aggregation, longest: int | None = None
) -> Tensor:
    """Weight of each token in the loss of the whole batch, [N].

    Args:
        owners: which sequence each token of the batch belongs to, [N].
        sequences: S.
        how: `grpo` means over the tokens of a sequence and then over sequences; `dapo` over all
            tokens alike (Yu et al. 2025, DAPO, eq. 12); `dr_grpo` divides by a constant, so that
            neither a sequence's length nor the others' changes what a token counts.
        longest: that constant for `dr_grpo`: most tokens that a sequence can have.
    """
    if how == "dapo":
        return torch.full(owners.shape, 1 / max(1, len(owners)), device=owners.device)
    if how == "dr_grpo":
        if not longest:
            raise ValueError("dr_grpo divides by the longest sequence there can be")
        return torch.full(owners.shape, 1 / (sequences * longest), device=owners.device)
    lengths = torch.bincount(owners, minlength=sequences)
    return 1 / (sequences * lengths[owners].float())


def clipped_surrogate(
    logprobs: Tensor, old: Tensor, advantages: Tensor, low: float, high: float
) -> Tensor:
    """Policy loss of each token, [N] (Schulman et al. 2017, PPO, eq. 7).

    Args:
        logprobs: under the policy that is trained, [N].
        old: under the policy that sampled, [N].
        advantages: of each token, [N].
        low: the ratio of the two is clipped at 1 - low,
        high: and at 1 + high; larger than `low` it lets unlikely tokens grow (DAPO, section 3.1).
    """
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def is_clipped(
    logprobs: Tensor, old: Tensor, advantages: Tensor, low: float, high: float
) -> Tensor:
    """1 for each token whose gradient `clipped_surrogate` cuts off, 0 for the others, [N].

    The arguments are those of `clipped_surrogate`.
    """
    ratio = (logprobs - old).exp()
    return torch.where(advantages > 0, ratio > 1 + high, ratio < 1 - low).float() * (
        advantages != 0
    )


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Log-ratio of each sampled token: unbiased for the divergence from the reference, [N]."""
    return logprobs - reference


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Unbiased and never negative, [N] (Schulman 2020, Approximating KL Divergence)."""
    difference = reference - logprobs
    return difference.exp() - difference - 1


def mismatch_weights(recomputed: Tensor, sampled: Tensor, most: float) -> Tensor:
    """How much likelier a token is for the trainer than for the sampler, at most `most`, [N].

    Decoding may compute in another precision than training, so the two disagree about tokens that
    both think little of; their gradients are weighed by this ratio, truncated (Ionides 2008).

    Args:
        recomputed: log-probability under the trainer, before its update, [N].
        sampled: log-probability that was drawn from, [N].
        most: largest weight.
    """
    return (recomputed - sampled).exp().clamp(max=most).detach()


def gae(
    rewards: Tensor, values: Tensor, lengths: Sequence[int], discount: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of each token, both [N] (Schulman et al. 2016, GAE, eq. 16).

    Time is counted in sampled tokens: what the environment says between two of them is part of the
    transition. After the last token of a sequence nothing is to be had.

    Args:
        rewards: what each token earned, [N]; a task's reward is that of the last token.
        values: what was expected before each token, [N].
        lengths: how many of the N tokens each sequence has, in order.
        discount: gamma.
        trace: lambda; 1 takes the return as it came, 0 trusts the next value.
    """
    parts = []
    split = (torch.split(tensor, list(lengths)) for tensor in (rewards, values))
    for reward, value in zip(*split, strict=True):
        after = torch.cat([value[1:], value.new_zeros(1)])
        deltas = (reward + discount * after - value).tolist()
        advantage, found = 0.0, []
        for delta in reversed(deltas):
            advantage = delta + discount * trace * advantage
            found.append(advantage)
        parts.append(value.new_tensor(found[::-1]))
    advantages = torch.cat(parts) if parts else values.new_zeros(0)
    return advantages, advantages + values


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the squared error of each value, the worse of clipped and not, [N] (PPO, section 5).

    Args:
        values: of the value head that is trained, [N].
        old: what it said before the update, [N].
        returns: what came, [N].
        clip: how far a value may move from `old` before moving on no longer lowers the loss.
    """
    clipped = old + (values - old).clamp(-clip, clip)
    return torch.maximum((values - returns).square(), (clipped - returns).square()) / 2


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Share of the variance of what came that the values knew of, below 0 where they mislead.

    It is 0 where nothing came that varies by more than rounding or the price of divergence.

    Args:
        values: what was expected, [N].
        returns: what came, [N].
    """
    varied = float(returns.var(correction=0))
    if varied < VARIANCE_FLOOR:
        return 0.0
    return 1 - float((returns - values).var(correction=0)) / varied


def whiten(values: Tensor) -> Tensor:
    """Shifted to mean 0 and scaled to standard deviation 1, [N]; a constant becomes 0."""
    centred = values - values.mean()
    return centred / (centred.square().mean().sqrt() + 1e-8)
