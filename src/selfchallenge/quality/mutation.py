"""Mutants and equivalents of a solution: what must earn no reward, and what must earn it.

A verifier that passes after a slightly wrong solution does not check what it seems to check; one
that fails after a solution that does the same in another order checks too much (design, section 4).
Mutants are made from the solution's source, one change each, so that what depends on the changed
place changes with it. This file only writes them; the gate runs and judges them.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from selfchallenge.episode import Call

SIBLINGS = 2
"""Other values that one literal is exchanged for."""
MOST_ANSWERS = 4
"""Texts like the answer that are given instead of it, where the instruction leaves no choice."""
MOST = 24
"""Mutants of one solution that are run."""
SCANNED = 20_000
"""Values of a state that are looked at for identifiers."""


@dataclass(frozen=True)
class Variant:
    """A solution with one change.

    Attributes:
        change: what was done, a few words.
        code: its source.
        stated: the instruction names what was changed in a changing call, so the verifier itself
            has to notice.
        reading: only reading was added, so the state is as good as the solution's.
    """

    change: str
    code: str
    stated: bool = False
    reading: bool = False


@dataclass(frozen=True)
class World:
    """What is known about the environment when mutants are made.

    Attributes:
        mutating: names of the tools that may change the state.
        reading: names of the others.
        values: texts that occur in the state or in results of tools.
        enums: for each tool and each of its parameters, the values that its schema allows.
        calls: calls that the failure cases made.
    """

    mutating: frozenset[str]
    reading: frozenset[str]
    values: tuple[str, ...] = ()
    enums: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()

    def siblings(self, value: str) -> list[str]:
        """Other texts of the same shape (`W1` and `W2`), nearest first."""
        wanted = shape(value)
        found = [other for other in self.values if other != value and shape(other) == wanted]
        return sorted(dict.fromkeys(found), key=lambda other: _distance(value, other))


def mutants(source: str, answer: Any, instruction: str, world: World) -> list[Variant]:
    """At most `MOST` variants that do something else than the solution, each operator in turn."""
    tree = ast.parse(source)
    operators = [
        _dropped(tree, world),
        _literals(tree, instruction, world),
        _repeated(tree, world),
        _added(source, tree, world),
        _answers(source, answer, instruction, world),
    ]
    found: dict[str, Variant] = {}
    # Each is written only when its turn comes: a long source has thousands.
    for variant in (one for row in zip_longest(*operators) for one in row if one):
        if variant.code != source:
            found.setdefault(variant.code, variant)
        if len(found) == MOST:
            break
    return list(found.values())


def equivalents(
    source: str, instruction: str, calls: Sequence[Call], world: World
) -> list[Variant]:
    """Variants that should do the same: neighbouring statements exchanged, and more reading.

    At most `MOST` exchanges are tried, those of the last statements.

    Whether an exchange did is seen by running it; none is made where the instruction has an order.
    """
    tree = ast.parse(source)
    free = range(0 if _ORDER.search(instruction) else len(tree.body) - 1)
    found = [_exchanged(tree, place) for place in free[-MOST:]]
    reads = [call for call in (*calls, *world.calls) if call.tool in world.reading and call.ok]
    more = "\n".join(f"_ = {written(call)}" for call in reads[:3])
    if more:
        found += [
            Variant("looking once more before", f"{more}\n{source}", reading=True),
            Variant("looking once more after", f"{source}\n{more}", reading=True),
        ]
    return found


def unordered(state: Any) -> Any:
    """A state in which the order of lists does not count."""
    if isinstance(state, dict):
        return {key: unordered(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return sorted((unordered(item) for item in state), key=repr)
    return state


def texts(value: Any) -> tuple[str, ...]:
    """Texts in plain data, keys too, at most `SCANNED` values deep into it."""
    found: dict[str, None] = {}
    waiting, seen = [value], 0
    while waiting and seen < SCANNED:
        one = waiting.pop()
        seen += 1
        if isinstance(one, str):
            found[one] = None
        elif isinstance(one, dict):
            waiting += [*one.values(), *one.keys()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
    return tuple(found)


def shape(value: str) -> str:
    """What kind of text: its letters and digits made alike (`W12` and `W7` are both `A9`)."""
    return re.sub(r"\d+", "9", re.sub(r"[a-z]+", "a", re.sub(r"[A-Z]+", "A", value)))


def is_identifier(value: str) -> bool:
    """Whether a text looks like the name of one thing: no spaces, and a digit in it."""
    written = re.fullmatch(r"#?[\w.@:-]+", value) is not None
    return written and re.search(r"\d", value) is not None and not value.isdecimal()


def stands_in(value: Any, text: str) -> bool:
    """Whether a text names this value."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        numbers = {float(found.replace(",", "")) for found in _NUMBER.findall(text)}
        spelled = {
            _SPELLED[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _SPELLED
        }
        return value in numbers | spelled
    wanted = re.escape(str(value).strip().lower())
    return bool(re.search(rf"(?<!\w){wanted}(?!\w)", text.lower()))


_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_SPELLED = {word: float(number) for number, word in enumerate(_WORDS.split())} | {
    "half": 0.5,
    "quarter": 0.25,
    "twice": 2.0,
    "double": 2.0,
    "pair": 2.0,
    "couple": 2.0,
    "thrice": 3.0,
    "triple": 3.0,
    "dozen": 12.0,
    "hundred": 100.0,
    "thousand": 1000.0,
}


def settled(state: Any, patterns: Sequence[str], path: tuple[str, ...] = ()) -> Any:
    """A state without its volatile paths: what is generated is never the same twice."""
    if not isinstance(state, dict):
        return state
    return {
        key: settled(value, patterns, (*path, str(key)))
        for key, value in state.items()
        if not is_volatile((*path, str(key)), patterns)
    }


def generated(state: Any, patterns: Sequence[str], path: tuple[str, ...] = ()) -> list[Any]:
    """The values at volatile paths."""
    if not isinstance(state, dict):
        return []
    return [
        found
        for key, value in state.items()
        for found in (
            [value]
            if is_volatile((*path, str(key)), patterns)
            else generated(value, patterns, (*path, str(key)))
        )
    ]


def is_volatile(path: tuple[str, ...], patterns: Sequence[str]) -> bool:
    """Whether one of the dotted patterns means this path."""
    for pattern in patterns:
        keys = pattern.split(".")
        if len(keys) == len(path) and all(a in ("*", b) for a, b in zip(keys, path, strict=True)):
            return True
    return False


_FREE = re.compile(r"\b(any|either|one of|whichever|some)\b", re.IGNORECASE)
_ORDER = re.compile(r"\b(first|then|before|after|next|last|order of|finally)\b", re.IGNORECASE)


# -- operators -------------------------------------------------------------------------------------


def _dropped(tree: ast.Module, world: World) -> Iterator[Variant]:
    for place, call in enumerate(tool_calls(tree, world.mutating)):
        clone = copy.deepcopy(tree)
        target = tool_calls(clone, world.mutating)[place]
        _replace(clone, target, ast.Constant(None))
        yield Variant(f"without {ast.unparse(call)}", ast.unparse(clone))


def _literals(tree: ast.Module, instruction: str, world: World) -> Iterator[Variant]:
    acting = {id(node) for call in tool_calls(tree, world.mutating) for node in ast.walk(call)}
    for place, node in enumerate(constants(tree)):
        for other in _others(tree, node, world)[:SIBLINGS]:
            clone = copy.deepcopy(tree)
            constants(clone)[place].value = other
            yield Variant(
                f"{other!r} instead of {node.value!r}",
                ast.unparse(clone),
                stated=id(node) in acting and stands_in(node.value, instruction),
            )


def _others(tree: ast.Module, node: ast.Constant, world: World) -> list[Any]:
    """Values that a literal is exchanged for."""
    value = node.value
    if isinstance(value, bool):
        return [not value]
    allowed = _enum_of(tree, node, world)
    if allowed:
        return [other for other in allowed if other != value]
    if isinstance(value, int | float):
        return [value + 1]
    return world.siblings(value) if isinstance(value, str) else []


def _repeated(tree: ast.Module, world: World) -> Iterator[Variant]:
    for place, statement in enumerate(tree.body):
        calls = tool_calls(statement, world.mutating)
        if calls and isinstance(statement, ast.Expr | ast.Assign):
            clone = copy.deepcopy(tree)
            clone.body.insert(place, copy.deepcopy(clone.body[place]))
            yield Variant(f"{ast.unparse(calls[0])} twice", ast.unparse(clone))


def _added(source: str, tree: ast.Module, world: World) -> Iterator[Variant]:
    """One more changing call, of a failure case or with another identifier."""
    own = {ast.unparse(call) for call in tool_calls(tree, world.mutating)}
    found = [written(call) for call in world.calls if call.ok and call.tool in world.mutating]
    for call in tool_calls(tree, world.mutating):
        for place, node in enumerate(constants(call)):
            if isinstance(node.value, str) and is_identifier(node.value):
                for other in world.siblings(node.value)[:1]:
                    clone = copy.deepcopy(call)
                    constants(clone)[place].value = other
                    found.append(ast.unparse(clone))
    for extra in dict.fromkeys(found):
        if extra not in own:
            yield Variant(f"{extra} as well", f"{source}\ntry: {extra}\nexcept Exception: pass")


def _answers(source: str, answer: Any, instruction: str, world: World) -> Iterator[Variant]:
    """The same calls and another answer."""
    like = 1 if _FREE.search(instruction) else MOST_ANSWERS
    for other in _wrong_answers(answer, world, like):
        yield Variant(f"answer {other!r}", f"{source}\nanswer = {other!r}")


def _wrong_answers(answer: Any, world: World, like: int) -> Iterator[Any]:
    if answer is None or answer == "":
        return
    if isinstance(answer, bool):
        yield not answer
    elif isinstance(answer, int | float):
        yield answer + 1
        yield f"{answer - 1} or {answer} or {answer + 1}"
    elif isinstance(answer, str):
        yield from world.siblings(answer)[:like]
        yield f"not {answer}, or {answer}"
    elif isinstance(answer, list | tuple) and answer:
        yield answer[:-1]
        yield [*answer, answer[0]]
    elif isinstance(answer, dict) and answer:
        yield dict(list(answer.items())[:-1])


# -- source ----------------------------------------------------------------------------------------


def _exchanged(tree: ast.Module, place: int) -> Variant:
    clone = copy.deepcopy(tree)
    body = clone.body
    body[place], body[place + 1] = body[place + 1], body[place]
    return Variant(f"statements {place + 1} and {place + 2} exchanged", ast.unparse(clone))


def tool_calls(tree: ast.AST, names: frozenset[str]) -> list[ast.Call]:
    """Calls of these tools by name, outermost first."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


def constants(tree: ast.AST) -> list[ast.Constant]:
    """Literals that are data: no indexes, no parts of formatted text, no None."""
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript | ast.JoinedStr)
        for inner in ast.walk(node.slice if isinstance(node, ast.Subscript) else node)
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | int | float)
        and node not in skipped
    ]


def _enum_of(tree: ast.Module, node: ast.Constant, world: World) -> tuple[Any, ...]:
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            continue
        allowed = world.enums.get(call.func.id, {})
        names = [*allowed]
        for place, argument in enumerate(call.args):
            if argument is node and place < len(names):
                return allowed[names[place]]
        for keyword in call.keywords:
            if keyword.value is node:
                return allowed.get(keyword.arg or "", ())
    return ()


def _replace(tree: ast.AST, target: ast.AST, by: ast.AST) -> None:
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if value is target:
                setattr(node, name, by)
            elif isinstance(value, list) and any(item is target for item in value):
                setattr(node, name, [by if item is target else item for item in value])


def written(call: Call) -> str:
    """A call as source."""
    keywords = dict(call.arguments) if isinstance(call.arguments, dict) else {}
    positional = keywords.pop("*", []) if keywords else call.arguments or []
    parts = [*map(repr, positional), *(f"{name}={value!r}" for name, value in keywords.items())]
    return f"{call.tool}({', '.join(parts)})"


def _distance(one: str, other: str) -> tuple[bool, bool, int, int, str]:
    """How unlike two texts are: of another kind, of another length, where they part, how much."""
    parted = next((i for i, (a, b) in enumerate(zip_longest(one, other)) if a != b), len(one))
    changed = sum(a != b for a, b in zip_longest(one, other))
    kinds = re.sub(r"\d", "", one) != re.sub(r"\d", "", other)
    return kinds, len(one) != len(other), -parted, changed, other
