"""What can be made of results: the expressions that carry them into the next call or the answer.

Each view is a source expression that a program can put into words (`wording.py`) and Python can
run. Views are found by the shape of the value that was really returned, so they hold for any
environment. `sorted` stands where one would write `min` or `max`: tools often have those names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from selfchallenge.challenger.draft import BUILTINS, Step
from selfchallenge.environments.base import ToolSpec

MOST_KEYS = 8


@dataclass(frozen=True)
class View:
    """An expression over earlier results and the value that it has."""

    source: str
    value: Any


def views(name: str, value: Any) -> Iterator[View]:
    """The value itself and its plain parts, simplest first; of a record the parts' parts too."""
    yield View(name, value)
    if isinstance(value, dict):
        yield from _of_mapping(name, value)
        for key in [] if _holds_records(value) else _keys(value):
            if isinstance(value[key], dict):
                yield from _of_mapping(f"{name}[{key!r}]", value[key])
            elif isinstance(value[key], list | tuple) and value[key]:
                yield from _of_sequence(f"{name}[{key!r}]", value[key])
    elif isinstance(value, list | tuple) and value:
        yield from _of_sequence(name, value)
    elif isinstance(value, str) and value:
        yield View(f"len({name})", len(value))
        for letter in dict.fromkeys(c for c in value if c.isalpha()):
            if value.count(letter) > 1:
                yield View(f"{name}.count({letter!r})", value.count(letter))
                break


def _of_mapping(name: str, value: dict[Any, Any]) -> Iterator[View]:
    if _holds_records(value):
        yield from _of_records(f"{name}.values()", list(value.values()))
        yield View(f"len({name})", len(value))
    for key in _keys(value):
        if _is_scalar(value[key]):
            yield View(f"{name}[{key!r}]", value[key])


def _keys(value: dict[Any, Any]) -> list[str]:
    return [key for key in list(value)[:MOST_KEYS] if isinstance(key, str)]


def _holds_records(value: dict[Any, Any]) -> bool:
    """Its keys are identifiers of like records, and no names of parts."""
    records = [set(record) if isinstance(record, dict) else set() for record in value.values()]
    alike = bool(records) and all(record and record == records[0] for record in records)
    return alike and not all(re.fullmatch(r"[A-Za-z_]+", str(key)) for key in value)


def _of_sequence(name: str, value: Sequence[Any]) -> Iterator[View]:
    if all(isinstance(item, dict) for item in value):
        yield from _of_records(name, value)
    elif _is_scalar(value[0]):
        yield View(f"{name}[0]", value[0])
        if len(value) == 2:
            yield View(f"{name}[1]", value[1])
        elif all(_is_number(item) for item in value):
            yield View(f"sorted({name})[0]", min(value))
            yield View(f"sorted({name})[-1]", max(value))
    if isinstance(value, list):
        yield View(f"len({name})", len(value))


def _of_records(name: str, records: Sequence[dict[Any, Any]]) -> Iterator[View]:
    """The least and the greatest of a figure, and what else holds for the record that has it."""
    keys = [k for k in list(records[0])[:MOST_KEYS] if isinstance(k, str)]
    shared = [k for k in keys if all(_is_scalar(record.get(k)) for record in records)]
    figures = [k for k in shared if all(_is_number(record[k]) for record in records)]
    for key in figures:
        ordered = sorted(records, key=lambda record, key=key: record[key])  # type: ignore[misc]
        for place, end in ((0, ordered[0]), (-1, ordered[-1])):
            yield View(f"sorted(x[{key!r}] for x in {name})[{place}]", end[key])
            if sum(record[key] == end[key] for record in records) > 1:
                continue
            for other in shared:
                if other != key:
                    source = f"sorted({name}, key=lambda x: x[{key!r}])[{place}][{other!r}]"
                    yield View(source, end[other])
    for key in shared:
        if key not in figures and len(records) > 1 and not name.endswith(".values()"):
            yield View(f"[x[{key!r}] for x in {name}]", [record[key] for record in records])


def unshadowed(found: Iterable[View], tools: Sequence[ToolSpec]) -> list[View]:
    """Views that mean what they say although tools may have the names of builtins."""
    taken = BUILTINS & {tool.name for tool in tools}
    return [v for v in found if not taken or not taken & _names(v.source)]


def _names(source: str) -> set[str]:
    tree = ast.parse(source, mode="eval")
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


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


def reckoned(view: View) -> Iterator[View]:
    """A figure carried one step further by plain arithmetic."""
    if _is_number(view.value) and view.value > 0:
        whole = 10 ** len(str(int(view.value)))
        yield View(f"{whole} - {view.source}", whole - view.value)
        yield View(f"{view.source} * 3", view.value * 3)


def combined(steps: Sequence[Step], made: Sequence[Step]) -> Iterator[View]:
    """Several results in one answer: compared, added up, or listed side by side.

    Figures are only compared with figures of the same kind: results of one tool part by part, and
    results of different tools as they are.

    Args:
        steps: whose results are combined.
        made: all calls, which tell what the results are about.
    """
    names = labels(steps, made)
    parts = [
        [view for view in views(step.variable, step.value) if not told(view.value, made)]
        for step in steps
    ]
    kinds = [
        {view.source.replace(step.variable, "_"): view for view in found}
        for step, found in zip(steps, parts, strict=True)
    ]
    for kind in kinds[0]:
        if not all(kind in of_step for of_step in kinds):
            continue
        row = [of_step[kind] for of_step in kinds]
        if all(_is_number(view.value) for view in row):
            yield from _of_figures(row, names)
        if all(_is_scalar(view.value) for view in row):
            yield from _side_by_side(row, names)
    yield from _of_different(parts)


def _of_figures(row: Sequence[View], names: Sequence[Any]) -> Iterator[View]:
    if len({view.value for view in row}) < len(row):
        return
    sources = [view.source for view in row]
    values = [view.value for view in row]
    yield View(" + ".join(sources), sum(values))
    yield View(f"sorted([{', '.join(sources)}])[0]", min(values))
    yield View(f"sorted([{', '.join(sources)}])[-1]", max(values))
    if len(row) == 2:
        low, high = sorted(row, key=lambda view: view.value)
        yield View(f"{high.source} - {low.source}", high.value - low.value)
        if names:
            first_is_low = row[0].value < row[1].value
            for sign, wins in (("<", first_is_low), (">", not first_is_low)):
                source = f"{names[0]!r} if {sources[0]} {sign} {sources[1]} else {names[1]!r}"
                yield View(source, names[0] if wins else names[1])


def _side_by_side(row: Sequence[View], names: Sequence[Any]) -> Iterator[View]:
    sources = [view.source for view in row]
    values = [view.value for view in row]
    yield View(f"[{', '.join(sources)}]", values)
    if all(isinstance(value, str) for value in values):
        yield View(f"' '.join([{', '.join(sources)}])", " ".join(values))
    if names and all(isinstance(name, str) for name in names):
        pairs = ", ".join(f"{n!r}: {s}" for n, s in zip(names, sources, strict=True))
        yield View(f"{{{pairs}}}", dict(zip(names, values, strict=True)))


def _of_different(parts: Sequence[Sequence[View]]) -> Iterator[View]:
    """Results of two tools: listed, and two figures added or subtracted."""
    for one, other in combinations(parts, 2):
        scalars = [next((v for v in found if _is_scalar(v.value)), None) for found in (one, other)]
        a, b = scalars
        if a is None or b is None:
            continue
        yield View(f"[{a.source}, {b.source}]", [a.value, b.value])
        if _is_number(a.value) and _is_number(b.value) and a.value != b.value:
            low, high = sorted((a, b), key=lambda view: view.value)
            yield View(f"{a.source} + {b.source}", a.value + b.value)
            yield View(f"{high.source} - {low.source}", high.value - low.value)


def told(value: Any, made: Sequence[Step]) -> bool:
    """A text that the calls were given: who asks for it knows it."""
    return isinstance(value, str) and any(value in _values(step, {}) for step in made)


def labels(steps: Sequence[Step], made: Sequence[Step]) -> list[Any]:
    """What tells results of one tool apart: the one value they go back to that differs."""
    if len({step.tool.name for step in steps}) > 1:
        return []
    named = {step.variable: step for step in made}
    rows = list(zip(*(list(_values(step, named)) for step in steps), strict=False))
    differing = [row for row in rows if len(set(map(repr, row))) > 1]
    distinct = len(differing) == 1 and len(set(map(repr, differing[0]))) == len(steps)
    return list(differing[0]) if distinct else []


def _values(step: Step, named: Mapping[str, Step]) -> Iterator[Any]:
    """The literals that a result goes back to, through the calls before it."""
    for node in ast.walk(ast.parse(f"f({step.arguments})", mode="eval")):
        if isinstance(node, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Name) and node.id in named:
            yield from _values(named[node.id], named)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
