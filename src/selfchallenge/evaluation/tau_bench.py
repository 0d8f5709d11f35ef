"""tau-bench's own tasks and its reward: ground-truth actions, final database, required outputs.

Task files are data here: Python files of the benchmark's repository are read with `ast` and never
executed. The reward is the benchmark's: the final database must be the one that the ground-truth
actions leave, and every required output must stand in some reply. Databases are compared by the
digest that a session computes where its state is, which tells apart what the benchmark's hash does.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfchallenge.environments.desk.desk import Desk
from selfchallenge.environments.desk.tables import data_folder
from selfchallenge.errors import LoadError, UsageError, boundary
from selfchallenge.sandbox.ledger import Ledger

SPLITS = {"retail": ("test", "dev", "train"), "airline": ("test",)}
TERMINATING = ("transfer_to_human_agents",)
RESPOND = "respond"
"""Name of the action that is a reply to the user and no tool call."""

Call = Callable[[str, dict[str, Any]], str]
"""Calls a tool by name and returns what is observed: `Session.call`, or `in_process` of a desk."""


@dataclass(frozen=True)
class Action:
    """One ground-truth action: a tool and its arguments by keyword."""

    name: str
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class BenchmarkTask:
    """One task of the benchmark.

    Attributes:
        domain: `retail` or `airline`.
        split: `test`, `dev` or `train`.
        index: its number within the split, as the benchmark counts.
        user_id: whom it is about.
        instruction: what the simulated user is told; the agent never sees it.
        actions: what leads to the right database.
        outputs: texts that must stand in the agent's replies.
    """

    domain: str
    split: str
    index: int
    user_id: str
    instruction: str
    actions: tuple[Action, ...]
    outputs: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from every other task."""
        return self.domain, self.split, self.index


# -- reading ---------------------------------------------------------------------------------------


def read_tasks(data: Path, domain: str, split: str = "test") -> list[BenchmarkTask]:
    """The tasks of a split, from `tasks_SPLIT.json` or the repository's `tasks_SPLIT.py`.

    Args:
        data: folder with the folders `retail` and `airline` in it.
        domain: `retail` or `airline`.
        split: `test`; for retail also `dev` and `train`.

    Raises:
        UsageError: no such domain or split.
        LoadError: no such file, or something in it is no task.
    """
    if split not in SPLITS.get(domain, ()):
        known = "; ".join(f"{name}: {', '.join(splits)}" for name, splits in SPLITS.items())
        raise UsageError(f"tau-bench has no split {split!r} of {domain!r}", fix=f"choose: {known}")
    folder = data_folder(data, domain)
    file = next((f for f in _files(folder, split) if f.is_file()), None)
    if file is None:
        raise LoadError(
            f"there are no {split} tasks of {domain}",
            where=str(folder),
            fix="give the folder that holds tau-bench's retail and airline",
        )
    with boundary(LoadError, "the tasks of tau-bench cannot be read", where=str(file)):
        text = file.read_text("utf-8")
        found = json.loads(text) if file.suffix == ".json" else tasks_in_source(text)
        return [_task(domain, split, index, fields) for index, fields in enumerate(found)]


def _files(folder: Path, split: str) -> tuple[Path, Path]:
    return folder / f"tasks_{split}.json", folder / f"tasks_{split}.py"


def tasks_in_source(source: str) -> list[dict[str, Any]]:
    """The tasks that a Python file lists, as dicts; nothing of it is executed.

    It assigns a list to a name that begins with `TASKS`; its items are `Task(...)` or dicts, their
    actions `Action(...)` or dicts, everything else literals.

    Raises:
        ValueError: there is no such list, or something in it is another expression.
    """
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if any(name.startswith("TASKS") for name in names) and isinstance(node, ast.Assign):
            found = _literal(node.value)
            if isinstance(found, list):
                return found
    raise ValueError("no list of tasks is assigned in it")


def _literal(node: ast.expr) -> Any:
    """Value of a literal in which `Task(...)` and `Action(...)` stand for dicts."""
    match node:
        case ast.Call(func=ast.Name(id="Task" | "Action"), args=[], keywords=keywords):
            return {str(word.arg): _literal(word.value) for word in keywords}
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item) for item in items]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_literal(key): _literal(value) for key, value in pairs if key is not None}
    return ast.literal_eval(node)


def _task(domain: str, split: str, index: int, fields: dict[str, Any]) -> BenchmarkTask:
    actions = [Action(str(a["name"]), dict(a["kwargs"])) for a in fields["actions"]]
    return BenchmarkTask(
        domain=domain,
        split=split,
        index=index,
        user_id=str(fields["user_id"]),
        instruction=str(fields["instruction"]),
        actions=tuple(actions),
        outputs=tuple(str(output) for output in fields.get("outputs") or ()),
    )


# -- the reward ------------------------------------------------------------------------------------


def replay(task: BenchmarkTask, call: Call) -> list[str]:
    """Do what the ground truth does; what was observed, action by action.

    Tools that end an episode are left out: in grading the benchmark does not run them.
    """
    tools = [a for a in task.actions if a.name not in (*TERMINATING, RESPOND)]
    return [call(action.name, action.kwargs) for action in tools]


def in_process(desk: Desk) -> Call:
    """Calls tools of an instance in this process, as a session calls them in its own."""

    def call(name: str, arguments: dict[str, Any]) -> str:
        if name not in desk.offered(desk.seed):
            return desk.show_error(name, TypeError(name))
        try:
            return desk.show(getattr(desk, name)(**arguments))
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is an observation
            return desk.show_error(name, error)

    return call


def outputs_given(outputs: Iterable[str], replies: Sequence[str]) -> bool:
    """Whether every output stands in some reply, without regard to case and thousands commas."""
    texts = [reply.lower().replace(",", "") for reply in replies]
    return all(any(output.lower() in text for text in texts) for output in outputs)


@dataclass
class Grader:
    """Rewards attempts at the tasks of one domain.

    Attributes:
        world: the environment, bound to the benchmark's data.
    """

    world: type[Desk]
    _expected: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ledger = Ledger(self.world().snapshot())

    @property
    def untouched(self) -> str:
        """Digest of the database before anything was done."""
        return self._ledger.digest

    def expected(self, task: BenchmarkTask) -> str:
        """Digest of the database that the ground truth leaves; worked out once a task."""
        if task.key not in self._expected:
            desk = self.world()
            replay(task, in_process(desk))
            self._expected[task.key] = self._ledger.compare(desk.snapshot()).digest()
        return self._expected[task.key]

    def reward(self, task: BenchmarkTask, digest: str, replies: Sequence[str]) -> float:
        """1.0 for the right final database and all outputs, else 0.0.

        Args:
            task: what was attempted.
            digest: `Session.digest()` at the end of the attempt.
            replies: what the agent told the user.
        """
        right = digest == self.expected(task) and outputs_given(task.outputs, replies)
        return float(right)


def floor(grader: Grader, tasks: Iterable[BenchmarkTask]) -> int:
    """How many tasks an agent is rewarded for that does and says nothing."""
    return sum(grader.reward(task, grader.untouched, ()) == 1.0 for task in tasks)
