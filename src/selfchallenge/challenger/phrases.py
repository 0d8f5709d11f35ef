"""The model's part of the wording: phrases for calls, rewritten instructions, both tried blind.

Whether words say what they should is decided by a round trip: the executor reads them, without
having seen the solution, and its calls are compared with the solution's. Checks on identifiers
alone do not notice a changed meaning.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from selfchallenge.challenger.draft import Draft, Step, bind, names_in
from selfchallenge.challenger.prompts import render
from selfchallenge.challenger.wording import Phrase, PhraseBook, valid_phrase
from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.episode import Call, Episode
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict

NEVER = "def evaluate(answer):\n    return False\n"


@dataclass(frozen=True)
class PhraseSettings:
    """How words are found and tried.

    Attributes:
        samples: phrases sampled for one call.
        kept: phrases kept for one call at most.
        attempts: blind attempts at a rewritten instruction.
        agreeing: how many of them must make the solution's calls.
        temperature: of sampling words.
    """

    samples: int = 6
    kept: int = 3
    attempts: int = 4
    agreeing: int = 2
    temperature: float = 0.9


@dataclass
class Phrasing:
    """Learns phrases into a book and rewrites instructions; counts the tokens it sampled."""

    model: Model
    environment: type[Environment]
    sandbox: Sandbox
    settings: PhraseSettings
    tokens: int = 0

    def learn(self, drafts: Iterable[Draft], book: PhraseBook) -> None:
        """Find phrases for the calls of `drafts` that the book has not been asked for yet."""
        examples: dict[str, tuple[Draft, Step, tuple[str, ...]]] = {}
        for draft, step in _plain_steps(drafts):
            given = tuple(bind(step.tool, step.arguments) or ())
            key = book_key(step.tool.name, given)
            if key not in book.tried:
                examples.setdefault(key, (draft, step, given))
        found = self._sample(list(examples.values()))
        book.tried |= set(examples)
        trials: list[tuple[Phrase, Draft, Step]] = []
        for key, phrases in zip(examples, found, strict=True):
            draft, step, given = examples[key]
            trials += [(p, draft, step) for p in phrases if p.slots == frozenset(given)]
        kept: dict[str, int] = {}
        for (phrase, _, step), understood in zip(trials, self._try(trials), strict=True):
            if understood and kept.get(step.tool.name, 0) < self.settings.kept:
                kept[step.tool.name] = kept.get(step.tool.name, 0) + 1
                book.add(phrase)

    def paraphrase(self, tasks: Sequence[tuple[CodeAsTask, Draft]]) -> dict[str, CodeAsTask]:
        """Rewritten tasks by the id of the original, those that blind attempts understand."""
        prompts = [
            Prompt(
                (Message("user", render("paraphrase.md.j2", instruction=task.instruction)),),
                "Request: ",
                seed=int(task.id, 16) % 2**31,
            )
            for task, _ in tasks
        ]
        replies = self._generate(prompts, max_tokens=160)
        rewritten = [
            (task, draft, task.model_copy(update={"instruction": text, "id": ""}))
            for (task, draft), reply in zip(tasks, replies, strict=True)
            if (text := _same_values(task.instruction, reply.text)) is not None
        ]
        fresh = [CodeAsTask.model_validate(new.model_dump()) for _, _, new in rewritten]
        agreed = self._agree([(t, d) for t, (_, d, _) in zip(fresh, rewritten, strict=True)])
        return {
            old.id: new.model_copy(
                update={
                    "meta": {
                        **new.meta,
                        "authors": {**new.meta["authors"], "instruction": "model"},
                        "agreeing": f"{count} of {self.settings.attempts}",
                        "draft": old.instruction,
                    }
                }
            )
            for (old, _, _), new, count in zip(rewritten, fresh, agreed, strict=True)
            if count >= self.settings.agreeing
        }

    def _sample(
        self, examples: Sequence[tuple[Draft, Step, tuple[str, ...]]]
    ) -> list[list[Phrase]]:
        count = self.settings.samples
        prompts = [
            Prompt(
                (Message("user", render("phrase.md.j2", tool=step.tool, given=given)),),
                "Request: ",
                seed=1000 * number + sample,
            )
            for number, (_, step, given) in enumerate(examples)
            for sample in range(count)
        ]
        replies = self._generate(prompts, max_tokens=48)
        return [
            list(
                dict.fromkeys(
                    phrase
                    for reply in replies[i * count : (i + 1) * count]
                    if (phrase := valid_phrase(reply.text, step.tool)) is not None
                )
            )
            for i, (_, step, _) in enumerate(examples)
        ]

    def _generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Completion]:
        if not prompts:
            return []
        sampling = Sampling(self.settings.temperature, max_tokens, stop=r"\n")
        replies = self.model.generate(prompts, sampling)
        self.tokens += sum(reply.completion_tokens for reply in replies)
        return replies

    def _try(self, trials: Sequence[tuple[Phrase, Draft, Step]]) -> list[bool]:
        """Whether one blind attempt at each phrase makes its call."""
        tasks = [
            self._probe(draft.seed, _fill(phrase, step) + ".") for phrase, draft, step in trials
        ]
        wanted = [{(step.tool.name, repr(step.value))} for _, _, step in trials]
        counts = self._attempt(tasks, wanted, attempts=1, steps=1)
        return [count > 0 for count in counts]

    def _agree(self, tasks: Sequence[tuple[CodeAsTask, Draft]]) -> list[int]:
        """How many blind attempts at each task make all calls of its solution."""
        wanted = [{(s.tool.name, repr(s.value)) for s in draft.steps} for _, draft in tasks]
        probes = [self._probe(task.seed, task.instruction) for task, _ in tasks]
        return self._attempt(probes, wanted, attempts=self.settings.attempts, steps=2)

    def _attempt(
        self,
        tasks: Sequence[CodeAsTask],
        wanted: Sequence[set[tuple[str, str]]],
        *,
        attempts: int,
        steps: int,
    ) -> list[int]:
        by_id = {task.id: calls for task, calls in zip(tasks, wanted, strict=True)}
        counts = dict.fromkeys(by_id, 0)
        assignments = (
            Assignment(task, self._unjudged(task), attempt, seed=attempt)
            for task in {t.id: t for t in tasks}.values()
            for attempt in range(attempts)
        )
        for episode in rollout(
            self.model,
            assignments,
            self.environment,
            self.sandbox,
            settings=AgentSettings(max_steps=steps, max_tokens=160),
            phase="blind",
            temperature=0.7,
        ):
            self.tokens += episode.completion_tokens
            counts[episode.task] += by_id[episode.task] <= _made(episode)
        return [counts[task.id] for task in tasks]

    def _probe(self, seed: str | None, instruction: str) -> CodeAsTask:
        """A task that only carries an instruction to a blind attempt; nothing passes it."""
        return CodeAsTask(
            environment=environment_name(self.environment),
            seed=seed,
            instruction=instruction,
            verifier=NEVER,
            solution="pass",
            failures=("pass", "pass", "pass"),
        )

    def _unjudged(self, task: CodeAsTask) -> Verdict:
        level = self.sandbox.isolation
        return Verdict(id=task.id, accepted=False, isolation=level, gate="none", checks=())


def book_key(tool: str, given: Sequence[str]) -> str:
    """Name of a way to call a tool: the parameters that are given."""
    return f"{tool}({', '.join(given)})"


def _plain_steps(drafts: Iterable[Draft]) -> Iterator[tuple[Draft, Step]]:
    """Steps whose arguments are literals only, so that a phrase can be tried by itself."""
    for draft in drafts:
        for step in draft.steps:
            if names_in(f"f({step.arguments})") == {"f"}:
                yield draft, step


def _fill(phrase: Phrase, step: Step) -> str:
    bound = bind(step.tool, step.arguments) or {}
    return phrase.text.format_map(
        {name: ", ".join(ast.unparse(node) for node in nodes) for name, nodes in bound.items()}
    )


def _made(episode: Episode) -> set[tuple[str, str]]:
    return {(call.tool, repr(_result(call))) for call in episode.calls if call.ok}


def _result(call: Call) -> Any:
    return call.result


def _same_values(original: str, rewritten: str) -> str | None:
    """The rewriting, None when it is the same text or changed, added or lost a value."""
    text = rewritten.strip().strip('"').strip()
    if not text or text == original or _values(text) != _values(original):
        return None
    return text


def _values(text: str) -> list[str]:
    return sorted(re.findall(r"'[^']*'|\b\d+(?:\.\d+)?\b", text))
