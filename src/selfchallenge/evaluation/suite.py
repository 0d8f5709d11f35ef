"""Measures a model on tasks it never saw: trials of each task, judged like any attempt.

`passed` (the verifier alone) is the score that compares with the literature; `reward` adds the
frame and the grounding condition. The floor is what an agent scores that does nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib.resources import files

from selfchallenge.environments.base import Environment
from selfchallenge.episode import Episode
from selfchallenge.errors import StageError
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import Ways, rollout
from selfchallenge.models.base import Model
from selfchallenge.quality.gate import derive_reference
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict


def held_out_tasks(environment: type[Environment]) -> list[CodeAsTask]:
    """The hand-written test tasks that lie beside an environment; none when it ships none."""
    package = environment.__module__.rpartition(".tools")[0] or environment.__module__
    try:
        source = files(package).joinpath("tasks.jsonl")
        text = source.read_text("utf-8") if source.is_file() else ""
    except (ModuleNotFoundError, TypeError):
        return []
    return [CodeAsTask.model_validate_json(line) for line in text.splitlines() if line.strip()]


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
        Assignment(task, reference, trial, seed=seed + trial)
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
