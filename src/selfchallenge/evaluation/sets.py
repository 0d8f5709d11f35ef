"""The benchmarks' tasks made ready for an evaluation: how they are put, judged and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from selfchallenge.environments.base import Environment, describe_tools, environment_name
from selfchallenge.environments.desk.desk import Desk
from selfchallenge.environments.desk.tables import data_folder
from selfchallenge.errors import LoadError, UsageError, boundary
from selfchallenge.evaluation import conversations, questions
from selfchallenge.evaluation.conversations import PAPER_AIRLINE, DeskAttempt, needed_values
from selfchallenge.evaluation.m3tooleval import DIFFERENCES, Checker, read_questions
from selfchallenge.evaluation.questions import PromptStyle, QuestionAttempt, QuestionRules
from selfchallenge.evaluation.tau2 import read_tau2
from selfchallenge.evaluation.tau_bench import BenchmarkTask, Grader, read_tasks
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import Ways
from selfchallenge.executor.talk import TalkRules, let_talk
from selfchallenge.executor.user import ScriptedUser, User
from selfchallenge.models.base import Model
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict, content_hash, stand_in

NAMES = ("m3tooleval", "tau-bench", "tau2")
STEPS = 15
"""Replies an episode at most, as in the paper; M3ToolEval itself takes 10, tau-bench 30."""
TOKENS = 512
"""Tokens a reply at most, as in M3ToolEval."""
WALL = 30.0
"""Seconds that M3ToolEval lets an action run."""

Pairs = Sequence[tuple[CodeAsTask, Verdict]]


@dataclass(frozen=True)
class SetOptions:
    """How a benchmark is run; every score says it.

    Attributes:
        steps: replies an episode at most.
        actions: `code` or `json`.
        checker, feedback, prompt: of m3tooleval, see `QuestionRules`.
        split: of tau-bench: `test`, for retail also `dev` and `train`.
        subset: of tau-bench's airline: `all`, or the `paper`'s 30.
        policy: whether tau-bench's policy is shown beside the tools.
        tokens: tokens a reply at most.
        first: how many tasks from the beginning; 0 for all.
    """

    steps: int = STEPS
    actions: Literal["code", "json"] = "code"
    checker: Checker = "benchmark"
    feedback: bool = False
    prompt: PromptStyle = "benchmark"
    split: str = "test"
    subset: Literal["all", "paper"] = "all"
    policy: bool = True
    tokens: int = TOKENS
    first: int = 0


ONLY_OF = {
    "checker": ("m3tooleval",),
    "feedback": ("m3tooleval",),
    "prompt": ("m3tooleval",),
    "split": ("tau-bench",),
    "subset": ("tau-bench",),
    "policy": ("tau-bench", "tau2"),
}
"""Options that only some benchmarks have."""


@dataclass(frozen=True)
class Limits:
    """Replies an episode, tokens a reply, and seconds an action (0: the settings say), at most."""

    steps: int
    tokens: int
    wall: float = 0.0


@dataclass(frozen=True)
class TestSet:
    """Test tasks with all that attempts at them need.

    Attributes:
        pairs: the tasks and what they are judged by; a benchmark's are stand-ins that hold the
            instruction, for the benchmark judges by its own rule.
        ways: how attempts are made.
        idle_ways: how they are made when nothing is done, for the floor.
        oracle: a double that replays the ground truth.
        limits: what the set allows an agent; None leaves it to the settings.
        facts: what a score says of how it was measured.
        tasks_hash: of the tasks and all that they are judged by.
        names: what episodes call a task, by its id, where that is not the id.
    """

    pairs: Pairs
    ways: Ways = field(default_factory=Ways)
    idle_ways: Ways = field(default_factory=Ways)
    oracle: Callable[[], Model] | None = None
    limits: Limits | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    tasks_hash: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def called(self) -> dict[str, str]:
        """What episodes call each task, by its id, in order."""
        return {task.id: self.names.get(task.id, task.id) for task, _ in self.pairs}


def benchmark_set(
    name: str,
    environment: type[Environment],
    options: SetOptions,
    user: User | None = None,
) -> TestSet:
    """The tasks of a benchmark for an environment that is bound to its data.

    Args:
        name: one of `NAMES`.
        environment: bound to the benchmark's folder.
        options: how it is run.
        user: the user of tau-bench; a script plays it when there is none.

    Raises:
        UsageError: the benchmark has no such tasks or no user, or there is no data.
        LoadError: its files cannot be read.
    """
    if environment.data is None:
        raise UsageError(
            f"the tasks of {name} need its data",
            fix=f"selfchallenge data get {name} --to DIR, then --data DIR; or use --tasks held-out",
        )
    for option, benchmarks in ONLY_OF.items():
        given = getattr(options, option)
        if name not in benchmarks and given != getattr(SetOptions, option):
            raise UsageError(
                f"{option} is an option of {' and '.join(benchmarks)}, not of {name}",
                where=f"{option} = {given!r}",
                fix="leave it out",
            )
    if name == "m3tooleval":
        if user is not None:
            raise UsageError("nobody tells m3tooleval's tasks", fix="leave --user-model out")
        found = _m3tooleval(environment, environment.data, options)
    elif issubclass(environment, Desk):
        desks = _tau2 if name == "tau2" else _tau_bench
        found = desks(environment, environment.data, options, user)
    else:
        raise UsageError(
            f"{name} has no tasks for {environment_name(environment)!r}",
            fix="choose retail or airline",
        )
    if options.first:
        facts = {**found.facts, "first": options.first}
        found = replace(found, pairs=found.pairs[: options.first], facts=facts)
    return found


def _verdict(task: CodeAsTask) -> Verdict:
    answered = "str"  # the reply itself is the answer
    return Verdict(
        id=task.id, accepted=True, isolation="-", gate="none", checks=(), answer_type=answered
    )


# -- M3ToolEval ------------------------------------------------------------------------------------


def _m3tooleval(environment: type[Environment], data: Path, options: SetOptions) -> TestSet:
    found = read_questions(data, environment_name(environment))
    rules = QuestionRules(options.checker, options.feedback, options.actions, options.prompt)
    if rules.prompt == "own" and rules.actions == "json":
        raise UsageError("our own prompt asks for code", fix="use --prompt benchmark for json")
    tasks = {q.name: stand_in(q.environment, q.seed, q.instruction, q.name) for q in found}
    by_id = {tasks[question.name].id: question for question in found}

    def begin(
        assignment: Assignment,
        world: type[Environment],
        sandbox: Sandbox,
        settings: AgentSettings,
        phase: str,
        model: str,
    ) -> QuestionAttempt:
        question = by_id[assignment.task.id]
        given = (assignment, world, sandbox, settings, phase, model)
        return QuestionAttempt(*given, question=question, rules=rules)

    ways = Ways(begin=begin, stop=questions.stop_pattern(rules))
    facts: dict[str, Any] = {
        "checker": rules.checker,
        "feedback": rules.feedback,
        "actions": rules.actions,
        "prompt": rules.prompt,
    }
    if rules.checker == "fair":
        facts["checker_differences"] = list(DIFFERENCES)
    return TestSet(
        pairs=[(task, _verdict(task)) for task in tasks.values()],
        ways=ways,
        idle_ways=ways,
        oracle=partial(questions.replayer, found),
        limits=Limits(options.steps, options.tokens, WALL),
        facts=facts,
        tasks_hash=content_hash([*map(repr, found), *_contents(data)]),
        names={task.id: name for name, task in tasks.items()},
    )


def _contents(data: Path) -> list[str]:
    """The files that the tools look into."""
    with boundary(LoadError, "the benchmark's files cannot be read", where=str(data)):
        return [file.read_text("utf-8") for file in sorted(data.glob("*.json"))]


# -- tau-bench -------------------------------------------------------------------------------------


def _tau_bench(
    environment: type[Desk], data: Path, options: SetOptions, user: User | None
) -> TestSet:
    tasks = read_tasks(data, environment.label, options.split)
    if options.subset == "paper":
        if (environment.label, options.split) != ("airline", "test"):
            raise UsageError("the paper left out tasks of airline only", fix="use --subset all")
        tasks = [task for task in tasks if task.index in PAPER_AIRLINE]
    return desk_set(environment, tasks, options, user, {"split": options.split})


def _tau2(environment: type[Desk], data: Path, options: SetOptions, user: User | None) -> TestSet:
    tools = frozenset(tool.name for tool in describe_tools(environment, None))
    tasks, left_out = read_tau2(data, environment.label, tools)
    return desk_set(environment, tasks, options, user, {"left_out": left_out})


def _require_policy(environment: type[Desk]) -> None:
    """A benchmark's agents are shown its own policy, and not ours in its place."""
    if environment.data is None:
        return
    file = data_folder(environment.data, environment.label) / "policy.md"
    if not file.is_file():
        raise LoadError(
            "the benchmark's policy is not there",
            where=str(file),
            fix="get the data again (selfchallenge data get), or leave the policy out: --no-policy",
        )


def desk_set(
    environment: type[Desk],
    tasks: Sequence[BenchmarkTask],
    options: SetOptions,
    user: User | None,
    facts: Mapping[str, Any],
) -> TestSet:
    """Tasks that a user tells and a database decides, ready for an evaluation."""
    if options.policy:
        _require_policy(environment)
    rules = TalkRules(actions=options.actions, policy=options.policy)
    grader = Grader(environment)
    # The seed of a stand-in is None: a session without one sees the benchmark's own database.
    pairs = [
        (task, stand_in(task.domain, None, task.instruction, conversations.name_of(task)))
        for task in tasks
    ]
    by_id = {held.id: task for task, held in pairs}

    def ways(who: User) -> Ways:
        def begin(
            assignment: Assignment,
            world: type[Environment],
            sandbox: Sandbox,
            settings: AgentSettings,
            phase: str,
            model: str,
        ) -> DeskAttempt:
            task = by_id[assignment.task.id]
            given = (assignment, world, sandbox, settings, phase, model)
            return DeskAttempt(
                *given,
                rules=rules,
                asked=task,
                grader=grader,
                needed=needed_values(task),
                user=who.name,
            )

        return Ways(begin=begin, between=partial(let_talk, who), stop=rules.stop)

    tools = describe_tools(environment, None)
    changing = frozenset(tool.name for tool in tools if tool.mutates)
    player = user or ScriptedUser()
    return TestSet(
        pairs=[(held, _verdict(held)) for _, held in pairs],
        ways=ways(player),
        idle_ways=ways(ScriptedUser()),
        oracle=partial(conversations.replayer, tasks, changing, options.actions),
        limits=Limits(options.steps, options.tokens),
        facts={
            **facts,
            "subset": options.subset,
            "actions": options.actions,
            "policy_shown": options.policy,
            "user": player.name,
        },
        tasks_hash=content_hash([*map(repr, tasks), grader.untouched]),
        names={held.id: conversations.name_of(task) for task, held in pairs},
    )
