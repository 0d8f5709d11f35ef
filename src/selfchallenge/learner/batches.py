"""Which samples share an optimiser step, and which of those share a forward pass.

A shared beginning is computed once per forward pass, so a batch is drawn from samples that begin
alike as far as there are enough of them: with 500 shared and 200 own tokens, a batch of eight reads
2,100 tokens when it has one beginning and 3,600 when it has four. The price is that one step hears
of one domain only; the batches of all domains are shuffled, so that the optimiser's averages mix
what the steps do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from selfchallenge.learner.packing import packed_length
from selfchallenge.learner.samples import Sample

U = TypeVar("U")


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


def micro_batches(
    units: Sequence[U], tokens: int, samples_of: Callable[[U], Sequence[Sample]]
) -> Iterator[list[U]]:
    """Cut a batch into pieces whose packed row has at most `tokens` tokens (or one unit).

    Args:
        units: what must not be taken apart: samples, or pairs of them.
        tokens: at most this many in a piece, shared beginnings counted once.
        samples_of: the samples of a unit.
    """
    piece: list[U] = []
    samples: list[Sample] = []
    for unit in sorted(units, key=lambda u: [s.ids for s in samples_of(u)]):
        own = samples_of(unit)
        if piece and packed_length([*samples, *own]) > tokens:
            yield piece
            piece, samples = [], []
        piece.append(unit)
        samples += own
    if piece:
        yield piece
