"""Coverage steering: what the next task should exercise, given what the tasks so far do.

Left alone, a small model writes the same short task again and again (the paper's figure on solution
length; families that were hardly present were not learnt, `docs/log.md`). So the shape, the tools
and the data flow are drawn to even out what has been written.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from selfchallenge.challenger.candidate import Candidate
from selfchallenge.challenger.shapes import SHAPES, Shape
from selfchallenge.environments.base import ToolSpec

T = TypeVar("T")

FLOWS: Mapping[str, float] = {"last": 0.6, "part": 0.4}
"""Wished share of what the answer is made of, where one result is left over at the end."""


@dataclass
class Coverage:
    """Counts of what has been written; the more often something was, the rarer it is drawn.

    What the executor failed at counts below nothing, so that it is drawn until it is written again.
    A tool whose calls came to nothing counts as one that was used: else a tool that always refuses
    would stay the rarest and be chosen again and again.
    """

    shapes: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    flows: Counter[str] = field(default_factory=Counter)

    def add(self, candidate: Candidate) -> None:
        """Count a candidate that an earlier run of this directory wrote."""
        self.shapes[candidate.shape] += 1
        self.tools.update([*candidate.tools, *candidate.refused])
        if candidate.flow != "none":
            self.flows[candidate.flow] += 1

    def owe(self, candidate: Candidate) -> None:
        """Ask for another one like a candidate whose task the executor failed at."""
        self.shapes[candidate.shape] -= 1
        self.tools.subtract(candidate.tools)
        if candidate.flow != "none":
            self.flows[candidate.flow] -= 1

    def choose_seed(self, options: Sequence[T], offered: Callable[[T], Sequence[str]]) -> T:
        """The one of some seeds whose tools were used least so far."""

        def used(seed: T) -> float:
            names = offered(seed)
            return sum(self.tools[name] for name in names) / max(len(names), 1)

        return min(options, key=used)

    def draw_shape(self, rng: random.Random) -> Shape:
        """The shape that the next task should have; it is counted."""
        name = _draw({shape.name: shape.share for shape in SHAPES.values()}, self.shapes, rng)
        self.shapes[name] += 1
        return SHAPES[name]

    def order_flows(self, rng: random.Random) -> list[str]:
        """Kinds of answers, the most wanted first."""
        first = _draw(FLOWS, self.flows, rng)
        return [first, *sorted((f for f in FLOWS if f != first), key=lambda f: self.flows[f])]

    def order_tools(self, tools: Sequence[ToolSpec], rng: random.Random) -> list[ToolSpec]:
        """Tools in a random order in which rarely used ones tend to come first."""
        keyed = [(rng.random() ** _rarely(self.tools[t.name]), t) for t in tools]
        return [t for _, t in sorted(keyed, key=lambda pair: -pair[0])]


def _rarely(used: int) -> float:
    """Exponent of a random number: what was used often comes late, and what is owed early."""
    return 1.0 + used if used >= 0 else 1.0 / (1.0 - used)


def _draw(wished: Mapping[T, float], seen: Counter[T], rng: random.Random) -> T:
    total = sum(seen.values()) + 1
    lack = {kind: max(share * total - seen[kind], 0.0) for kind, share in wished.items()}
    if not any(lack.values()):
        lack = dict(wished)
    return rng.choices(list(lack), list(lack.values()))[0]
