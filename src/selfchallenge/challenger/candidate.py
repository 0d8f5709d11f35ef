"""What the writer hands to the gate: one candidate a line, also when no task came of it."""

from __future__ import annotations

from typing import Literal

from selfchallenge.environments.base import Environment
from selfchallenge.quality.decontaminate import Held
from selfchallenge.task import CodeAsTask, Record


class Candidate(Record):
    """One attempt at writing a task; the key is `candidate`.

    Attributes:
        candidate: its number within the run, from 0.
        seed: which part of the world it was to be about.
        task: what was written; None when a stage failed.
        failed: the stage that failed: `explore`, `verifier`, `failures`, `instruction`, `format`;
            `unseen` for a given task that is like one which is tested on.
        evidence: why it failed, one line.
        writer: `staged`, `paper`, `pae`, or `given` for a task that was written elsewhere.
        tools: tools of its solution, in order.
        refused: tools that were tried on the way and whose calls came to nothing (coverage).
        shape: the plan of its calls (coverage); empty but for the staged writer.
        flow: what the answer is made of (coverage).
        tokens: tokens that the model sampled for it.
        seconds: its share of the wall time.
    """

    candidate: int
    seed: str | None = None
    task: CodeAsTask | None = None
    failed: str | None = None
    evidence: str = ""
    writer: Literal["staged", "paper", "pae", "given"]
    tools: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    shape: str = ""
    flow: str = "none"
    tokens: int = 0
    seconds: float = 0.0


def redacted(candidate: Candidate, environment: type[Environment]) -> Candidate:
    """The candidate with its instruction as the environment lets it be put.

    Before the gate: whether an instruction says enough is asked of what the agent will read.
    """
    task = candidate.task
    if task is None:
        return candidate
    told = environment.redact(task.instruction, task.seed)
    if told == task.instruction:
        return candidate
    fields = {**task.model_dump(), "instruction": told, "id": ""}
    return candidate.model_copy(update={"task": CodeAsTask.model_validate(fields)})


def unseen(candidate: Candidate, held: Held) -> Candidate:
    """The candidate, or one that failed when it is like a task which is tested on."""
    if candidate.task is None or (check := held.check(candidate.task)).passed:
        return candidate
    failed = {"task": None, "failed": check.name, "evidence": check.evidence}
    return candidate.model_copy(update=failed)


def with_verifier(task: CodeAsTask, verifier: str, author: str) -> CodeAsTask:
    """The task with another verifier; `meta` says who revised it."""
    meta = {**task.meta, "revised": {"verifier": author}}
    fields = {**task.model_dump(), "verifier": verifier, "meta": meta, "id": ""}
    return CodeAsTask.model_validate(fields)


def with_costs(candidate: Candidate, tokens: int, seconds: float) -> Candidate:
    """The candidate with what writing it cost, also in the `meta` of its task."""
    costs = {"tokens": tokens, "seconds": seconds}
    task = candidate.task
    if task is not None:
        task = task.model_copy(update={"meta": {**task.meta, **costs}})
    return candidate.model_copy(update={"task": task, **costs})
