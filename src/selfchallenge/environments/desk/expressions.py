"""Arithmetic on text as tau-bench's calculator does it, parsed and bounded instead of evaluated.

The values and the texts of all errors are those that Python itself gives for such an expression,
since the characters that are let through (digits, `+-*/(). `) cannot name anything. What evaluating
could do to the process, growing numbers without end, is an error here.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from typing import Any

ALLOWED = "0123456789+-*/(). "
MAX_BITS = 1 << 17
"""Bits of any whole number on the way; far beyond what a float, the result, can hold."""

_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


class CalculationError(Exception):
    """An expression has no value; the text is what the caller reads."""


def calculate(expression: Any) -> float:
    """Value of an arithmetic expression, rounded to two digits.

    Raises:
        CalculationError: it has other characters, or no value.
        TypeError: it is not made of characters.
    """
    if not all(char in ALLOWED for char in expression):
        raise CalculationError("invalid characters in expression")
    try:
        return round(float(_value(_parsed(expression))), 2)
    except Exception as error:
        raise CalculationError(str(error)) from error


def _parsed(expression: Any) -> ast.expr:
    if not isinstance(expression, str):
        raise TypeError("eval() arg 1 must be a string, bytes or code object")
    text = expression.lstrip(" ")
    with warnings.catch_warnings():
        # `1(2)` is worth a warning to a programmer, not to the owner of this process.
        warnings.simplefilter("ignore")
        # Compiling, without running, also finds what the parser alone lets through.
        compile(text, "<string>", "eval")
        tree = compile(text, "<string>", "eval", ast.PyCF_ONLY_AST)
    assert isinstance(tree, ast.Expression)
    return tree.body


def _value(tree: ast.expr) -> Any:
    """Value of a tree, without recursion: a long sum is a deep tree."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    values: list[Any] = []
    while todo:
        node, ready = todo.pop()
        if isinstance(node, ast.Constant):
            values.append(node.value)
        elif not ready:
            todo.append((node, True))
            todo.extend((child, False) for child in reversed(_operands(node)))
        else:
            _reduce(node, values)
    return values.pop()


def _operands(node: ast.AST) -> list[ast.expr]:
    """What a node is computed from, in the order in which Python does it."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.Call(func=func, args=args, keywords=keywords):
            return [func, *args, *(keyword.value for keyword in keywords)]
        case ast.Starred(value=value):
            return [value]
        case ast.Tuple(elts=[]):
            return []
    raise ValueError(f"{ast.unparse(node)} is no arithmetic")


def _reduce(node: ast.AST, values: list[Any]) -> None:
    """Replace the operands at the end of `values` by what the node makes of them."""
    count = len(_operands(node))
    given = values[len(values) - count :]
    del values[len(values) - count :]
    match node:
        case ast.BinOp(op=ast.Pow()):
            found = _power(*given)
        case ast.BinOp(op=op) | ast.UnaryOp(op=op):
            found = _OPERATIONS[type(op)](*given)
        case ast.Call(args=args, keywords=keywords):
            found = _call(given[0], args, keywords, given[1:])
        case ast.Starred():
            found = given[0]
        case _:
            found = ()
    if isinstance(found, int) and found.bit_length() > MAX_BITS:
        raise OverflowError("int too large to convert to float")
    values.append(found)


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent > 0
    if whole and (base.bit_length() - 1) * exponent > MAX_BITS:
        raise OverflowError("int too large to convert to float")
    return base**exponent


def _call(function: Any, args: list[ast.expr], keywords: list[ast.keyword], given: Any) -> Any:
    """Nothing here can be called: this raises what Python raises for it."""
    positional: list[Any] = []
    for node, value in zip(args, given, strict=False):
        if isinstance(node, ast.Starred):
            function(*value)
        positional.append(value)
    if keywords:
        return function(*positional, **given[len(args)])
    return function(*positional)
