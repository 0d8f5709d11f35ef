"""What can be made of a result: the expressions that carry one call's value into the next.

Each view is a source expression that both a program can put into words (`wording.py`) and Python
can run. Views are found by the shape of the value that was really returned, so they hold for any
environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from selfchallenge.challenger.draft import Step, names_in
from selfchallenge.environments.base import ToolSpec

MOST_KEYS = 8


@dataclass(frozen=True)
class View:
    """An expression over earlier results and the value that it has."""

    source: str
    value: Any


def views(name: str, value: Any) -> Iterator[View]:
    """The value itself and its plain parts, simplest first."""
    yield View(name, value)
    if isinstance(value, dict):
        for key in list(value)[:MOST_KEYS]:
            if isinstance(key, str) and _is_scalar(value[key]):
                yield View(f"{name}[{key!r}]", value[key])
    elif isinstance(value, list | tuple) and value:
        yield from _of_sequence(name, value)
    elif isinstance(value, str) and value:
        yield View(f"len({name})", len(value))


def _of_sequence(name: str, value: list[Any] | tuple[Any, ...]) -> Iterator[View]:
    first = value[0]
    if isinstance(first, dict):
        for key in list(first)[:MOST_KEYS]:
            if isinstance(key, str) and _is_scalar(first[key]):
                yield View(f"{name}[0][{key!r}]", first[key])
    elif _is_scalar(first):
        yield View(f"{name}[0]", first)
        if len(value) == 2:
            yield View(f"{name}[1]", value[1])
    if isinstance(value, list):
        yield View(f"len({name})", len(value))


def fits(value: Any, tool: ToolSpec, parameter: str) -> bool:
    """The value may be given to this parameter, by its JSON schema."""
    schema = tool.parameters.get("properties", {}).get(parameter, {})
    if "items" in schema and schema.get("type") == "array" and f"*{parameter}" in tool.signature:
        schema = schema["items"]
    if "enum" in schema or "const" in schema:
        return False
    kinds = [part.get("type") for part in schema.get("anyOf", [schema])]
    return any(kind is None or _is_kind(value, kind) for kind in kinds)


def _is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    python: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "array": (list, tuple),
        "object": dict,
    }
    return kind in python and isinstance(value, python[kind])


def combined(steps: list[Step]) -> Iterator[View]:
    """Comparisons and differences of two results (or plain parts of them) of one kind."""
    found = [view for step in steps for view in views(step.variable, step.value)]
    numbers = [v for v in found if isinstance(v.value, int | float) and not _is_bool(v.value)]
    for one, other in combinations(numbers, 2):
        if _root(one) == _root(other) or one.value == other.value:
            continue
        high, low = (one, other) if one.value > other.value else (other, one)
        yield View(f"{high.source} - {low.source}", high.value - low.value)
        yield View(f"{one.source} + {other.source}", one.value + other.value)
        yield View(f"{one.source} > {other.source}", one.value > other.value)
    whole = [View(step.variable, step.value) for step in steps]
    texts = [view for view in whole if isinstance(view.value, str)]
    for one, other in combinations(texts, 2):
        yield View(f"{one.source} + {other.source}", one.value + other.value)
        yield View(f"{one.source} == {other.source}", one.value == other.value)
    for one, other in combinations(whole, 2):
        yield View(f"[{one.source}, {other.source}]", [one.value, other.value])


def _root(view: View) -> str:
    return min(names_in(view.source) - {"len"})


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
