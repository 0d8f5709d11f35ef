"""A deterministic executor that replays reference solutions: for tests, floors and the smoke loop.

It reads the instruction, looks its task up, runs the solution as its action and gives what was
printed as its answer. It shows what the loop does when the executor is perfect (every split must
score 100 %), or right on a fixed share of the attempts.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from selfchallenge.executor.agent import OUTPUT, task_prompt
from selfchallenge.models.base import Prompt
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.task import CodeAsTask


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
        attempt = prompt.seed // 1000
        if not asked or random.Random(f"{attempt}/{asked[-1]}").random() >= skill:
            return ""
        last = prompt.messages[-1].content
        if last != asked[-1]:
            return last.removeprefix(OUTPUT)
        code = solutions[last].solution
        return f"I run the known solution.\n```python\nanswer = None\n{code}\nprint(answer)\n```"

    return ScriptedModel(name, reply)


def idle() -> ScriptedModel:
    """A model that does nothing and answers nothing: what it scores is the floor of a task set."""
    return ScriptedModel("idle", lambda _: "")
