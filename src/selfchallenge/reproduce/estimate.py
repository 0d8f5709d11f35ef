"""What a cell will cost, before it is run: tokens by counting, hours by arithmetic.

A token that is read or sampled takes 2 floating-point operations for each parameter, a token that
is trained on 6; a device reaches a share of its peak that differs between reading, sampling and
training. Everything that is assumed stands in `scales.toml`. This says how many zeros a figure has,
and not more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from selfchallenge.manifest import ONLINE, RunSettings
from selfchallenge.reproduce.experiment import Basis, Device, Scale
from selfchallenge.reproduce.plan import BENCHMARK_TASKS, Cell


@dataclass(frozen=True)
class Work:
    """Tokens that go through one model.

    Attributes:
        billions: of parameters.
        read: tokens read.
        written: tokens sampled.
        trained: tokens that a training step reads, sampled and given ones alike.
    """

    billions: float
    read: float = 0.0
    written: float = 0.0
    trained: float = 0.0

    def hours(self, device: Device) -> float:
        """Hours on a device."""
        peak = device.teraflops * 1e12
        reading = 2 * self.read / device.read
        writing = 2 * self.written / device.write
        training = 6 * self.trained / device.train
        return (reading + writing + training) * self.billions * 1e9 / peak / 3600


@dataclass(frozen=True)
class Estimate:
    """What a cell costs: tokens, and hours by the name of the device."""

    read: float
    written: float
    trained: float
    hours: Mapping[str, float]


def estimate(work: Iterable[Work], basis: Basis) -> Estimate:
    """The sum of what is to be done."""
    parts = list(work)
    return Estimate(
        read=sum(part.read for part in parts),
        written=sum(part.written for part in parts),
        trained=sum(part.trained for part in parts),
        hours={d.name: sum(part.hours(d) for part in parts) for d in basis.devices},
    )


def work_of(cell: Cell, cells: Sequence[Cell], scale: Scale) -> list[Work]:
    """What the stages of a cell put through its models.

    Args:
        cell: the cell.
        cells: all cells of the experiment, for those whose attempts it learns from.
        scale: with what the estimate rests on.
    """
    known = {str(one.folder): one.settings for one in cells}
    tests = scale.basis.tests.get(cell.environment, 0)
    if cell.data is not None:
        tests = BENCHMARK_TASKS[cell.environment]
    count = _Count(cell.settings, known, tests, scale)
    return [part for stage in cell.stages for part in getattr(count, stage)()]


def resized(basis: Basis, names: Mapping[str, str]) -> Basis:
    """What estimates rest on when other models play the student or the teacher.

    Args:
        basis: of the scale.
        names: models that the user gives to roles; their size is read off their names.
    """
    for role in ("student", "teacher"):
        if role not in names:
            continue
        told = billions_of(names[role])
        size = told or getattr(basis, role)
        how = "as its name says" if told else "its name does not say how many"
        source = f"{basis.source}; {names[role]} counts as {size:g} billion weights, {how}"
        basis = basis.model_copy(update={role: size, "source": source})
    return basis


def billions_of(model: str) -> float | None:
    """How many billions of weights the name of a model says that it has; None where it does not."""
    name = model.partition("@")[0].rstrip("/").rpartition("/")[2]
    found = _BILLIONS.search(name)
    return float(found[1]) if found else None


_BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![a-zA-Z])")
"""7B, 0.5b."""


@dataclass(frozen=True)
class _Count:
    settings: RunSettings
    known: Mapping[str, RunSettings]
    tests: int
    scale: Scale

    def challenge(self) -> list[Work]:
        s, basis = self.settings, self.scale.basis
        if s.tasks_from:
            return []
        size = self._size(s.challenger_model or s.model)
        teaches = (s.challenger_model or s.model) in self._teachers()
        kept = basis.teacher_accepted if teaches else basis.accepted
        wanted = s.tasks if s.gate == "none" else math.ceil(s.tasks / kept)
        number = min(wanted, s.candidates)
        return [Work(size, number * basis.candidate_read, number * basis.candidate_written)]

    def roll_out(self) -> list[Work]:
        if self.settings.algorithm in ONLINE:
            return []
        return self._attempts(self._made(self.settings))

    def train(self) -> list[Work]:
        s = self.settings
        if s.algorithm in ONLINE:
            own = getattr(s, s.algorithm)
            made = own.most_groups * own.group
            # Groups that came out alike are attempted and no more.
            learnt = own.iterations * own.tasks * own.group * self._length()
            views = 2 if own.kl else 1  # the policy's before the update, and the untrained model's
            compared = Work(self._size(s.model), read=learnt * views)
            trained = Work(self._size(s.model), trained=learnt * own.updates)
            return [*self._attempts(made), compared, trained]
        sources = [self.known[folder] for folder in s.learn_from] or [s]
        samples = sum(self._samples(source) for source in sources)
        own = s.dpo if s.algorithm == "dpo" else s.rft
        seen = samples * self._length() * own.epochs
        reference = samples * self._length() if s.algorithm == "dpo" else 0.0
        return [Work(self._size(s.model), read=reference, trained=seen)]

    def before(self) -> list[Work]:
        return self._sampled(self.tests * self.settings.trials, self.settings.model)

    def after(self) -> list[Work]:
        s = self.settings
        online = getattr(s, s.algorithm) if s.algorithm in ONLINE else None
        # What is kept after the last round is the model itself.
        points = (online.iterations - 1) // online.keep if online and online.keep else 0
        return self.before() * (1 + points)

    def _samples(self, source: RunSettings) -> float:
        """Sequences that the training takes from the attempts of a run."""
        s, basis = self.settings, self.scale.basis
        solved = basis.judge_accepts if source.judged else basis.solved
        made = self._made(source)
        if s.algorithm == "distill":
            return made * (solved if s.rft.only_success else 1)
        if s.algorithm == "dpo":
            return 2 * min(made * solved, source.tasks * s.dpo.per_task)
        return min(made * solved, source.tasks * s.rft.per_task)

    def _attempts(self, number: float) -> list[Work]:
        """Attempts to be learnt from, and the judging of them where a judge rewards."""
        s, basis = self.settings, self.scale.basis
        made = self._sampled(number, s.teacher_model or s.model)
        if s.judged:
            size = self._size(s.judging)
            made.append(Work(size, number * basis.judged_read, number * basis.judged_written))
        return made

    def _sampled(self, number: float, model: str) -> list[Work]:
        basis = self.scale.basis
        size = self._size(model)
        return [Work(size, number * basis.attempt_read, number * basis.attempt_written)]

    def _made(self, settings: RunSettings) -> float:
        """Attempts that a run makes beforehand; those that see the solution at unsolved tasks."""
        unsolved = (1 - self.scale.basis.solved) ** settings.rollouts
        return settings.tasks * (settings.rollouts + settings.hinted * unsolved)

    def _length(self) -> int:
        return self.scale.basis.attempt_read + self.scale.basis.attempt_written

    def _size(self, model: str) -> float:
        """Billions of parameters; an adapter has those of the student below it."""
        basis = self.scale.basis
        usual = basis.teacher if model in self._teachers() else basis.student
        return billions_of(model) or usual

    def _teachers(self) -> set[str]:
        return {self.scale.names["teacher"], self.scale.names["teaching_writer"]}
