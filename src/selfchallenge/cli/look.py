"""Commands that look at tasks, models, runs and this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from selfchallenge.cli.app import app
from selfchallenge.cli.options import (
    ENV,
    Container,
    Data,
    Gate,
    Isolation,
    Json,
    RunDir,
    Unsafe,
    resolve,
)
from selfchallenge.errors import LoadError, UsageError


@app.command()
def check(
    tasks: Annotated[Path, typer.Argument(metavar="TASKS.jsonl", help="One task a line.")],
    *,
    env: Annotated[str, typer.Option(metavar="ENV", help=f"{ENV[0].upper()}{ENV[1:]}.")],
    data: Data = None,
    gate: Gate = "full",
    allow_unsafe: Unsafe = None,
    min_isolation: Isolation = None,
    container: Container = None,
    as_json: Json = False,
) -> None:
    """Say of every line of a file of tasks whether it can be trusted, and why not."""
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.quality.gate import check_file
    from selfchallenge.sandbox.host import Sandbox

    settings = resolve(
        "laptop",
        gate=gate,
        allow_unsafe=allow_unsafe,
        min_isolation=min_isolation,
        container=container,
    )
    world = load_environment(env, data)
    count = accepted = 0
    with Sandbox(**settings.sandbox()) as sandbox:
        for verdict in check_file(tasks, world, settings.gate, sandbox=sandbox):
            count, accepted = count + 1, accepted + verdict.accepted
            kept = {"id", "accepted", "isolation", "checks"}
            as_object = verdict.model_dump_json(include=kept)
            text = as_object if as_json else f"{verdict.id}  {verdict.reason}"
            print(text, flush=True)
        if not as_json:
            print(f"{accepted} of {count} accepted (gate {gate}, isolation {sandbox.isolation})")


@app.command()
def report(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="A run directory; or results to compare.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Write the summary and the page of a run anew; several results are compared side by side."""
    from selfchallenge.evaluation.beside import as_table, beside, is_result
    from selfchallenge.evaluation.summary import summarise
    from selfchallenge.report.page import write_report
    from selfchallenge.runs.store import RunFiles, replace_file

    directory = directories[0]
    if len(directories) > 1 or is_result(directory):
        results = beside(directories)
        print(json.dumps(results) if as_json else as_table(results))
        return
    files = RunFiles.view(directory)
    summary = summarise(files)
    replace_file(directory / "summary.json", f"{json.dumps(summary, indent=2)}\n".encode())
    page = write_report(files, heldout=_held_out(files.read_json("run.json")))
    print(json.dumps(summary) if as_json else page)


@app.command()
def audit(directory: RunDir) -> None:
    """Label accepted tasks by hand (not built yet)."""
    raise UsageError(
        "audit is not built yet",
        fix=f"selfchallenge report {directory} shows each accepted task with its evidence",
    )


@app.command()
def export(
    directory: RunDir,
    *,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="Format to write.")],
) -> None:
    """Take accepted tasks to another trainer (not built yet)."""
    raise UsageError(
        f"export to {to} is not built yet",
        fix=f"read {directory / 'tasks.jsonl'} and episodes.jsonl, one JSON object a line",
    )


@app.command()
def doctor(*, container: Container = None, as_json: Json = False) -> None:
    """Say how well code is isolated here, what is installed, and where the weights are."""
    from selfchallenge.doctor import as_text, examine

    found = examine(container or "")
    print(json.dumps(found) if as_json else as_text(found))


def _held_out(begun: dict[str, Any]) -> dict[str, Any]:
    """Held-out tasks of a run's environment by id; none, and said so, when it cannot be loaded."""
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.evaluation.suite import held_out_tasks

    try:
        world = load_environment(begun["spelled"], begun["data"])
    except (LoadError, UsageError) as error:
        print(f"held-out tasks are shown without their text: {error.what}", file=sys.stderr)
        return {}
    return {task.id: task for task in held_out_tasks(world)}
