"""Commands that write a run directory: the whole loop, and one stage of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfchallenge.cli.app import app
from selfchallenge.cli.options import (
    Actions,
    Algorithm,
    Assign,
    Challenger,
    ChallengerOf,
    Config,
    Container,
    Data,
    Env,
    Gate,
    Isolation,
    Json,
    LearnFrom,
    ModelName,
    OnlySuccess,
    Out,
    Preset,
    Rounds,
    RunDir,
    Seed,
    TasksFrom,
    Teacher,
    Unsafe,
    Whose,
    Writer,
    resolve,
)

if TYPE_CHECKING:
    from selfchallenge.manifest import RunSettings


@app.command()
def run(
    env: Env,
    *,
    out: Out = None,
    preset: Preset = "laptop",
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    challenger_model: Challenger = None,
    teacher_model: Teacher = None,
    only_success: OnlySuccess = None,
    algorithm: Algorithm = None,
    writer: Writer = None,
    tasks_from: TasksFrom = None,
    learn_from: LearnFrom = None,
    gate: Gate = None,
    actions: Actions = None,
    rounds: Rounds = 1,
    challenger: ChallengerOf = Whose.fixed,
    seed: Seed = None,
    allow_unsafe: Unsafe = None,
    min_isolation: Isolation = None,
    container: Container = None,
    assign: Assign = None,
    as_json: Json = False,
) -> None:
    """Run the whole loop: write tasks, check, attempt, learn, measure before and after, report."""
    settings = resolve(
        preset,
        config,
        assign,
        model=model,
        challenger_model=challenger_model,
        teacher_model=teacher_model,
        only_success=only_success,
        algorithm=algorithm,
        writer=writer,
        tasks_from=tasks_from,
        learn_from=learn_from,
        gate=gate,
        actions=actions,
        seed=seed,
        allow_unsafe=allow_unsafe,
        min_isolation=min_isolation,
        container=container,
    )
    folder = out or _default_folder(env)
    _show(_runs(env, folder, settings, rounds, challenger.value, data), as_json)


def _runs(
    env: str,
    folder: Path,
    settings: RunSettings,
    rounds: int,
    challenger: Literal["fixed", "latest"],
    data: Path | None,
) -> list[tuple[Path, dict[str, Any]]]:
    """Run what was asked for; each run directory with its summary."""
    from selfchallenge.progress import watch

    with watch() as watcher:
        if rounds == 1:
            from selfchallenge.pipeline import run_loop

            return [(folder, run_loop(env, folder, settings, data=data, watch=watcher))]
        from selfchallenge.rounds import run_rounds

        found = run_rounds(env, folder, settings, rounds, challenger, data=data, watch=watcher)
        folders = [folder / f"round-{number}" for number in range(1, rounds + 1)]
        return list(zip(folders, found, strict=True))


def _show(runs: list[tuple[Path, dict[str, Any]]], as_json: bool) -> None:
    """Print what runs came to: one object a line, or a table each."""
    from rich.console import Console

    from selfchallenge.report.table import summary_table

    for folder, summary in runs:
        if as_json:
            print(json.dumps(summary))
        else:
            Console().print(summary_table(summary))
            print(f"\nreport: {folder / 'report.html'}")


@app.command()
def challenge(
    env: Env,
    *,
    out: Out = None,
    preset: Preset = "laptop",
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    challenger_model: Challenger = None,
    writer: Writer = None,
    tasks_from: TasksFrom = None,
    gate: Gate = None,
    seed: Seed = None,
    allow_unsafe: Unsafe = None,
    min_isolation: Isolation = None,
    container: Container = None,
    assign: Assign = None,
) -> None:
    """Write tasks and check them: the first stage of `run`."""
    from selfchallenge.pipeline import open_loop
    from selfchallenge.progress import watch

    settings = resolve(
        preset,
        config,
        assign,
        model=model,
        challenger_model=challenger_model,
        writer=writer,
        tasks_from=tasks_from,
        gate=gate,
        seed=seed,
        allow_unsafe=allow_unsafe,
        min_isolation=min_isolation,
        container=container,
    )
    folder = out or _default_folder(env)
    with (
        watch() as watcher,
        open_loop(env, folder, settings, data=data, watch=watcher) as loop,
    ):
        loop.challenge()
    print(f"tasks: {folder / 'tasks.jsonl'}")


@app.command()
def rollout(directory: RunDir) -> None:
    """Attempt every accepted task of a run, several times each."""
    _stage(directory, "roll_out")
    print(f"episodes: {directory / 'episodes.jsonl'}")


@app.command()
def train(directory: RunDir) -> None:
    """Learn from the attempts of a run, or, with an online algorithm, from new ones."""
    _stage(directory, "train")
    print(f"model: {directory / 'model'}")


def _default_folder(env: str) -> Path:
    return Path("runs", env.rpartition(":")[2] or env)


def _stage(directory: Path, stage: str) -> None:
    """Run one stage of an existing run, with the settings that it was begun with."""
    from selfchallenge.manifest import RunSettings
    from selfchallenge.pipeline import open_loop
    from selfchallenge.progress import watch
    from selfchallenge.runs.store import RunFiles
    from selfchallenge.settings import overlay

    begun = RunFiles.view(directory).read_json("run.json")
    settings = overlay(RunSettings(), begun["settings"], where=str(directory / "run.json"))
    data = Path(begun["data"]) if begun["data"] else None
    with (
        watch() as watcher,
        open_loop(begun["spelled"], directory, settings, data=data, watch=watcher) as loop,
    ):
        getattr(loop, stage)()
