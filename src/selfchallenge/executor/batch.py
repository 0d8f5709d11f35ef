"""Many attempts at once: while the model replies to some, the sandbox runs the actions of others.

As an attempt ends, the next assignment takes its place, so the batch stays full until the queue is
empty; and a model that can (`models.base.Conversing`) goes on with an attempt as soon as its action
was run and there is room for a few. Where the model computes on this machine's processors it pauses
meanwhile: the sandbox would only take them from it, and so no clock decides which attempts share a
step, and the same seeds give the same episodes. Where somebody else speaks in between, all wait for
each other. Episodes are handed out as they end, not in order; what the sandbox ended is attempted
once more before it counts. How fast that is, and what share of the time the model works, is
measured by `benchmarks/rollout.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from selfchallenge.environments.base import Environment
from selfchallenge.episode import Episode, StopReason
from selfchallenge.errors import ModelError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK
from selfchallenge.executor.agent import AgentSettings, Assignment, Attempt
from selfchallenge.models.base import (
    Completion,
    Conversing,
    Model,
    Numbered,
    Prompt,
    Sampling,
    computes_here,
    converse,
    in_waves,
)
from selfchallenge.sandbox.host import Sandbox

Begin = Callable[[Assignment, type[Environment], Sandbox, AgentSettings, str, str], Attempt]
"""Makes an attempt of an assignment; the arguments are those of `Attempt`, in its order."""
Between = Callable[[Sequence[Any]], None]
"""Lets others speak in the attempts that it is shown."""


@dataclass(frozen=True)
class Ways:
    """How attempts are made; the defaults are those of our own tasks.

    Attributes:
        begin: makes an attempt.
        between: is shown all attempts under way before the agents reply; who else takes part in the
            conversation (a simulated user) speaks here. None: nobody does.
        stop: pattern that ends a reply.
    """

    begin: Begin = Attempt
    between: Between | None = None
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

    Attempts that the sandbox ended are made again behind all others, once.

    Args:
        model: the executor.
        assignments: what is to be attempted; read lazily, as attempts end.
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
    sampling = Sampling(temperature=temperature, max_tokens=settings.max_tokens, stop=ways.stop)

    def begin(assignment: Assignment) -> Attempt:
        return ways.begin(assignment, environment, sandbox, settings, phase, model.name)

    again: list[Assignment] = []
    with closing(_played(model, assignments, begin, batch, ways, sampling)) as played:
        for assignment, episode in played:
            if episode.stop is StopReason.SANDBOX:
                again.append(assignment)
            else:
                yield episode
    with closing(_played(model, again, begin, batch, ways, sampling)) as played:
        yield from (episode for _, episode in played)


def _played(
    model: Model,
    assignments: Iterable[Assignment],
    begin: Callable[[Assignment], Attempt],
    batch: int,
    ways: Ways,
    sampling: Sampling,
) -> Generator[tuple[Assignment, Episode]]:
    """Attempt every assignment once."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        # Others speak for all attempts at once, as a model of theirs is used best.
        waves = ways.between is not None or not isinstance(model, Conversing)
        pauses = waves or computes_here(model)
        table = _Table(map(begin, assignments), batch, ways.between, pool, pauses)
        try:
            for replies in (in_waves if waves else converse)(model, table.take, sampling):
                table.act(replies)
                yield from table.ended()
            yield from table.ended()
        except ModelError:
            wait(table.acting)
            yield from table.ended()
            raise
        finally:
            table.close()


@dataclass
class _Table:
    """Attempts under way: each is ready to be asked about, asked about, or acting in the sandbox.

    Attributes:
        queue: attempts that are still to be made.
        size: attempts under way at most.
        between: as in `Ways`.
        pool: does what replies ask for.
        pauses: whether the model pauses until all of that is done.
    """

    queue: Iterator[Attempt]
    size: int
    between: Between | None
    pool: ThreadPoolExecutor
    pauses: bool
    ready: list[Attempt] = field(default_factory=list)
    asked: dict[int, Attempt] = field(default_factory=dict)
    acting: dict[Future[Episode | None], Attempt] = field(default_factory=dict)
    episodes: list[tuple[Assignment, Episode]] = field(default_factory=list)
    taken: int = 0

    def take(self, waits: bool) -> list[Prompt]:
        """The prompts that there are (`models.base.Take`)."""
        while True:
            self._settle()
            self.ready += islice(self.queue, self.size - len(self))
            if self.ready and self.between is not None:
                self.between(self.ready)
            over = [attempt for attempt in self.ready if attempt.stop is not None]
            for attempt in over:
                self._submit(attempt, None)
            going = [attempt for attempt in self.ready if attempt.stop is None]
            self.ready = []
            if going or not waits or not self.acting:
                break
            wait(self.acting, return_when=FIRST_COMPLETED)
        self.asked |= enumerate(going, self.taken)
        self.taken += len(going)
        return [attempt.prompt() for attempt in going]

    def act(self, replies: Sequence[Numbered]) -> None:
        """Let the sandbox do what replies ask for."""
        for number, reply in replies:
            self._submit(self.asked.pop(number), reply)

    def ended(self) -> list[tuple[Assignment, Episode]]:
        """The episodes that have ended since this was asked."""
        self._settle()
        found, self.episodes = self.episodes, []
        return found

    def close(self) -> None:
        """Give the attempts up that are under way."""
        wait(self.acting)
        for attempt in (*self.ready, *self.asked.values(), *self.acting.values()):
            attempt.close()

    def __len__(self) -> int:
        return len(self.ready) + len(self.asked) + len(self.acting)

    def _submit(self, attempt: Attempt, reply: Completion | None) -> None:
        self.acting[self.pool.submit(_act, attempt, reply)] = attempt

    def _settle(self) -> None:
        """Take up what the sandbox is done with."""
        if self.pauses:
            wait(self.acting)
        for future in [future for future in self.acting if future.done()]:
            attempt, episode = self.acting[future], future.result()
            del self.acting[future]
            if episode is None:
                self.ready.append(attempt)
            else:
                self.episodes.append((attempt.assignment, episode))


def _act(attempt: Attempt, reply: Completion | None) -> Episode | None:
    """Do what a reply asks for; the episode if the attempt ends with it, or has ended already."""
    if reply is not None:
        attempt.advance(reply)
    return None if attempt.stop is None else attempt.finish()
