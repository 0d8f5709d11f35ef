"""Named sets of test tasks, and a measurement on one of them outside of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.episode import Episode
from selfchallenge.errors import RecordError, UsageError
from selfchallenge.evaluation.metrics import score
from selfchallenge.evaluation.suite import evaluate, held_out_file, held_out_tasks, references
from selfchallenge.executor.agent import AgentSettings
from selfchallenge.executor.oracle import idle, oracle
from selfchallenge.models.base import Model
from selfchallenge.models.loading import load_model
from selfchallenge.progress import Stage, Watch
from selfchallenge.runs.store import RunDirectory, read_records
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
            fix=f"give a file of tasks: --tasks FILE, or write {held_out_file(environment)}",
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
    out: Path | None = None,
) -> dict[str, Any]:
    """Score the model `spec` on `tasks`: the verifier alone, and the full reward beside it.

    With `out`, each attempt becomes a line of its `scores.jsonl`, and the result its `score.json`.

    Raises:
        UsageError: no such model, or `out` holds attempts already.
        ModelError: the model cannot be loaded.
    """
    with (
        _new_folder(out) as folder,
        closing(
            oracle(tasks) if spec == "scripted:oracle" else load_model(spec, batch=batch)
        ) as model,
    ):
        pairs = references(tasks, environment, sandbox)

        def scores(who: Model, phase: str, trials: int) -> tuple[dict[str, Any], dict[str, Any]]:
            attempts = evaluate(
                who,
                pairs,
                environment,
                sandbox,
                phase=phase,
                trials=trials,
                settings=settings,
                temperature=temperature,
                seed=seed,
                batch=batch,
            )
            stage = watch.stage(f"score {who.name}", len(pairs) * trials)
            return _scores(_kept(attempts, folder, stage))

        floor, _ = scores(idle(), "noop", 1)
        alone, full = scores(model, "eval", trials)
        found = {
            "environment": environment_name(environment),
            "model": model.name,
            "attempts": trials,
            "isolation": sandbox.isolation,
            **alone,
            "grounded": full,
            "noop_floor": floor["pass@1"],
        }
        if folder is not None:
            folder.write_json("score.json", found)
    return found


@contextmanager
def _new_folder(out: Path | None) -> Iterator[RunDirectory | None]:
    if out is None:
        yield None
        return
    if (out / "scores.jsonl").exists():
        raise UsageError("this folder holds attempts already", where=str(out), fix="another --out")
    with RunDirectory.open(out, create=True) as folder:
        yield folder


def _kept(
    episodes: Iterable[Episode], folder: RunDirectory | None, stage: Stage
) -> Iterator[Episode]:
    """The same episodes, each written down and counted as it comes."""
    for count, episode in enumerate(episodes, 1):
        if folder is not None:
            folder.append("scores.jsonl", episode)
        stage.update(count)
        yield episode


def _scores(episodes: Iterable[Episode]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores by the verifier alone, and by the full reward."""
    passed, grounded = defaultdict(list), defaultdict(list)
    for episode in episodes:
        passed[episode.task].append(episode.passed)
        grounded[episode.task].append(episode.reward == 1.0)
    return score(passed).to_json(), score(grounded).to_json()


def as_text(found: dict[str, Any]) -> str:
    """What `measure` found, as one line."""
    low, high = found["ci95"]
    return (
        f"Pass@1 {found['pass@1']:.1%} (95 % interval {low:.1%} to {high:.1%}; {found['n']} tasks, "
        f"{found['attempts']} attempts each); grounded {found['grounded']['pass@1']:.1%}; "
        f"doing nothing {found['noop_floor']:.1%}"
    )
