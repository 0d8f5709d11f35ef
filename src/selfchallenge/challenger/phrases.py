"""The model's part of the wording: phrases for calls, rewritten instructions, both tried blind.

Whether words say what they should is decided by a round trip: the model reads them as a task,
without having seen the solution, and what its calls return is compared with the solution's calls.
Checks on identifiers alone do not notice a changed meaning.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from selfchallenge.challenger.book import Phrase, PhraseBook, valid_phrase
from selfchallenge.challenger.draft import Draft, Step, bind, names_in
from selfchallenge.challenger.prompts import render
from selfchallenge.environments.base import Environment, ToolSpec
from selfchallenge.errors import SessionError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK, parse_action
from selfchallenge.executor.agent import opening
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.ranges import POSITIVE, TEMPERATURE, Range, require
from selfchallenge.sandbox.host import Limits, Sandbox
from selfchallenge.task import CodeAsTask

LIMITS = Limits(wall=3.0)


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

    samples: int = 8
    kept: int = 4
    attempts: int = 4
    agreeing: int = 2
    temperature: float = 0.7

    def __post_init__(self) -> None:
        require(self, samples=POSITIVE, kept=POSITIVE, attempts=POSITIVE, temperature=TEMPERATURE)
        require(self, agreeing=Range(1, self.attempts))


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
        trials = [
            (phrase, (_asked(phrase, step), draft.seed, [step]))
            for (draft, step, _), phrases in zip(examples.values(), found, strict=True)
            for phrase in phrases
        ]
        counts = self._understood([trial for _, trial in trials], attempts=1)
        kept: Counter[str] = Counter()
        for (phrase, _), count in zip(trials, counts, strict=True):
            if count and kept[phrase.tool] < self.settings.kept:
                kept[phrase.tool] += 1
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
        agreed = self._understood(
            [
                (new.instruction, new.seed, draft.steps)
                for new, (_, draft, _) in zip(fresh, rewritten, strict=True)
            ],
            self.settings.attempts,
        )
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
            Prompt(phrase_messages(step.tool, given), seed=1000 * number + sample)
            for number, (_, step, given) in enumerate(examples)
            for sample in range(count)
        ]
        replies = self._generate(prompts, max_tokens=48)
        return [
            list(
                dict.fromkeys(
                    phrase
                    for reply in replies[i * count : (i + 1) * count]
                    if (phrase := valid_phrase(reply.text, step.tool, given)) is not None
                )
            )
            for i, (_, step, given) in enumerate(examples)
        ]

    def _generate(
        self, prompts: Sequence[Prompt], *, max_tokens: int, stop: str = r"\n"
    ) -> list[Completion]:
        if not prompts:
            return []
        sampling = Sampling(self.settings.temperature, max_tokens, stop)
        replies = self.model.generate(prompts, sampling)
        self.tokens += sum(reply.completion_tokens for reply in replies)
        return replies

    def _understood(
        self, trials: Sequence[tuple[str, str | None, Sequence[Step]]], attempts: int
    ) -> list[int]:
        """How many blind attempts at each instruction make all the calls of its steps."""
        prompts = [
            self._blind(instruction, seed, number * attempts + attempt)
            for number, (instruction, seed, _) in enumerate(trials)
            for attempt in range(attempts)
        ]
        replies = self._generate(prompts, max_tokens=160, stop=STOP_AFTER_BLOCK)
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [trial for trial in trials for _ in range(attempts)]
            made = list(pool.map(self._makes_calls, jobs, replies))
        return [sum(made[i * attempts : (i + 1) * attempts]) for i in range(len(trials))]

    def _blind(self, instruction: str, seed: str | None, sample: int) -> Prompt:
        messages = opening(self.environment, seed, instruction)
        return Prompt(tuple(messages), seed=7919 * sample + 1)

    def _makes_calls(
        self, trial: tuple[str, str | None, Sequence[Step]], reply: Completion
    ) -> bool:
        _, seed, steps = trial
        code = parse_action(reply.text)
        if code is None:
            return False
        try:
            with self.sandbox.session(self.environment, seed) as session:
                self.sandbox.execute(code, session, limits=LIMITS)
                made = {(call.tool, repr(call.result)) for call in session.trace() if call.ok}
        except SessionError:  # the reply broke its world, so it does not say the same
            return False
        return {(step.tool.name, repr(step.value)) for step in steps} <= made


_REQUESTS = (
    (
        "book_table(restaurant: str, people: int) -> str",
        "Reserve a table for a party.",
        ("restaurant", "people"),
        "reserve a table for {people} at {restaurant}",
    ),
    (
        "delete_note(note_id: str) -> None",
        "Delete a note.",
        ("note_id",),
        "throw the note {note_id} away",
    ),
    (
        "move_meeting(meeting: str, day: str, hour: int) -> dict[str, Any]",
        "Move a meeting to another day and hour.",
        ("meeting", "day", "hour"),
        "have the meeting {meeting} on {day} at {hour} instead",
    ),
)
_NAMES = (
    (
        "days_between(start: str, end: str) -> int",
        "Return the number of days from one date to another.",
        ("start", "end"),
        "the number of days from {start} to {end}",
    ),
    (
        "find_recipes(ingredient: str, minutes: int) -> list[dict[str, Any]]",
        "Return recipes with an ingredient that take at most so many minutes.",
        ("ingredient", "minutes"),
        "the recipes with {ingredient} that are done in {minutes} minutes",
    ),
    (
        "largest_file(*names: str) -> str",
        "Return the name of the largest of several files.",
        ("names",),
        "the largest of the files {names}",
    ),
    (
        "is_open(shop: str, day: str) -> bool",
        "Return whether a shop is open on a day.",
        ("shop", "day"),
        "whether {shop} is open on {day}",
    ),
)
"""Functions of no environment with their phrases: what the model is shown to go by."""


def phrase_messages(tool: ToolSpec, given: Sequence[str]) -> tuple[Message, ...]:
    """The conversation that asks for a phrase, examples first."""
    system = "request_system.md.j2" if tool.mutates else "name_system.md.j2"
    messages = [Message("system", render(system))]
    for signature, description, names, phrase in _REQUESTS if tool.mutates else _NAMES:
        asked = render(
            "phrase_user.md.j2", signature=signature, description=description, given=names
        )
        messages += [Message("user", asked), Message("assistant", phrase)]
    asked = render(
        "phrase_user.md.j2", signature=tool.signature, description=tool.description, given=given
    )
    return (*messages, Message("user", asked))


def book_key(tool: str, given: Sequence[str]) -> str:
    """Name of a way to call a tool: the parameters that are given."""
    return f"{tool}({', '.join(given)})"


def _plain_steps(drafts: Iterable[Draft]) -> Iterator[tuple[Draft, Step]]:
    """Steps whose arguments are literals only, so that a phrase can be tried by itself."""
    for draft in drafts:
        for step in draft.steps:
            if names_in(f"f({step.arguments})") == {"f"}:
                yield draft, step


def _asked(phrase: Phrase, step: Step) -> str:
    """The phrase with the values of a call, as a task of its own."""
    bound = bind(step.tool, step.arguments) or {}
    text = phrase.text.format_map(
        {name: ", ".join(ast.unparse(node) for node in nodes) for name, nodes in bound.items()}
    )
    return f"{text[:1].upper()}{text[1:]}." if step.tool.mutates else f"Tell me {text}."


def _same_values(original: str, rewritten: str) -> str | None:
    """The rewriting, None when it is the same text or changed, added or lost a value."""
    text = rewritten.strip().strip('"').strip()
    if not text or text == original or _values(text) != _values(original):
        return None
    return text


def _values(text: str) -> list[str]:
    return sorted(re.findall(r"'[^']*'|\b\d+(?:\.\d+)?\b", text))
