"""Many attempts at once: all wait for the model together, then the sandbox runs all their actions.

As an attempt ends, the next assignment takes its place, so the batch stays full until the queue is
empty. Episodes are handed out as they end and not in order. What share of the time the model works
is measured by `benchmarks/rollout.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from selfchallenge.environments.base import Environment
from selfchallenge.episode import Episode
from selfchallenge.errors import ModelError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK
from selfchallenge.executor.agent import AgentSettings, Assignment, Attempt
from selfchallenge.models.base import Completion, Model, Sampling
from selfchallenge.sandbox.host import Sandbox

Begin = Callable[[Assignment, type[Environment], Sandbox, AgentSettings, str, str], Attempt]
"""Makes an attempt of an assignment; the arguments are those of `Attempt`, in its order."""


def _nobody(active: Sequence[Any]) -> None:
    """Nobody has anything to say to the agents."""
    del active


@dataclass(frozen=True)
class Ways:
    """How attempts are made; the defaults are those of our own tasks.

    Attributes:
        begin: makes an attempt.
        between: is shown the attempts under way before the agents reply; who else takes part in the
            conversation (a simulated user) speaks here, for all of them at once.
        stop: pattern that ends a reply.
    """

    begin: Begin = Attempt
    between: Callable[[Sequence[Any]], None] = _nobody
    stop: str = STOP_AFTER_BLOCK


def rollout(
    model: Model,
    assignments: Iterable[Assignment],
    environment: type[Environment],
    sandbox: Sandbox,
    *,
    settings: AgentSettings = AgentSettings(),  # noqa: B008 - frozen
    phase: str = "train",
    temperature: float = 1.0,
    batch: int = 40,
    ways: Ways = Ways(),
) -> Iterator[Episode]:
    """Attempt every assignment and yield its episode as soon as it has ended.

    Args:
        model: the executor.
        assignments: what is to be attempted; read lazily, `batch` ahead at most.
        environment: where it happens.
        sandbox: where the agents' code runs.
        settings: how the agents act.
        phase: written into the episodes.
        temperature: of sampling; 0 is greedy.
        batch: attempts under way at once.
        ways: how attempts are made, where it is not as at our own tasks.

    Raises:
        ModelError: the model failed; the attempts under way are given up and leave no episode.
    """
    queue = iter(assignments)
    sampling = Sampling(temperature=temperature, max_tokens=settings.max_tokens, stop=ways.stop)
    active: list[Attempt] = []
    with ThreadPoolExecutor(max_workers=4) as pool:
        while True:
            active += [
                ways.begin(assignment, environment, sandbox, settings, phase, model.name)
                for assignment in islice(queue, batch - len(active))
            ]
            if not active:
                return
            try:
                ways.between(active)
                going = [attempt for attempt in active if attempt.stop is None]
                prompts = [attempt.prompt() for attempt in going]
                replies = model.generate(prompts, sampling) if prompts else []
            except ModelError:
                for attempt in active:
                    attempt.close()
                raise
            list(pool.map(_advance, going, replies))
            ended = [attempt for attempt in active if attempt.stop is not None]
            active = [attempt for attempt in active if attempt.stop is None]
            yield from pool.map(_finish, ended)


def _advance(attempt: Attempt, reply: Completion) -> None:
    attempt.advance(reply)


def _finish(attempt: Attempt) -> Episode:
    return attempt.finish()
