"""Attempts at tau-bench's tasks: its users, its ways of acting, its reward, in our sandbox."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from selfchallenge.episode import Episode, StopReason
from selfchallenge.evaluation.tau_bench import (
    Action,
    BenchmarkTask,
    Grader,
    outputs_given,
)
from selfchallenge.executor.oracle import listener
from selfchallenge.executor.talk import Conversation
from selfchallenge.executor.user import SHORTEST
from selfchallenge.models.base import Prompt
from selfchallenge.models.scripted import ScriptedModel

PAPER_AIRLINE = (*range(12), 14, 16, 19, 20, 22, 23, *range(25, 29), *range(30, 35), 43, 45, 46)
"""The 30 airline tasks that the paper kept, as far as it can be told: it names a rule, no list."""


@dataclass
class DeskAttempt(Conversation):
    """A conversation about a task of tau-bench, rewarded as the benchmark does."""

    asked: BenchmarkTask = field(kw_only=True)
    grader: Grader = field(kw_only=True)

    def finish(self) -> Episode:
        """Judge the attempt and write it down under the task's place in the benchmark."""
        return super().finish().model_copy(update={"task": name_of(self.asked)})

    def _judge(self, answer: Any) -> tuple[float, bool, str]:
        del answer
        if self.stop not in (StopReason.USER, StopReason.TOOL):
            return 0.0, False, "the conversation was not brought to an end"
        untouched = self._session is None
        digest = self.grader.untouched if untouched else self._open_session().digest()
        if digest != self.grader.expected(self.asked):
            return 0.0, False, "the database is not what the ground truth leaves"
        if not outputs_given(self.asked.outputs, self.replies):
            return 0.0, False, "the user was not told what was asked for"
        return 1.0, True, "the database and what the user was told are right"


def name_of(task: BenchmarkTask) -> str:
    """What a task is called in records."""
    return "/".join(map(str, task.key))


def needed_values(task: BenchmarkTask) -> tuple[str, ...]:
    """Texts of the ground truth's arguments: what an agent must learn from somewhere."""
    found = [value for action in task.actions for value in _texts(action.kwargs)]
    return tuple(dict.fromkeys(value for value in found if len(value) >= SHORTEST))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def replayer(
    tasks: Sequence[BenchmarkTask], changing: frozenset[str], actions: str
) -> ScriptedModel:
    """A double that listens to a scripted user, replays the ground truth and tells the outputs.

    Only what changes the database is replayed: some ground truths look up more than an episode has
    steps for. Tools that end an episode are left out, as the benchmark does when it grades.
    """

    def act(task: BenchmarkTask, prompt: Prompt, since: Sequence[str]) -> str:
        del prompt
        todo = [action for action in task.actions if action.name in changing]
        steps = [_json(a) for a in todo] if actions == "json" else [_code(todo)] if todo else []
        return steps[len(since)] if len(since) < len(steps) else f"Done. {' '.join(task.outputs)}"

    return listener("oracle", {task.instruction: task for task in tasks}, act)


def _json(action: Action) -> str:
    call = {"name": action.name, "arguments": action.kwargs}
    return f"Action: {json.dumps(call)}\n"


def _code(actions: Sequence[Action]) -> str:
    # One that fails is part of the ground truth, and the next one follows.
    caught = "except Exception as error:\n    print(error)"
    lines = [f"try:\n    {action.name}(**{action.kwargs!r})\n{caught}" for action in actions]
    return "I do what is to be done.\n```python\n" + "\n".join(lines) + "\n```"
