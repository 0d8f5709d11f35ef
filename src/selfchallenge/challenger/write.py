"""The staged, answer-first writer: explore, solution, verifier, near misses, instruction last.

A small model fails at the format of a task far more than at the idea, and at the instruction most,
so each stage is short, has a forced beginning, and is checked at once by running it. Many
candidates go through a stage together, as one batch of the model (a wave).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from selfchallenge.challenger.answer import finish
from selfchallenge.challenger.book import PhraseBook
from selfchallenge.challenger.candidate import Candidate, with_costs, with_verifier
from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.draft import Draft
from selfchallenge.challenger.explore import Exploration, Explorer, ExploreSettings
from selfchallenge.challenger.phrases import PhraseSettings, Phrasing
from selfchallenge.challenger.verify import (
    failures_of,
    told_apart,
    verifier_of_answer,
    verifier_of_state,
)
from selfchallenge.challenger.wording import word_draft
from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.errors import SessionError
from selfchallenge.models.base import Model
from selfchallenge.quality.gate import survivors
from selfchallenge.ranges import POSITIVE, SHARE, Range, require
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import FEWEST_FAILURES, Check, CodeAsTask

CHOICES = 4
"""Seeds looked at for one candidate."""


@dataclass(frozen=True)
class WriterSettings:
    """How tasks are written.

    Attributes:
        wave: candidates that go through the stages together.
        failures: failure cases a task.
        paraphrased: share of instructions that the model rewrites; a rewriting is kept only when
            blind attempts understand it.
        explore: how calls are found.
        phrases: how the phrase book is made.
    """

    wave: int = 40
    failures: int = 3
    paraphrased: float = 0.3
    explore: ExploreSettings = field(default_factory=ExploreSettings)
    phrases: PhraseSettings = field(default_factory=PhraseSettings)

    def __post_init__(self) -> None:
        require(self, wave=POSITIVE, failures=Range(FEWEST_FAILURES), paraphrased=SHARE)


@dataclass
class StagedWriter:
    """Writes candidates wave by wave."""

    model: Model
    environment: type[Environment]
    sandbox: Sandbox
    settings: WriterSettings
    coverage: Coverage
    book: PhraseBook
    run_seed: int = 0

    def write(self, numbers: Sequence[int], seeds: Sequence[str | None]) -> Iterator[Candidate]:
        """One candidate for each number, its subject one of `seeds`."""
        queue = iter(numbers)
        while wave := list(islice(queue, self.settings.wave)):
            yield from self._wave(self._subjects(wave, seeds))

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        """The candidate with conditions that tell the solution from what was let through."""
        del evidence  # the wrong solutions say more than their names
        task = candidate.task
        if task is None:
            return candidate
        started = time.perf_counter()
        wrong = survivors(task, self.environment, self.sandbox)
        verifier = told_apart(task, wrong, self.environment, self.sandbox)
        spent = candidate.seconds + round(time.perf_counter() - started, 3)
        revised = candidate.model_copy(update={"task": with_verifier(task, verifier, "program")})
        return with_costs(revised, candidate.tokens, spent)

    def _subjects(
        self, wave: Sequence[int], seeds: Sequence[str | None]
    ) -> list[tuple[int, str | None]]:
        """A seed for each number, of a few the one whose tools have been used least."""
        planned = Coverage(tools=self.coverage.tools.copy())
        subjects: list[tuple[int, str | None]] = []
        for number in wave:
            options = [seeds[(number * CHOICES + i) % len(seeds)] for i in range(CHOICES)]
            seed = planned.choose_seed(options, self.environment.offered)
            planned.tools.update(self.environment.offered(seed))
            subjects.append((number, seed))
        return subjects

    def _wave(self, starts: Sequence[tuple[int, str | None]]) -> Iterator[Candidate]:
        started = time.perf_counter()
        explorer = Explorer(
            self.model, self.environment, self.sandbox, self.coverage, self.settings.explore
        )
        explorations = [
            explorer.start(number, seed, random.Random(f"{self.run_seed}/{number}"))
            for number, seed in starts
        ]
        explorer.explore(explorations)
        drafts = [finish(e, self.coverage) for e in explorations]
        for e, draft in zip(explorations, drafts, strict=True):
            self.coverage.tools.update(step.tool.name for step in (draft or e.draft).steps)
        phrasing = Phrasing(self.model, self.environment, self.sandbox, self.settings.phrases)
        phrasing.learn([e.draft for e in explorations], self.book)
        with ThreadPoolExecutor(max_workers=4) as pool:
            written = list(pool.map(self._completed, explorations, drafts))
        candidates = self._paraphrase(phrasing, written)
        tokens = phrasing.tokens // len(starts)
        share = round((time.perf_counter() - started) / len(starts), 3)
        for candidate in candidates:
            yield with_costs(candidate, candidate.tokens + tokens, share)

    def _completed(self, e: Exploration, draft: Draft | None) -> tuple[Candidate, Draft | None]:
        try:
            return self._complete(e, draft)
        except SessionError as error:
            return _failed(e, "session", error.what), None

    def _complete(self, e: Exploration, draft: Draft | None) -> tuple[Candidate, Draft | None]:
        """Everything after the answer was chosen: verifier, failures, instruction."""
        if draft is None:
            why = e.evidence or "the calls give nothing to ask for"
            return _failed(e, "explore", why), None
        verifier = (
            verifier_of_answer(draft.value)
            if draft.answer
            else verifier_of_state(draft, self.environment, self.sandbox)
        )
        if verifier is None:
            return _failed(
                e, "verifier", "no reading tool shows what the solution changed", draft
            ), None
        failures, authors = failures_of(
            draft,
            self.environment,
            self.sandbox,
            verifier,
            wanted=self.settings.failures,
            rng=e.rng,
        )
        if len(failures) < self.settings.failures:
            found = f"only {len(failures)} near misses run and are rejected"
            return _failed(e, "failures", found, draft), None
        instruction = word_draft(draft, self.book, e.rng)
        if instruction is None:
            return _failed(
                e, "instruction", "an expression of the solution has no words", draft
            ), None
        task = CodeAsTask(
            environment=environment_name(self.environment),
            seed=draft.seed,
            instruction=instruction,
            verifier=verifier,
            solution=draft.solution,
            failures=tuple(failures),
            meta={
                "model": self.model.name,
                "authors": {
                    "arguments": [step.author for step in draft.steps],
                    "tools": "program",
                    "verifier": "program",
                    "failures": authors,
                    "instruction": "program, phrases by model",
                },
            },
        )
        return _candidate(e, draft, task), draft

    def _paraphrase(
        self, phrasing: Phrasing, written: Sequence[tuple[Candidate, Draft | None]]
    ) -> list[Candidate]:
        chosen = [
            (candidate.task, draft)
            for candidate, draft in written
            if candidate.task is not None
            and draft is not None
            and random.Random(f"{self.run_seed}/{candidate.candidate}/words").random()
            < self.settings.paraphrased
        ]
        reworded = phrasing.paraphrase(chosen)
        return [
            c.model_copy(update={"task": reworded[c.task.id]})
            if c.task is not None and c.task.id in reworded
            else c
            for c, _ in written
        ]


def _failed(e: Exploration, stage: str, evidence: str, draft: Draft | None = None) -> Candidate:
    draft = draft or e.draft
    return Candidate(
        candidate=draft.number,
        seed=draft.seed,
        failed=stage,
        evidence=evidence,
        writer="staged",
        tools=tuple(step.tool.name for step in draft.steps),
        refused=tuple(e.refused),
        shape=e.shape.name,
        flow=draft.flow,
        tokens=e.tokens,
    )


def _candidate(e: Exploration, draft: Draft, task: CodeAsTask) -> Candidate:
    return Candidate(
        candidate=draft.number,
        seed=draft.seed,
        task=task,
        writer="staged",
        tools=tuple(step.tool.name for step in draft.steps),
        refused=tuple(e.refused),
        shape=e.shape.name,
        flow=draft.flow,
        tokens=e.tokens,
    )
