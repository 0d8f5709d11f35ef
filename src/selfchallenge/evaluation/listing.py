"""Reads Python files that list tasks; nothing in them is executed.

M3ToolEval writes its tasks as calls of `Task`, in lists, appended one by one or in loops, and works
expected values out with its own tools. This walks over the syntax tree and knows just the forms
that such files are made of. Tools and built-in functions are ours, whatever the file defines under
these names, and everything is bounded, so that a file can do nothing but be read.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import reduce
from typing import Any

LIMIT = 500_000
"""Nodes of the tree that are looked at, each as often as loops come by."""
LARGEST = 1_000_000
"""Items, characters or units that a product may have."""


class UnreadableError(ValueError):
    """A form that is none of those that tasks are made of."""


def _added(items: Any, start: Any = 0) -> Any:
    """A sum from left to right; Python's own gives another last digit from 3.12 on."""
    return reduce(operator.add, items, start)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "enumerate": enumerate,
    "float": float,
    "int": int,
    "len": len,
    "list": list,
    "map": lambda function, items: [function(item) for item in items],
    "max": max,
    "min": min,
    "sum": _added,
    "zip": zip,
}
METHODS: dict[type, set[str]] = {
    str: {"join", "lower", "replace", "split", "strip", "upper"},
    dict: {"get", "items", "keys", "values"},
}


def _product(left: Any, right: Any) -> Any:
    sized = [len(x) if hasattr(x, "__len__") else abs(x) for x in (left, right)]
    if any(hasattr(x, "__len__") for x in (left, right)) and sized[0] * sized[1] > LARGEST:
        raise UnreadableError("a product is too large")
    return left * right


OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.Div: operator.truediv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Not: operator.not_,
    ast.USub: operator.neg,
}

FIELDS = ("name", "instruction", "expected_output")


class _Skip(Exception):  # noqa: N818 - a jump, no error
    """`continue`."""


class _Return(Exception):  # noqa: N818 - a jump, no error
    """`return`, with its value."""


class Listing:
    """The names that a file assigns, and the tasks that it lists.

    Attributes:
        names: values of the names at the top of the file, those that could be read.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._left = LIMIT
        self._given: dict[str, Any] = {}

    def read(self, source: str, given: Mapping[str, Any]) -> None:
        """Read a file.

        Args:
            source: its text.
            given: tools and values that the file uses; they stand before its own of these names.

        Raises:
            UnreadableError: a task in it is made of other forms.
            SyntaxError: it is no Python.
        """
        self._given = {**FUNCTIONS, **given}
        self._block(ast.parse(source).body, self.names, top=True)

    def tasks(self) -> list[dict[str, Any]]:
        """What `TASKS` holds: `name`, `instruction` and `expected_output` of each.

        Raises:
            UnreadableError: there is no such list, or something else in it.
        """
        found = self.names.get("TASKS")
        if not isinstance(found, list) or not all(isinstance(t, dict) for t in found):
            raise UnreadableError("no list of tasks is assigned in it")
        return found

    # -- statements --------------------------------------------------------------------------------

    def _block(self, body: list[ast.stmt], names: dict[str, Any], *, top: bool = False) -> None:
        for statement in body:
            self._statement(statement, names, top=top)

    def _statement(self, node: ast.stmt, names: dict[str, Any], *, top: bool) -> None:
        self._count()
        match node:
            case ast.Assign(targets=[target], value=value):
                if top and not _makes_tasks(value):
                    # Tables of tools and the like are of no use here: what needs them fails.
                    with suppress(UnreadableError, TypeError):
                        self._bind(target, self._value(value, names), names)
                else:
                    self._bind(target, self._value(value, names), names)
            case ast.FunctionDef() if node.name not in self._given:
                names[node.name] = self._function(node, names)
            case ast.For(target=target, iter=items, body=body, orelse=[]):
                for item in self._value(items, names):
                    self._bind(target, item, names)
                    with suppress(_Skip):
                        self._block(body, names)
            case ast.If(test=test, body=body, orelse=other):
                self._block(body if self._value(test, names) else other, names)
            case ast.Continue():
                raise _Skip
            case ast.Return(value=value):
                raise _Return(None if value is None else self._value(value, names))
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="TASKS")), args=[a])):
                names["TASKS"].append(self._value(a, names))
            case _ if not top and not isinstance(node, ast.Expr):
                raise UnreadableError(f"line {node.lineno} holds a statement of another form")

    def _bind(self, target: ast.expr, value: Any, names: dict[str, Any]) -> None:
        match target:
            case ast.Name(id=name):
                names[name] = value
            case ast.Tuple(elts=parts):
                for part, item in zip(parts, value, strict=True):
                    self._bind(part, item, names)
            case _:
                raise UnreadableError(f"line {target.lineno} assigns to another form")

    def _function(self, node: ast.FunctionDef, names: dict[str, Any]) -> Callable[..., Any]:
        parameters = [parameter.arg for parameter in node.args.args]

        def call(*values: Any) -> Any:
            try:
                self._block(node.body, {**names, **dict(zip(parameters, values, strict=True))})
            except _Return as found:
                return found.args[0]
            return None

        return call

    def _lambda(
        self, parameters: ast.arguments, body: ast.expr, names: dict[str, Any]
    ) -> Callable[..., Any]:
        known = [parameter.arg for parameter in parameters.args]
        defaults = [self._value(value, names) for value in parameters.defaults]

        def call(*values: Any) -> Any:
            missing = len(known) - len(values)
            given = [*values, *defaults[len(defaults) - missing :]] if missing else values
            return self._value(body, {**names, **dict(zip(known, given, strict=True))})

        return call

    # -- expressions -------------------------------------------------------------------------------

    def _value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        self._count()

        def of(part: ast.expr) -> Any:
            return self._value(part, names)

        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                if name in names or name in self._given:
                    return names[name] if name in names else self._given[name]
                raise UnreadableError(f"line {node.lineno} uses {name}, which is not known")
            case ast.JoinedStr(values=parts):
                return "".join(map(str, map(of, parts)))
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return of(value)
            case ast.List(elts=items):
                return [of(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(of(item) for item in items)
            case ast.Dict(keys=keys, values=values):
                return {of(k): of(v) for k, v in zip(keys, values, strict=True) if k is not None}
            case (
                ast.BinOp(left=left, op=op, right=right)
                | ast.Compare(left=left, ops=[op], comparators=[right])
            ) if type(op) in OPERATORS:
                return OPERATORS[type(op)](of(left), of(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                return OPERATORS[type(op)](of(operand))
            case ast.BoolOp(op=ast.And(), values=values):
                return all(map(of, values))
            case ast.IfExp(test=test, body=body, orelse=other):
                return of(body) if of(test) else of(other)
            case ast.Subscript(value=value, slice=ast.Slice(lower=low, upper=high, step=None)):
                return of(value)[slice(*(None if end is None else of(end) for end in (low, high)))]
            case ast.Subscript(value=value, slice=index):
                return of(value)[of(index)]
            case (
                ast.ListComp(elt=item, generators=parts)
                | ast.GeneratorExp(elt=item, generators=parts)
            ):
                return [self._value(item, inner) for inner in self._loop(parts, names)]
            case ast.DictComp(key=key, value=value, generators=parts):
                return {
                    self._value(key, inner): self._value(value, inner)
                    for inner in self._loop(parts, names)
                }
            case ast.Lambda(args=parameters, body=body):
                return self._lambda(parameters, body, names)
            case ast.Call():
                return self._call(node, names)
        raise UnreadableError(f"line {node.lineno} holds an expression of another form")

    def _loop(
        self, parts: list[ast.comprehension], names: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        if not parts:
            yield names
            return
        for item in self._value(parts[0].iter, names):
            inner = dict(names)
            self._bind(parts[0].target, item, inner)
            if all(self._value(test, inner) for test in parts[0].ifs):
                yield from self._loop(parts[1:], inner)

    def _call(self, node: ast.Call, names: dict[str, Any]) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "Task":
            words = {w.arg: w.value for w in node.keywords if w.arg in FIELDS}
            return {name: self._value(words[name], names) for name in FIELDS}
        function = self._callee(node.func, names)
        arguments: list[Any] = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                arguments += self._value(argument.value, names)
            else:
                arguments.append(self._value(argument, names))
        words = {w.arg: self._value(w.value, names) for w in node.keywords if w.arg is not None}
        return function(*arguments, **words)

    def _callee(self, node: ast.expr, names: dict[str, Any]) -> Callable[..., Any]:
        if isinstance(node, ast.Attribute):
            owner = self._value(node.value, names)
            if node.attr in METHODS.get(type(owner), set()):
                found: Callable[..., Any] = getattr(owner, node.attr)
                return found
        else:
            function = self._value(node, names)
            if callable(function):
                return function  # type: ignore[no-any-return]
        raise UnreadableError(f"line {node.lineno} calls what is not known")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise UnreadableError(f"it takes more than {LIMIT} steps to read")


def _makes_tasks(value: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Task"
        for node in ast.walk(value)
    )
