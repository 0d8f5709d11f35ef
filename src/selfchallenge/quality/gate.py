"""The gate: runs a task's code in isolation, asks the checks in order, and writes the Verdict.

Cheap checks come first and the first failed one ends the work; its evidence is what the writer is
shown for a revision. `paper` is the paper's own checker; the gates below it leave checks out, to
reproduce its ablation (table 2), and `full` adds ours.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path as FilePath
from typing import Literal, get_args

from selfchallenge.environments.base import (
    Environment,
    ToolSpec,
    describe_tools,
    environment_name,
    policy_of,
)
from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import RecordError, SessionError, UsageError
from selfchallenge.executor.reward import frame_of
from selfchallenge.quality import checks, sufficiency
from selfchallenge.quality.blind import Blind
from selfchallenge.quality.checks import Run
from selfchallenge.quality.decontaminate import Held
from selfchallenge.quality.duplicates import Seen
from selfchallenge.quality.settings import GateSettings
from selfchallenge.quality.variants import LIMITS, Variants
from selfchallenge.runs.store import read_records
from selfchallenge.sandbox.host import Evaluation, Sandbox, default_sandbox
from selfchallenge.task import Check, CodeAsTask, Verdict

Gate = Literal["full", "paper", "solution", "verifier", "none"]


def check(
    task: CodeAsTask,
    environment: str | type[Environment],
    gate: Gate = "full",
    *,
    sandbox: Sandbox | None = None,
    seen: Seen | None = None,
    held: Held | None = None,
    settings: GateSettings | None = None,
    blind: Blind | None = None,
) -> Verdict:
    """Run a task's code in isolation and say whether it can be trusted.

    Args:
        task: the task.
        environment: its environment: a class, or anything `load_environment` takes.
        gate: which checks must pass.
        sandbox: where the code runs; the process-wide one by default.
        seen: tasks accepted so far, for the duplicate check of the full gate; a task that is
            accepted is added to it.
        held: hashes of the tasks that are tested on, for the full gate.
        settings: what the full gate asks for.
        blind: who attempts the task from its instruction alone, for the full gate; None: nobody.

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
    place = sandbox or default_sandbox()
    trial = Trial(task, world, place, seen, held, settings or GateSettings(), blind)
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


def survivors(task: CodeAsTask, environment: type[Environment], sandbox: Sandbox) -> list[str]:
    """Sources of wrong variants of the solution that the task rewards; for mending its verifier."""
    return Trial(task, environment, sandbox).survivors()


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
    held: Held | None = None
    settings: GateSettings = field(default_factory=GateSettings)
    blind: Blind | None = None

    def checks(self, gate: Gate) -> Iterator[Check]:
        """The checks of this gate, each computed when it is asked for."""
        if gate == "none":
            # Nothing is asked, but rewards still need the type of the reference answer.
            _ = self.solution
            return
        if gate == "verifier":
            yield checks.verifier_runs(self.solution.evaluation)
            return
        if gate == "full":
            yield from self._apart()
        yield checks.solution_runs(self.solution.execution)
        yield checks.verifier_runs(self.solution.evaluation)
        yield checks.solution_passes(self.solution.evaluation)
        if gate == "full":
            yield checks.readable(self.task.solution, self.solution.calls, self._tools)
            yield checks.uses_tools(self.solution)
            yield checks.untouched_fails(self._untouched(None))
            yield checks.empty_answer_fails(self._untouched(""))
            yield from self._instruction()
        if gate in ("paper", "full"):
            failures = [self.run(code) for code in self.task.failures]
            yield checks.failures_run([run.execution for run in failures])
            yield checks.failures_fail(failures)
        if gate == "full":
            yield checks.failures_act(failures)
            yield checks.deterministic([self.solution, *failures], self._repeated())
            yield checks.solution_in_frame(self.solution)
            calls = [call for run in failures for call in run.calls]
            equivalents = [tried for _, tried in self._variants.equivalents(calls)]
            yield checks.equivalents_pass(equivalents)
            mutants = [tried for _, tried in self._variants.mutants(calls)]
            yield checks.mutants_fail(mutants, self.settings.survivors)
            if self.blind is not None:
                yield self.blind.check(self.task, self._reference, self.environment, self.sandbox)

    def _repeated(self) -> list[Run]:
        """The solution and the failure cases again, under other seeds and in a secret order.

        A verifier that counts its runs would otherwise know which one follows the solution.
        """
        codes = [self.task.solution, *self.task.failures]
        places = list(range(len(codes)))
        secrets.SystemRandom().shuffle(places)
        again = {place: self.run(codes[place], again=True) for place in places}
        return [again[place] for place in range(len(codes))]

    def survivors(self) -> list[str]:
        """Sources of the wrong variants of the solution that earn the reward."""
        failures = [self.run(code) for code in self.task.failures]
        tried = self._variants.mutants([call for run in failures for call in run.calls])
        return [variant.code for variant, one in tried if one.passes and not one.same]

    def _apart(self) -> Iterator[Check]:
        """From the tasks accepted so far, and from those that are tested on."""
        if self.seen is not None:
            yield self.seen.check(self.task)
        if self.held is not None:
            yield self.held.check(self.task)

    def _instruction(self) -> Iterator[Check]:
        """Whether the instruction says enough, and nothing else than the solution does."""
        calls, told = self.solution.calls, self.task.instruction
        opened = partial(self.sandbox.session, self.environment, self.task.seed)
        reach = sufficiency.reachable(opened, self._tools, told)
        reach.follow([call for call in calls if call.ok])
        needed = [
            value
            for value in sufficiency.literals(self.task.solution, calls)
            if not (sufficiency.is_prose(value) and self._variants.any_words_do(value))
        ]
        policy = policy_of(self.environment)
        code = f"{self.task.solution}\n{self.task.verifier}"
        yield sufficiency.sufficient(told, needed, self._tools, reach, policy)
        yield sufficiency.agrees(told, calls, code, reach, self._variants.texts)

    @cached_property
    def _tools(self) -> tuple[ToolSpec, ...]:
        return describe_tools(self.environment, self.task.seed)

    @cached_property
    def _variants(self) -> Variants:
        return Variants(
            self.task,
            self.environment,
            self.sandbox,
            self.solution,
            self._reference,
            self._tools,
        )

    @cached_property
    def _reference(self) -> Verdict:
        return self.verdict("full", [], accepted=True, seconds=0.0)

    @cached_property
    def solution(self) -> Run:
        """The example solution, run and judged by `evaluate` alone."""
        return self.run(self.task.solution)

    def run(self, code: str, *, again: bool = False) -> Run:
        """Run code on a fresh state, then `evaluate` on what it left, each in its own process."""
        seed, solves = int(again), code == self.task.solution
        with self.sandbox.session(self.environment, self.task.seed, hash_seed=seed) as session:
            execution = self.sandbox.execute(
                code, session, limits=LIMITS, seed=seed, hash_seed=seed
            )
            # Of a failure case nothing is asked of the state.
            digest = session.digest() if solves else ""
            framed = solves and not again
            frame = frame_of(self.sandbox, session, session.changed()) if framed else None
            calls = session.trace()
            evaluation = self.sandbox.evaluate(
                self.task.verifier, execution.answer, session, limits=LIMITS, hash_seed=seed
            )
            return Run(execution, evaluation, calls, frame, digest)

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
    """What code wrote may move the cursor of a terminal: a reason holds nothing of that kind."""
    last = "".join(text.strip().splitlines()[-1:])
    return "".join(char if char.isprintable() else " " for char in last)
