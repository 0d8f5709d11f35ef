"""Named sets of test tasks, and a measurement on one of them outside of a run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selfchallenge import __version__
from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.episode import USER_FAULT, Episode, StopReason
from selfchallenge.errors import RecordError, SpoiltError, UsageError
from selfchallenge.evaluation.beside import outcomes_of, paired_with, require_shared
from selfchallenge.evaluation.metrics import Outcomes, score, several
from selfchallenge.evaluation.sets import NAMES, Limits, TestSet
from selfchallenge.evaluation.suite import evaluate, held_out_file, held_out_tasks, references
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import Ways
from selfchallenge.executor.oracle import idle, listening_oracle, oracle
from selfchallenge.executor.talk import told_by
from selfchallenge.executor.user import ScriptedUser, User
from selfchallenge.models.base import Model
from selfchallenge.models.loading import load_model
from selfchallenge.progress import Watch
from selfchallenge.runs.cost import costs, timed
from selfchallenge.runs.store import RunDirectory, read_records, storage
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, content_hash

ORACLE = "scripted:oracle"
"""The double that replays the ground truth."""
UNCUT = 1 << 16
"""Tokens of the double's replies at most; its tokens are bytes."""
MOST_COMPARED = 4
"""Trials that papers give pass@k and pass^k for, beside those that were made."""


def choose_tasks(environment: type[Environment], name: str) -> list[CodeAsTask]:
    """The tasks that `name` stands for: `held-out`, or a file with one task a line.

    Raises:
        UsageError: no such set or file, or an environment that ships no tasks.
        RecordError: the first malformed line of the file.
    """
    if name in NAMES:
        raise UsageError(f"{name} has rules of its own", fix="use benchmark_set")
    tasks: list[CodeAsTask] = []
    if name == "held-out":
        tasks = held_out_tasks(environment)
    elif not Path(name).exists():
        raise UsageError(
            "there is no set of tasks and no file of this name",
            where=f"--tasks {name}",
            fix=f"use held-out, {', '.join(NAMES)}, or a file with one task a line",
        )
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


@dataclass(frozen=True)
class Measuring:
    """How a measurement is made.

    Attributes:
        trials: attempts at each task.
        settings: how the agents act.
        temperature: of sampling; 0 is greedy.
        seed: of the first trial.
        batch: attempts under way at once.
    """

    trials: int
    settings: AgentSettings
    temperature: float
    seed: int
    batch: int


def measure(
    spec: str,
    tasks: Sequence[CodeAsTask] | TestSet,
    environment: type[Environment],
    sandbox: Sandbox,
    how: Measuring,
    *,
    watch: Watch,
    label: str = "",
    out: Path | None = None,
    against: Path | None = None,
) -> dict[str, Any]:
    """Score the model `spec` on `tasks`: the verifier alone, and the full reward beside it.

    With `out`, each attempt becomes a line of its `scores.jsonl`, and the result its `score.json`;
    what was begun there is gone on with, and what is finished is told again. With `against`, such a
    folder of another measurement, the two are compared task by task.

    Raises:
        UsageError: no such model, `out` holds another measurement, or `against` has other tasks.
        ModelError: the model cannot be loaded.
    """
    other = None if against is None else outcomes_of(against)
    found_set = tasks if isinstance(tasks, TestSet) else own_set(tasks, environment, sandbox)
    if other is not None:  # before anything is measured that could not be compared
        require_shared(other, found_set.called.values(), str(against))
    how = _limited(how, found_set.limits, spec)
    with _folder(out) as folder, closing(_model(spec, found_set, how.batch)) as model:
        facts = {
            "environment": environment_name(environment),
            "tasks": label,
            "model": model.name,
            "training": _training(spec),
            "attempts": how.trials,
            "isolation": sandbox.isolation,
            "measured": _facts(how, found_set),
            "tasks_hash": found_set.tasks_hash,
            "prompt_hash": prompt_hash(found_set, environment, sandbox, how.settings),
            "version": __version__,
        }
        _agree(folder, facts)
        run = partial(_attempted, found_set, environment, sandbox, how, watch, folder)
        floor = _outcomes(run(idle(), "noop", 1, found_set.idle_ways))
        episodes = run(model, "eval", how.trials, found_set.ways)
        found = {**facts, **_figures(floor, episodes, costs(folder)["eval"]["seconds"])}
        if other is not None:
            found["paired"] = paired_with(other, _outcomes(episodes), str(against))
        folder.write_json("score.json", found)
    return found


def _agree(folder: RunDirectory, facts: dict[str, Any]) -> None:
    """Write down how a measurement is made; one that goes on must be made in the same way."""
    begun = folder.read_json("measurement.json")
    if begun is None and (folder.path / "scores.jsonl").exists():
        raise _elsewhere(folder, "attempts, and does not say how they were made")
    if begun is None:
        folder.write_json("measurement.json", facts)
        return
    old, new = (whole["measured"] | whole for whole in (begun, json.loads(json.dumps(facts))))
    for name in sorted((old.keys() | new.keys()) - {"measured"}):
        if old.get(name) != new.get(name):
            what = f"a measurement with {name} = {old.get(name)!r}, not {new.get(name)!r}"
            raise _elsewhere(folder, what)


def _elsewhere(folder: RunDirectory, what: str) -> UsageError:
    return UsageError(
        f"this folder holds {what}",
        where=str(folder.path),
        fix="another --out, or the options that it was begun with",
    )


def _attempted(
    found_set: TestSet,
    environment: type[Environment],
    sandbox: Sandbox,
    how: Measuring,
    watch: Watch,
    folder: RunDirectory,
    who: Model,
    phase: str,
    trials: int,
    ways: Ways,
) -> list[Episode]:
    """All attempts of a phase, in the order of the tasks; those that are missing are made."""
    wanted = {
        (name, trial): f"{phase}/{task}/{trial}"
        for task, name in found_set.called.items()
        for trial in range(trials)
    }
    made = {
        (episode.task, episode.attempt): episode
        for episode in _kept(folder, phase)
        if episode.stop is not StopReason.SANDBOX
    }
    stage = watch.stage(f"score {who.name}", len(wanted), len(made))
    with timed(folder, phase) as tick:
        for episode in evaluate(
            who,
            found_set.pairs,
            environment,
            sandbox,
            phase=phase,
            trials=trials,
            settings=how.settings,
            temperature=how.temperature,
            seed=how.seed,
            batch=how.batch,
            done={wanted[place] for place in made},
            ways=ways,
        ):
            folder.append("scores.jsonl", episode)
            made[episode.task, episode.attempt] = _slim(episode)
            tick(episode.completion_tokens)
            stage.update(len(made))
    found = [made[place] for place in wanted]
    if found and all(episode.stop is StopReason.SANDBOX for episode in found):
        raise SpoiltError(f"all {len(found)} attempts were ended by the sandbox", where=phase)
    return found


def _kept(folder: RunDirectory, phase: str) -> Iterator[Episode]:
    for line in folder.scan("scores.jsonl"):
        if line["phase"] == phase:
            yield _slim(Episode.model_validate(line))


def _figures(floor: Outcomes, episodes: Sequence[Episode], seconds: float) -> dict[str, Any]:
    return {
        **_scores(_outcomes(episodes)),
        "grounded": _scores(_outcomes(episodes, grounded=True)),
        "noop_floor": score(floor).pass_at_1,
        "noop_passed": sum(map(any, floor.values())),
        "user_faults": sum(USER_FAULT in episode.meta for episode in episodes),
        "sandbox_faults": sum(episode.stop is StopReason.SANDBOX for episode in episodes),
        "cost": _cost(episodes, seconds),
    }


def _limited(how: Measuring, limits: Limits | None, spec: str) -> Measuring:
    """The limits of the set over those of the settings; the double is not cut short."""
    if limits is None:
        return how
    tokens = UNCUT if spec == ORACLE else limits.tokens
    settings = replace(how.settings, max_steps=limits.steps, max_tokens=tokens)
    if limits.wall:
        settings = replace(settings, wall=limits.wall)
    return replace(how, settings=settings)


def own_set(
    tasks: Sequence[CodeAsTask],
    environment: type[Environment],
    sandbox: Sandbox,
    user: User | None = None,
) -> TestSet:
    """Our own tasks ready for an evaluation; when there is a user, the instruction goes there."""
    pairs = references(tasks, environment, sandbox)
    same = content_hash([task.id for task in tasks])
    if user is None:
        return TestSet(pairs=pairs, oracle=partial(oracle, tasks), tasks_hash=same)
    return TestSet(
        pairs=pairs,
        ways=told_by(user),
        idle_ways=told_by(ScriptedUser()),
        oracle=partial(listening_oracle, tasks),
        facts={"user": user.name},
        tasks_hash=same,
    )


def _model(spec: str, found_set: TestSet, batch: int) -> Model:
    if spec == ORACLE and found_set.oracle is not None:
        return found_set.oracle()
    return load_model(spec, batch=batch)


def _training(spec: str) -> str:
    """Hash of the report of the training that a model came from; empty for any other model."""
    report = Path(spec).expanduser() / "training.json"
    if not report.is_file():
        return ""
    with storage(report):
        return content_hash(report.read_text("utf-8"))


def _slim(episode: Episode) -> Episode:
    """What figures need of an episode, without its conversation."""
    return episode.model_copy(update={"turns": (), "calls": ()})


def _cost(episodes: Sequence[Episode], seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 1),
        "prompt_tokens": sum(episode.prompt_tokens for episode in episodes),
        "completion_tokens": sum(episode.completion_tokens for episode in episodes),
        "user_tokens": sum(episode.meta.get("user_tokens", 0) for episode in episodes),
    }


def _facts(how: Measuring, found_set: TestSet) -> dict[str, Any]:
    settings = asdict(how.settings)
    if settings["policy"]:  # as in measurements that were made before there was a choice
        del settings["policy"]
    return {
        **settings,
        "temperature": how.temperature,
        "seed": how.seed,
        **found_set.facts,
    }


def prompt_hash(
    found_set: TestSet, environment: type[Environment], sandbox: Sandbox, settings: AgentSettings
) -> str:
    """Hash of all that agents read before their first reply, over the tasks in order."""
    read = []
    for task, reference in found_set.pairs:
        assignment = Assignment(task, reference)
        attempt = found_set.ways.begin(assignment, environment, sandbox, settings, "", "")
        read.append([[message.role, message.content] for message in attempt.messages])
    return content_hash(read)


@contextmanager
def _folder(out: Path | None) -> Iterator[RunDirectory]:
    """Where attempts are kept: `out`, or a place that goes when the measurement ends."""
    with ExitStack() as stack:
        path = out or Path(stack.enter_context(TemporaryDirectory(prefix="selfchallenge-")))
        yield stack.enter_context(RunDirectory.open(path, create=True))


def _outcomes(episodes: Iterable[Episode], *, grounded: bool = False) -> Outcomes:
    """Whether each trial passed, by task: by the verifier alone, or by the full reward."""
    found: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        found[episode.task].append(episode.reward == 1.0 if grounded else episode.passed)
    return dict(found)


def _scores(outcomes: Outcomes) -> dict[str, Any]:
    total = score(outcomes)
    found = total.to_json() | several(outcomes, total.trials)
    return found | several(outcomes, min(MOST_COMPARED, total.trials))


def as_text(found: dict[str, Any]) -> str:
    """What `measure` found, in a few lines."""
    low, high = found["ci95"]
    first = (
        f"Pass@1 {found['pass@1']:.1%} (95 % interval {low:.1%} to {high:.1%}; {found['n']} tasks, "
        f"{found['attempts']} attempts each); grounded {found['grounded']['pass@1']:.1%}; "
        f"doing nothing {found['noop_floor']:.1%}"
    )
    lines = [first]
    for name in (name for name in found if name.startswith(("pass@", "pass^"))):
        if f"{name}_ci95" in found:
            low, high = found[f"{name}_ci95"]
            lines.append(f"{name} {found[name]:.1%} (95 % interval {low:.1%} to {high:.1%})")
    if "paired" in found:
        low, high = found["paired"]["ci95"]
        lines.append(
            f"against {found['paired']['against']}: {100 * found['paired']['difference']:+.1f} "
            f"points (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
        )
    cost = found["cost"]
    lines.append(
        f"cost {cost['prompt_tokens']} tokens read, {cost['completion_tokens']} written, "
        f"{cost['seconds']} s; isolation {found['isolation']}; prompt {found['prompt_hash']}; "
        f"version {found['version']}"
    )
    facts = ", ".join(f"{name} {value}" for name, value in found["measured"].items() if value != [])
    return "\n".join([*lines, f"measured with {facts}"])
