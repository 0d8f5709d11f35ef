"""What becomes of a written candidate: redacted, checked, its verifier mended once, kept or not.

The gate must not see the tests and the writer must not see the gate's benchmark, so what they need
of each other passes through here. Candidates, verdicts and tasks are written in an order that a
kill at any point leaves resumable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from selfchallenge.challenger.candidate import Candidate, redacted, unseen
from selfchallenge.environments.base import Environment
from selfchallenge.errors import SessionError
from selfchallenge.evaluation.tested import held_of
from selfchallenge.manifest import RunSettings, rounds_before
from selfchallenge.quality.blind import Blind
from selfchallenge.quality.decontaminate import Held
from selfchallenge.quality.duplicates import Seen
from selfchallenge.quality.gate import check
from selfchallenge.runs.store import RunDirectory
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import Check, CodeAsTask, Verdict

LET_THROUGH = "mutants_fail"
"""The check after which the writer may mend its verifier."""


class Writer(Protocol):
    """Who writes candidates."""

    def write(self, numbers: Sequence[int], seeds: Sequence[str | None]) -> Iterator[Candidate]:
        """One candidate for each number, as far as there are any."""
        ...

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        """The candidate with a verifier that rejects more; the same task when it knows none."""
        ...


@dataclass
class Intake:
    """Takes candidates in, one verdict for each that holds a task."""

    run: RunDirectory
    environment: type[Environment]
    sandbox: Sandbox
    settings: RunSettings
    blind: Blind | None = None
    accepted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.accepted = {task.id for task in self.run.read("tasks.jsonl", CodeAsTask)}

    def resume(self, candidates: Iterable[Candidate]) -> None:
        """Judge the written candidates that have no verdict yet."""
        judged = {line["candidate"] for line in self.run.read("verdicts.jsonl")}
        for candidate in candidates:
            if candidate.candidate not in judged and candidate.task is not None:
                self._keep(candidate.candidate, candidate.task, self._judge(candidate.task))

    def take(self, candidate: Candidate, writer: Writer) -> Candidate:
        """Judge a fresh candidate and write down what came of it; returns what was written."""
        candidate = redacted(candidate, self.environment)
        if self.settings.gate != "full":  # which asks this itself, and says so in its verdict
            candidate = unseen(candidate, self._held)
        verdict = None if candidate.task is None else self._judge(candidate.task)
        if verdict is not None and self._mendable(verdict):
            candidate, verdict = self._mended(candidate, verdict, writer)
        self.run.append("candidates.jsonl", candidate)
        if candidate.task is not None and verdict is not None:
            self._keep(candidate.candidate, candidate.task, verdict)
        return candidate

    def _mendable(self, verdict: Verdict) -> bool:
        failed = [check.name for check in verdict.checks if not check.passed]
        return failed == [LET_THROUGH] and self.settings.quality.revisions > 0

    def _mended(
        self, candidate: Candidate, verdict: Verdict, writer: Writer
    ) -> tuple[Candidate, Verdict]:
        """The candidate with its verifier revised, when that is accepted; else as it was."""
        try:
            revised = writer.revise(candidate, verdict.checks[-1])
        except SessionError:  # wrong solutions broke their world: there is nothing to tell apart
            return candidate, verdict
        unchanged = candidate.model_copy(
            update={"tokens": revised.tokens, "seconds": revised.seconds}
        )
        if revised.task is None or revised.task == candidate.task:
            return unchanged, verdict
        again = self._judge(revised.task)
        return (revised, again) if again.accepted else (unchanged, verdict)

    def _judge(self, task: CodeAsTask) -> Verdict:
        return check(
            task,
            self.environment,
            self.settings.gate,
            sandbox=self.sandbox,
            seen=self._seen,
            held=self._held,
            settings=self.settings.quality,
            blind=self.blind,
        )

    def _keep(self, number: int, task: CodeAsTask, verdict: Verdict) -> None:
        # The task goes first: a kill between the two lines leaves a verdict that is owed again,
        # and `accepted` keeps the task from being written twice.
        if verdict.accepted and task.id not in self.accepted:
            self.run.append("tasks.jsonl", task)
            self.accepted.add(task.id)
        line = {"candidate": number, "verdict": verdict.model_dump(mode="json")}
        self.run.append("verdicts.jsonl", line)

    @cached_property
    def _held(self) -> Held:
        return held_of(self.environment)

    @cached_property
    def _seen(self) -> Seen:
        # A task whose verdict a kill has lost is judged again, and must not be its own duplicate.
        verdicts = [line["verdict"] for line in self.run.read("verdicts.jsonl")]
        sure = {verdict["id"] for verdict in verdicts if verdict["accepted"]}
        seen = Seen()
        for run in rounds_before(self.settings.aimed_at):
            for task in run.read("tasks.jsonl", CodeAsTask):
                seen.add(task)
        for task in self.run.read("tasks.jsonl", CodeAsTask):
            if task.id in sure:
                seen.add(task)
        return seen
