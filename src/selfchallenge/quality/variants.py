"""Variants of a solution, run and judged: do the wrong ones fail, and the equal ones pass?

`mutation` writes them; here each runs on a fresh state and is judged as an attempt is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from selfchallenge.environments.base import Environment, ToolSpec
from selfchallenge.episode import Call
from selfchallenge.errors import SessionError
from selfchallenge.executor.reward import judge
from selfchallenge.quality import mutation, sufficiency
from selfchallenge.quality.checks import Run, Tried
from selfchallenge.quality.mutation import Variant
from selfchallenge.quality.replay import sources
from selfchallenge.sandbox.host import Limits, Sandbox, Session
from selfchallenge.task import CodeAsTask, Verdict

LIMITS = Limits(wall=5.0)
"""Of every piece of code before the gate."""

KEPT_STATES = 8
"""Untouched states whose texts are remembered; most tasks share one, and it may be a database."""


@dataclass
class Variants:
    """Runs the variants of one task's solution.

    Attributes:
        solution: the solution's own run.
        reference: what attempts at the task are judged by.
        tools: of the environment, at the task's seed.
    """

    task: CodeAsTask
    environment: type[Environment]
    sandbox: Sandbox
    solution: Run
    reference: Verdict
    tools: Sequence[ToolSpec]

    def mutants(self, calls: Sequence[Call]) -> list[tuple[Variant, Tried]]:
        """Variants that should end otherwise, with what became of them.

        Args:
            calls: of the failure cases: what else may be called, and with what.
        """
        world, told = self._world(calls), self.task.instruction
        answer = self.solution.execution.answer
        made = [mutation.mutants(one, answer, told, world) for one in self._sources(world)]
        return self._all(list(chain(*made)), like=False)

    def equivalents(self, calls: Sequence[Call]) -> list[tuple[Variant, Tried]]:
        """Variants that should end as the solution does, with what became of them; as `mutants`."""
        world, told = self._world(calls), self.task.instruction
        made = [
            mutation.equivalents(one, told, self.solution.calls, world)
            for one in self._sources(world)
        ]
        return self._all(list(chain(*made)), like=True)

    def any_words_do(self, value: str) -> bool:
        """Whether a message in the solution makes no difference to what it leaves."""
        code = sufficiency.reworded(self.task.solution, value)
        with self._fresh() as session:
            done = self.sandbox.execute(code, session, limits=LIMITS)
            return done.ok and self._same(session, done.answer, reading=False, like=False)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Texts in what the solution's calls returned, and in the untouched state."""
        shown = mutation.texts([call.result for call in self.solution.calls])
        with self._fresh() as session:
            return tuple(dict.fromkeys((*shown, *_texts_of(session))))

    def _world(self, calls: Sequence[Call]) -> mutation.World:
        return mutation.World(
            mutating=frozenset(tool.name for tool in self.tools if tool.mutates),
            reading=frozenset(tool.name for tool in self.tools if not tool.mutates),
            values=self.texts,
            enums={tool.name: sufficiency.allowed_values(tool) for tool in self.tools},
            calls=tuple(calls),
        )

    def _sources(self, world: mutation.World) -> list[str]:
        ran = self.solution
        return sources(self.task.solution, ran.calls, ran.execution.answer, world.mutating)

    def _all(self, variants: Sequence[Variant], *, like: bool) -> list[tuple[Variant, Tried]]:
        """Every variant with what became of it; they are run beside each other."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            tried = list(pool.map(lambda variant: self._tried(variant, like=like), variants))
        return list(zip(variants, tried, strict=True))

    def _tried(self, variant: Variant, *, like: bool) -> Tried:
        """Run a variant of the solution and judge it as an attempt is judged.

        Args:
            variant: the code.
            like: whether it is asked to end as the solution does, up to the order of lists.
        """
        try:
            with self._fresh() as session:
                done = self.sandbox.execute(variant.code, session, limits=LIMITS)
                if not done.ok:
                    return Tried(variant.change, False, False, "it does not run")
                same = self._same(session, done.answer, reading=variant.reading, like=like)
                if same != like:
                    return Tried(variant.change, same, False, "its reward does not matter")
                judged = judge(self.sandbox, session, self.task, self.reference, done.answer)
        except SessionError as error:
            return Tried(variant.change, False, False, error.what)
        passes = judged.passed if variant.stated else judged.reward == 1.0
        return Tried(variant.change, same, passes, judged.evidence)

    def _same(self, session: Session, answer: object, *, reading: bool, like: bool) -> bool:
        """Whether what was left is what the solution leaves."""
        alike = _equal(answer, self.solution.execution.answer)
        if alike and (reading or session.digest() == self.solution.digest):
            return True
        patterns = self.environment.volatile
        if not patterns and not (like and alike):
            return False
        mine, theirs = session.state(), self._final
        if patterns:
            # An answer that is a generated value is as good as the other one.
            alike = alike or (
                answer in mutation.generated(mine, patterns)
                and self.solution.execution.answer in mutation.generated(theirs, patterns)
            )
            mine, theirs = (mutation.settled(one, patterns) for one in (mine, theirs))
        if like:
            mine, theirs = mutation.unordered(mine), mutation.unordered(theirs)
        return alike and bool(mine == theirs)

    @cached_property
    def _final(self) -> object:
        """The state that the solution leaves."""
        with self._fresh() as session:
            self.sandbox.execute(self.task.solution, session, limits=LIMITS)
            return session.state()

    def _fresh(self) -> Session:
        return self.sandbox.session(self.environment, self.task.seed)


_known: dict[str, tuple[str, ...]] = {}


def _texts_of(session: Session) -> tuple[str, ...]:
    """Texts in an untouched state, remembered by its digest."""
    key = session.digest()
    found = _known.get(key)
    if found is None:
        found = mutation.texts(session.state())
        if len(_known) >= KEPT_STATES:
            _known.clear()
        _known[key] = found
    return found


def _equal(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
