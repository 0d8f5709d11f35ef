"""Many attempts at once: whoever waits for the model shares its batch, the sandbox works beside it.

Attempts join and leave continuously: as one ends, the next assignment takes its place, so the batch
stays full until the queue is empty. Episodes are handed out as they end and not in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from selfchallenge.environments.base import Environment
from selfchallenge.episode import Episode
from selfchallenge.errors import ModelError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK
from selfchallenge.executor.agent import AgentSettings, Assignment, Attempt
from selfchallenge.models.base import Model, Sampling
from selfchallenge.sandbox.host import Sandbox


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

    Raises:
        ModelError: the model failed; the attempts under way are given up and leave no episode.
    """
    queue = iter(assignments)
    sampling = Sampling(
        temperature=temperature, max_tokens=settings.max_tokens, stop=STOP_AFTER_BLOCK
    )
    active: list[Attempt] = []
    with ThreadPoolExecutor(max_workers=4) as pool:
        while True:
            active += [
                Attempt(assignment, environment, sandbox, settings, phase, model.name)
                for assignment in islice(queue, batch - len(active))
            ]
            if not active:
                return
            try:
                replies = model.generate([attempt.prompt() for attempt in active], sampling)
            except ModelError:
                for attempt in active:
                    attempt.close()
                raise
            list(pool.map(Attempt.advance, active, replies))
            ended = [attempt for attempt in active if attempt.stop is not None]
            active = [attempt for attempt in active if attempt.stop is None]
            yield from pool.map(Attempt.finish, ended)
