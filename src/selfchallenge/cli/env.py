"""Commands about environments: list, show, start one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from selfchallenge.cli.app import app
from selfchallenge.cli.options import Data, Env, Json

env_app = typer.Typer(help="List, show and start environments.", no_args_is_help=True)
app.add_typer(env_app, name="env")


@env_app.command("list")
def env_list(*, as_json: Json = False) -> None:
    """List the built-in environments."""
    from selfchallenge.environments.describe import list_environments

    found = list_environments()
    lines = [f"{entry['name']:<14}{entry['summary']}" for entry in found]
    print(json.dumps(found) if as_json else "\n".join(lines))


@env_app.command("show")
def env_show(env: Env, *, data: Data = None, as_json: Json = False) -> None:
    """Show what an environment tells its agents, its tools, and how many tasks it can hold."""
    from selfchallenge.environments.describe import as_text, describe
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.evaluation.suite import held_out_tasks

    world = load_environment(env, data)
    found = {**describe(world), "held_out_tasks": len(held_out_tasks(world))}
    print(json.dumps(found) if as_json else as_text(found))


@env_app.command("new")
def env_new(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the file.")]) -> None:
    """Write NAME.py, a small environment of your own to start from."""
    from selfchallenge.environments.describe import write_starter

    file, cls = write_starter(name, Path())
    print(f"wrote {file}; look at it, then:")
    print(f"  selfchallenge env show {file}:{cls}")
    print(f"  selfchallenge run {file}:{cls} --out runs/{name}")
