"""The command that repeats the paper's tables and figures."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from selfchallenge.cli.app import app
from selfchallenge.cli.options import Assign, Json


class Size(StrEnum):
    """How large an experiment is run."""

    tiny = "tiny"
    small = "small"
    paper = "paper"


@app.command()
def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT", help="table1 to table5, figure3 to figure7, calculation, retail."
        ),
    ],
    *,
    scale: Annotated[Size, typer.Option(help="How large; paper needs GPUs.")] = Size.small,
    out: Annotated[
        Path | None, typer.Option(help="Folder; runs/EXPERIMENT-SCALE when not given.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and what it would cost.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=0, help="Trainings of each arm; 0: as the scale says.")
    ] = 0,
    arms: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME", help="Run this arm and its sources; again: more."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds m3tooleval and tau-bench, to test on; else held-out tasks."
        ),
    ] = None,
    user_model: Annotated[
        str, typer.Option(help="Who tells tau-bench's tasks; a script when not given.")
    ] = "",
    oracle_tasks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Hand-written tasks to train on (figure6).")
    ] = None,
    assign: Assign = None,
    as_json: Json = False,
) -> None:
    """Repeat a table or a figure of the paper: run its cells, and set its numbers beside ours."""
    from selfchallenge.progress import watch
    from selfchallenge.reproduce.plan import Asked
    from selfchallenge.reproduce.repeat import foresee, repeat
    from selfchallenge.reproduce.tell import plan_text
    from selfchallenge.settings import assignments

    folder = out or Path("runs", f"{experiment}-{scale.value}")
    changes = assignments(assign or [])
    asked = Asked(folder, seeds, oracle_tasks, changes, data, user_model, tuple(arms or ()))
    if dry_run:
        foreseen = foresee(experiment, scale.value, asked)
        print(json.dumps(foreseen) if as_json else plan_text(foreseen))
        return
    with watch() as watcher:
        found = repeat(experiment, scale.value, asked, watcher)
    text = (folder / f"{experiment}.md").read_text("utf-8")
    print(json.dumps(found) if as_json else f"{text}\nwritten to {folder}")
