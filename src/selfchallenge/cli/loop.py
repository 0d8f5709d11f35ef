"""Commands that write a run directory: the whole loop, and one stage of it."""

from __future__ import annotations

import json
from contextlib import nullcontext
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
    Engine,
    EngineOf,
    Env,
    Gate,
    Isolation,
    Json,
    LearnFrom,
    ModelName,
    OnlySuccess,
    Out,
    Preset,
    Relearn,
    ReportTo,
    Rounds,
    RunDir,
    Seed,
    TasksFrom,
    Teacher,
    Unsafe,
    UserModel,
    Whose,
    Writer,
    means_of,
    resolve,
)
from selfchallenge.errors import UsageError

if TYPE_CHECKING:
    from selfchallenge.learner.means import Means
    from selfchallenge.manifest import RunSettings
    from selfchallenge.runs.store import RunFiles


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
    user_model: UserModel = None,
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
    engine: EngineOf = Engine.own,
    report_to: ReportTo = None,
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
        user_model=user_model,
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
    if challenger is Whose.latest and rounds == 1:
        fix = "give --rounds N, or leave --challenger out"
        raise UsageError("only a later round has a later model", where="--challenger", fix=fix)
    folder, means = out or _default_folder(env), means_of(engine, report_to)
    found = _runs(env, folder, settings, rounds, challenger.value, data, means)
    _show(found, as_json)


def _runs(
    env: str,
    folder: Path,
    settings: RunSettings,
    rounds: int,
    challenger: Literal["fixed", "latest"],
    data: Path | None,
    means: Means,
) -> list[tuple[Path, dict[str, Any]]]:
    """Run what was asked for; each run directory with its summary."""
    from selfchallenge.progress import watch

    with watch() as watcher:
        if rounds == 1:
            from selfchallenge.pipeline import run_loop

            found = run_loop(env, folder, settings, data=data, watch=watcher, means=means)
            return [(folder, found)]
        from selfchallenge.rounds import run_rounds

        all_found = run_rounds(
            *(env, folder, settings, rounds, challenger), data=data, watch=watcher, means=means
        )
        folders = [folder / f"round-{number}" for number in range(1, rounds + 1)]
        return list(zip(folders, all_found, strict=True))


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
    from selfchallenge.learner import processes
    from selfchallenge.pipeline import open_loop
    from selfchallenge.progress import watch

    processes.require_one("writing tasks")
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
    from selfchallenge.learner import processes

    processes.require_one("making attempts")
    _stage(directory, "roll_out")
    print(f"episodes: {directory / 'episodes.jsonl'}")


@app.command()
def train(
    directory: RunDir,
    *,
    engine: EngineOf = Engine.own,
    report_to: ReportTo = None,
    assign: Relearn = None,
) -> None:
    """Learn from the attempts of a run, or, with an online algorithm, from new ones.

    Several processes train as one: `accelerate launch -m selfchallenge train DIR`, or torchrun.
    Until there is a model, --set changes how an offline algorithm learns from the attempts, and how
    much memory any of them takes.
    """
    from selfchallenge.learner import processes

    means = means_of(engine, report_to)
    if assign:
        _amend(directory, assign, means)
    _stage(directory, "train", means)
    if processes.is_main():
        print(f"model: {directory / 'model'}")


def _default_folder(env: str) -> Path:
    return Path("runs", env.rpartition(":")[2] or env)


def _amend(directory: Path, assign: list[str], means: Means) -> None:
    """Change how a run learns, before it does; what the means refuse is not written down."""
    from selfchallenge.learner import processes
    from selfchallenge.manifest import amend
    from selfchallenge.runs.store import RunDirectory
    from selfchallenge.settings import assignments, overlay

    processes.require_one("changing settings")
    with RunDirectory.open(directory) as run:
        settings = overlay(_settings_of(run), assignments(assign), where="--set")
        means.check(settings.algorithm, getattr(settings, settings.learner))
        amend(run, settings)


def _settings_of(run: RunFiles) -> RunSettings:
    """The settings that a run was begun with."""
    from selfchallenge.manifest import RunSettings
    from selfchallenge.settings import overlay

    begun = run.read_json("run.json")["settings"]
    return overlay(RunSettings(), begun, where=str(run.path / "run.json"))


def _stage(directory: Path, stage: str, means: Means | None = None) -> None:
    """Run one stage of an existing run, with the settings that it was begun with."""
    from selfchallenge.learner import processes
    from selfchallenge.pipeline import open_loop
    from selfchallenge.progress import Silent, watch
    from selfchallenge.runs.store import RunFiles

    run = RunFiles.view(directory)
    begun, settings = run.read_json("run.json"), _settings_of(run)
    data = Path(begun["data"]) if begun["data"] else None
    with (
        watch() if processes.is_main() else nullcontext(Silent()) as watcher,
        open_loop(
            begun["spelled"], directory, settings, data=data, watch=watcher, means=means
        ) as loop,
    ):
        getattr(loop, stage)()
