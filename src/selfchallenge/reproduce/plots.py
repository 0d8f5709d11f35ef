"""Draws the figures as SVG: bars, lines, learning curves and the spread of lengths."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from selfchallenge.errors import MissingExtraError
from selfchallenge.reproduce.experiment import Experiment
from selfchallenge.reproduce.result import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.0, 4.5
"""Of a figure, in inches of 72 points."""

STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "selfchallenge",  # the same figure is the same file
}

Point = tuple[float, Mapping[str, Any]]
"""Where a score lies, and the score."""


def check_plots(experiment: Experiment) -> None:
    """Make sure that the figure of an experiment can be drawn, before anything is run.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if experiment.plot != "none" and find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "train")


def draw(experiment: Experiment, scale: str, rows: Sequence[Row]) -> str:
    """The figure of an experiment; empty when it is a table."""
    if experiment.plot == "none":
        return ""
    from matplotlib import rc_context  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure((WIDTH, HEIGHT), layout="constrained")
        if experiment.plot == "bars":
            _bars(figure, rows)
        elif experiment.plot == "lines":
            _lines(figure, experiment, scale, rows)
        elif experiment.plot == "curves":
            _curves(figure, rows)
        else:
            _lengths(figure, rows)
        figure.suptitle(_plain(experiment.title), x=0.01, ha="left", fontweight="bold")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    return svg[svg.index("<svg") :]  # without the prolog, as a page takes it in


def _bars(figure: Figure, rows: Sequence[Row]) -> None:
    """One bar a row: Pass@1 with its interval, and the paper's as a diamond."""
    shown = [row for row in rows if "pass@1" in row["measures"] or "pass@1" in row["paper"]]
    figure.set_size_inches(WIDTH, 1.5 + 0.4 * len(shown))
    axes = figure.subplots()
    for place, row in enumerate(shown):
        if found := row["measures"].get("pass@1"):
            axes.barh(place, found["value"], xerr=_ends([found]), color="C0", ecolor="0.3")
        else:
            axes.text(0.01, place, row["state"], va="center", color="0.5")
        if (theirs := row["paper"].get("pass@1")) is not None:
            axes.plot(theirs, place, "D", color="C1")
    axes.set_yticks(range(len(shown)), [_plain(_name(row)) for row in shown])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(_percent)
    axes.set_xlabel("Pass@1 with its 95 % interval; diamonds are the paper's")


def _lines(figure: Figure, experiment: Experiment, scale: str, rows: Sequence[Row]) -> None:
    """One line a series: Pass@1 by the attempts that were made; the paper's as diamonds."""
    arms = {arm.name: arm for arm in experiment.arms}
    series: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        arm = arms[row["arm"]]
        if scale in arm.x:
            series.setdefault(arm.series, []).append((arm.x[scale], row))
    named = {
        name: (
            [
                (row["learnt_from"]["attempts"], row["measures"]["pass@1"])
                for _, row in points
                if "pass@1" in row["measures"]
            ],
            [(x, row["paper"]["pass@1"]) for x, row in points if "pass@1" in row["paper"]],
        )
        for name, points in series.items()
    }
    _plot(figure, named, experiment.x_label)


def _curves(figure: Figure, rows: Sequence[Row]) -> None:
    """One line an arm: Pass@1 by the rollouts that were made; the paper's last score at its end."""
    named = {}
    for row in rows:
        ours = [(point["rollouts"], point) for point in row.get("curve", ())]
        last = ours[-1][0] if ours else 0.0
        theirs = [(last, row["paper"]["pass@1"])] if ours and "pass@1" in row["paper"] else []
        if ours or "pass@1" in row["paper"]:
            last_score = f" {ours[-1][1]['value']:.1%}" if ours else f": {row['state']}"
            named[row["arm"] + last_score] = (ours, theirs)
    _plot(figure, named, "rollouts")


def _plot(
    figure: Figure, named: Mapping[str, tuple[list[Point], list[tuple[float, float]]]], label: str
) -> None:
    """Lines with intervals, side by side where they would lie on each other."""
    axes = figure.subplots()
    most = max((x for ours, _ in named.values() for x, _ in ours), default=1.0) or 1.0
    measured = [name for name, (ours, _) in named.items() if ours]
    for place, (name, (ours, theirs)) in enumerate(named.items()):
        colour, ordered = f"C{place % 10}", sorted(ours, key=lambda point: point[0])
        aside = 0.012 * most * (measured.index(name) - (len(measured) - 1) / 2) if ours else 0.0
        axes.errorbar(
            [x + aside for x, _ in ordered],
            [point["value"] for _, point in ordered],
            yerr=_ends([point for _, point in ordered]),
            fmt="o-",
            color=colour,
            capsize=2,
            label=_plain(name),
        )
        axes.plot(
            [x + aside for x, _ in theirs], [y for _, y in theirs], "D", color=colour, mfc="none"
        )
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_xlabel(f"{label}; diamonds are the paper's, at its own scale")
    axes.set_ylabel("Pass@1 with its 95 % interval")
    figure.legend(loc="outside right center")


def _lengths(figure: Figure, rows: Sequence[Row]) -> None:
    """One row of bars an arm: how many tasks have a solution of so many lines."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure.set_size_inches(WIDTH, 1.0 + 1.3 * len(rows))
    every = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    for axes, row in zip(every, rows, strict=True):
        spread: Mapping[str, int] = row["measures"].get("length", {}).get("spread", {})
        total = sum(spread.values())
        axes.bar([int(n) for n in spread], [count / total for count in spread.values()])
        axes.set_ylim(bottom=0, top=None if spread else 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(_percent)
        axes.set_title(
            _plain(_name(row) + ("" if spread else f": {row['state']}")), loc="left", fontsize=10
        )
    every[-1].set_xlabel("lines of a task's solution; heights are shares of the tasks")


def _ends(scores: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """How far each interval reaches below and above its score."""
    return [
        [max(0.0, score["value"] - score["ci95"][0]) for score in scores],
        [max(0.0, score["ci95"][1] - score["value"]) for score in scores],
    ]


def _percent(share: float, _: object) -> str:
    return f"{100 * share:g}%"


def _name(row: Row) -> str:
    return f"{row['arm']}, {row['environment']}"


def _plain(text: str) -> str:
    """Text in which a dollar sign begins no formula, and no underscore hides a line of a legend."""
    return text.replace("$", r"\$").lstrip("_")
