"""What an environment is tested on, as hashes: handed to the gate, which must not see the tests."""

from __future__ import annotations

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.evaluation.tau_bench import SPLITS, Action, read_tasks
from selfchallenge.quality.decontaminate import Held

TEST = "test"


def held_of(environment: type[Environment]) -> Held:
    """Hashes of the held-out tasks, and of tau-bench's test tasks where its data is given.

    Raises:
        LoadError: the folder of the data holds no readable tasks.
    """
    ours = held_out_tasks(environment)
    domain = environment_name(environment)
    theirs = (
        read_tasks(environment.data, domain, TEST)
        if environment.data is not None and TEST in SPLITS.get(domain, ())
        else []
    )
    return Held.of(
        [*(task.instruction for task in ours), *(task.instruction for task in theirs)],
        [*(task.solution for task in ours), *(_source(task.actions) for task in theirs)],
    )


def _source(actions: tuple[Action, ...]) -> str:
    """Ground-truth actions as a solution."""
    written = (
        f"{one.name}({', '.join(f'{name}={value!r}' for name, value in one.kwargs.items())})"
        for one in actions
    )
    return "\n".join(written)
