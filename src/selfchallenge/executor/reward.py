"""The one reward: evaluate, and the frame, and the grounding condition (design section 4, eq. 1).

Solutions, mutants and episodes are all judged here. Truth comes from the environment's process: its
final state and its own trace of calls; what the attempted code prints or claims is only an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from selfchallenge.environments.base import Environment, describe_tools
from selfchallenge.episode import Call
from selfchallenge.sandbox.host import Sandbox, Session
from selfchallenge.sandbox.state import ADDED
from selfchallenge.task import CodeAsTask, Path, Verdict


@dataclass(frozen=True)
class Judgement:
    """What was found out about one attempt.

    Attributes:
        passed: `evaluate` returned exactly True.
        outside: state paths that were changed and that the reference solution leaves alone.
        uncalled: tools that the grounding condition asks for and that were not called.
        evidence: one sentence.
    """

    passed: bool
    outside: tuple[Path, ...]
    uncalled: tuple[str, ...]
    evidence: str

    @property
    def reward(self) -> float:
        """1.0 when all three conditions hold, else 0.0."""
        return float(self.passed and not self.outside and not self.uncalled)


def judge(
    sandbox: Sandbox, session: Session, task: CodeAsTask, reference: Verdict, answer: Any
) -> Judgement:
    """Judge the final state of `session` and the final answer against the task's reference.

    The verifier runs in a process of its own; the frame and the tools come from `reference`, the
    verdict of the gate on this task.
    """
    called = {call.tool for call in session.trace() if call.ok}
    changed = session.changed()
    evaluation = sandbox.evaluate(task.verifier, answer, session)
    frame = reference.frame if reference.gate == "full" else None
    outside = outside_frame(sandbox, session, frame, changed)
    uncalled = tuple(sorted(set(required_tools(reference)) - called))
    return Judgement(
        evaluation.passed,
        outside,
        uncalled,
        _evidence(evaluation.passed, evaluation.error, evaluation.returned, outside, uncalled),
    )


def required_tools(reference: Verdict) -> tuple[str, ...]:
    """Tools that a task without a state change asks to be called; empty for other tasks.

    Gates below `full` know neither frame nor grounding (they reproduce the paper's variants).
    """
    return () if reference.frame or reference.gate != "full" else reference.tools


def outside_frame(
    sandbox: Sandbox,
    session: Session,
    frame: tuple[Path, ...] | None,
    changed: tuple[Path, ...] | None,
) -> tuple[Path, ...]:
    """Changed paths that neither the frame nor reading tools account for."""
    if frame is None or changed is None:
        return ()
    outside = tuple(path for path in changed if not _covered(path, frame))
    return without_reading(sandbox, session, outside) if outside else ()


def frame_of(
    sandbox: Sandbox, session: Session, changed: tuple[Path, ...] | None
) -> tuple[Path, ...] | None:
    """The frame that a solution sets with what it changed: none when it only read.

    What its reading changed stays in the frame of a solution that changed something else, too: a
    log that both kinds of tools write is nobody's fault.
    """
    if changed is None:
        return None
    lasting = tuple(p for p in changed if not _volatile(p, session.environment.volatile))
    return lasting if without_reading(sandbox, session, lasting) else ()


def without_reading(
    sandbox: Sandbox, session: Session, changed: tuple[Path, ...]
) -> tuple[Path, ...]:
    """`changed` less the paths declared volatile and those that reading tools change by themselves.

    The reading calls of the session are repeated on a fresh state to see what they touch; that is
    paid only when something looks out of place.
    """
    environment: type[Environment] = session.environment
    paths = tuple(p for p in changed if not _volatile(p, environment.volatile))
    if not paths:
        return ()
    mutating = {t.name for t in describe_tools(environment, session.seed) if t.mutates}
    reads = [call for call in session.trace() if call.tool not in mutating]
    if not reads:
        return paths
    touched = _touched_by(sandbox, environment, session.seed, reads)
    return tuple(path for path in paths if not _covered(path, touched))


def _touched_by(
    sandbox: Sandbox, environment: type[Environment], seed: str | None, reads: Iterable[Call]
) -> tuple[Path, ...]:
    with sandbox.session(environment, seed) as fresh:
        for call in reads:
            if call.arguments is None:  # of too many bytes: it cannot be repeated
                return ()
            fresh.call(call.tool, call.arguments)
        # How many items a reading tool adds to a list is its own affair.
        return tuple(p[:-1] if p[-2:-1] == (ADDED,) else p for p in fresh.changed() or ())


def _covered(path: Path, frame: Iterable[Path]) -> bool:
    return any(path[: len(allowed)] == allowed for allowed in frame)


def _volatile(path: Path, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        keys = pattern.split(".")
        if len(path) >= len(keys) and all(
            key in ("*", str(found)) for key, found in zip(keys, path, strict=False)
        ):
            return True
    return False


def _evidence(
    passed: bool,
    error: str | None,
    returned: str,
    outside: tuple[Path, ...],
    uncalled: tuple[str, ...],
) -> str:
    if error:
        return f"evaluate failed: {error.strip().splitlines()[-1]}"
    if not passed:
        return f"evaluate returned {returned}"
    if outside:
        shown = ", ".join(".".join(map(str, path)) for path in outside[:3])
        return f"evaluate passed, but the state changed outside the frame: {shown}"
    if uncalled:
        return f"evaluate passed, but without calling {', '.join(uncalled)}"
    return "evaluate passed, within the frame and grounded"
