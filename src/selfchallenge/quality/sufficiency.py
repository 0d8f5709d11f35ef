"""Whether an instruction says enough: the paper's largest error, 30 % of its accepted Retail tasks.

Every literal of the solution must stand in the instruction, be a value that a tool's schema lists,
or be found by reading tools within a few calls from what the instruction names; what is known from
the seed does not count, an agent never sees it (design, section 4).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from selfchallenge.environments.base import Arguments, ToolSpec
from selfchallenge.episode import Call
from selfchallenge.errors import SessionError, ToolError
from selfchallenge.quality.mutation import constants, is_identifier, shape, stands_in
from selfchallenge.task import Check

ROUNDS = 3
"""Calls that may lie between the instruction and a literal."""
CALLS = 600
"""Calls that are made to find out."""
PROSE = 4
"""Words from which a text may be a message, which everybody words differently."""
LISTED = 4000
"""Values of one result that are looked at."""

_CHOICE = re.compile(
    r"\b(any|either|one of|whichever|all|each|every|both|most|least|first|last|only|\w+est)\b",
    re.IGNORECASE,
)
"""Words that leave the choice to the agent, or make it."""
_LINK = re.compile(r"/[\w-]+(?:[/.][\w-]+)*")
"""Addresses within a page."""
_EXEMPT: tuple[Any, ...] = ("", 1)
"""Literals that an instruction need not spell: nothing, and the one of a singular."""


class Reader(Protocol):
    """What reading tools are called on."""

    def value(self, name: str, arguments: Arguments = ()) -> Any:
        """Call a tool; raises ToolError when it refuses."""
        ...


@dataclass
class Reach:
    """What reading tools show, starting from an instruction.

    Attributes:
        found: values seen, each with the like values that stood beside it in a list.
        about: what a tool said when it was asked for a value.
        calls: calls made so far.
        ending: names of tools that ended the session they were called in.
    """

    found: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    about: dict[Any, list[Any]] = field(default_factory=dict)
    calls: int = 0
    ending: set[str] = field(default_factory=set)

    def explore(self, session: Reader, tools: Sequence[ToolSpec], instruction: str) -> None:
        """Call reading tools with what is known, then with what that shows."""
        reading = [
            tool
            for tool in tools
            if not tool.mutates and len(required(tool)) <= 1 and tool.name not in self.ending
        ]
        fresh = named(instruction)
        before = set(self.found)
        moving = [tool for tool in reading if self._moves(session, tool)]
        tried: set[tuple[str, Any]] = set()
        for _ in range(ROUNDS):
            for tool in reading:
                offered = [None] if not required(tool) else [*listed(tool), *fresh]
                for argument in offered:
                    if (tool.name, argument) not in tried and self.calls < CALLS:
                        tried.add((tool.name, argument))
                        known = self._leads()
                        self._call(session, tool, argument)
                        for other in moving if self._leads() > known else ():
                            self._call(session, other, None)
            fresh = [v for v in self.found if v not in before and _worth_asking(v)]
            before = set(self.found)

    def _leads(self) -> int:
        """How many values were seen that are worth asking about."""
        return sum(_worth_asking(value) for value in self.found)

    def _moves(self, session: Reader, tool: ToolSpec) -> bool:
        """Whether a tool without arguments says something else each time: it goes on (a page)."""
        if required(tool):
            return False
        return bool(self._call(session, tool, None) != self._call(session, tool, None))

    def _call(self, session: Reader, tool: ToolSpec, argument: Any) -> Any:
        """What the tool returns, noted; None when it refuses."""
        self.calls += 1
        try:
            result = session.value(tool.name, [] if argument is None else [argument])
        except ToolError:
            return None
        except SessionError:
            self.ending.add(tool.name)
            raise
        keys = list(result) if isinstance(result, dict) else []
        self.about.setdefault(argument, []).extend([*keys, *atoms(result)][:LISTED])
        # A bare number that some tool makes of some word is a coincidence and no lead.
        if not isinstance(result, int | float):
            self.add(result)
        return result

    def follow(self, calls: Sequence[Call]) -> None:
        """Take in what the solution's calls showed it, less what it told them itself."""
        for call in calls:
            told = {_key(atom) for atom in atoms(call.arguments)} - {_key(v) for v in self.found}
            self.add(call.result)
            for value in [value for value in self.found if _key(value) in told]:
                del self.found[value]

    def add(self, result: Any) -> None:
        """Take in what a tool returned."""
        waiting = [result]
        for _ in range(LISTED):
            if not waiting:
                return
            value = waiting.pop(0)
            beside: tuple[Any, ...] = ()
            if isinstance(value, dict):
                beside = tuple(key for key in value if isinstance(key, str) and is_identifier(key))
                waiting += [*value.values()]
                self._note_all(value.keys(), beside)
            elif isinstance(value, list | tuple | set | frozenset):
                beside = tuple(item for item in value if isinstance(item, str | int | float))
                waiting += [item for item in value if not isinstance(item, str | int | float)]
                self._note_all(beside, beside)
            elif isinstance(value, str | int | float):
                self._note_all([value, *_LINK.findall(str(value))], ())

    def _note_all(self, values: Iterable[Any], beside: tuple[Any, ...]) -> None:
        for value in values:
            like = tuple(v for v in beside if v != value and _alike(v, value))
            self.found.setdefault(value, like)


def reachable(
    opened: Callable[[], AbstractContextManager[Reader]],
    tools: Sequence[ToolSpec],
    instruction: str,
) -> Reach:
    """What reading tools show from an instruction on; a tool that ends its session shows nothing.

    Args:
        opened: a fresh session.
        tools: of the session.
        instruction: what an agent is told.
    """
    reach = Reach()
    for _ in tools:
        try:
            with opened() as session:
                reach.explore(session, tools, instruction)
            break
        except SessionError:
            continue
    return reach


def required(tool: ToolSpec) -> list[str]:
    """Names of the parameters that a tool must be given."""
    return list(tool.parameters.get("required", []))


def listed(tool: ToolSpec) -> list[Any]:
    """Values that the schema lists for the first required parameter."""
    name = required(tool)[0]
    return list(allowed_values(tool).get(name, ()))


def allowed_values(tool: ToolSpec) -> Mapping[str, tuple[Any, ...]]:
    """For each parameter of a tool, in order, the values that its schema lists."""
    found = {}
    for name, schema in tool.parameters.get("properties", {}).items():
        values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        found[name] = tuple(values)
    return found


def named(instruction: str) -> list[Any]:
    """What a reader may look up: identifiers, quoted text, names, numbers, then single words."""
    quoted = re.findall(r"['\"]([^'\"]{2,60})['\"]", instruction)
    names = re.findall(r"[A-Z][\w-]*(?: [A-Z][\w-]*)+", instruction)
    shorter = [" ".join(name.split()[1:]) for name in names if len(name.split()) > 2]
    tokens = [token.strip(".,;:!?()") for token in re.findall(r"#?[\w@.:-]+", instruction)]
    numbers = [int(token) for token in tokens if token.isdecimal()]
    ordered = [t for t in tokens if is_identifier(t)] + quoted + names + shorter + numbers + tokens
    return list(dict.fromkeys(value for value in ordered if value not in ("", None)))[:40]


def literals(source: str, calls: Sequence[Call]) -> list[Any]:
    """Literals of the source that reached a tool, or that are assigned to `answer`."""
    tree = ast.parse(source)
    # What is only compared with is passed to no tool, but may equal what is.
    compared = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for inner in ast.walk(node)
    }
    written = {
        (type(node.value), node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node not in compared
    }
    used = [atom for call in calls for atom in atoms(call.arguments)]
    answers = [
        constant.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "answer" for t in node.targets)
        and isinstance(node.value, ast.Constant | ast.List | ast.Tuple | ast.Dict)
        for constant in constants(node.value)
    ]
    needed = [*(atom for atom in used if (type(atom), atom) in written), *answers]
    plain = [v for v in needed if isinstance(v, str | int | float) and not isinstance(v, bool)]
    return list({(type(v), v): v for v in plain}.values())


def atoms(value: Any) -> list[Any]:
    """The values in plain data that hold no others."""
    if isinstance(value, dict):
        return [atom for item in value.values() for atom in atoms(item)]
    if isinstance(value, list | tuple | set | frozenset):
        return [atom for item in value for atom in atoms(item)]
    return [value]


def sufficient(
    instruction: str,
    needed: Sequence[Any],
    tools: Sequence[ToolSpec],
    reach: Reach,
    policy: str = "",
) -> Check:
    """Every literal of the solution can be known from the instruction, and only that one is meant.

    Args:
        instruction: what the agent is told.
        needed: literals of the solution.
        tools: the tools; what their schemas list or have as default is known.
        reach: what reading tools show from the instruction on.
        policy: what the agent is told before any task.
    """
    known = {_key(v) for tool in tools for v in _spelled(tool)} | {_key(v) for v in _EXEMPT}
    for value in needed:
        if _key(value) in known or _told(value, instruction) or _dated(value, instruction, policy):
            continue
        # Identifiers in a policy are examples.
        if isinstance(value, str) and not is_identifier(value) and stands_in(value, policy):
            continue
        if type(value) is not str and (idle := _idle_numbers(instruction, needed)):
            return _failed(f"the instruction says {idle[0]}, the solution {value!r}")
        if value not in reach.found:
            return _failed(f"nothing leads from the instruction to {value!r}")
        others = reach.found[value]
        if (
            others
            and not _CHOICE.search(instruction)
            and not _described(value, others, reach, instruction)
        ):
            shown = ", ".join(map(repr, others[:3]))
            return _failed(f"the instruction does not say which: {value!r}, or {shown}")
    text = f"{len(needed)} literals, all told or found within {ROUNDS} calls"
    return Check(name="sufficient", passed=True, evidence=text)


def agrees(
    instruction: str, calls: Sequence[Call], code: str, reach: Reach, values: Iterable[str]
) -> Check:
    """Everything that the instruction names and that exists plays a part in the task.

    Args:
        instruction: what the agent is told.
        calls: what the solution did.
        code: source of the solution and the verifier; what they name plays a part.
        reach: what leads to something that plays a part does, too.
        values: texts that exist in the environment.
    """
    exists = {value for value in values if is_identifier(value)}
    seen = " ".join([code, *(repr((call.arguments, call.result)) for call in calls)])
    used = {_key(atom) for call in calls for atom in atoms(call.arguments)}
    for token in named(instruction):
        leads = any(_key(found) in used for found in reach.about.get(token, ()))
        if token in exists and not leads and not stands_in(token, seen):
            evidence = f"the instruction names {token!r}, with which the solution does nothing"
            return Check(name="agrees", passed=False, evidence=evidence)
    return Check(name="agrees", passed=True, evidence="what the instruction names is used")


def _idle_numbers(instruction: str, needed: Sequence[Any]) -> list[int]:
    """Numbers that an instruction names and the solution does not."""
    said = [value for value in named(instruction) if isinstance(value, int)]
    return [value for value in said if not stands_in(value, repr(needed))]


def _failed(evidence: str) -> Check:
    return Check(name="sufficient", passed=False, evidence=evidence)


def is_prose(value: Any) -> bool:
    """Whether a value is a text of several words."""
    return isinstance(value, str) and len(value.split()) >= PROSE


def reworded(source: str, value: str) -> str:
    """The source with other words in the place of a text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == value:
            node.value = "other words"
    return ast.unparse(tree)


def _told(value: Any, instruction: str) -> bool:
    if stands_in(value, instruction):
        return True
    words = re.findall(r"\w+", value.lower()) if isinstance(value, str) else []
    return len(words) > 1 and set(words) <= set(re.findall(r"\w+", instruction.lower()))


def _dated(value: Any, instruction: str, policy: str) -> bool:
    """Whether a text names this date (`May 20` is `2024-05-20` where the year is known)."""
    found = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", value) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[2]) <= len(_MONTHS):
        return False
    month, day = _MONTHS[int(found[2]) - 1], rf"0?{int(found[3])}(?:st|nd|rd|th)?"
    name = rf"{month[:3]}(?:{month[3:]})?\.?"
    written = rf"\b(?:{name} (?:the )?{day}|{day} (?:of )?{name})\b"
    years = re.findall(r"\b\d{4}\b", f"{instruction} {policy}")
    return found[1] in years and bool(re.search(written, instruction, re.IGNORECASE))


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def _described(value: Any, others: Sequence[Any], reach: Reach, instruction: str) -> bool:
    """Whether the instruction says something that is true of the value and not of the others."""
    shared = {_key(atom) for other in others for atom in reach.about.get(other, [])}
    return any(
        _key(atom) not in shared and stands_in(atom, instruction)
        for atom in reach.about.get(value, [])
        if isinstance(atom, str | int | float)
    )


def _spelled(tool: ToolSpec) -> list[Any]:
    properties = tool.parameters.get("properties", {})
    defaults = [schema["default"] for schema in properties.values() if "default" in schema]
    return [
        *(v for values in allowed_values(tool).values() for v in values),
        *(value for default in defaults for value in atoms(default)),
    ]


def _worth_asking(value: Any) -> bool:
    return isinstance(value, str) and (is_identifier(value) or bool(_LINK.fullmatch(value)))


def _alike(one: Any, other: Any) -> bool:
    return isinstance(one, str) and isinstance(other, str) and shape(one) == shape(other)


def _key(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)
