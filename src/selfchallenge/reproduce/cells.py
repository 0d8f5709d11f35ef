"""Runs cells: what is finished is not repeated, and a cell that was stopped goes on where it was.

A stage that cannot make what is tested (no task accepted, no success to learn from, a training that
diverged) is a result like any other: it is written down, the cells that build on it are left out,
and the others go on. A test that cannot be made says nothing of the arm: it ends the command, and
the next one makes it again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

from selfchallenge.beginning import require_weights
from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import SpoiltError, StageError, UsageError
from selfchallenge.evaluation.benchmarks import Measuring, measure, own_set
from selfchallenge.evaluation.sets import SetOptions, TestSet, benchmark_set
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.executor.user import ModelUser, played_by
from selfchallenge.manifest import ONLINE, completed, decisive, differences, rounds_before
from selfchallenge.models.base import Model
from selfchallenge.models.loading import load_model
from selfchallenge.pipeline import Loop, open_loop
from selfchallenge.progress import Watch
from selfchallenge.reproduce.plan import Cell, benchmark_of
from selfchallenge.runs.store import RunFiles, replace_file
from selfchallenge.sandbox.host import Sandbox

NOTE = "cell.json"
"""Is in the run directory of a cell that has ended.

It holds what was `asked`, why it `failed` (empty: it did not) and what to do about it (`fix`), the
run directory whose failure it was `left_out` for (empty: it was not), and what its training learnt
from (`learnt_from`: `tasks`, `attempts`; null without one).
"""

TESTS = ("before", "after")
"""Stages that test a model; the others make it."""

State = Literal["owed", "begun", "done", "failed"]


def state_of(cell: Cell) -> tuple[State, str]:
    """How far a cell is, and why it failed.

    Raises:
        UsageError: what is there was run with other settings.
    """
    found = RunFiles(cell.folder).read_json(NOTE)
    if found is None:
        return ("begun" if (cell.folder / "run.json").exists() else "owed"), ""
    if changed := next(differences(_decisive(found["asked"]), _decisive(_asked(cell))), None):
        name, before, now = changed[0].removeprefix("settings."), *changed[1:]
        raise UsageError(
            f"this cell was run with {name} = {before!r}, not {now!r}",
            where=str(cell.folder / NOTE),
            fix="use the same settings to go on, or another --out",
        )
    if found["left_out"] and not _failed(found["left_out"]):
        return "owed", ""
    return ("failed" if found["failed"] else "done"), found["failed"]


def run_cells(
    cells: Sequence[Cell], watch: Watch, after_each: Callable[[], object] = lambda: None
) -> None:
    """Run every cell that is owed, in order.

    Args:
        cells: each behind those that it builds on.
        watch: who is told.
        after_each: called whenever a cell has ended.

    Raises:
        UsageError: a cell would train a model that is not here, or its data is not there.
        SelfChallengeError: anything else than a stage that cannot do its work (`StageError`), or a
            sandbox that ends everything (`SpoiltError`), or a test that cannot be made; what was
            done is kept.
    """
    for cell in cells:
        _check_data(cell)
        if "train" in cell.stages:
            require_weights(cell.settings)
    for number, cell in enumerate(cells, 1):
        ended = RunFiles(cell.folder).read_json(NOTE)
        if ended and not ended.get("left_out"):
            continue
        watch.say(f"cell {number} of {len(cells)}: {cell.name}")
        missing = _missing(cell)
        failure = _builds_on(missing) if missing else _run(cell, watch)
        if failure:
            watch.say(f"failed: {failure}")
        trained = failure is None and "train" in cell.stages
        note = {
            "asked": _asked(cell),
            "failed": failure.what if failure else "",
            "fix": failure.fix if failure else "",
            "left_out": missing,
            "learnt_from": _learnt_from(cell) if trained else None,
        }
        cell.folder.mkdir(parents=True, exist_ok=True)
        replace_file(cell.folder / NOTE, f"{json.dumps(note, indent=1)}\n".encode())
        after_each()


def _missing(cell: Cell) -> str:
    """The run directory whose failure takes from the cell what it builds on; empty for none."""
    for folder in cell.needs:
        note = RunFiles(folder).read_json(NOTE)
        if note["failed"]:
            return note["left_out"] or str(folder)
    return ""


def _failed(folder: str) -> bool:
    note = RunFiles(Path(folder)).read_json(NOTE)
    return note is not None and bool(note["failed"])


def _builds_on(folder: str) -> StageError:
    again = f"delete {Path(folder) / NOTE}, then the same command"
    return StageError(f"it builds on {Path(folder).parent.name}, which failed", fix=again)


def _run(cell: Cell, watch: Watch) -> StageError | None:
    """Go through the stages of a cell; why it ended early, if it did."""
    data, failure = cell.data, None
    with open_loop(cell.environment, cell.folder, cell.settings, data=data, watch=watch) as loop:
        for stage in cell.stages:
            if stage in TESTS and data is not None:
                continue
            try:
                _go_through(loop, stage)
            except StageError as error:
                if stage in TESTS or isinstance(error, SpoiltError):
                    raise
                failure = error
                break
        loop.report()
    if failure is None and data is not None and {*TESTS} & {*cell.stages}:
        trained = "after" in cell.stages
        spec = str(cell.folder / "model") if trained else cell.settings.model
        _measure(cell, spec, cell.folder / "benchmark", watch)
    if failure is None and "after" in cell.stages:
        for rounds, kept in kept_policies(cell).items():
            _measure(cell, str(kept), point_of(cell, rounds), watch)
    return failure


def tasks_attempted(cell: Cell) -> list[str]:
    """The tasks of all attempts that a cell learnt from, in earlier rounds too.

    A cell of a later round is `aimed_at` the one before.
    """
    folders = [Path(folder) for folder in cell.settings.learn_from] or [cell.folder]
    runs = [*map(RunFiles, folders), *rounds_before(cell.settings.aimed_at)]
    made = {
        (number, e["task"], e["attempt"]): e["task"]
        for number, run in enumerate(runs)
        for e in run.scan("episodes.jsonl")
    }
    return list(made.values())


def _learnt_from(cell: Cell) -> dict[str, int]:
    """How many tasks and attempts; fewer than asked for where tasks lacked."""
    made = tasks_attempted(cell)
    return {"tasks": len({*made}), "attempts": len(made)}


def kept_policies(cell: Cell) -> dict[int, Path]:
    """The policies that an online training kept on the way, by the rounds they had learnt from."""
    if cell.settings.algorithm not in ONLINE or cell.settings.model.startswith("scripted:"):
        return {}  # what was trained in a script's place only stands in for it
    folders = (cell.folder / "model.steps").glob("*")
    return dict(sorted((int(folder.name), folder) for folder in folders if folder.name.isdigit()))


def point_of(cell: Cell, rounds: int) -> Path:
    """Where the score of a policy that was kept after so many rounds lies."""
    return cell.folder / "curve" / str(rounds)


def _go_through(loop: Loop, stage: str) -> None:
    if stage in ("before", "after"):
        loop.measure(stage)
    else:
        getattr(loop, stage)()


def _measure(cell: Cell, spec: str, out: Path, watch: Watch) -> None:
    """Test a model on what the cell is tested on."""
    settings = cell.settings
    if (out / "score.json").exists():
        return
    world = load_environment(cell.environment, cell.data)
    how = Measuring(
        settings.trials,
        settings.agent,
        settings.evaluation_temperature,
        settings.seed,
        settings.batch,
    )
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(**settings.sandbox()))
        load = partial(_opened, stack, settings.batch)
        label = "held-out" if cell.data is None else benchmark_of(cell.environment)
        if cell.data is None:
            user = played_by(settings.user_model, load)
            tests = own_set(held_out_tasks(world), world, sandbox, user)
        else:
            tests = _benchmark(cell, world, label, load)
        measure(spec, tests, world, sandbox, how, watch=watch, label=label, out=out)


def _opened(stack: ExitStack, batch: int, spec: str) -> Model:
    return stack.enter_context(closing(load_model(spec, batch=batch)))


def _benchmark(
    cell: Cell, world: type[Environment], name: str, load: Callable[[str], Model]
) -> TestSet:
    """The paper's benchmark of the cell's environment."""
    subset: Literal["all", "paper"] = "paper" if cell.environment == "airline" else "all"
    options = SetOptions(tokens=cell.settings.agent.max_tokens)
    if name == "tau-bench":
        options = dataclasses.replace(options, subset=subset, policy=False)
    told = cell.user_model and name != "m3tooleval"  # its tasks are read
    user = ModelUser(load(cell.user_model)) if told else None
    return benchmark_set(name, world, options, user)


def _asked(cell: Cell) -> dict[str, Any]:
    """What is asked of a cell, as JSON holds it."""
    asked = {
        "stages": cell.stages,
        "environment": cell.environment,
        "data": None if cell.data is None else str(cell.data),
        "user_model": cell.user_model,
        "settings": dataclasses.asdict(cell.settings),
    }
    found: dict[str, Any] = json.loads(json.dumps(asked))
    return found


def _decisive(asked: dict[str, Any]) -> dict[str, Any]:
    return asked | {"settings": decisive(completed(asked["settings"]))}


def _check_data(cell: Cell) -> None:
    """Make sure that the benchmark's data is there before anything is run."""
    if cell.data is not None and not cell.data.is_dir():
        name = benchmark_of(cell.environment)
        fix = f"selfchallenge data get {name} --to {cell.data}"
        raise UsageError(f"the data of {name} is not there", where=str(cell.data), fix=fix)
