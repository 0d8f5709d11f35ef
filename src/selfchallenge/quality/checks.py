"""The checks of the gate: pure functions from what was observed to a `Check` with its evidence.

The first four are the paper's automatic checker (section 3: all code runs, the solution passes,
every failure case fails). The others close what it leaves open: a verifier that accepts a state
nobody touched, an answer nobody gave, a verdict that changes from run to run, and a task that can
be "solved" without a tool.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfchallenge.environments.base import ToolSpec
from selfchallenge.episode import Call
from selfchallenge.sandbox.host import Evaluation, Execution
from selfchallenge.task import Check, Path

LONGEST, DEEPEST, LARGEST = 5000, 60, 1000
"""Syntax nodes of a solution, how many may lie within each other, and bits of a number in it."""
_HIDING = frozenset(("exec", "eval", "compile", "globals", "locals", "vars", "__import__"))
_CHANCE = frozenset(("hash", "id"))
_NOW = frozenset(("now", "utcnow", "today"))
_MODULES = frozenset(("builtins", "random", "secrets", "time", "uuid"))


@dataclass(frozen=True)
class Run:
    """A piece of code run on a fresh state, and `evaluate` run afterwards in its own process.

    Attributes:
        execution: what running the code did.
        evaluation: what `evaluate` said of the state and the answer it left.
        calls: the environment's trace.
        changed: changed paths of the state that reading tools do not account for; None: unseen,
            or not the solution's first run.
        digest: of the final state that the solution left; empty for a failure case.
    """

    execution: Execution
    evaluation: Evaluation
    calls: tuple[Call, ...]
    changed: tuple[Path, ...] | None
    digest: str

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools that were called and did not refuse, sorted."""
        return tuple(sorted({call.tool for call in self.calls if call.ok}))


@dataclass(frozen=True)
class Tried:
    """A variant of the solution that was run and judged.

    Attributes:
        change: what it does otherwise.
        same: it ended in the state and with the answer of the solution.
        passes: it earns the reward; where the change is stated, `evaluate` alone decides.
        evidence: why.
    """

    change: str
    same: bool
    passes: bool
    evidence: str


def verifier_runs(evaluation: Evaluation) -> Check:
    """The verifier defines `evaluate`, which ends with a bool on the state the solution leaves."""
    if evaluation.status != "done" or evaluation.error:
        return Check(
            name="verifier_runs",
            passed=False,
            evidence=evaluation.error or f"evaluate ended with {evaluation.status}",
        )
    is_bool = evaluation.returned in ("True", "False")
    return Check(
        name="verifier_runs",
        passed=is_bool,
        evidence=f"evaluate returned {evaluation.returned}" + ("" if is_bool else ", not a bool"),
    )


def solution_runs(execution: Execution) -> Check:
    """The example solution ends without an exception."""
    return Check(
        name="solution_runs",
        passed=execution.ok,
        evidence=execution.error or f"answer = {brief(execution.answer)}",
    )


def solution_passes(evaluation: Evaluation) -> Check:
    """`evaluate` returns exactly True after the solution."""
    return Check(
        name="solution_passes",
        passed=evaluation.passed,
        evidence=evaluation.error or f"evaluate returned {evaluation.returned}",
    )


def failures_run(executions: Sequence[Execution]) -> Check:
    """Every failure case ends without an exception of its own."""
    for number, execution in enumerate(executions, 1):
        if not execution.ok:
            return Check(
                name="failures_run",
                passed=False,
                evidence=f"failure {number}: {execution.error or execution.status}",
            )
    return Check(name="failures_run", passed=True, evidence=f"{len(executions)} failures ran")


def failures_fail(runs: Sequence[Run]) -> Check:
    """After every failure case `evaluate` alone is not True."""
    for number, run in enumerate(runs, 1):
        if run.evaluation.passed:
            return Check(
                name="failures_fail",
                passed=False,
                evidence=f"failure {number} passes with answer {brief(run.execution.answer)}",
            )
    answers = ", ".join(brief(run.execution.answer) for run in runs)
    return Check(name="failures_fail", passed=True, evidence=f"rejected answers: {answers}")


def readable(source: str, calls: Sequence[Call], tools: Sequence[ToolSpec]) -> Check:
    """The solution is short and flat enough to be varied, and what it calls stands in it.

    The later checks read its source: they see nothing in a text that is executed, and a nest of
    brackets or a million of numbers would be work without end. The clock and chance are no part of
    the world of an environment: what rests on them is another solution tomorrow.
    """
    try:
        level: list[ast.AST] = [*ast.parse(source).body]
    except (RecursionError, MemoryError):  # where it ran, less lay on the stack than here
        return Check(name="readable", passed=False, evidence="the solution is nested too deeply")
    nodes = depth = 0
    seen: set[str] = set()
    called: set[str] = set()
    while level and nodes <= LONGEST and depth <= DEEPEST:
        nodes, depth = nodes + len(level), depth + 1
        seen |= {_hiding(node) for node in level}
        called |= {
            node.func.id
            for node in level
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
    changing = {tool.name for tool in tools if tool.mutates}
    unseen = sorted({call.tool for call in calls if call.ok and call.tool in changing} - called)
    if level:
        evidence = f"the solution is longer than {LONGEST} or deeper than {DEEPEST} syntax nodes"
    elif hidden := sorted(seen - {""}):
        evidence = f"the solution hides what it does or leaves it to chance: {', '.join(hidden)}"
    elif unseen:
        evidence = f"nothing shows where the solution calls {', '.join(unseen)}"
    else:
        return Check(name="readable", passed=True, evidence=f"{nodes} syntax nodes")
    return Check(name="readable", passed=False, evidence=evidence)


def _hiding(node: ast.AST) -> str:
    """What in this node keeps the source from saying what is done; empty for most."""
    if isinstance(node, ast.Name):
        return node.id if node.id in _HIDING | _CHANCE else ""
    if isinstance(node, ast.Attribute):
        return node.attr if node.attr in _NOW else ""
    if isinstance(node, ast.Import | ast.ImportFrom):
        named = {alias.name for alias in node.names} | {str(getattr(node, "module", ""))}
        return ", ".join(sorted(named & _MODULES))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return "a huge number" if node.value.bit_length() > LARGEST else ""
    return ""


def failures_act(runs: Sequence[Run]) -> Check:
    """Every failure case calls a tool or leaves an answer: dead code does neither."""
    idle = [n for n, run in enumerate(runs, 1) if not run.calls and run.execution.answer is None]
    return Check(
        name="failures_act",
        passed=not idle,
        evidence=f"failure {idle[0]} does nothing" if idle else "each failure does something",
    )


def untouched_fails(evaluation: Evaluation) -> Check:
    """On the untouched state, with no answer (None), `evaluate` is not True."""
    return Check(
        name="untouched_fails",
        passed=not evaluation.passed,
        evidence=f"doing nothing: evaluate returned {evaluation.returned}",
    )


def empty_answer_fails(evaluation: Evaluation) -> Check:
    """On the untouched state, with an empty answer (""), `evaluate` is not True."""
    return Check(
        name="empty_answer_fails",
        passed=not evaluation.passed,
        evidence=f"an empty answer: evaluate returned {evaluation.returned}",
    )


def deterministic(first: Sequence[Run], second: Sequence[Run]) -> Check:
    """The same comes out again, under another hash seed, random seed and order.

    Args:
        first: the solution's run, then those of the failure cases.
        second: the same once more.
    """
    differences = [
        f"{name} of {'the solution' if not number else f'failure {number}'}"
        for number, (one, other) in enumerate(zip(first, second, strict=True))
        for name, same in (
            ("answer", one.execution.answer == other.execution.answer),
            ("final state", one.digest == other.digest),
            ("verdict", one.evaluation.passed == other.evaluation.passed),
            ("calls", _names(one.calls) == _names(other.calls)),
        )
        if not same and (name == "verdict" or not number)
    ]
    return Check(
        name="deterministic",
        passed=not differences,
        evidence=f"differs when run again: {', '.join(differences)}"
        if differences
        else "same answer, state, calls and verdicts when run again",
    )


def uses_tools(run: Run) -> Check:
    """The solution calls at least one tool: else there is nothing that an attempt must do."""
    return Check(
        name="uses_tools",
        passed=bool(run.tools),
        evidence=f"calls {', '.join(run.tools)}" if run.tools else "the solution calls no tool",
    )


def solution_in_frame(run: Run) -> Check:
    """The state paths that the solution changes, which every attempt is held to."""
    if run.changed is None:
        text = "the state of this environment cannot be seen: no frame"
    elif run.changed:
        text = "changes " + ", ".join(".".join(map(str, path)) for path in run.changed[:8])
    else:
        text = "changes nothing: attempts must call the solution's tools"
    return Check(name="frame", passed=True, evidence=text)


def mutants_fail(tried: Sequence[Tried], allowed: int = 0) -> Check:
    """Variants of the solution that do something else earn nothing.

    Args:
        tried: mutants that were run; those that ended like the solution are no mutants.
        allowed: how many may survive.
    """
    different = [one for one in tried if not one.same]
    survivors = [one.change for one in different if one.passes]
    shown = "; ".join(survivors[:8])
    return Check(
        name="mutants_fail",
        passed=len(survivors) <= allowed,
        evidence=f"{len(survivors)} of {len(different)} wrong solutions pass: {shown}"
        if survivors
        else f"none of {len(different)} wrong solutions passes",
    )


def equivalents_pass(tried: Sequence[Tried]) -> Check:
    """Variants of the solution that end as it does earn what it earns."""
    equal = [one for one in tried if one.same]
    rejected = [f"{one.change} ({one.evidence})" for one in equal if not one.passes]
    return Check(
        name="equivalents_pass",
        passed=not rejected,
        evidence=f"over-strict, it rejects {'; '.join(rejected[:3])}"
        if rejected
        else f"{len(equal)} ways to do the same pass",
    )


def brief(value: Any, limit: int = 80) -> str:
    """`repr` of a value, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _names(calls: Sequence[Call]) -> list[str]:
    return [call.tool for call in calls]
