"""A task in the making: calls that were executed, and the expressions that join them.

A draft is a straight line of calls, `r1 = tool(...)`, `r2 = other(r1, ...)`, and an expression for
the answer. Keeping it as data, and not as text, is what lets a program say the same thing in words
(`wording.py`), spoil it on purpose (`failures.py`) and drop what does not matter.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfchallenge.environments.base import ToolSpec


@dataclass(frozen=True)
class Step:
    """One executed call.

    Attributes:
        variable: `r1`, `r2`, ...: the name its result has in the solution.
        tool: what was called.
        arguments: source of the arguments, without the parentheses.
        value: what it returned.
        alternatives: sources of other arguments that the model proposed for the same call.
        author: who wrote the arguments: `model`, or `program` where the call leaves nothing to
            write, or where it put a text of the subject into a refused call.
    """

    variable: str
    tool: ToolSpec
    arguments: str
    value: Any
    alternatives: tuple[str, ...] = ()
    author: str = "model"

    @property
    def source(self) -> str:
        """The call as a line of code."""
        return f"{self.variable} = {self.tool.name}({self.arguments})"


@dataclass(frozen=True)
class Draft:
    """Executed steps and the answer made of their results.

    Attributes:
        number: which candidate this is.
        seed: which part of the world it is about.
        steps: the calls, in order.
        answer: source of the answer's expression, empty when the task asks for none.
        value: the executed answer.
        flow: kind of the answer, for the coverage (`last`, `part`, `combined`, `none`).
    """

    number: int
    seed: str | None
    steps: tuple[Step, ...] = ()
    answer: str = ""
    value: Any = None
    flow: str = "none"

    @property
    def solution(self) -> str:
        """The example solution as source."""
        return program(self.steps, self.answer)

    def pruned(self) -> Draft:
        """Without the reading calls whose result nobody uses."""
        used = names_in(self.answer)
        kept: list[Step] = []
        for step in reversed(self.steps):
            if step.tool.mutates or step.variable in used:
                kept.append(step)
                used |= names_in(f"f({step.arguments})")
        return replace(self, steps=tuple(reversed(kept)))


def program(steps: Sequence[Step], answer: str) -> str:
    """Source of a solution: the steps, then the answer."""
    lines = [step.source for step in steps]
    return "\n".join([*lines, f"answer = {answer}"] if answer else lines) + "\n"


BUILTINS = frozenset({"len", "sorted"})
"""Builtins that the expressions of a draft may use."""


def names_in(source: str) -> set[str]:
    """Variables that an expression reads: neither its own (`for x in`, `lambda x`) nor builtins."""
    if not source:
        return set()
    nodes = list(ast.walk(ast.parse(source, mode="eval")))
    own = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return read - own - BUILTINS


def cut_arguments(text: str) -> str | None:
    """The arguments at the beginning of `text` up to the parenthesis that closes the call.

    None when no closing parenthesis makes it a call that parses.
    """
    for position, character in enumerate(text):
        if character == ")" and parse_call(f"f({text[:position]})") is not None:
            return text[:position].strip()
        if character == "\n":
            break
    return None


def parse_call(source: str) -> ast.Call | None:
    """The call that `source` is, None when it is anything else."""
    try:
        node = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return node if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def variadic(tool: ToolSpec) -> str | None:
    """Name of the tool's `*parameter`, None when it has none."""
    found = re.search(r"(?<!\*)\*(\w+)", tool.signature)
    return found.group(1) if found else None


def bind(tool: ToolSpec, arguments: str) -> dict[str, list[ast.expr]] | None:
    """Which expressions each parameter is given, in the order of the signature.

    None when the arguments do not fit the signature.
    """
    call = parse_call(f"f({arguments})")
    if call is None:
        return None
    names = list(tool.parameters.get("properties", {}))
    rest = variadic(tool)
    bound: dict[str, list[ast.expr]] = {}
    positional = [name for name in names if name != rest]
    for position, node in enumerate(call.args):
        if position < len(positional) and not isinstance(node, ast.Starred):
            bound[positional[position]] = [node]
        elif rest is not None:
            bound.setdefault(rest, []).append(node)
        else:
            return None
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in positional or keyword.arg in bound:
            return None
        bound[keyword.arg] = [keyword.value]
    missing = set(tool.parameters.get("required", ())) - set(bound)
    return None if missing else {name: bound[name] for name in names if name in bound}


def literals(arguments: str) -> list[ast.Constant]:
    """The constants in the source of a call's arguments."""
    tree = ast.parse(f"f({arguments})", mode="eval")
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def use_results(arguments: str, steps: Sequence[Step]) -> str:
    """Arguments in which a literal that repeats an earlier result is replaced by its variable."""
    try:
        tree = ast.parse(f"f({arguments})", mode="eval")
    except SyntaxError:
        return arguments
    replaced = _Replace(steps).visit(tree)
    return ast.unparse(replaced)[2:-1]


class _Replace(ast.NodeTransformer):
    """Replaces telling literals (texts, and numbers that nobody guesses) by the result's name."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        telling = isinstance(node.value, str | float) and len(str(node.value)) > 3
        for step in reversed(self.steps):
            if telling and type(step.value) is type(node.value) and step.value == node.value:
                return ast.Name(step.variable, ast.Load())
        return node
