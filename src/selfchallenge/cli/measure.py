"""Commands that measure a model, and that get the data of a benchmark."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfchallenge.cli.app import app
from selfchallenge.cli.options import (
    Assign,
    Config,
    Container,
    Data,
    Env,
    Isolation,
    Json,
    ModelName,
    Preset,
    Seed,
    Unsafe,
    UserModel,
    resolve,
)
from selfchallenge.errors import UsageError

if TYPE_CHECKING:
    from selfchallenge.evaluation.sets import SetOptions
    from selfchallenge.manifest import RunSettings

Tasks = Annotated[
    str, typer.Option(help="held-out, m3tooleval, tau-bench, tau2, or a file of tasks.")
]
Trials = Annotated[
    int | None, typer.Option(min=1, help="Attempts at each task; 1, or as the preset says.")
]
Kept = Annotated[
    Path | None,
    typer.Option(help="Folder for the attempts and the score; goes on with what is there."),
]
Other = Annotated[
    Path | None, typer.Option(help="Folder of another result, to compare task by task.")
]
Steps = Annotated[
    int, typer.Option(min=1, help="Of a benchmark: replies at most (its own: 10, 30).")
]
Actions = Annotated[str, typer.Option(help="Of a benchmark: code or json.")]
Checker = Annotated[str, typer.Option(help="Of m3tooleval: benchmark, quirks and all, or fair.")]
Feedback = Annotated[
    bool, typer.Option("--feedback", help="Of m3tooleval: a wrong answer may be given again.")
]
Style = Annotated[str, typer.Option("--prompt", help="Of m3tooleval: benchmark, or our own.")]
Split = Annotated[str, typer.Option(help="Of tau-bench: test; of retail also dev and train.")]
Subset = Annotated[str, typer.Option(help="Of airline: all, or the paper's 30.")]
Policy = Annotated[
    bool,
    typer.Option("--policy/--no-policy", help="Of tau-bench, tau2: whether agents see the policy."),
]
Tokens = Annotated[int, typer.Option(min=1, help="Of a benchmark: tokens of a reply at most.")]
First = Annotated[int, typer.Option(min=0, help="Of a benchmark: so many tasks only; 0: all.")]


@app.command("eval")
def evaluate(
    env: Env,
    *,
    tasks: Tasks = "held-out",
    trials: Trials = None,
    data: Data = None,
    model: ModelName = None,
    steps: Steps = 15,
    actions: Actions = "code",
    checker: Checker = "benchmark",
    feedback: Feedback = False,
    prompt: Style = "benchmark",
    split: Split = "test",
    subset: Subset = "all",
    policy: Policy = True,
    tokens: Tokens = 512,
    first: First = 0,
    user_model: UserModel = None,
    out: Kept = None,
    compare: Other = None,
    preset: Preset = "laptop",
    config: Config = None,
    seed: Seed = None,
    allow_unsafe: Unsafe = None,
    min_isolation: Isolation = None,
    container: Container = None,
    assign: Assign = None,
    as_json: Json = False,
) -> None:
    """Measure a model on tasks: Pass@1 with its interval, and the score of doing nothing."""
    from selfchallenge.evaluation.benchmarks import as_text

    settings = resolve(
        preset,
        config,
        assign,
        model=model,
        user_model=user_model,
        seed=seed,
        allow_unsafe=allow_unsafe,
        min_isolation=min_isolation,
        container=container,
        trials=trials,
    )
    _refuse_limits(tasks, assign or [])
    options = _options(
        steps, actions, checker, feedback, prompt, split, subset, policy, tokens, first
    )
    found = _measure(env, tasks, data, settings, options, out, compare)
    print(json.dumps(found) if as_json else as_text(found))


def _refuse_limits(tasks: str, assigned: Sequence[str]) -> None:
    """A benchmark's agents are set by flags, whose defaults are the paper's, not the preset's."""
    from selfchallenge.evaluation.sets import NAMES

    flags = {
        "agent.max_steps": "--steps N",
        "agent.max_tokens": "--tokens N",
        "agent.policy": "--policy or --no-policy",
    }
    for name in (text.partition("=")[0].strip() for text in assigned):
        if tasks in NAMES and name in flags:
            raise UsageError(
                f"{name} does not hold for the agents of a benchmark",
                where=f"--tasks {tasks}",
                fix=f"use {flags[name]}",
            )


def _options(*given: object) -> SetOptions:
    """The flags of a benchmark, in the order of `SetOptions`."""
    from selfchallenge.evaluation.sets import SetOptions
    from selfchallenge.settings import overlay

    names = [field.name for field in dataclasses.fields(SetOptions)]
    return overlay(SetOptions(), dict(zip(names, given, strict=True)), where="command line")


def _measure(
    env: str,
    tasks: str,
    data: Path | None,
    settings: RunSettings,
    options: SetOptions,
    out: Path | None,
    compare: Path | None,
) -> dict[str, Any]:
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.evaluation.benchmarks import Measuring, choose_tasks, measure, own_set
    from selfchallenge.evaluation.sets import NAMES, SetOptions, benchmark_set
    from selfchallenge.executor.user import played_by
    from selfchallenge.models.loading import load_model
    from selfchallenge.progress import watch
    from selfchallenge.sandbox.host import Sandbox

    world = load_environment(env, data)
    how = Measuring(
        settings.trials,
        settings.agent,
        settings.evaluation_temperature,
        settings.seed,
        settings.batch,
    )
    with ExitStack() as stack:
        player = played_by(
            settings.user_model,
            lambda spec: stack.enter_context(closing(load_model(spec, batch=settings.batch))),
        )
        own = tasks not in NAMES
        if own and options != SetOptions():
            raise UsageError(
                "flags of a benchmark are given, and these tasks are of none",
                where=f"--tasks {tasks}",
                fix="leave them out; --set agent.max_steps=N and agent.max_tokens=N limit an agent",
            )
        chosen = choose_tasks(world, tasks) if own else []
        benchmark = None if own else benchmark_set(tasks, world, options, player)
        watcher = stack.enter_context(watch())
        sandbox = stack.enter_context(Sandbox(**settings.sandbox()))
        return measure(
            settings.model,
            benchmark or own_set(chosen, world, sandbox, player),
            world,
            sandbox,
            how,
            watch=watcher,
            label=tasks,
            out=out,
            against=compare,
        )
