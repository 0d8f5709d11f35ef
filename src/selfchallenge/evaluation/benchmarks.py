"""Named sets of test tasks, and a measurement on one of them outside of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.errors import RecordError, UsageError
from selfchallenge.evaluation.metrics import score
from selfchallenge.evaluation.suite import evaluate, held_out_tasks, references
from selfchallenge.executor.agent import AgentSettings
from selfchallenge.executor.oracle import idle, oracle
from selfchallenge.models.base import Model
from selfchallenge.models.loading import load_model
from selfchallenge.progress import Watch
from selfchallenge.runs.store import read_records
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict

PLANNED = ("m3tooleval", "tau-bench")

Pairs = Sequence[tuple[CodeAsTask, Verdict]]


def choose_tasks(environment: type[Environment], name: str) -> list[CodeAsTask]:
    """The tasks that `name` stands for: `held-out`, or a file with one task a line.

    Raises:
        UsageError: no such set or file, or an environment that ships no tasks.
        RecordError: the first malformed line of the file.
    """
    if name in PLANNED:
        raise UsageError(
            f"the tasks of {name} cannot be loaded yet",
            fix="use --tasks held-out, or a file of tasks",
        )
    tasks: list[CodeAsTask] = []
    if name == "held-out":
        tasks = held_out_tasks(environment)
    else:
        for _, record in read_records(Path(name), CodeAsTask):
            if isinstance(record, RecordError):
                raise record
            tasks.append(record)
    if not tasks:
        raise UsageError(
            f"{environment_name(environment)} has no {name} tasks",
            fix="give a file of tasks: --tasks FILE",
        )
    return tasks


def measure(
    spec: str,
    tasks: Sequence[CodeAsTask],
    environment: type[Environment],
    sandbox: Sandbox,
    *,
    trials: int,
    settings: AgentSettings,
    temperature: float,
    seed: int,
    batch: int,
    watch: Watch,
) -> dict[str, Any]:
    """Score the model `spec` on `tasks`: the verifier alone, and the full reward beside it."""
    pairs = references(tasks, environment, sandbox)
    model = oracle(tasks) if spec == "scripted:oracle" else load_model(spec, batch=batch)

    def scored(who: Model, trials: int) -> tuple[dict[str, Any], dict[str, Any]]:
        stage = watch.stage(f"score {who.name}", len(pairs) * trials)
        passed, grounded = defaultdict(list), defaultdict(list)
        for count, episode in enumerate(
            evaluate(
                who,
                pairs,
                environment,
                sandbox,
                phase="eval",
                trials=trials,
                settings=settings,
                temperature=temperature,
                seed=seed,
                batch=batch,
            ),
            1,
        ):
            passed[episode.task].append(episode.passed)
            grounded[episode.task].append(episode.reward == 1.0)
            stage.update(count)
        return score(passed).to_json(), score(grounded).to_json()

    floor, _ = scored(idle(), 1)
    try:
        alone, full = scored(model, trials)
    finally:
        model.close()
    return {
        "environment": environment_name(environment),
        "model": model.name,
        "attempts": trials,
        "isolation": sandbox.isolation,
        **alone,
        "grounded": full,
        "noop_floor": floor["pass@1"],
    }


def as_text(found: dict[str, Any]) -> str:
    """What `measure` found, as one line."""
    low, high = found["ci95"]
    return (
        f"Pass@1 {found['pass@1']:.1%} (95 % interval {low:.1%} to {high:.1%}; {found['n']} tasks, "
        f"{found['attempts']} attempts each); grounded {found['grounded']['pass@1']:.1%}; "
        f"doing nothing {found['noop_floor']:.1%}"
    )
