"""How numbers, code and conversations are written on the page and in the table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

LONGEST_CODE = 20_000
"""Characters of code that are coloured; longer code is shown plain and cut."""

CHECKS = {
    "record": "the line is a valid record",
    "unique": "the task is unlike every accepted task and every test task",
    "solution_runs": "the example solution runs without an exception",
    "verifier_runs": "the verifier runs and returns a bool",
    "solution_passes": "the verifier accepts the example solution",
    "readable": "the example solution shows what it calls, and is short enough to be varied",
    "uses_tools": "the example solution calls at least one tool",
    "untouched_fails": "the verifier rejects the untouched state with no answer",
    "empty_answer_fails": "the verifier rejects an empty answer",
    "failures_run": "every failure case runs without an exception",
    "failures_act": "every failure case calls a tool or leaves an answer",
    "failures_fail": "the verifier rejects every failure case",
    "deterministic": "the same again, under another hash seed",
    "frame": "what the solution changes is known, and nothing else may change",
}
"""What each check of the gate asks for."""


def percent(rate: float) -> str:
    """`0.182` as `18.2 %`."""
    return f"{100 * rate:.1f}\u00a0%"


def points(difference: float) -> str:
    """A signed difference of two rates in percentage points, `+43.6`."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def interval(ci95: Sequence[float]) -> str:
    """A 95 % interval of a rate, `12.1 to 26.4 %`."""
    low, high = ci95
    return f"{100 * low:.1f} to {100 * high:.1f}\u00a0%"


def p_value(p: float) -> str:
    """`p = 0.031`, or `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def count(number: float) -> str:
    """`12345` as `12,345`."""
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """`245` as `4 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(text: str) -> str:
    """An ISO time as `1 Nov 2026, 14:05 UTC+01:00`; anything else as it is."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    # Python writes the zone of `datetime.timezone` as UTC or UTC+01:00.
    return f"{found.day} {found:%b %Y, %H:%M %Z}".rstrip()


def clip(text: str, most: int = 6000) -> str:
    """Text cut in the middle to about `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"


def brief(value: Any, most: int = 160) -> str:
    """A value as Python writes it, on one line of at most `most` characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def plain(value: Any) -> str:
    """A value of `meta` on one line: text as it is, anything else as Python writes it."""
    return clip(value, 120) if isinstance(value, str) else brief(value, 120)


def code(source: str) -> Markup:
    """Python source as coloured markup; hostile source stays text."""
    if len(source) > LONGEST_CODE:
        return escape(clip(source, LONGEST_CODE))
    coloured: str = highlight(source, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return Markup(coloured.rstrip("\n"))  # noqa: S704 - the formatter has escaped it


def blocks(reply: str) -> list[tuple[bool, str]]:
    """A reply in parts: (is it a fenced block of code, its text), in order."""
    parts = re.split(r"```\w*[ \t]*\n(.*?)(?:```|\Z)", clip(reply, LONGEST_CODE), flags=re.DOTALL)
    return [(index % 2 == 1, part.strip("\n")) for index, part in enumerate(parts) if part.strip()]


def opening(turns: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Mapping[str, Any]]]:
    """A conversation in two: what was given before the agent first spoke, and the rest."""
    first = next((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), len(turns))
    return [turn["content"] for turn in turns[:first]], list(turns[first:])


def call(record: Mapping[str, Any]) -> str:
    """A traced call as Python writes it, with what came back."""
    arguments = record["arguments"]
    if isinstance(arguments, Mapping):
        inside = ", ".join(f"{name}={brief(value, 60)}" for name, value in arguments.items())
    else:
        inside = ", ".join(brief(value, 60) for value in arguments or ())
    outcome = "→" if record["ok"] else "✗"
    return f"{record['tool']}({inside}) {outcome} {brief(record['result'], 200)}"


def conclusion(summary: Mapping[str, Any]) -> str:
    """One sentence on whether training helped; empty while nothing was compared."""
    paired = summary.get("paired")
    if not paired or not paired.get("n", 1):
        return ""
    low, high = paired["ci95"]
    if low > 0:
        return "Better on tasks it never saw, and clear of the noise."
    if high < 0:
        return "Worse on tasks it never saw, and clear of the noise."
    return "No difference on unseen tasks that can be told from noise."
