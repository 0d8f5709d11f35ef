"""What an environment is tested on, as hashes: handed to the gate, which must not see the tests."""

from __future__ import annotations

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.evaluation.m3tooleval import COUNTS, FILE, read_questions
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.evaluation.tau_bench import SPLITS, Action, read_tasks
from selfchallenge.quality.decontaminate import Held

TEST = "test"


def held_of(environment: type[Environment]) -> Held:
    """Hashes of the held-out tasks, and of a benchmark's test tasks where its data is given.

    Raises:
        LoadError: the folder of the data holds no readable tasks.
    """
    ours, name, data = held_out_tasks(environment), environment_name(environment), environment.data
    told, solved = [task.instruction for task in ours], [task.solution for task in ours]
    if data is not None and TEST in SPLITS.get(name, ()):
        theirs = read_tasks(data, name, TEST)
        told += [task.instruction for task in theirs]
        solved += [_source(task.actions) for task in theirs]
    elif data is not None and name in COUNTS and (data / FILE).exists():
        told += [question.instruction for question in read_questions(data, name)]
    return Held.of(told, solved)


def _source(actions: tuple[Action, ...]) -> str:
    """Ground-truth actions as a solution."""
    written = (
        f"{one.name}({', '.join(f'{name}={value!r}' for name, value in one.kwargs.items())})"
        for one in actions
    )
    return "\n".join(written)
