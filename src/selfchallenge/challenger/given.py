"""Tasks that were written elsewhere: another run's candidates, or a file of one's own.

They go through the gate like fresh ones, because a verdict is recomputed and never imported. So one
set of candidates serves several gates or several trainings, and hand-written tasks (the paper's
oracle tasks) can be trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfchallenge.challenger.candidate import Candidate, unseen
from selfchallenge.errors import RecordError
from selfchallenge.quality.decontaminate import Held
from selfchallenge.runs.store import RunFiles, read_records
from selfchallenge.task import Check, CodeAsTask


@dataclass
class Given:
    """Hands candidates on under their numbers."""

    candidates: Sequence[Candidate]

    def write(self, numbers: Sequence[int], seeds: Sequence[str | None]) -> Iterator[Candidate]:
        """The candidates that have one of these numbers, in their order; they have their seeds."""
        del seeds
        wanted = set(numbers)
        return (one for one in self.candidates if one.candidate in wanted)

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        """The same candidate: who wrote it is not here to mend it."""
        del evidence
        return candidate


def given(source: Path, held: Held) -> Given:
    """The candidates of a run directory, by their numbers, or the tasks of a file, line by line.

    Whatever the gate, none is handed on that is like a task which is tested on (`held`): it is a
    candidate that failed.

    Raises:
        UsageError: there is no such folder or file.
        RecordError: the first malformed line.
    """
    if source.is_dir():
        found = RunFiles.view(source).read("candidates.jsonl", Candidate)
    else:
        found = [
            Candidate(candidate=number, seed=task.seed, task=task, writer="given")
            for number, task in enumerate(_tasks(source))
        ]
    ordered = sorted(found, key=lambda one: one.candidate)
    spent = {"tokens": 0, "seconds": 0.0}  # elsewhere
    return Given([unseen(one.model_copy(update=spent), held) for one in ordered])


def _tasks(file: Path) -> Iterator[CodeAsTask]:
    for _, record in read_records(file, CodeAsTask):
        if isinstance(record, RecordError):
            raise record
        yield record
