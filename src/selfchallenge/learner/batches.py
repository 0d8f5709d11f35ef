"""Which samples share an optimiser step, and which of those share a forward pass.

A shared beginning is computed once per forward pass, so a batch is drawn from samples that begin
alike as far as there are enough of them: with 500 shared and 200 own tokens, a batch of eight reads
2,100 tokens when it has one beginning and 3,600 when it has four. The price is that one step hears
of one domain only; the batches of all domains are shuffled, so that the optimiser's averages mix
what the steps do not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from selfchallenge.learner.packing import pack
from selfchallenge.learner.samples import Sample


def plan_batches(samples: Sequence[Sample], size: int, seed: str) -> list[list[int]]:
    """Indexes of the samples of each step of one epoch, every sample once.

    Full batches come from one group of samples that begin alike; what is left of the groups fills
    the last, mixed ones. The same arguments give the same plan.
    """
    draw = random.Random(seed)
    batches: list[list[int]] = []
    rest: list[int] = []
    for group in _groups(samples):
        draw.shuffle(group)
        full = len(group) - len(group) % size
        batches += [group[i : i + size] for i in range(0, full, size)]
        rest += group[full:]
    batches += [rest[i : i + size] for i in range(0, len(rest), size)]
    draw.shuffle(batches)
    return batches


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """Samples that share at least half of the shorter one with their neighbour in sorted order."""
    groups: list[list[int]] = []
    for index in sorted(range(len(samples)), key=lambda i: samples[i].ids):
        if groups and _alike(samples[groups[-1][-1]].ids, samples[index].ids):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    shorter = min(len(one), len(other))
    shared = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    return 2 * shared >= shorter


def micro_batches(samples: Sequence[Sample], tokens: int) -> Iterator[list[Sample]]:
    """Cut a batch into pieces whose packed row has at most `tokens` tokens (or one sample)."""
    piece: list[Sample] = []
    for sample in sorted(samples, key=lambda s: s.ids):
        if piece and len(pack([*piece, sample]).ids) > tokens:
            yield piece
            piece = []
        piece.append(sample)
    if piece:
        yield piece
