"""M3ToolEval's tasks, its way of asking, and its answer check with all its quirks, or a fair one.

The facts are those of `xingyaowww/code-act`, scripts/eval/m3tooleval (MIT licence), written anew
from a description. The paper takes 48 of its 82 tasks as Calculation and 34 as Web Browsing. Its
code actions are used here, or its JSON actions; the agent's code runs in our sandbox.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfchallenge.errors import LoadError, UsageError, boundary

Checker = Literal["benchmark", "fair"]
FILE = "tasks.json"
COUNTS = {"calculation": 48, "web": 34}
SEEDS = {
    "message_decoder": "message_decoder",
    "cryptobotanists_plant_dna_sequencer": "dna_sequencer",
    "trade_calculator": "trade_calculator",
    "travel_itinerary_planning": "travel_planner",
    "web_browsing": None,
}
"""What the domains are called by our environments; a session with that seed offers its tools."""

LONGEST = 2000
"""Characters of an answer that are looked at; the benchmark cuts its model off at 512 tokens."""
TOLERANCE = 0.005

DIFFERENCES = (
    "numbers pass within half a cent, and not when cut to a whole number: 237.94 for 237.942",
    "a currency sign and commas between thousands are no mistake: $8,100.00 for 8100.0",
    "float noise is no mistake, on any version of Python: 380.42 for 380.41999999999996",
    "lists, tuples and dicts are compared as values, the benchmark asks for Python's exact repr",
    "true and false pass in any case, and 0 is not False",
    "quotes around a text and a full stop at its end are no mistake",
)
"""In what the fair check differs from the benchmark's."""


@dataclass(frozen=True)
class Question:
    """One task of the benchmark.

    Attributes:
        name: `family/task`.
        environment: `calculation` or `web`.
        seed: of the session that offers its tools.
        instruction: what is asked.
        expected: the value that is expected.
    """

    name: str
    environment: str
    seed: str | None
    instruction: str
    expected: Any


def read_questions(data: Path, environment: str) -> list[Question]:
    """The benchmark's tasks for an environment, from `tasks.json` of a data folder.

    Raises:
        UsageError: the benchmark has none for this environment.
        LoadError: the file is missing or holds something else.
    """
    if environment not in COUNTS:
        raise UsageError(
            f"m3tooleval has no tasks for {environment!r}", fix="choose calculation or web"
        )
    file = data / FILE
    fix = "selfchallenge data get m3tooleval --to DIR, then --data DIR"
    with boundary(LoadError, "the tasks of m3tooleval cannot be read", where=str(file), fix=fix):
        found = json.loads(file.read_text("utf-8"))
        return [
            Question(
                name=str(fields["name"]),
                environment=environment,
                seed=SEEDS[fields["domain"]],
                instruction=str(fields["instruction"]),
                expected=ast.literal_eval(fields["expected"]),
            )
            for fields in found
            if fields["environment"] == environment
        ]


# -- the benchmark's check -------------------------------------------------------------------------


def benchmark_accepts(answer: str, expected: Any) -> bool:
    """Whether the benchmark takes this answer.

    Numbers are compared as `int` makes them, which cuts an expected 161.25 to 161; then as texts,
    the answer as its literal where it is one. A comparison within a tolerance was meant to stand in
    between, but calls a number by mistake and always fails, so that it decides nothing.
    """
    answer = answer[:LONGEST]
    try:
        if answer == expected or _converted(answer) == _converted(expected):
            return True
    except TypeError:  # a container is no number, which ends the benchmark's attempt at literals
        return answer == str(expected)
    value = _literal(answer)
    return str(answer if value is _NONE else value) == str(expected)


def _converted(value: Any) -> Any:
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return value


_NONE = object()


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NONE


# -- a fair one ------------------------------------------------------------------------------------


def fair_accepts(answer: str, expected: Any) -> bool:
    """Whether this answer says what is expected; `DIFFERENCES` to the benchmark's check."""
    text = answer[:LONGEST].strip().strip("`").strip()
    if isinstance(expected, str):
        return _plain_text(text) == _plain_text(expected)
    return _equal(_value(text, expected), expected)


def _plain_text(text: str) -> str:
    bare = re.sub(r"""^(['"])(.*)\1$""", r"\2", text.strip().removesuffix("."), flags=re.DOTALL)
    return " ".join(bare.removesuffix(".").split())


def _value(text: str, expected: Any) -> Any:
    """The value that a text spells, by the type of what is expected."""
    text = text.removesuffix(".").strip()
    if isinstance(expected, bool):
        return {"true": True, "false": False}.get(text.lower().strip("'\""))
    if isinstance(expected, int | float):
        bare = text.strip("'\"").lstrip("$€£").strip()
        if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", bare):
            bare = bare.replace(",", "")
        number = r"[+-]?(\d+(_\d+)*(\.\d*)?|\.\d+)(e[+-]?\d+)?"
        return float(bare) if re.fullmatch(number, bare, re.IGNORECASE) else None
    value = _literal(text)
    if value is _NONE:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return value


def _equal(value: Any, expected: Any) -> bool:
    if isinstance(expected, bool) or isinstance(value, bool):
        return value is expected
    if isinstance(expected, int | float) and isinstance(value, int | float):
        return math.isfinite(value) and abs(value - expected) < TOLERANCE + 1e-9
    if isinstance(expected, list | tuple) and isinstance(value, list | tuple):
        pairs = zip(value, expected, strict=False)
        return len(value) == len(expected) and all(_equal(*pair) for pair in pairs)
    if isinstance(expected, dict) and isinstance(value, dict):
        return value.keys() == expected.keys() and all(
            _equal(value[key], item) for key, item in expected.items()
        )
    return type(value) is type(expected) and bool(value == expected)


CHECKERS: dict[Checker, Callable[[str, Any], bool]] = {
    "benchmark": benchmark_accepts,
    "fair": fair_accepts,
}


# -- what the agent writes -------------------------------------------------------------------------

INVALID = (
    "Your reply has no action and no answer. Write 'Action:' with an action and 'End Action', or "
    "'Answer:' with the answer."
)
BOTH = "Your reply has an action and an answer. Write either of them, but not both."
ONE_ACTION = "\n*Extra reminder: write one action at a time."
ONE_ANSWER = "\n*Extra reminder: write one answer only."
NO_OUTPUT = "[Executed Successfully with No Output, Did you forget to print?]"
INCORRECT = "Your answer is incorrect. Please try again, and give only the answer."
CUT = 2000
STOP = r"End Action|```\w*\n.*?```"
"""An action ends a reply, spelled as the benchmark asks for it or as a fenced block."""


@dataclass(frozen=True)
class Parsed:
    """What a reply means: an action, or an answer, or neither and what is said about it."""

    action: str | None = None
    answer: str | None = None
    invalid: str = ""
    reminder: str = ""


def parse(reply: str) -> Parsed:
    """Read a reply as the benchmark does, after its own way of cutting what was generated.

    A fenced block without `Action:` is an action too, and so is one within `Action:`: models that
    were trained to fence their code are measured by what it does.
    """
    text = _trimmed(reply.lstrip())
    actions, answers = text.count("Action:"), text.count("Answer:")
    block = re.search(r"```\w*[ \t]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    if actions and answers:
        return Parsed(invalid=BOTH)
    if answers:
        _, answer, *rest = text.split("Answer:")
        return Parsed(answer=answer.strip(), reminder=ONE_ANSWER if rest else "")
    if block is not None:
        return Parsed(action=block[1].rstrip() + "\n")
    if actions:
        _, action, *rest = text.split("Action:")
        code = action.split("End Action")[0].lstrip().rstrip()
        return Parsed(action=f"{code}\n", reminder=ONE_ACTION if rest else "")
    return Parsed(invalid=INVALID)


def _trimmed(text: str) -> str:
    """Of a reply with two markers or more what stands before the second, up to `End Action`.

    Then a thought that follows is cut off. Both are looked for behind `Action:`, and without one
    from the seventh character on. A reply with one marker is left as it is.
    """
    marks = list(re.finditer("Answer:|Action:", text))
    if len(marks) <= 1:
        return text
    text = text[: marks[1].start()].strip()
    begin = text.find("Action:") + len("Action:")
    end = text.find("End Action", begin)
    if end >= 0:
        text = text[: end + len("End Action")].strip()
    thought = text.find("Thought:", begin)
    return text if thought < 0 else text[:thought].strip()


def observed(output: str) -> str:
    """What code printed, as the benchmark shows it."""
    text = re.sub(r"^Out\[\d+\]: ", "", output, flags=re.MULTILINE).strip() or NO_OUTPUT
    value = _literal(text[: 20 * CUT])
    return returned(text if value is _NONE else value)


def returned(value: Any) -> str:
    """What a tool returned, as the benchmark shows it to an agent that calls it by JSON."""
    text = str(value)
    return text if len(text) <= CUT else f"{text[:CUT]}...\n[Output Truncated]"


def json_action(action: str) -> tuple[str, list[Any]] | str:
    """The tool and arguments of a JSON action, or what is said about it when it is none."""
    try:
        found = json.loads(action)
        name, arguments = str(found["tool"]), found["args"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return (
            'Invalid action. You should output {"tool": NAME, "args": [...]}: '
            f"{type(error).__name__}: {error}"
        )
    return name, arguments if isinstance(arguments, list) else [arguments]


def failed_call(name: str, arguments: list[Any]) -> str:
    """What is observed when a tool raises, in JSON mode."""
    return (
        f"Failed to execute tool {name} with args {tuple(arguments)!r}. "
        "Did you try to invoke more than one tool at a time?"
    )
