"""The command line: one verb for each room, and no logic of its own.

Rooms are imported inside the commands, so that `--help` answers at once. Exit codes: 0 done, 1 a
stage failed, 2 wrong usage, 130 interrupted. Every error says what to do next.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from selfchallenge.errors import LoadError, SelfChallengeError, UsageError

if TYPE_CHECKING:
    from selfchallenge.manifest import RunSettings

app = typer.Typer(
    help="Self-Challenging agents on your own tools.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
env_app = typer.Typer(help="List, show and start environments.", no_args_is_help=True)
app.add_typer(env_app, name="env")

ENV = "a built-in name, file.py:Class, or package.module:Class"
MODEL = "default, default-1.5b, a folder, a hub id, openai:NAME@URL, or scripted:NAME"
RESUMABLE = ("run", "challenge", "rollout", "train")

Env = Annotated[str, typer.Argument(metavar="ENV", help=f"{ENV[0].upper()}{ENV[1:]}.")]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; runs/NAME when not given.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the environment's external data.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Preset = Annotated[
    str, typer.Option(help="Starting values: laptop, smoke, paper, or a TOML file of your own.")
]
ModelName = Annotated[str | None, typer.Option("--model", help=f"{MODEL[0].upper()}{MODEL[1:]}.")]
Challenger = Annotated[
    str | None, typer.Option(help="Who writes the tasks; the same model when not given.")
]
Algorithm = Annotated[
    str | None,
    typer.Option(help="How the executor learns: rft (distill, dpo, grpo, ppo: not yet)."),
]
Writer = Annotated[str | None, typer.Option(help="How tasks are written: staged or paper.")]
Gate = Annotated[
    str | None, typer.Option(help="Which checks: full, paper, solution, verifier or none.")
]
Actions = Annotated[str | None, typer.Option(help="How agents act: code (json: not yet).")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Unsafe = Annotated[
    bool | None, typer.Option("--allow-unsafe", help="Run code even where nothing isolates it.")
]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as rft.epochs=3."),
]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; errors become lines, tracebacks only with --debug."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest = [argument for argument in given if argument != "--debug"]
    try:
        app(rest, prog_name="selfchallenge")
    except SystemExit as end:
        if end.code == 130:
            again = (
                "; the same command goes on where it was"
                if rest[:1] and rest[0] in RESUMABLE
                else ""
            )
            print(f"interrupted{again}", file=sys.stderr)
        raise
    except Exception as error:  # noqa: BLE001 - the last wall: nothing passes it as a traceback
        if len(rest) < len(given):
            traceback.print_exc()
        sys.exit(_say_error(error))
    sys.exit(0)


def _say_error(error: Exception) -> int:
    """Print what went wrong, where, and what to do next; the exit code."""
    if not isinstance(error, SelfChallengeError):
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        error = SelfChallengeError(
            f"{what} (this is a bug of selfchallenge)",
            fix="run the command again with --debug and report what it prints",
        )
    lines = [f"error: {error.what}", f"  where: {error.where}", f"  next: {error.fix}"]
    shown = [line for line, text in zip(lines, error.args, strict=True) if text]
    print("\n".join(shown), file=sys.stderr)
    return error.exit_code


@app.callback()
def _root(
    *, debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False
) -> None:
    del debug  # taken out by `main`, wherever it stands


@app.command()
def run(
    env: Env,
    *,
    out: Out = None,
    preset: Preset = "laptop",
    data: Data = None,
    model: ModelName = None,
    challenger_model: Challenger = None,
    algorithm: Algorithm = None,
    writer: Writer = None,
    gate: Gate = None,
    actions: Actions = None,
    seed: Seed = None,
    allow_unsafe: Unsafe = None,
    assign: Assign = None,
) -> None:
    """Run the whole loop: write tasks, check, attempt, learn, measure before and after, report."""
    from rich.console import Console

    from selfchallenge.pipeline import run_loop
    from selfchallenge.progress import watch
    from selfchallenge.report.table import summary_table

    settings = _settings(
        preset,
        assign,
        model=model,
        challenger_model=challenger_model,
        algorithm=algorithm,
        writer=writer,
        gate=gate,
        actions=actions,
        seed=seed,
        allow_unsafe=allow_unsafe,
    )
    folder = out or _default_folder(env)
    with watch() as watcher:
        summary = run_loop(env, folder, settings, data=data, watch=watcher)
    Console().print(summary_table(summary))
    print(f"\nreport: {folder / 'report.html'}")


@app.command()
def challenge(
    env: Env,
    *,
    out: Out = None,
    preset: Preset = "laptop",
    data: Data = None,
    model: ModelName = None,
    challenger_model: Challenger = None,
    writer: Writer = None,
    gate: Gate = None,
    seed: Seed = None,
    allow_unsafe: Unsafe = None,
    assign: Assign = None,
) -> None:
    """Write tasks and check them: the first stage of `run`."""
    from selfchallenge.pipeline import open_loop
    from selfchallenge.progress import watch

    settings = _settings(
        preset,
        assign,
        model=model,
        challenger_model=challenger_model,
        writer=writer,
        gate=gate,
        seed=seed,
        allow_unsafe=allow_unsafe,
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
    """Learn from the verified successes of a run."""
    _stage(directory, "train")
    print(f"model: {directory / 'model'}")


@app.command()
def check(
    tasks: Annotated[Path, typer.Argument(metavar="TASKS.jsonl", help="One task a line.")],
    *,
    env: Annotated[str, typer.Option(metavar="ENV", help=f"{ENV[0].upper()}{ENV[1:]}.")],
    data: Data = None,
    gate: Gate = "full",
    allow_unsafe: Unsafe = None,
    as_json: Json = False,
) -> None:
    """Say of every line of a file of tasks whether it can be trusted, and why not."""
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.quality.gate import check_file
    from selfchallenge.sandbox.host import Sandbox

    settings = _settings(None, None, gate=gate, allow_unsafe=allow_unsafe)
    world = load_environment(env, data)
    count = accepted = 0
    with Sandbox(**settings.sandbox()) as sandbox:
        for verdict in check_file(tasks, world, settings.gate, sandbox=sandbox):
            count, accepted = count + 1, accepted + verdict.accepted
            text = verdict.model_dump_json() if as_json else f"{verdict.id}  {verdict.reason}"
            print(text, flush=True)
        if not as_json:
            print(f"{accepted} of {count} accepted (gate {gate}, isolation {sandbox.isolation})")


@app.command("eval")
def evaluate(
    env: Env,
    *,
    tasks: Annotated[
        str, typer.Option(help="held-out, or a file of tasks (m3tooleval, tau-bench: not yet).")
    ] = "held-out",
    trials: Annotated[int, typer.Option(min=1, help="Attempts at each task.")] = 1,
    data: Data = None,
    model: ModelName = None,
    preset: Preset = "laptop",
    seed: Seed = None,
    allow_unsafe: Unsafe = None,
    assign: Assign = None,
    as_json: Json = False,
) -> None:
    """Measure a model on tasks: Pass@1 with its interval, and the score of doing nothing."""
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.evaluation.benchmarks import as_text, choose_tasks, measure
    from selfchallenge.progress import watch
    from selfchallenge.sandbox.host import Sandbox

    settings = _settings(
        preset, assign, model=model, seed=seed, allow_unsafe=allow_unsafe, trials=trials
    )
    world = load_environment(env, data)
    chosen = choose_tasks(world, tasks)
    with watch() as watcher, Sandbox(**settings.sandbox()) as sandbox:
        found = measure(
            settings.model,
            chosen,
            world,
            sandbox,
            trials=settings.trials,
            settings=settings.agent,
            temperature=settings.evaluation_temperature,
            seed=settings.seed,
            batch=settings.batch,
            watch=watcher,
        )
    print(json.dumps({**found, "tasks": tasks}) if as_json else as_text(found))


@app.command()
def report(directory: RunDir, *, as_json: Json = False) -> None:
    """Write the page of a run, also of one under way; --json prints its summary."""
    from selfchallenge.evaluation.summary import summarise
    from selfchallenge.report.page import write_report
    from selfchallenge.runs.store import RunFiles

    files = RunFiles.view(directory)
    if as_json:
        print(json.dumps(summarise(files)))
        return
    print(write_report(files, heldout=_held_out(files.read_json("run.json"))))


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
def doctor(*, as_json: Json = False) -> None:
    """Say how well code is isolated here, what is installed, and where the weights are."""
    from selfchallenge.doctor import as_text, examine

    found = examine()
    print(json.dumps(found) if as_json else as_text(found))


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


def _settings(preset: str | None, assign: list[str] | None, **flags: Any) -> RunSettings:
    """The preset's values, then `--set`, then the flags that were given."""
    from selfchallenge.manifest import RunSettings
    from selfchallenge.settings import apply, assignments, read_preset

    given = {name: value for name, value in flags.items() if value is not None}
    if "actions" in given:
        given["agent"] = {"actions": given.pop("actions")}
    settings = RunSettings()
    if preset is not None:
        settings = apply(settings, read_preset(preset), where=f"--preset {preset}")
    settings = apply(settings, assignments(assign or []), where="--set")
    return apply(settings, given, where="command line")


def _default_folder(env: str) -> Path:
    return Path("runs", env.rpartition(":")[2] or env)


def _stage(directory: Path, stage: str) -> None:
    """Run one stage of an existing run, with the settings that it was begun with."""
    from selfchallenge.manifest import RunSettings
    from selfchallenge.pipeline import open_loop
    from selfchallenge.progress import watch
    from selfchallenge.runs.store import RunFiles
    from selfchallenge.settings import apply

    begun = RunFiles.view(directory).read_json("run.json")
    settings = apply(RunSettings(), begun["settings"], where=str(directory / "run.json"))
    data = Path(begun["data"]) if begun["data"] else None
    with (
        watch() as watcher,
        open_loop(begun["spelled"], directory, settings, data=data, watch=watcher) as loop,
    ):
        getattr(loop, stage)()


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
