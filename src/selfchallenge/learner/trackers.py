"""Training curves where people already look at them: TensorBoard, W&B, Trackio and MLflow.

Each step is told once, also by a training that is stopped and resumed: how far each tracker has
been told stands in the run directory (`tracking.json`), and is written before the tracker is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from selfchallenge.errors import StageError, UsageError, boundary
from selfchallenge.learner import processes
from selfchallenge.runs.store import RunDirectory

if TYPE_CHECKING:
    from selfchallenge.learner.training import StepRecord

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")
"""Names of the trackers; each is also the name of the package it needs."""

PROJECT = "selfchallenge"
"""Under which the runs of all environments stand in a tracker."""

FILE = "tracking.json"


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that every tracker is known and installed, without loading any.

    Raises:
        UsageError: one is not; `fix` is its pip command.
    """
    for name in names:
        where = f"--report-to {name}"
        if name not in TRACKERS:
            raise UsageError(
                f"there is no tracker {name!r}", where=where, fix=f"use {', '.join(TRACKERS)}"
            )
        if find_spec(name) is None:
            raise UsageError(f"{name} is not installed", where=where, fix=f"pip install {name}")


@contextmanager
def tracking(
    names: Sequence[str], run: RunDirectory, training: str
) -> Iterator[Callable[[StepRecord], None]]:
    """Tell trackers of a training's steps; they are closed with the block.

    Args:
        names: of the trackers; none is fine.
        run: directory of the run.
        training: what decides the training; the same text goes on with the same curves.

    Yields:
        What takes each step. Its names are those of `model/training.json`.

    Raises:
        StageError: a tracker cannot be started or refuses a step.
    """
    known = run.read_json(FILE) or {}
    if known.get("training") != training:
        known = {"training": training, "name": f"{run.path.resolve().name}-{uuid4().hex[:8]}"}
    told: dict[str, dict[str, Any]] = known.setdefault("trackers", {})
    with ExitStack() as stack:
        # One process speaks for all.
        spoken = names if processes.is_main() else ()
        started = {name: stack.enter_context(_started(name, run, known)) for name in spoken}

        def tell(record: StepRecord) -> None:
            for name, tracker in started.items():
                if record.step > told[name]["step"]:
                    told[name]["step"] = record.step
                    run.write_json(FILE, known)
                    with _told(name, "refused a training step"):
                        tracker.log(_values(record), step=record.step)

        yield tell


@contextmanager
def _started(name: str, run: RunDirectory, known: dict[str, Any]) -> Iterator[Any]:
    """A tracker of accelerate's, going on with the curves it was told of before."""
    from accelerate import PartialState  # noqa: PLC0415 - loads torch
    from accelerate import tracking as trackers  # noqa: PLC0415

    PartialState()  # its trackers ask which process this is

    told = known["trackers"].setdefault(name, {"step": 0})
    project = os.environ.get("WANDB_PROJECT", PROJECT) if name == "wandb" else PROJECT
    with _told(name, "cannot be started"):
        if name == "tensorboard":
            tracker = trackers.TensorBoardTracker(known["name"], run.path / "tensorboard")
        elif name == "wandb":
            tracker = trackers.WandBTracker(
                project, id=known["name"], name=known["name"], resume="allow"
            )
        elif name == "trackio":
            tracker = trackers.TrackioTracker(project, name=known["name"], resume="allow")
        else:
            tracker = trackers.MLflowTracker(
                project, run_name=known["name"], run_id=told.get("run")
            )
        tracker.start()
    if name == "mlflow":
        told["run"] = tracker.tracker.info.run_id
    try:
        yield tracker
    finally:
        with _told(name, "cannot be closed"):
            tracker.finish()


def _told(name: str, what: str) -> Any:
    return boundary(
        StageError,
        f"{name} {what}",
        where=f"--report-to {name}",
        fix="mend what it says, or leave it out of --report-to; the same command goes on from the "
        "last checkpoint",
    )


def _values(record: StepRecord) -> dict[str, float]:
    plain = ("loss", "tokens", "read", "norm", "learning_rate", "seconds")
    return {name: getattr(record, name) for name in plain} | dict(record.figures)
