"""One self-contained HTML page about a run: what was written, kept, learned and measured.

Everything a model wrote is hostile: it is escaped wherever it stands, and a content security policy
lets the page load nothing and run only its own script, named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2

from selfchallenge.report import shape
from selfchallenge.report.gather import CARDS, RunView, Step, gather
from selfchallenge.runs.store import RunFiles, replace_file
from selfchallenge.task import CodeAsTask

CURVE_POINTS = 400
"""Points of the learning curve at most; longer ones are averaged."""


def write_report(
    run: RunFiles | str | Path, *, heldout: Mapping[str, CodeAsTask] | None = None
) -> Path:
    """Write `report.html` of a run, also of one that has not finished.

    Args:
        run: the run, held or only looked at, or its path.
        heldout: texts of the held-out tasks by id, shown with the attempts at them.

    Returns:
        The page's path.

    Raises:
        UsageError: the path is no run directory.
        RecordError: a file of the run is damaged.
        StorageError: the run cannot be read or the page cannot be written.
    """
    found = run if isinstance(run, RunFiles) else RunFiles.view(run)
    file = found.path / "report.html"
    # A lone surrogate cannot be written as UTF-8 and is shown as "?".
    replace_file(file, render(gather(found, heldout or {})).encode("utf-8", "replace"))
    return file


def render(view: RunView) -> str:
    """The page as text."""
    style, script = _asset("style.css"), _asset("script.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            view=view,
            summary=view.summary,
            manifest=view.manifest,
            style=style,
            script=script,
            policy="; ".join(
                (
                    "default-src 'none'",
                    f"style-src '{_digest(style)}'",
                    f"script-src '{_digest(script)}'",
                    "base-uri 'none'",
                    "form-action 'none'",
                )
            ),
            curve=curve(view.steps),
            cards=CARDS,
        )
    )


def curve(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """The learning curve as points: x and y between 0 and 100, y downwards from the top loss."""
    size = max(1, -(-len(steps) // CURVE_POINTS))
    groups = [steps[i : i + size] for i in range(0, len(steps), size)]
    losses = [sum(step.loss for step in group) / len(group) for group in groups]
    top = max(losses, default=0.0) or 1.0
    last = max(len(losses) - 1, 1)
    return [
        (round(100 * i / last, 2), round(100 - 100 * max(loss, 0.0) / top, 2))
        for i, loss in enumerate(losses)
    ]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selfchallenge.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        shape.percent,
        shape.points,
        shape.interval,
        shape.p_value,
        shape.count,
        shape.duration,
        shape.moment,
        shape.clip,
        shape.brief,
        shape.plain,
        shape.code,
        shape.blocks,
        shape.opening,
        shape.call,
        shape.conclusion,
    ):
        environment.filters["amount" if function is shape.count else function.__name__] = function
    environment.globals["meanings"] = shape.CHECKS
    return environment


def _asset(name: str) -> str:
    return files("selfchallenge.report").joinpath("templates", name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
