"""The cells of an experiment: every arm in every environment with every seed, as settings of a run.

A cell is an ordinary run directory below `OUT/cells`. Cells share what they can: candidates through
`tasks_from`, attempts through `learn_from`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfchallenge.errors import UsageError
from selfchallenge.manifest import RunSettings
from selfchallenge.reproduce.experiment import Arm, Experiment, Scale, Stage
from selfchallenge.settings import overlay, preset

BENCHMARKS = {
    "calculation": "m3tooleval",
    "web": "m3tooleval",
    "retail": "tau-bench",
    "airline": "tau-bench",
}
"""What the paper tests each environment on."""

BENCHMARK_TASKS = {"calculation": 48, "web": 34, "retail": 115, "airline": 30}
"""How many tasks of it; in airline the paper's subset."""


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    Attributes:
        arm: name of its arm.
        environment: where it happens.
        seed: of the run.
        folder: its run directory.
        stages: what it goes through.
        settings: of the run.
        needs: run directories of the cells that it builds on.
        data: folder of the benchmark that it is tested on; None: our held-out tasks.
        user_model: who tells the tasks of tau-bench; empty: a script.
    """

    arm: str
    environment: str
    seed: int
    folder: Path
    stages: tuple[Stage, ...]
    settings: RunSettings
    needs: tuple[Path, ...]
    data: Path | None = None
    user_model: str = ""

    @property
    def name(self) -> str:
        """What it is called in lists."""
        return f"{self.arm}, {self.environment}, seed {self.seed}"


@dataclass(frozen=True)
class Asked:
    """What a user asks for beside the experiment and its scale.

    Attributes:
        out: folder of the experiment.
        seeds: trainings of each arm; 0: as many as the scale says.
        oracle: file of hand-written tasks; None: arms that need it are left out.
        changes: settings of every run, over all others.
        data: folder with the benchmarks' data, a folder each; None: test on our held-out tasks.
        user_model: who tells tau-bench's tasks; empty: a script.
        arms: names of the arms that are run now, with those that they build on; none: all.
    """

    out: Path
    seeds: int = 0
    oracle: Path | None = None
    changes: Mapping[str, Any] | None = None
    data: Path | None = None
    user_model: str = ""
    arms: tuple[str, ...] = ()


def plan(experiment: Experiment, scale_name: str, scale: Scale, asked: Asked) -> list[Cell]:
    """All cells, each after those that it builds on; whole tables come seed by seed.

    Raises:
        UsageError: a setting that the user changes does not exist, contradicts another, or is what
            an arm differs from the others by.
    """
    _leave_to_the_arms(experiment, scale_name, asked.changes or {})
    cells = _Planner(experiment, scale_name, scale, asked).cells()
    return sorted(cells, key=lambda cell: cell.seed)


def chosen(cells: Sequence[Cell], arms: Sequence[str]) -> list[Cell]:
    """The cells of some arms and those that they build on; all of them when no arm is named."""
    wanted: set[Path] = set()
    for cell in reversed(cells):
        if not arms or cell.arm in arms or cell.folder in wanted:
            wanted |= {cell.folder, *cell.needs}
    return [cell for cell in cells if cell.folder in wanted]


def benchmark_of(environment: str) -> str:
    """The benchmark that the paper tests an environment on.

    Raises:
        UsageError: it has none.
    """
    if environment not in BENCHMARKS:
        fix = "leave --data out: the held-out tasks are tested on"
        raise UsageError(f"no benchmark tests {environment}", where="--data", fix=fix)
    return BENCHMARKS[environment]


def environments_of(experiment: Experiment, scale: Scale) -> tuple[str, ...]:
    """Where an experiment happens at a scale."""
    return scale.environments[: len(experiment.environments)] or experiment.environments


def left_out(experiment: Experiment, asked: Asked) -> list[Arm]:
    """Arms that need a file of hand-written tasks, when none was named."""
    return [arm for arm in experiment.arms if arm.needs_oracle and asked.oracle is None]


def _leave_to_the_arms(experiment: Experiment, scale_name: str, changes: Mapping[str, Any]) -> None:
    """Refuse changes that would make arms alike, or give them another model than the table says."""
    asked = _leaves(changes)
    instead = {
        "seed": "use --seeds N: every arm is run with the seeds 0 to N - 1",
        "model": "use --set names.student=MODEL",
        "algorithm": "selfchallenge run ENV --algorithm NAME; calculation and figure3 compare all",
    }
    for name in sorted(asked & instead.keys()):
        what = f"the {name} is the experiment's"
        raise UsageError(what, where=f"--set {name}", fix=instead[name])
    for arm in experiment.arms:
        own = _leaves(arm.settings) | _leaves(arm.at.get(scale_name, {}))
        if clash := min(asked & own, default=""):
            raise UsageError(
                f"{clash} is what the arm {arm.name!r} is about",
                where=f"--set {clash}",
                fix="leave it as it is; models are changed by their roles, --set names.ROLE=MODEL",
            )


def _leaves(settings: Mapping[str, Any], before: str = "") -> set[str]:
    """Names of single settings, dotted within their groups."""
    found: set[str] = set()
    for name, value in settings.items():
        inner = _leaves(value, f"{before}{name}.") if isinstance(value, Mapping) else None
        found |= {f"{before}{name}"} if inner is None else inner
    return found


@dataclass(frozen=True)
class _Planner:
    experiment: Experiment
    scale_name: str
    scale: Scale
    asked: Asked

    def cells(self) -> Iterator[Cell]:
        out = left_out(self.experiment, self.asked)
        places = environments_of(self.experiment, self.scale)
        for arm in self.experiment.arms:
            if arm in out:
                continue
            seeds = 1 if arm.once else self.asked.seeds or self.scale.seeds
            for environment in places[:1] if arm.joint else places:
                for seed in range(seeds):
                    yield self._cell(arm, environment, seed)

    def _cell(self, arm: Arm, environment: str, seed: int) -> Cell:
        needs: list[Path] = []
        settings = preset(self.scale.preset)
        scale = self.scale.settings, self.scale.places.get(environment, {})
        for changes in (*scale, arm.settings, arm.at.get(self.scale_name, {})):
            resolved = self._resolved(changes, environment, seed, needs)
            settings = overlay(settings, resolved, where=f"arm {arm.name}")
        settings = overlay(settings, self.asked.changes or {}, where="--set")
        settings = overlay(settings, {"seed": settings.seed + seed}, where="--seeds")
        settings.check()
        folder = self._folder(arm, environment, seed)
        data = self.asked.data
        return Cell(
            arm.name,
            environment,
            seed,
            folder,
            arm.stages,
            settings,
            tuple(needs),
            None if data is None else data.absolute() / benchmark_of(environment),
            self.asked.user_model,
        )

    def _resolved(self, value: Any, environment: str, seed: int, needs: list[Path]) -> Any:
        """A value of the files with its names and references resolved; `needs` takes the latter."""
        if isinstance(value, Mapping):
            return {k: self._resolved(v, environment, seed, needs) for k, v in value.items()}
        if isinstance(value, list):
            found = [self._resolved(item, environment, seed, needs) for item in value]
            return [one for item in found for one in (item if isinstance(item, list) else [item])]
        if not isinstance(value, str):
            return value
        if value == "$oracle":
            return str(Path(self.asked.oracle or "").absolute())
        if value.startswith("$"):
            value = self.scale.names[value[1:]]
        return self._reference(value, environment, seed, needs) if value[:1] == "@" else value

    def _reference(
        self, value: str, environment: str, seed: int, needs: list[Path]
    ) -> str | list[str]:
        name, _, part = value[1:].partition(":")
        name, everywhere, _ = name.partition("/*")
        arm = next(one for one in self.experiment.arms if one.name == name)
        places = environments_of(self.experiment, self.scale)
        chosen = places if everywhere else places[:1] if arm.joint else (environment,)
        folders = [self._folder(arm, place, 0 if arm.once else seed) for place in chosen]
        needs += folders
        paths = [str(folder / part) if part else str(folder) for folder in folders]
        return paths if everywhere else paths[0]

    def _folder(self, arm: Arm, environment: str, seed: int) -> Path:
        slug = re.sub(r"\W+", "-", arm.name.lower()).strip("-")
        return self.asked.out.absolute() / "cells" / environment / slug / f"seed-{seed}"


def check_asked(experiment: Experiment, asked: Asked) -> None:
    """Make sure that what is asked for has its use, and that the hand-written tasks are there.

    Raises:
        UsageError: it has none, or they are not.
    """
    known = [arm.name for arm in experiment.arms]
    if unknown := [name for name in asked.arms if name not in known]:
        fix = f"use one of {', '.join(map(repr, known))}"
        raise UsageError(f"there is no arm {unknown[0]!r}", where="--arm", fix=fix)
    if lacking := [arm.name for arm in left_out(experiment, asked) if arm.name in asked.arms]:
        fix = "name them with --oracle-tasks FILE"
        raise UsageError(f"{lacking[0]!r} needs hand-written tasks", where="--arm", fix=fix)
    if asked.user_model and asked.data is None:
        fix = "give --data DIR, or leave --user-model out: held-out tasks are put directly"
        raise UsageError("there is no benchmark's user to play", where="--user-model", fix=fix)
    if asked.oracle is not None and not asked.oracle.is_file():
        raise UsageError("no such file", where=str(asked.oracle), fix="give a file of tasks")
    if asked.oracle is not None and not any(arm.needs_oracle for arm in experiment.arms):
        fix = "leave it out; figure6 compares with hand-written tasks"
        raise UsageError("no arm learns from these tasks", where="--oracle-tasks", fix=fix)
