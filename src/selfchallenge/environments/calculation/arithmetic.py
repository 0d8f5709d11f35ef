"""Arithmetic on text that anybody may have written: parsed, bounded, never evaluated as Python.

What `eval` would do with such an expression is kept (`/` gives a float, `**` binds before a sign);
what it could do to the process is not: there are no names, attributes or subscripts, and no result
outgrows `MAX_BITS`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import cast

Number = int | float

MAX_LENGTH = 1000
"""Characters of an expression."""
MAX_BITS = 4096
"""Bits of any whole number on the way."""
MAX_DIGITS = 300
"""Digits to round to; `round` computes ten to that power."""


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int):
        if base.bit_length() * abs(exponent) > MAX_BITS:
            raise ValueError(f"{base} ** {exponent} is too large")
    elif base < 0 and not float(exponent).is_integer():
        raise ValueError(f"{base} ** {exponent} is not real")
    return cast("Number", base**exponent)


def _round(number: Number, *digits: int) -> Number:
    if any(abs(count) > MAX_DIGITS for count in digits):
        raise ValueError(f"{digits} digits are too many")
    return round(number, *digits)


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {"abs": abs, "max": max, "min": min, "round": _round}


def compute(expression: str) -> Number:
    """Value of an arithmetic expression.

    Numbers, `+ - * / // % **`, signs, parentheses, and the functions abs, max, min and round.

    Raises:
        ValueError: it is no such expression, or is too long, too deep or too large.
        ArithmeticError: a division by zero, or a float that overflows.
    """
    if not isinstance(expression, str):
        raise ValueError("no text")  # noqa: TRY004 - like all else that cannot be computed
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"no arithmetic expression: {error}") from error


def _value(node: ast.expr) -> Number:
    result = _bare(node)
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        raise ValueError("a number is too large")
    if isinstance(result, float) and not math.isfinite(result):
        raise ValueError("a number is not finite")
    return result


def _bare(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.Call) and not node.keywords:
        function = _FUNCTIONS.get(ast.unparse(node.func))
        if function is not None:
            return function(*map(_value, node.args))
    raise ValueError(f"{ast.unparse(node)} is no arithmetic")
