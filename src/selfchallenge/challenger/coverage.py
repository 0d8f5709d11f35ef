"""Coverage steering: what the next task should exercise, given what the tasks so far do.

Left alone, a small model writes the same short task again and again (the paper's figure on solution
length; families that were hardly present were not learnt, `docs/log.md`). So the number of calls,
the tools and the data flow are drawn to even out what has been written.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from selfchallenge.challenger.draft import Draft
from selfchallenge.environments.base import ToolSpec

T = TypeVar("T")

CALLS: Mapping[int, float] = {1: 0.2, 2: 0.3, 3: 0.25, 4: 0.15, 5: 0.1}
"""Wished share of tasks by their number of calls."""

FLOWS: Mapping[str, float] = {"last": 0.5, "part": 0.2, "combined": 0.3}
"""Wished share of tasks by what the answer is made of."""


@dataclass
class Coverage:
    """Counts of what has been written; the more often something was, the rarer it is drawn."""

    calls: Counter[int] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    flows: Counter[str] = field(default_factory=Counter)

    def add(self, draft: Draft) -> None:
        """Count a written task."""
        self.calls[len(draft.steps)] += 1
        self.tools.update(step.tool.name for step in draft.steps)
        self.flows[draft.flow] += 1

    def add_program(self, tools: Sequence[str], flow: str) -> None:
        """Count a task known by its calls only (one read back from a run directory)."""
        self.calls[len(tools)] += 1
        self.tools.update(tools)
        self.flows[flow] += 1

    def choose_seed(self, options: Sequence[T], offered: Callable[[T], Sequence[str]]) -> T:
        """The one of some seeds whose tools were used least so far."""

        def used(seed: T) -> float:
            names = offered(seed)
            return sum(self.tools[name] for name in names) / max(len(names), 1)

        return min(options, key=used)

    def draw_calls(self, rng: random.Random) -> int:
        """How many calls the next task should have."""
        return _draw(CALLS, self.calls, rng)

    def order_flows(self, rng: random.Random) -> list[str]:
        """Kinds of answers, the most wanted first."""
        first = _draw(FLOWS, self.flows, rng)
        return [first, *sorted((f for f in FLOWS if f != first), key=lambda f: self.flows[f])]

    def order_tools(self, tools: Sequence[ToolSpec], rng: random.Random) -> list[ToolSpec]:
        """Tools in a random order in which rarely used ones tend to come first."""
        keyed = [(rng.random() ** (1 + self.tools[t.name]), t) for t in tools]
        return [t for _, t in sorted(keyed, key=lambda pair: -pair[0])]


def _draw(wished: Mapping[T, float], seen: Counter[T], rng: random.Random) -> T:
    total = sum(seen.values()) + 1
    lack = {kind: max(share * total - seen[kind], 0.0) for kind, share in wished.items()}
    if not any(lack.values()):
        lack = dict(wished)
    return rng.choices(list(lack), list(lack.values()))[0]
