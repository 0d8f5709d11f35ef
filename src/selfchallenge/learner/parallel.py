"""Data-parallel training: every process takes a share of each batch, and gradients are added.

The weights of tokens in a loss are those of the whole batch, so the parts of the processes add up
to what one process computes: there is nothing to average, and no share need be as long as another.
All processes start from the same weights and take the same steps; only the main one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from selfchallenge.errors import StageError, boundary
from selfchallenge.learner import processes
from selfchallenge.learner.samples import Sample

T = TypeVar("T")

LONGEST = timedelta(days=1)
"""That processes wait for each other: attempts take long. Of one that died the launcher tells."""


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes of a launcher know each other, and each has its own device."""
    with _together("the processes cannot find each other"):
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST)
    yield
    # After an error the others may be gone, and there is nobody to take leave of.
    state.destroy_process_group()


def share(units: Sequence[T], samples_of: Callable[[T], Sequence[Sample]]) -> Sequence[T]:
    """This process's part of a batch: neighbours in sorted order, which begin alike.

    Args:
        units: the batch, the same in all processes.
        samples_of: the samples of a unit.
    """
    if processes.count() == 1:
        return units
    ordered = sorted(units, key=lambda unit: [sample.ids for sample in samples_of(unit)])
    start, end = (
        len(units) * edge // processes.count() for edge in (processes.rank(), processes.rank() + 1)
    )
    return ordered[start:end]


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order; each waits for the others."""
    if processes.count() == 1:
        return [value]
    found: list[Any] = [None] * processes.count()
    with _together("another process of the training is gone"):
        distributed.all_gather_object(found, value)
    return found


def summed(values: Mapping[str, float]) -> dict[str, float]:
    """Sums over all processes, by name; a name that one lacks counts 0 there."""
    total: dict[str, float] = {}
    for part in gathered(dict(values)):
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by the sum of those of all processes."""
    if processes.count() == 1:
        return
    with _together("another process of the training is gone"):
        under_way = []
        for parameter in parameters:
            if parameter.grad is None:  # this share had nothing for it
                parameter.grad = torch.zeros_like(parameter)
            under_way.append(distributed.all_reduce(parameter.grad, async_op=True))
        for sent in under_way:
            sent.wait()


def _together(what: str) -> AbstractContextManager[None]:
    fix = "its own error says why; the same command goes on from the last checkpoint"
    return boundary(StageError, what, fix=fix)
