"""Settings of a run and `run.json`, which holds them: what was asked for, with what versions."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from selfchallenge.challenger.propose import PaeSettings
from selfchallenge.challenger.revise import PaperSettings
from selfchallenge.challenger.write import WriterSettings
from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.errors import UsageError
from selfchallenge.executor.agent import AgentSettings
from selfchallenge.executor.judge import JudgeSettings
from selfchallenge.learner.settings import (
    MEMORY,
    DpoSettings,
    GrpoSettings,
    PpoSettings,
    RftSettings,
)
from selfchallenge.quality.gate import Gate
from selfchallenge.quality.settings import GateSettings
from selfchallenge.ranges import COUNT, POSITIVE, SEED, TEMPERATURE, Range, require
from selfchallenge.runs.store import FORMAT, RunDirectory, RunFiles
from selfchallenge.sandbox.isolation import LEVELS

ONLINE = ("grpo", "ppo")
"""Algorithms that make their attempts as they learn."""
LEARNERS = ("rft", "dpo", *ONLINE)
"""Names of the learner's settings."""
BAND = ("quality.hardest", "quality.easiest")
"""Between which pass rates a task must lie to be learnt from."""

AMENDED = "amended"
"""Entry of `run.json`: settings that were changed between its stages, and what they were before."""

PACKAGES = ("selfchallenge", "torch", "transformers", "peft", "pydantic", "openai")


@dataclass(frozen=True)
class RunSettings:
    """Everything a run is asked for.

    Attributes:
        model: the executor, and the challenger unless another is named.
        challenger_model: who writes the tasks; empty: `model`.
        teacher_model: who makes the attempts that `distill` learns from; empty for the others.
        user_model: who tells the agent its task, `scripted:user` or a model; empty: nobody, the
            agent reads it.
        judge_model: who rewards the attempts at tasks of the writer `pae`; empty: who wrote them.
        writer: `staged` (answer-first), `paper` (one shot with revisions), or `pae` (instructions
            alone). Tasks of `pae` hold no code: their gate is `none`, no solution is shown, and a
            judge rewards the attempts.
        tasks_from: run directory whose candidates, or file whose tasks, are checked instead of
            new ones.
        learn_from: run directories whose attempts are learnt from instead of own ones, also of
            other environments; nothing is written or attempted then.
        gate: which checks a task must pass: `full`, `paper`, `solution`, `verifier` or `none`.
        algorithm: how the executor learns: `rft`, `distill`, `dpo`, `grpo` or `ppo`.
        seed: of everything random.
        tasks: accepted tasks wanted.
        candidates: candidates written at most.
        rollouts: attempts at each accepted task.
        hinted: further attempts at each task that none of them solved, made with the example
            solution in view and learnt from as if it had not been.
        aimed_at: run directory of the round before: new tasks are aimed at what failed there.
        temperature: of the rollouts.
        trials: attempts at each held-out task.
        evaluation_temperature: of the evaluation; 0 is greedy.
        batch: attempts under way at once.
        min_isolation: weakest isolation level that code may run at: `A`, `B` or `C`.
        allow_unsafe: run even below that.
        container: command that runs Python where untrusted code is to live; empty: here.
        agent, write, paper, pae, judge, quality: the rooms' own settings.
        rft, dpo, grpo, ppo: the algorithms' own; `rft` also steers `distill`.
    """

    model: str = "default"
    challenger_model: str = ""
    teacher_model: str = ""
    user_model: str = ""
    judge_model: str = ""
    writer: Literal["staged", "paper", "pae"] = "staged"
    tasks_from: str = ""
    learn_from: tuple[str, ...] = ()
    gate: Gate = "full"
    algorithm: Literal["rft", "distill", "dpo", "grpo", "ppo"] = "rft"
    seed: int = 0
    tasks: int = 100
    candidates: int = 200
    rollouts: int = 4
    hinted: int = 0
    aimed_at: str = ""
    temperature: float = 1.0
    trials: int = 1
    evaluation_temperature: float = 0.0
    batch: int = 40
    min_isolation: Literal["A", "B", "C"] = "B"
    allow_unsafe: bool = False
    container: str = ""
    agent: AgentSettings = field(default_factory=AgentSettings)
    write: WriterSettings = field(default_factory=WriterSettings)
    paper: PaperSettings = field(default_factory=PaperSettings)
    pae: PaeSettings = field(default_factory=PaeSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    quality: GateSettings = field(default_factory=GateSettings)
    rft: RftSettings = field(default_factory=RftSettings)
    dpo: DpoSettings = field(default_factory=DpoSettings)
    grpo: GrpoSettings = field(default_factory=GrpoSettings)
    ppo: PpoSettings = field(default_factory=PpoSettings)

    def __post_init__(self) -> None:
        require(self, seed=SEED, temperature=TEMPERATURE, evaluation_temperature=TEMPERATURE)
        require(self, tasks=POSITIVE, candidates=POSITIVE, rollouts=POSITIVE, hinted=COUNT)
        require(self, trials=POSITIVE, batch=POSITIVE)
        require(self.agent, within="agent", max_steps=POSITIVE, max_tokens=POSITIVE)
        require(self.agent, within="agent", max_observation=POSITIVE, wall=Range(0.1))

        if self.judged:  # there is no code to check, and no solution to show
            object.__setattr__(self, "gate", "none")
            object.__setattr__(self, "hinted", 0)

    @property
    def judged(self) -> bool:
        """Whether a judge rewards the attempts: the tasks hold no verifier."""
        return self.writer == "pae"

    @property
    def judging(self) -> str:
        """The model that judges."""
        return self.judge_model or self.challenger_model or self.model

    @property
    def learner(self) -> str:
        """The settings that the algorithm learns by: its own, those of `rft` in distillation."""
        return "rft" if self.algorithm == "distill" else self.algorithm

    def check(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            UsageError: with what to change.
        """
        if self.algorithm == "distill" and not self.teacher_model:
            raise UsageError(
                "distillation needs a teacher",
                where="--algorithm distill",
                fix="name a stronger model with --teacher-model, such as openai:NAME@URL",
            )
        if self.teacher_model and self.algorithm != "distill":
            raise UsageError(
                f"{self.algorithm} has no teacher: the model learns from its own attempts",
                where="--teacher-model",
                fix="use --algorithm distill, or leave the teacher out",
            )
        if self.rft.only_success and self.algorithm != "distill":
            raise UsageError(
                f"{self.algorithm} does not learn from a teacher's attempts",
                where="--only-success",
                fix="use --algorithm distill, or leave --only-success out",
            )
        if self.tasks_from and self.learn_from:
            raise UsageError(
                "attempts of other runs are at their own tasks: no others are needed",
                where="--tasks-from",
                fix="leave --tasks-from out, or --learn-from to make new attempts",
            )
        if self.quality.hardest > self.quality.easiest:
            raise UsageError(
                "no pass rate lies between the hardest and the easiest",
                where=f"hardest {self.quality.hardest}, easiest {self.quality.easiest}",
                fix="set quality.hardest to the lower and quality.easiest to the higher rate",
            )
        if self.algorithm in ONLINE:
            self._check_online()

    def _check_online(self) -> None:
        if self.temperature <= 0:
            raise UsageError(
                f"{self.algorithm} learns from attempts that differ, and greedy ones do not",
                where=f"temperature {self.temperature}",
                fix="set a temperature above 0, such as --set temperature=1.0",
            )
        if self.learn_from:
            raise UsageError(
                f"{self.algorithm} makes its attempts as it learns and cannot take those of others",
                where="--learn-from",
                fix="use --algorithm rft, distill or dpo; or share the tasks with --tasks-from",
            )
        if self.judged and self.judging == self.model:
            raise UsageError(
                f"{self.algorithm} would change the judge while it judges: both are one model",
                where=f"judge {self.judging}",
                fix="name another judge with --set judge_model=MODEL, or use --algorithm rft",
            )

    def sandbox(self) -> dict[str, Any]:
        """What the sandbox is started with."""
        return {
            "minimum": self.min_isolation,
            "allow_unsafe": self.allow_unsafe,
            "container": shlex.split(self.container),
        }


def agree(
    run: RunDirectory,
    spelled: str,
    environment: type[Environment],
    settings: RunSettings,
    isolation: str,
) -> None:
    """Write `run.json` of a new run; for a resumed one make sure that it asks for the same.

    Args:
        run: its directory.
        spelled: the environment as `spelling_of` gives it, the same from any working directory.
        environment: where it happens.
        settings: what is asked for.
        isolation: level that holds now.

    Raises:
        UsageError: the directory holds a run of another environment or data or with other
            settings, or one that was better isolated. What only memory depends on may differ.
    """
    asked = dataclasses.asdict(settings)
    found = run.read_json("run.json")
    if found is None:
        run.write_json("run.json", _manifest(spelled, environment, asked, isolation))
        return
    label = environment_name(environment)
    if found["environment"] != label:
        raise _other(run, f"environment {found['environment']!r}, not {label!r}")
    if found["spelled"] != spelled:
        raise _other(run, f"environment {found['spelled']}, not {spelled}")
    if found["data"] != _data(environment):
        raise _other(run, f"data = {found['data']}, not {_data(environment)}")
    if LEVELS.index(isolation) > LEVELS.index(found["isolation"]):
        raise UsageError(
            f"the run began at isolation level {found['isolation']} and only {isolation} holds now",
            where=str(run.path),
            fix="go on where the level holds (selfchallenge doctor), or begin a new run",
        )
    changed = list(differences(completed(found["settings"]), _plain(asked)))
    for name, begun, now in changed:
        if not _of_memory(name):
            raise _other(run, f"{name} = {begun!r}, not {now!r}")
    if changed:
        run.write_json("run.json", found | {"settings": _plain(asked)})


def amend(run: RunDirectory, settings: RunSettings) -> None:
    """Put other settings of the learner into `run.json`: no stage before the training uses them.

    They are those of its algorithm, the band of the pass rates that it learns from, and what only
    memory depends on.

    Raises:
        UsageError: the training is done, its attempts depend on the settings, or others would
            change.
    """
    settings.check()
    found, asked = run.read_json("run.json"), _plain(dataclasses.asdict(settings))
    changes = list(differences(completed(found["settings"]), asked))
    changed = [name for name, _, _ in changes]
    own = settings.learner
    late = (*BAND, "batch")
    other = next((n for n in changed if not n.startswith(f"{own}.") and n not in late), "")
    what = ""
    if other.partition(".")[0] in LEARNERS:
        what = f"{settings.algorithm} does not learn by {other}"
    elif other:
        what = f"{other} was used by earlier stages of this run"
    elif (run.path / "model").exists():
        what = "this run is trained already"
    elif settings.algorithm in ONLINE and not all(map(_of_memory, changed)):
        what = f"the attempts of {settings.algorithm} were made by the policy of other settings"
    if what:
        raise UsageError(
            what,
            where="--set",
            fix="begin a new run (--tasks-from takes the tasks of this one, --learn-from its "
            f"attempts); before an offline training {own}.* and {' and '.join(BAND)} can change, "
            f"before any batch, {' and '.join(f'{own}.{name}' for name in MEMORY)}",
        )
    before = {name: old for name, old, _ in changes if not _of_memory(name)}
    before |= found.get(AMENDED, {})
    run.write_json("run.json", found | {"settings": asked, AMENDED: before})


def amended(run: RunFiles, wanted: RunSettings) -> dict[str, Any]:
    """What `amend` changed in a run, if it has begun, as `settings.overlay` takes it.

    What is wanted otherwise than it was before the change is asked for on purpose, and left out.
    """
    found = run.read_json("run.json") or {}
    begun = dict(_flat(found.get("settings", {})))
    asked = dict(_flat(_plain(dataclasses.asdict(wanted))))
    changes: dict[str, Any] = {}
    for name, old in found.get(AMENDED, {}).items():
        if asked[name] == old:
            group, _, inner = name.rpartition(".")
            (changes.setdefault(group, {}) if group else changes)[inner] = begun[name]
    return changes


def rounds_before(aimed_at: str) -> Iterator[RunFiles]:
    """The run that a later round is aimed at, and those of the rounds before that."""
    while aimed_at:
        run = RunFiles.view(aimed_at)
        yield run
        aimed_at = completed(run.read_json("run.json")["settings"])["aimed_at"]


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a run wrote them down, with the defaults of those that it did not know yet."""
    known: dict[str, Any] = _plain(dataclasses.asdict(RunSettings()))
    for name, value in settings.items():
        inner = isinstance(value, dict) and isinstance(known.get(name), dict)
        known[name] = known[name] | value if inner else value
    return known


def _manifest(
    spelled: str, environment: type[Environment], asked: dict[str, Any], isolation: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "environment": environment_name(environment),
        "spelled": spelled,
        "data": _data(environment),
        "settings": _plain(asked),
        "seed": asked["seed"],
        "isolation": isolation,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _data(environment: type[Environment]) -> str | None:
    return str(environment.data) if environment.data else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def differences(
    begun: Mapping[str, Any], asked: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Single settings that differ, by their dotted names, with both values."""
    before = dict(_flat(begun))
    for name, value in _flat(asked):
        if before[name] != value:
            yield name, before[name], value


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what comes of a run, by their dotted names."""
    return {name: value for name, value in _flat(_plain(settings)) if not _of_memory(name)}


def _of_memory(name: str) -> bool:
    """Whether a setting, by its dotted name, changes the rounding of a result and no more."""
    return name == "batch" or name.rpartition(".")[2] in MEMORY


def _flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _other(run: RunDirectory, difference: str) -> UsageError:
    return UsageError(
        f"this directory holds a run with {difference}",
        where=str(run.path / "run.json"),
        fix="use the same settings, or begin another --out (--tasks-from takes this one's tasks)",
    )
