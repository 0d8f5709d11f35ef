"""Draws the figures as SVG, without any library: bars, lines and the spread of lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from selfchallenge.reproduce.experiment import Experiment
from selfchallenge.reproduce.result import Row

WIDTH, LEFT, RIGHT = 720, 250, 40
OURS, THEIRS = "#8ac", "#c63"
COLOURS = ("#356", "#583", "#86a", "#a60", "#048", "#a33", "#0a8", "#c6c", "#888", "#000")
"""Of lines; as many as the largest experiment has arms."""


def draw(experiment: Experiment, scale: str, rows: Sequence[Row]) -> str:
    """The figure of an experiment; empty when it is a table."""
    if experiment.plot == "bars":
        return _bars(experiment.title, rows)
    if experiment.plot == "lines":
        return _lines(experiment, scale, rows)
    if experiment.plot == "curves":
        return _curves(experiment.title, rows)
    return _lengths(experiment.title, rows) if experiment.plot == "lengths" else ""


def _bars(title: str, rows: Sequence[Row]) -> str:
    """One bar a row: Pass@1 with its interval, and the paper's as a mark."""
    shown = [row for row in rows if "pass@1" in row["measures"] or "pass@1" in row["paper"]]
    parts = [_legend("a bar is Pass@1 with its 95 % interval, a mark is the paper's")]
    for place, row in enumerate(shown):
        y = 60 + 34 * place
        parts.append(_text(LEFT - 10, y + 16, _name(row), "end"))
        if found := row["measures"].get("pass@1"):
            parts.append(_box(LEFT, y, _x(found["value"]) - LEFT, 22, OURS))
            parts.append(_stroke(_x(found["ci95"][0]), y + 11, _x(found["ci95"][1]), y + 11))
        else:
            parts.append(_text(LEFT + 6, y + 16, row["state"]))
        if (theirs := row["paper"].get("pass@1")) is not None:
            parts.append(_box(_x(theirs) - 2, y - 3, 4, 28, THEIRS))
    bottom = 66 + 34 * len(shown)
    parts += [_text(_x(share), bottom + 14, f"{share:.0%}", "middle") for share in _TICKS]
    return _svg(title, bottom + 26, parts)


_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def _lines(experiment: Experiment, scale: str, rows: Sequence[Row]) -> str:
    """One line a series: Pass@1 by the arm's x; the paper's as marks."""
    arms = {arm.name: arm for arm in experiment.arms}
    placed = [row for row in rows if scale in arms[row["arm"]].x]
    most = max((arms[row["arm"]].x[scale] for row in placed), default=1.0)
    series: dict[str, list[tuple[float, Row]]] = {}
    for row in placed:
        arm = arms[row["arm"]]
        series.setdefault(arm.series, []).append((arm.x[scale] / most, row))
    parts = [_legend("Pass@1 with its 95 % interval; squares are the paper's")]
    parts += [_text(LEFT - 10, _y(t) + 5, f"{t:.0%}", "end") for t in _TICKS]
    for place, (name, points) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        parts.append(_text(10, 80 + 20 * place, name, colour=colour))
        parts += _line_of(sorted(points, key=lambda point: point[0]), colour)
    label = f"{experiment.x_label}, up to {most:,.0f}"
    parts.append(_text(_x(1.0), 392, label, "end"))
    return _svg(experiment.title, 410, parts)


def _curves(title: str, rows: Sequence[Row]) -> str:
    """One line an arm: Pass@1 by the rollouts that were made; the paper's last score as a mark."""
    shown = [row for row in rows if row.get("curve") or "pass@1" in row["paper"]]
    most = max((p["rollouts"] for row in shown for p in row.get("curve", ())), default=0.0) or 1.0
    parts = [_legend("Pass@1 with its 95 % interval over rollouts; squares are the paper's")]
    parts += [_text(LEFT - 10, _y(t) + 5, f"{t:.0%}", "end") for t in _TICKS]
    for place, row in enumerate(shown):
        colour = COLOURS[place % len(COLOURS)]
        parts.append(_text(10, 80 + 20 * place, row["arm"], colour=colour))
        points = [
            (point["rollouts"] / most, {"measures": {"pass@1": point}, "paper": {}})
            for point in row.get("curve", ())
        ]
        if points:
            points[-1][1]["paper"] = row["paper"]
        parts += _line_of(points, colour)
    parts.append(_text(_x(1.0), 392, f"rollouts, up to {most:,.0f}", "end"))
    return _svg(title, 410, parts)


def _line_of(points: Sequence[tuple[float, Row]], colour: str) -> list[str]:
    found = [(x, row["measures"]["pass@1"]) for x, row in points if "pass@1" in row["measures"]]
    path = " ".join(f"{_x(x):.0f},{_y(figure['value']):.0f}" for x, figure in found)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, figure in found:
        low, high = figure["ci95"]
        parts.append(_stroke(_x(x), _y(low), _x(x), _y(high), colour))
    for x, row in points:
        if (theirs := row["paper"].get("pass@1")) is not None:
            parts.append(_box(_x(x) - 5, _y(theirs) - 5, 10, 10, "none", colour))
    return parts


def _lengths(title: str, rows: Sequence[Row]) -> str:
    """One row of bars an arm: how many tasks have a solution of so many lines."""
    spreads = [(row, row["measures"].get("length", {}).get("spread", {})) for row in rows]
    longest = max((int(n) for _, spread in spreads for n in spread), default=1)
    step = (WIDTH - LEFT - RIGHT) / longest
    parts = [_legend("share of the tasks by the lines of their solution")]
    for place, (row, spread) in enumerate(spreads):
        base = 130 + 90 * place
        parts.append(_text(LEFT - 10, base - 20, _name(row), "end"))
        parts += _columns(spread, base, step) or [_text(LEFT, base - 20, row["state"])]
    bottom = 136 + 90 * max(0, len(spreads) - 1)
    marks = range(1, longest + 1, max(1, longest // 10))
    parts += [_text(LEFT + (n - 0.5) * step, bottom + 14, str(n), "middle") for n in marks]
    return _svg(title, bottom + 26, parts)


def _columns(spread: Mapping[str, int], base: int, step: float) -> list[str]:
    total = sum(spread.values())
    return [
        _box(LEFT + (int(n) - 1) * step + 1, base - 70 * c / total, step - 2, 70 * c / total, OURS)
        for n, c in spread.items()
    ]


def _name(row: Row) -> str:
    return f"{row['arm']}, {row['environment']}"


def _x(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _y(share: float) -> float:
    return 370 - 310 * share


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#333") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"


def _legend(text: str) -> str:
    return _text(10, 42, text, colour="#777")


def _box(x: float, y: float, width: float, height: float, colour: str, edge: str = "none") -> str:
    size = f'width="{max(1.0, width):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}" stroke="{edge}"/>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str = "#000") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="2"/>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    head = f'<text x="10" y="22" font-weight="bold">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'font-family="sans-serif" font-size="14">{ground}{head}{"".join(parts)}</svg>\n'
    )
