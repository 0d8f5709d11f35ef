"""What a task asks for: the answer, made of what the executed calls returned (answer-first)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.draft import Draft, Step, names_in
from selfchallenge.challenger.explore import Exploration
from selfchallenge.challenger.views import View, combined, reckoned, told, unshadowed, views


def finish(e: Exploration, coverage: Coverage) -> Draft | None:
    """Choose what the task asks for; None when the executed calls make no task."""
    draft = e.draft
    if not draft.steps:
        return None
    if draft.steps[-1].tool.mutates:
        return replace(draft, flow="none").pruned()
    readable = [step for step in draft.steps if not step.tool.mutates]
    ends = [step for step in readable if not _is_used(step, readable)]
    flows = ["combined"] if len(ends) > 1 else [*coverage.order_flows(e.rng), "combined"]
    for flow in flows:
        found = [v for v in unshadowed(_answers(flow, ends, readable), e.tools) if _worth(v.value)]
        if found:
            view = e.rng.choice(found)
            chosen = replace(draft, answer=view.source, value=view.value, flow=flow).pruned()
            coverage.flows[flow] += 1
            return chosen
    return None


def _answers(flow: str, ends: Sequence[Step], made: Sequence[Step]) -> Iterator[View]:
    if flow == "combined":
        return combined(ends, made)
    last = ends[-1]
    found = [view for view in views(last.variable, last.value) if not told(view.value, made)]
    if flow == "last":
        return iter(found[:1])
    return iter([*found[1:], *(v for view in found[:2] for v in reckoned(view))])


def _is_used(step: Step, steps: Sequence[Step]) -> bool:
    return any(step.variable in names_in(f"f({other.arguments})") for other in steps)


def _worth(value: Any) -> bool:
    """Something that can be asked for: not empty, not huge, sayable in one line."""
    return value not in (None, "", [], {}, ()) and len(repr(value)) <= 120
