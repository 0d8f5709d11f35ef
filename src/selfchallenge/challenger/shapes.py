"""Shapes of tasks: how many calls there are, which repeat a tool, and what flows into what.

What people ask for is rarely one call, and rarely a line of unrelated ones: the same thing is asked
of two or three subjects and compared, one result is what the next call is about, several results
come together in the last. A small model left to itself writes none of these, so they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """One call of a shape, at its place.

    Attributes:
        after: places of the calls whose results flow into this one; empty for values of its own.
        like: place of the call whose tool this one repeats; None for a tool of its own.
    """

    after: tuple[int, ...] = ()
    like: int | None = None


@dataclass(frozen=True)
class Shape:
    """A plan of calls and the share of the tasks that should have it."""

    name: str
    share: float
    slots: tuple[Slot, ...]


_OWN, _AGAIN = Slot(), Slot(like=0)
_PAIR_OF_CHAINS = (_OWN, Slot(after=(0,)), _AGAIN, Slot(after=(2,), like=1))

SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("single", 0.14, (_OWN,)),
        Shape("chain of 2", 0.16, (_OWN, Slot(after=(0,)))),
        Shape("pair", 0.14, (_OWN, _AGAIN)),
        Shape("two tools", 0.05, (_OWN, _OWN)),
        Shape("chain of 3", 0.08, (_OWN, Slot(after=(0,)), Slot(after=(1,)))),
        Shape("triple", 0.06, (_OWN, _AGAIN, _AGAIN)),
        Shape("join", 0.10, (_OWN, _OWN, Slot(after=(0, 1)))),
        Shape("pair joined", 0.06, (_OWN, _AGAIN, Slot(after=(0, 1)))),
        Shape("chain and one", 0.04, (_OWN, Slot(after=(0,)), _OWN)),
        Shape("pair of chains", 0.08, _PAIR_OF_CHAINS),
        Shape("chain and one joined", 0.04, (_OWN, Slot(after=(0,)), _OWN, Slot(after=(1, 2)))),
        Shape("pair of chains joined", 0.05, (*_PAIR_OF_CHAINS, Slot(after=(1, 3)))),
    )
}
"""Every shape by its name; the shares add up to 1."""
