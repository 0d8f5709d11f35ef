"""Derives verifiers and failure cases from what was executed (design section 4, the writer).

The verifier of a task with an answer compares it with the executed one; the verifier of a task that
changes the state asks reading tools for what they say differently before and after. One-shot
verifiers of small models guess constants they cannot know and accept ranges; derived ones do not.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from selfchallenge.challenger.draft import Draft, Step, program
from selfchallenge.challenger.views import views
from selfchallenge.environments.base import Environment, ToolSpec, describe_tools
from selfchallenge.errors import ToolError
from selfchallenge.sandbox.host import Sandbox, Session
from selfchallenge.task import CodeAsTask

MOST_CONDITIONS = 3


def verifier_of_answer(value: Any) -> str:
    """Source of a verifier that accepts exactly this answer (numbers: to 1e-6 of their size)."""
    if isinstance(value, bool):
        test = f"answer is {value}"
    elif isinstance(value, int):
        number = "isinstance(answer, (int, float)) and not isinstance(answer, bool)"
        test = f"{number} and answer == {value}"
    elif isinstance(value, float):
        tolerance = f"{max(1e-9, abs(value) * 1e-6):.3g}"
        return (
            "def evaluate(answer):\n"
            "    if isinstance(answer, bool) or not isinstance(answer, (int, float)):\n"
            "        return False\n"
            f"    return abs(answer - {value!r}) <= {tolerance}\n"
        )
    elif isinstance(value, tuple):
        test = f"isinstance(answer, (list, tuple)) and list(answer) == {list(value)!r}"
    else:
        test = f"answer == {value!r}"
    return f"def evaluate(answer):\n    return {test}\n"


def verifier_of_state(draft: Draft, environment: type[Environment], sandbox: Sandbox) -> str | None:
    """Source of a verifier that reads what the solution changed; None when no tool shows it."""
    probes = list(_probes(draft, describe_tools(environment, draft.seed)))
    with sandbox.session(environment, draft.seed) as before:
        first = [_ask(before, tool, value) for tool, value in probes]
    with sandbox.session(environment, draft.seed) as after:
        if not sandbox.execute(draft.solution, after).ok:
            return None
        second = [_ask(after, tool, value) for tool, value in probes]
    lines: list[str] = []
    for (tool, value), old, new in zip(probes, first, second, strict=True):
        if old == new:
            continue
        call = f"{tool.name}({', '.join(map(repr, value))})"
        lines += _conditions(call, old, new)
        if len(lines) >= MOST_CONDITIONS:
            break
    if not lines:
        return None
    body = "\n".join(f"    if not ({line}):\n        return False" for line in lines)
    return f"def evaluate(answer):\n{body}\n    return True\n"


def told_apart(
    task: CodeAsTask,
    wrong: Sequence[str],
    environment: type[Environment],
    sandbox: Sandbox,
) -> str:
    """Source of a verifier that also rejects `wrong` solutions which the task's own lets through.

    What reading tools and the answer say differently after each of them becomes a condition; a
    wrong solution that nothing tells from the right one adds none.
    """
    tools, found = describe_tools(environment, task.seed), dict[str, None]()
    for code in wrong:
        probes = list(_asking(_texts([task.solution, code], task.seed), tools))
        right, theirs = (
            _after(one, task.seed, probes, environment, sandbox) for one in (task.solution, code)
        )
        if right is None or theirs is None:
            continue
        if right[0] != theirs[0]:
            found[f"answer == {right[0]!r}"] = None
        for (tool, value), old, new in zip(probes, theirs[1], right[1], strict=True):
            if old != new:
                call = f"{tool.name}({', '.join(map(repr, value))})"
                found |= dict.fromkeys(islice(_conditions(call, old, new), MOST_CONDITIONS))
    if not found:
        return task.verifier
    tests = "".join(f"    if not ({line}):\n        return False\n" for line in found)
    earlier = task.verifier.replace("def evaluate(", "def earlier(", 1)
    return f"{earlier}\ndef evaluate(answer):\n{tests}    return earlier(answer)\n"


def _after(
    code: str,
    seed: str | None,
    probes: Sequence[tuple[ToolSpec, tuple[Any, ...]]],
    environment: type[Environment],
    sandbox: Sandbox,
) -> tuple[Any, list[Any]] | None:
    """The answer that code leaves and what reading calls then say; None when it does not run."""
    with sandbox.session(environment, seed) as session:
        done = sandbox.execute(code, session)
        if not done.ok:
            return None
        return done.answer, [_ask(session, tool, value) for tool, value in probes]


def _probes(draft: Draft, tools: Sequence[ToolSpec]) -> Iterator[tuple[ToolSpec, tuple[Any, ...]]]:
    """Reading calls worth repeating for a draft."""
    sources = [f"f({step.arguments})" for step in draft.steps]
    return _asking(_texts(sources, draft.seed), tools)


def _texts(sources: Sequence[str], seed: str | None) -> list[str]:
    """Texts written in code, and the seed."""
    literals = [
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return list(dict.fromkeys([*literals, *([seed] if seed else [])]))


def _asking(
    seen: Sequence[str], tools: Sequence[ToolSpec]
) -> Iterator[tuple[ToolSpec, tuple[Any, ...]]]:
    """Calls of reading tools of at most one required parameter, one for each text."""
    for tool in tools:
        required = tool.parameters.get("required", [])
        if tool.mutates or len(required) > 1:
            continue
        yield from ((tool, (value,)) for value in seen) if required else [(tool, ())]


def _ask(session: Session, tool: ToolSpec, arguments: tuple[Any, ...]) -> Any:
    try:
        return session.value(tool.name, list(arguments))
    except ToolError:
        return None


def _conditions(call: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in new.items():
            if old.get(key) != value:
                yield f"{call}[{key!r}] == {value!r}"
    elif new is not None:
        yield f"{call} == {new!r}"


def failures_of(
    draft: Draft,
    environment: type[Environment],
    sandbox: Sandbox,
    verifier: str,
    *,
    wanted: int,
    rng: random.Random,
) -> tuple[list[str], list[str]]:
    """Near misses that run and that the verifier rejects.

    Returns:
        Sources, and for each who wrote it: `model` (arguments it proposed for the same call) or
        `program` (a literal changed, a step or the last part left out).
    """
    found: dict[str, str] = {}
    answers: list[str] = []
    for code, author in _near_misses(draft, rng):
        if code in found or code == draft.solution:
            continue
        with sandbox.session(environment, draft.seed) as session:
            ran = sandbox.execute(code, session)
            if not ran.ok or (draft.answer and repr(ran.answer) in answers):
                continue
            if sandbox.evaluate(verifier, ran.answer, session).passed:
                continue
        found[code] = author
        answers.append(repr(ran.answer))
        if len(found) == wanted:
            break
    return list(found), list(found.values())


def _near_misses(draft: Draft, rng: random.Random) -> Iterator[tuple[str, str]]:
    steps = list(draft.steps)
    for position in reversed(range(len(steps))):
        for arguments in steps[position].alternatives:
            yield _with(draft, position, arguments), "model"
    mutants = [
        (position, mutant)
        for position in range(len(steps))
        for mutant in spoil(steps[position].arguments, rng)
    ]
    rng.shuffle(mutants)
    for position, mutant in mutants:
        yield _with(draft, position, mutant), "program"
    if draft.answer:
        for step in reversed(steps):
            for view in views(step.variable, step.value):
                yield program(steps[: steps.index(step) + 1], view.source), "program"
        for text in _texts([f"f({step.arguments})" for step in steps], None):
            yield program(steps, repr(text)), "program"
    if not draft.answer:
        yield from ((program(steps[:n], ""), "program") for n in range(1, len(steps)))
        for step in steps:
            yield from _swapped_tool(draft, step)
        yield "answer = 'done'\n", "program"


def _swapped_tool(draft: Draft, step: Step) -> Iterator[tuple[str, str]]:
    if not step.tool.mutates:
        kept = [other for other in draft.steps if not other.tool.mutates]
        yield program(kept, step.variable), "program"


def _with(draft: Draft, position: int, arguments: str) -> str:
    steps = list(draft.steps)
    steps[position] = replace(steps[position], arguments=arguments)
    return program(steps, draft.answer)


def spoil(arguments: str, rng: random.Random) -> Iterator[str]:
    """The same arguments with one literal changed to a near one, or two arguments swapped."""
    tree = ast.parse(f"f({arguments})", mode="eval")
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    for node in constants:
        original = node.value
        for value in _near(original, rng):
            node.value = value
            yield ast.unparse(tree)[2:-1]
        node.value = original
    call = tree.body
    if isinstance(call, ast.Call) and len(call.args) > 1:
        call.args[0], call.args[1] = call.args[1], call.args[0]
        yield ast.unparse(tree)[2:-1]


def _near(value: object, rng: random.Random) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + rng.choice((1, 2, 3))
        yield value - 1
        yield value * 2 if value else 10
    elif isinstance(value, float):
        yield round(value * 1.1, 4)
        yield round(value + 1, 4)
    elif isinstance(value, str) and value:
        yield from _counted(value)
        yield value[:-1] or value * 2
        yield value + value[-1]
        yield value[1:] or value * 3
        yield value[1:2] + value[:1] + value[2:]
        yield value[::-1]


def _counted(value: str) -> Iterator[str]:
    """Neighbours of a text that ends in a number: of an identifier, a date, a code."""
    found = re.search(r"\d+$", value)
    if found is not None:
        digits = found.group()
        for step in (1, -1, 2):
            number = str(max(int(digits) + step, 0)).zfill(len(digits))
            yield value[: found.start()] + number
