"""What an environment is tested on, as hashes: handed to the gate, which must not see the tests."""

from __future__ import annotations

from selfchallenge.environments.asking import seeds_of
from selfchallenge.environments.base import Environment, describe_tools, environment_name
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
    about = {task.seed for task in ours if task.seed is not None}
    if data is not None and TEST in SPLITS.get(name, ()):
        theirs = read_tasks(data, name, TEST)
        told += [task.instruction for task in theirs]
        solved += [_source(task.actions) for task in theirs]
        solved += [_source(_changes(task.actions, environment)) for task in theirs]
        about |= {task.user_id for task in theirs}
    elif data is not None and name in COUNTS and (data / FILE).exists():
        told += [question.instruction for question in read_questions(data, name)]
    held = Held.of(told, solved, about)
    if not any(map(held.spares, seeds_of(environment))):
        return Held.of(told, solved)  # a small world, tested in all of its parts
    return held


def _changes(actions: tuple[Action, ...], environment: type[Environment]) -> tuple[Action, ...]:
    """Those that change the world: a solution need not look up what it knows."""
    changing = {tool.name for tool in describe_tools(environment) if tool.mutates}
    return tuple(one for one in actions if one.name in changing)


def _source(actions: tuple[Action, ...]) -> str:
    """Ground-truth actions as a solution."""
    written = (
        f"{one.name}({', '.join(f'{name}={value!r}' for name, value in one.kwargs.items())})"
        for one in actions
    )
    return "\n".join(written)
