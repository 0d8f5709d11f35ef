"""Which result goes into which parameter of the next call, and how that call begins.

Types alone let anything flow anywhere: a distance into a price, a code into a name. What a result
is called (its key, the tool it comes from) and what a parameter is called usually share a word
where one is meant for the other, so the best of several fitting ways is the one that shares most.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from selfchallenge.challenger.draft import Step, variadic
from selfchallenge.challenger.views import View, fits, unshadowed, views
from selfchallenge.environments.base import ToolSpec

SAME_KEY = 2
"""What a word counts that a part and a parameter share; one of the tool it comes from counts 1."""


def opening_with(
    tool: ToolSpec, steps: Sequence[Step], tools: Sequence[ToolSpec], rng: random.Random
) -> str | None:
    """Forced beginning of a call of `tool` that each of `steps` flows into; None when they cannot.

    It ends in `)` when nothing is left to be filled in.

    Args:
        tool: what is called.
        steps: whose results flow into it, each into a parameter of its own.
        tools: all tools of the session, whose names hide builtins.
        rng: settles what is equally good.
    """
    rest = variadic(tool)
    if rest is not None and list(_parameters(tool)) == [rest]:
        return _into_variadic(tool, rest, steps, tools, rng)
    placed: dict[str, str] = {}
    for step in steps:
        best = _best(tool, step, [p for p in _parameters(tool) if p not in placed], tools, rng)
        if best is None:
            return None
        placed[best[0]] = best[1]
    return _written(tool, placed)


def belongs(tool: ToolSpec, steps: Sequence[Step], tools: Sequence[ToolSpec]) -> bool:
    """Whether by its name something of each of `steps` is meant for a parameter of `tool`."""
    return all(
        any(
            _likeness(step, view, name) >= SAME_KEY and fits(view.value, tool, name)
            for view in unshadowed(views(step.variable, step.value), tools)
            for name in _parameters(tool)
        )
        for step in steps
    )


def own_values(tool: ToolSpec) -> str:
    """Forced beginning of a call with values of its own: a quote where a text comes first."""
    parameters = list(_parameters(tool).values())
    if not parameters:
        return ")"
    return "'" if parameters[0].get("type") == "string" else ""


def takes_values(tool: ToolSpec) -> bool:
    """It can be called with values of one's own; alone, `*values` tempt a model to invent some."""
    return list(_parameters(tool)) != [variadic(tool)]


def _into_variadic(
    tool: ToolSpec, rest: str, steps: Sequence[Step], tools: Sequence[ToolSpec], rng: random.Random
) -> str | None:
    """All results side by side, seen in the same way."""
    ways: dict[str, list[View]] = {}
    for step in steps:
        for view in unshadowed(views(step.variable, step.value), tools):
            if fits(view.value, tool, rest) and not view.source.startswith("len("):
                ways.setdefault(view.source.replace(step.variable, "_"), []).append(view)
    whole = [found for found in ways.values() if len(found) == len(steps)]
    if not whole:
        return None
    sources = [view.source for view in rng.choice(whole)]
    if len(sources) > 1:
        return ", ".join(sources) + ")"
    return sources[0] + ", "


def _best(
    tool: ToolSpec,
    step: Step,
    free: Sequence[str],
    tools: Sequence[ToolSpec],
    rng: random.Random,
) -> tuple[str, str] | None:
    """The parameter and the expression that go together best."""
    ways = [
        (_likeness(step, view, name) + rng.random(), name, view.source)
        for view in unshadowed(views(step.variable, step.value), tools)
        for name in free
        if fits(view.value, tool, name)
    ]
    return max(ways)[1:] if ways else None


def _likeness(step: Step, view: View, parameter: str) -> float:
    # The key of the part decides what the value is; a length is nobody's price.
    keys = re.findall(r"x\['(\w+)'\] for ", view.source) or re.findall(r"\['(\w+)'\]", view.source)
    wanted, source = _words(parameter), _words(step.tool.name)
    derived = view.source.startswith("len(") or ".count(" in view.source
    if not keys:
        return SAME_KEY * len(source & wanted) - derived
    said = _words(keys[-1])
    return SAME_KEY * len(said & wanted) + len((source - said) & wanted) - derived


def _words(name: str) -> set[str]:
    return {word.rstrip("s") for word in name.lower().split("_") if len(word) > 2}


def _written(tool: ToolSpec, placed: dict[str, str]) -> str:
    names = list(_parameters(tool))
    rest = variadic(tool)
    leading = [name for name in names[: len(placed)] if name in placed]
    if len(leading) == len(placed):
        text = ", ".join(placed[name] for name in leading)
    else:
        text = ", ".join(
            f"{name}={placed[name]}" for name in names if name in placed and name != rest
        )
        if rest in placed:
            text = f"{placed[rest]}, {text}" if text else placed[rest]
    done = set(names) <= set(placed) and rest is None
    return text + (")" if done else ", ")


def _parameters(tool: ToolSpec) -> dict[str, Any]:
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    return properties
