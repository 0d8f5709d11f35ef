"""What a reply means: a thought and a fenced python block, or the final answer (paper, section 4).

The agent acts in code. A reply with a block is an action; a reply without one is the answer, and
its text is read by the type that the reference solution's answer has, because text alone cannot
say whether `42` is a number or a string of digits.
"""

from __future__ import annotations

import ast
import re
from typing import Any

STOP_AFTER_BLOCK = r"```\w*\r?\n.*?```"
"""Stop pattern for sampling: a reply ends when its first block is closed."""

_BLOCK = re.compile(r"```\w*[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_LITERAL_LIMIT = 2000


def parse_action(reply: str) -> str | None:
    """Source of the first fenced block, closed or cut off; None when the reply has no block."""
    found = _BLOCK.search(reply)
    return None if found is None else found.group(1).rstrip() + "\n"


def read_answer(reply: str, answer_type: str) -> Any:
    """The final answer that a reply stands for.

    Args:
        reply: the whole reply, without a block.
        answer_type: name of the Python type of the reference answer (`Verdict.answer_type`).

    Returns:
        For `str` the stripped text, or the string that a quoted literal spells; for other types
        the Python literal that the text spells, or the stripped text when it spells none.
    """
    text = reply.strip()
    value = _literal(text)
    if answer_type == "str":
        return value if isinstance(value, str) else text
    return text if value is _NOT_A_LITERAL else value


_NOT_A_LITERAL = object()


def _literal(text: str) -> Any:
    if not text or len(text) > _LITERAL_LIMIT:
        return _NOT_A_LITERAL
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NOT_A_LITERAL


def show_observation(text: str, limit: int) -> str:
    """An observation cut in the middle to `limit` characters; an empty one says so."""
    if not text.strip():
        return "(no output; print what you want to see)"
    text = text.rstrip("\n")
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
    return f"{head}\n... {len(text) - len(head) - len(tail)} characters left out ...\n{tail}"
