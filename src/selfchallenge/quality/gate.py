"""The gate: runs a task's code in isolation, asks the checks in order, and writes the Verdict.

Cheap checks come first and the first failed one ends the work; its evidence is what the writer is
shown for a revision. `paper` is the paper's own checker; the gates below it leave checks out, to
reproduce its ablation (table 2), and `full` adds ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Literal, get_args

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import RecordError, SessionError, UsageError
from selfchallenge.executor.reward import without_reading
from selfchallenge.quality import checks
from selfchallenge.quality.checks import Run
from selfchallenge.quality.duplicates import Seen
from selfchallenge.runs.store import read_records
from selfchallenge.sandbox.host import Evaluation, Limits, Sandbox, default_sandbox
from selfchallenge.task import Check, CodeAsTask, Verdict

Gate = Literal["full", "paper", "solution", "verifier", "none"]

LIMITS = Limits(wall=5.0)


def check(
    task: CodeAsTask,
    environment: str | type[Environment],
    gate: Gate = "full",
    *,
    sandbox: Sandbox | None = None,
    seen: Seen | None = None,
) -> Verdict:
    """Run a task's code in isolation and say whether it can be trusted.

    Args:
        task: the task.
        environment: its environment: a class, or anything `load_environment` takes.
        gate: which checks must pass.
        sandbox: where the code runs; the process-wide one by default.
        seen: tasks accepted so far, for the duplicate check of the full gate; a task that is
            accepted is added to it.

    Raises:
        UsageError: unknown gate or environment.
        LoadError: the environment cannot be started.
        SandboxError: code cannot be isolated here as well as asked for.
    """
    if gate not in get_args(Gate):
        raise UsageError(f"unknown gate {gate!r}", fix=f"choose one of {', '.join(get_args(Gate))}")
    started = time.perf_counter()
    world = load_environment(environment)
    if task.environment != (wanted := environment_name(world)):
        evidence = f"environment: the task is of {task.environment!r}, not of {wanted!r}"
        return _rejected(task.id, evidence, gate)
    trial = Trial(task, world, sandbox or default_sandbox(), seen)
    results: list[Check] = []
    try:
        for result in trial.checks(gate):
            results.append(result)
            if not result.passed:
                break
    except SessionError as error:
        results.append(Check(name="session", passed=False, evidence=error.what))
    accepted = all(result.passed for result in results)
    if accepted and seen is not None:
        seen.add(task)
    return trial.verdict(gate, results, accepted=accepted, seconds=time.perf_counter() - started)


def derive_reference(task: CodeAsTask, environment: type[Environment], sandbox: Sandbox) -> Verdict:
    """What attempts at a trusted task are judged by, derived by running its solution once.

    The verdict is of the `full` gate, so that frame and grounding hold; it is accepted when the
    solution passes. Use `check` to find out whether a task can be trusted.
    """
    started = time.perf_counter()
    trial = Trial(task, environment, sandbox)
    run = trial.solution
    results = [
        checks.solution_runs(run.execution),
        checks.solution_passes(run.evaluation),
        checks.solution_in_frame(run),
    ]
    accepted = all(result.passed for result in results)
    return trial.verdict("full", results, accepted=accepted, seconds=time.perf_counter() - started)


def check_file(
    path: FilePath,
    environment: str | type[Environment],
    gate: Gate = "full",
    *,
    sandbox: Sandbox | None = None,
) -> Iterator[Verdict]:
    """Exactly one verdict for every line of a tasks file, in order, also for a malformed one."""
    seen = Seen()
    for number, record in read_records(path, CodeAsTask):
        if isinstance(record, RecordError):
            yield rejected_record(number, record, gate)
        else:
            yield check(record, environment, gate, sandbox=sandbox, seen=seen)


def rejected_record(number: int, error: RecordError, gate: Gate) -> Verdict:
    """The verdict of an input line that is no valid record."""
    evidence = f"{error.what} ({error.where})" if error.where else error.what
    return _rejected(f"line-{number}", evidence, gate)


def _rejected(name: str, evidence: str, gate: Gate) -> Verdict:
    """The verdict of what is not even tried."""
    return Verdict(
        id=name,
        accepted=False,
        isolation="-",
        gate=gate,
        checks=(Check(name="record", passed=False, evidence=evidence),),
        reason=f"dropped: record: {evidence}",
    )


@dataclass
class Trial:
    """One task before the gate: what was run so far, each piece of code at most once per need."""

    task: CodeAsTask
    environment: type[Environment]
    sandbox: Sandbox
    seen: Seen | None = None

    def checks(self, gate: Gate) -> Iterator[Check]:
        """The checks of this gate, each computed when it is asked for."""
        if gate == "none":
            # Nothing is asked, but rewards still need the type of the reference answer.
            _ = self.solution
            return
        if gate == "verifier":
            yield checks.verifier_runs(self.solution.evaluation)
            return
        if gate == "full" and self.seen is not None:
            yield self.seen.check(self.task)
        yield checks.solution_runs(self.solution.execution)
        yield checks.verifier_runs(self.solution.evaluation)
        yield checks.solution_passes(self.solution.evaluation)
        if gate == "full":
            yield checks.uses_tools(self.solution)
            yield checks.untouched_fails(self._untouched(None))
            yield checks.empty_answer_fails(self._untouched(""))
        if gate in ("paper", "full"):
            failures = [self.run(code) for code in self.task.failures]
            yield checks.failures_run([run.execution for run in failures])
            yield checks.failures_fail(failures)
        if gate == "full":
            yield checks.deterministic(self.solution, self.run(self.task.solution, again=True))
            yield checks.solution_in_frame(self.solution)

    @cached_property
    def solution(self) -> Run:
        """The example solution, run and judged by `evaluate` alone."""
        return self.run(self.task.solution)

    def run(self, code: str, *, again: bool = False) -> Run:
        """Run code on a fresh state, then `evaluate` on what it left, each in its own process."""
        seed = int(again)
        with self.sandbox.session(self.environment, self.task.seed, hash_seed=seed) as session:
            execution = self.sandbox.execute(
                code, session, limits=LIMITS, seed=seed, hash_seed=seed
            )
            changed = session.changed()
            digest = session.digest()
            calls = session.trace()
            evaluation = self.sandbox.evaluate(
                self.task.verifier, execution.answer, session, limits=LIMITS, hash_seed=seed
            )
            if changed:
                changed = without_reading(self.sandbox, session, changed)
            return Run(execution, evaluation, calls, changed, digest)

    def verdict(
        self, gate: Gate, results: list[Check], *, accepted: bool, seconds: float
    ) -> Verdict:
        """The record of this trial."""
        ran = self.__dict__.get("solution")
        failed = next((result for result in results if not result.passed), None)
        reason = (
            f"kept: all {len(results)} checks of the {gate} gate passed"
            if failed is None
            else f"dropped: {failed.name}: {_last_line(failed.evidence)}"
        )
        return Verdict(
            id=self.task.id,
            accepted=accepted,
            isolation=self.sandbox.isolation,
            gate=gate,
            checks=tuple(results),
            reason=reason,
            frame=ran.changed if ran else None,
            tools=ran.tools if ran else (),
            answer_type=type(ran.execution.answer).__name__ if ran else "NoneType",
            seconds=round(seconds, 4),
        )

    def _untouched(self, answer: object) -> Evaluation:
        with self.sandbox.session(self.environment, self.task.seed) as session:
            return self.sandbox.evaluate(self.task.verifier, answer, session, limits=LIMITS)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
