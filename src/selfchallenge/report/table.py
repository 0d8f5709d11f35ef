"""The table at the end of a run: what was written, kept, learned and measured, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from selfchallenge.report import shape

Row = tuple[str, str, str]
"""What is counted, the figure, and what stands beside it."""


def summary_table(summary: Mapping[str, Any]) -> RenderableType:
    """The table of a `summary.json`; parts that the run has not reached are left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, justify="right", style="bold")
    table.add_column(overflow="fold")
    for group in filter(None, map(list, (_tasks(summary), _scores(summary), _cost(summary)))):
        if table.row_count:
            table.add_row()
        for cells in group:
            # Names of models and environments are plain text, not markup.
            table.add_row(*(Text(cell) for cell in cells))
    return table


def _tasks(summary: Mapping[str, Any]) -> Iterator[Row]:
    tasks, episodes = summary.get("tasks"), summary.get("episodes")
    if tasks:
        yield "tasks written", shape.count(tasks["attempted"]), ""
        yield (
            "accepted",
            shape.count(tasks["accepted"]),
            _share(tasks["accepted"], tasks["attempted"]),
        )
        for reason, number in (summary.get("rejections") or {}).items():
            yield "rejected", shape.count(number), reason
    if episodes:
        count, successes = episodes["count"], episodes["successes"]
        share = f"{shape.percent(successes / count)} of the rollouts" if count else ""
        yield "rollouts", shape.count(count), ""
        yield "successes", shape.count(successes), share
    hinted = summary.get("hinted")
    if hinted and hinted["count"]:
        share = f"{shape.percent(hinted['successes'] / hinted['count'])} of them succeeded"
        yield "solution shown", shape.count(hinted["count"]), share
    if user := summary.get("user"):
        yield "failures of the user", shape.count(user["faults"]), f"told by {user['model']}"


def _share(accepted: int, attempted: int) -> str:
    return f"{shape.percent(accepted / attempted)} of the written" if attempted else ""


def _scores(summary: Mapping[str, Any]) -> Iterator[Row]:
    for phase in ("before", "after"):
        if found := summary.get(phase):
            yield f"Pass@1 {phase}", shape.percent(found["pass@1"]), _beside(found)
    if paired := summary.get("paired"):
        low, high = (shape.points(end) for end in paired["ci95"])
        changed = f"{paired['gained']} newly solved, {paired['lost']} lost"
        test = f"exact sign-flip test {shape.p_value(paired['p_value'])}".replace(" ", "\u00a0")
        difference = f"{shape.points(paired['difference'])} points"
        yield "difference", difference, f"95 % interval {low} to {high}; {changed}, {test}"
    if (floor := summary.get("noop_floor")) is not None:
        yield "doing nothing", shape.percent(floor), ""


def _beside(found: Mapping[str, Any]) -> str:
    """A score's interval and its number of tasks, and the grounded score when there is one."""
    text = f"95 % interval {shape.interval(found['ci95'])} on {shape.count(found['n'])} tasks"
    if grounded := found.get("grounded"):
        text += f"; grounded {shape.percent(grounded['pass@1'])}"
    return text


def _cost(summary: Mapping[str, Any]) -> Iterator[Row]:
    cost = summary.get("cost") or {}
    if (seconds := cost.get("seconds_per_accepted_task")) is not None:
        yield "time per accepted task", shape.duration(seconds), ""
    if (tokens := cost.get("tokens_per_accepted_task")) is not None:
        yield "tokens per accepted task", shape.count(tokens), ""
    for stage, spent in (summary.get("stages") or {}).items():
        tokens = f"{shape.count(spent['tokens'])} tokens" if spent["tokens"] else ""
        yield f"time of {stage}", shape.duration(spent["seconds"]), tokens
    if (seconds := summary.get("seconds")) is not None:
        yield "time in all", shape.duration(seconds), ""
