"""What an experiment is: the declarative files of this folder, read and checked.

An experiment is a list of arms. An arm is a set of settings of an ordinary run and the stages of it
that are gone through; for each of its environments and seeds it becomes a cell (`plan.py`). How
large everything is, and which models play the roles, is said once for all experiments in
`scales.toml`.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field

from selfchallenge.errors import UsageError
from selfchallenge.task import Record

Stage = Literal["challenge", "roll_out", "train", "before", "after"]
"""A step of `pipeline.Loop`; `before` and `after` measure the model on test tasks."""
Measure = Literal["pass@1", "pass@4", "yield", "tokens", "length", "tp", "tn", "fp", "fn"]
"""What is told of an arm: the test score in % (Pass@1, Pass@4), accepted share of the candidates in
%, sampled tokens per accepted task, mean lines of an accepted solution, and the paper's human
labels in % (true and false positives and negatives), which nothing here computes."""
Settings = dict[str, Any]


class Arm(Record):
    """One row of an experiment.

    Attributes:
        name: what it is called in tables.
        stages: what its cells go through, in order.
        settings: of its runs, over those of the scale. `$NAME` stands for a name of the scale, and
            `@ARM` for the run directory of that arm in the same environment (`@ARM/*`: in all of
            them, `@ARM:model`: its trained model). To a `seed` the number of the training is added.
        at: further settings by the name of a scale.
        once: other arms build on it, so one seed serves all of theirs.
        joint: one cell for all environments together, run in the first of them.
        shown: whether it is a row of the result.
        needs_oracle: it takes a file of hand-written tasks, `$oracle`.
        x, series: its place in a plot of lines: where the paper's score stands, and of which line.
        paper: the paper's own numbers, by environment (`average` over all) and measure.
    """

    name: str
    stages: tuple[Stage, ...]
    settings: Settings = Field(default_factory=dict)
    at: dict[str, Settings] = Field(default_factory=dict)
    once: bool = False
    joint: bool = False
    shown: bool = True
    needs_oracle: bool = False
    x: dict[str, float] = Field(default_factory=dict)
    series: str = ""
    paper: dict[str, dict[Measure, float]] = Field(default_factory=dict)


class Experiment(Record):
    """A table or a figure.

    Attributes:
        title: what it shows.
        note: what has to be known to read it.
        environments: where it happens.
        measures: columns of its table.
        baselines: arms that all others are compared with, task by task.
        plot: how it is drawn; `none` for a table, `curves` for scores over rollouts.
        x_label: of a plot of lines.
        arms: its rows, each after the arms that it builds on.
    """

    title: str
    note: str
    environments: tuple[str, ...]
    measures: tuple[Measure, ...]
    baselines: tuple[str, ...] = ()
    plot: Literal["none", "bars", "lines", "lengths", "curves"] = "none"
    x_label: str = ""
    arms: tuple[Arm, ...] = Field(alias="arm")


class Device(Record):
    """What work is done on, for estimates.

    Attributes:
        name: what it is, and what the figures rest on.
        teraflops: peak, in the precision that is used.
        read, write, train: share of it that is reached reading a prompt, sampling, and training.
    """

    name: str
    teraflops: float
    read: float
    write: float
    train: float


class Basis(Record):
    """What estimates of a scale rest on.

    Attributes:
        source: where the numbers come from, in words.
        student, teacher: billions of parameters.
        accepted, teacher_accepted: share of the candidates that the gate lets through, by writer.
        candidate_read, candidate_written: tokens of writing one candidate.
        attempt_read, attempt_written: tokens of one attempt.
        judged_read, judged_written: tokens of judging one attempt.
        solved: share of the attempts that earn the reward.
        judge_accepts: share of the attempts that a judge takes for successes.
        tests: test tasks by environment.
        devices: what the work would be done on.
    """

    source: str
    student: float
    teacher: float
    accepted: float
    teacher_accepted: float
    candidate_read: int
    candidate_written: int
    attempt_read: int
    attempt_written: int
    judged_read: int
    judged_written: int
    solved: float
    judge_accepts: float
    tests: dict[str, int]
    devices: tuple[Device, ...]


class Scale(Record):
    """How large an experiment is run.

    Attributes:
        note: what a reader of its results has to know.
        preset: starting values of every run.
        seeds: trainings of each arm.
        environments: stand in for those of the experiment, the first for the first; none: its own.
        benchmarks: it has to be tested on the paper's benchmarks.
        settings: of every run, over the preset's.
        places: further settings by the name of an environment.
        names: what `$NAME` stands for.
        basis: what estimates rest on.
    """

    note: str
    preset: str
    seeds: int
    environments: tuple[str, ...] = ()
    benchmarks: bool = False
    settings: Settings = Field(default_factory=dict)
    places: dict[str, Settings] = Field(default_factory=dict)
    names: dict[str, str]
    basis: Basis


def experiment_names() -> list[str]:
    """The experiments that there are, sorted."""
    found = (entry.name for entry in files(__package__).joinpath("experiments").iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def read_experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        UsageError: there is no such experiment.
    """
    if name not in experiment_names():
        raise UsageError(
            f"there is no experiment {name!r}", fix=f"use one of {', '.join(experiment_names())}"
        )
    return Experiment.model_validate(_toml(f"experiments/{name}.toml"))


def read_scale(name: str) -> Scale:
    """A scale by its name.

    Raises:
        UsageError: there is no such scale.
    """
    scales = _toml("scales.toml")
    if name not in scales:
        raise UsageError(f"there is no scale {name!r}", fix=f"use one of {', '.join(scales)}")
    return Scale.model_validate(scales[name])


def _toml(path: str) -> dict[str, Any]:
    source = files(__package__).joinpath(*path.split("/"))
    return tomllib.loads(source.read_text("utf-8"))
