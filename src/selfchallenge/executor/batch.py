"""Many attempts at once: all wait for the model together, then the sandbox runs all their actions.

As an attempt ends, the next assignment takes its place, so the batch stays full until the queue is
empty. Where the model computes elsewhere (a GPU, a server) two such batches take turns: the sandbox
works for one while the model replies to the other. No clock decides who shares a batch with whom,
so the same seeds give the same episodes. They are handed out as they end and not in order. What
share of the time the model works is measured by `benchmarks/rollout.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from selfchallenge.environments.base import Environment
from selfchallenge.episode import Episode
from selfchallenge.errors import ModelError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK
from selfchallenge.executor.agent import AgentSettings, Assignment, Attempt
from selfchallenge.models.base import Completion, Model, Sampling, computes_here
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
        assignments: what is to be attempted; read lazily, as attempts end.
        environment: where it happens.
        sandbox: where the agents' code runs.
        settings: how the agents act.
        phase: written into the episodes.
        temperature: of sampling; 0 is greedy.
        batch: attempts that wait for the model together; twice as many are under way where the
            model computes elsewhere.
        ways: how attempts are made, where it is not as at our own tasks.

    Raises:
        ModelError: the model failed; the attempts under way are given up and leave no episode.
    """
    queue = iter(assignments)
    sampling = Sampling(temperature=temperature, max_tokens=settings.max_tokens, stop=ways.stop)
    lanes = [_Lane() for _ in range(1 if computes_here(model) else 2)]
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            for lane in cycle(lanes):
                yield from lane.settle()
                lane.active += [
                    ways.begin(assignment, environment, sandbox, settings, phase, model.name)
                    for assignment in islice(queue, batch - len(lane.active))
                ]
                if not any(one.active for one in lanes):
                    return
                try:
                    replies = _replies(model, lane.active, sampling, ways)
                except ModelError:
                    for one in lanes:
                        yield from one.settle()
                    raise
                lane.acting = pool.map(_act, lane.active, replies)
    finally:
        for attempt in (attempt for lane in lanes for attempt in lane.active):
            attempt.close()


@dataclass
class _Lane:
    """Attempts that wait for the model together.

    Attributes:
        active: those under way.
        acting: what becomes of each in the sandbox, in order: its episode if it has ended.
    """

    active: list[Attempt] = field(default_factory=list)
    acting: Iterator[Episode | None] = field(default_factory=lambda: iter(()))

    def settle(self) -> list[Episode]:
        """Wait until the sandbox is done, and hand out what has ended."""
        outcomes, self.acting = list(self.acting), iter(())
        if outcomes:
            kept = zip(self.active, outcomes, strict=True)
            self.active = [attempt for attempt, episode in kept if episode is None]
        return [episode for episode in outcomes if episode is not None]


def _replies(
    model: Model, active: Sequence[Attempt], sampling: Sampling, ways: Ways
) -> list[Completion | None]:
    """What the model replies to each attempt; None where somebody else ended it."""
    if active:
        ways.between(active)
    prompts = [attempt.prompt() for attempt in active if attempt.stop is None]
    replies = iter(model.generate(prompts, sampling) if prompts else [])
    return [next(replies) if attempt.stop is None else None for attempt in active]


def _act(attempt: Attempt, reply: Completion | None) -> Episode | None:
    """Let the sandbox do what a reply asks for; the episode if the attempt ends with it."""
    if reply is not None:
        attempt.advance(reply)
    return None if attempt.stop is None else attempt.finish()
