"""A deterministic executor that replays reference solutions: for tests, floors and the smoke loop.

It reads the instruction, looks its task up, runs the solution as its action and gives what was
printed as its answer. It shows what the loop does when the executor is perfect (every split must
score 100 %), or right on a fixed share of the attempts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from selfchallenge.executor.agent import OUTPUT, task_prompt
from selfchallenge.executor.user import CONSENT, PORTIONS, portions
from selfchallenge.models.base import Prompt
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.task import CodeAsTask

T = TypeVar("T")


def oracle(
    tasks: Iterable[CodeAsTask], *, name: str = "oracle", skill: float = 1.0
) -> ScriptedModel:
    """A model that solves the given tasks.

    Args:
        tasks: tasks whose instruction it knows; of two equal instructions the first counts.
        name: of the model, `scripted:NAME` in records.
        skill: share of the attempts that it solves, decided by the prompt's seed and instruction;
            in the others it gives up with an empty answer.
    """
    solutions: dict[str, CodeAsTask] = {}
    for task in tasks:
        solutions.setdefault(task_prompt(task.instruction), task)

    def reply(prompt: Prompt) -> str:
        asked = [m.content for m in prompt.messages if m.content in solutions]
        if not asked or not _solves(prompt, asked[-1], skill):
            return ""
        last = prompt.messages[-1].content
        return _action(solutions[last]) if last == asked[-1] else last.removeprefix(OUTPUT)

    return ScriptedModel(name, reply)


def listening_oracle(
    tasks: Iterable[CodeAsTask], *, name: str = "oracle", skill: float = 1.0
) -> ScriptedModel:
    """The same for tasks that a `ScriptedUser` tells; it knows no task that others tell."""
    known: dict[str, CodeAsTask] = {}
    for task in tasks:
        known.setdefault(task.instruction, task)

    def act(task: CodeAsTask, prompt: Prompt, since: Sequence[str]) -> str:
        if not _solves(prompt, task.instruction, skill):
            return ""
        printed = [text for text in since if text.startswith(OUTPUT)]
        return printed[-1].removeprefix(OUTPUT) if printed else _action(task)

    return listener(name, known, act)


def listener(
    name: str, known: Mapping[str, T], act: Callable[[T, Prompt, Sequence[str]], str]
) -> ScriptedModel:
    """A model that hears a `ScriptedUser` out before it does anything.

    Args:
        name: of the model.
        known: what it makes of each instruction.
        act: its reply once it has heard everything: to what it knows of the instruction, the
            prompt, and the messages since then, those of the user and what its actions showed.
    """
    told = {" ".join(portions(instruction, PORTIONS)): one for instruction, one in known.items()}

    def reply(prompt: Prompt) -> str:
        heard = [message.content for message in prompt.messages[1:] if message.role == "user"]
        if CONSENT not in heard:  # one instruction may begin with the whole of another
            return "Is there more?"
        at = heard.index(CONSENT)
        found = told.get(" ".join(heard[:at]))
        return "" if found is None else act(found, prompt, heard[at + 1 :])

    return ScriptedModel(name, reply)


def idle() -> ScriptedModel:
    """A model that does nothing and answers nothing: what it scores is the floor of a task set."""
    return ScriptedModel("idle", lambda _: "")


def _solves(prompt: Prompt, asked: str, skill: float) -> bool:
    attempt = prompt.seed // 1000
    return random.Random(f"{attempt}/{asked}").random() < skill


def _action(task: CodeAsTask) -> str:
    code = f"answer = None\n{task.solution}\nprint(answer)"
    return f"I run the known solution.\n```python\n{code}\n```"
