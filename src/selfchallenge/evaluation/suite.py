"""Measures a model on tasks it never saw: trials of each task, judged like any attempt.

`passed` (the verifier alone) is the score that compares with the literature; `reward` adds the
frame and the grounding condition. The floor is what an agent scores that does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.episode import Episode
from selfchallenge.errors import RecordError, StageError
from selfchallenge.executor.agent import AgentSettings, Assignment, attempt_seed
from selfchallenge.executor.batch import Ways, rollout
from selfchallenge.models.base import Model
from selfchallenge.quality.gate import derive_reference
from selfchallenge.runs.store import read_records
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict


def held_out_tasks(environment: type[Environment]) -> list[CodeAsTask]:
    """The hand-written test tasks that lie beside an environment; none when there are none.

    Those of `held_out_file`, as far as they are about this environment.

    Raises:
        RecordError: the first malformed line of the file.
    """
    file = held_out_file(environment)
    if file is None or not file.is_file():
        return []
    tasks: list[CodeAsTask] = []
    for _, record in read_records(file, CodeAsTask):
        if isinstance(record, RecordError):
            raise record
        tasks.append(record)
    label = environment_name(environment)
    return [task for task in tasks if task.environment == label]


def held_out_file(environment: type[Environment]) -> Path | None:
    """Where the held-out tasks of an environment belong; None for a class that lives in no file.

    `tasks.jsonl` in its package, for a package or the module `tools` of one; `NAME.tasks.jsonl`
    beside any other file `NAME.py`, where a plain `tasks.jsonl` may be the one of a run.
    """
    name = environment.__module__
    module = sys.modules.get(name)
    source = getattr(module, "__file__", None)
    if source is None:
        return None
    file = Path(source).absolute()
    if hasattr(module, "__path__") or name.endswith(".tools"):
        return file.with_name("tasks.jsonl")
    return file.with_suffix(".tasks.jsonl")


def references(
    tasks: Sequence[CodeAsTask], environment: type[Environment], sandbox: Sandbox
) -> list[tuple[CodeAsTask, Verdict]]:
    """The tasks with the verdicts that attempts at them are judged by.

    Raises:
        StageError: a task's own solution does not pass, so that no score on it means anything.
    """
    pairs = [(task, derive_reference(task, environment, sandbox)) for task in tasks]
    broken = [verdict for _, verdict in pairs if not verdict.accepted]
    if broken:
        raise StageError(
            f"{len(broken)} test tasks cannot be solved by their own solution: {broken[0].reason}",
            where=f"task {broken[0].id}",
            fix="selfchallenge check TASKS.jsonl --env ENV",
        )
    return pairs


def evaluate(
    model: Model,
    tasks: Sequence[tuple[CodeAsTask, Verdict]],
    environment: type[Environment],
    sandbox: Sandbox,
    *,
    phase: str,
    trials: int = 1,
    temperature: float = 0.0,
    settings: AgentSettings = AgentSettings(),  # noqa: B008 - frozen
    seed: int = 0,
    batch: int = 40,
    done: Collection[str] = (),
    ways: Ways = Ways(),  # noqa: B008 - frozen
) -> Iterator[Episode]:
    """Attempt every task `trials` times, leaving out the episode keys in `done`."""
    assignments = (
        Assignment(task, reference, trial, seed=attempt_seed(seed, "test", task.id, trial))
        for trial in range(trials)
        for task, reference in tasks
        if f"{phase}/{task.id}/{trial}" not in done
    )
    yield from rollout(
        model,
        assignments,
        environment,
        sandbox,
        settings=settings,
        phase=phase,
        temperature=temperature,
        batch=batch,
        ways=ways,
    )
