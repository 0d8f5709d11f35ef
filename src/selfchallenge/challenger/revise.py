"""The paper's writer: explore over several turns, write the task in one shot, revise on evidence.

This is the order of the paper (section 3 and its appendix on prompts, in our own words): the model
sees what its exploration printed, writes instruction, verifier, solution and failure cases at
once, and when the checker rejects the task it reads the evidence and writes it again. Strong models
do this well; small ones hardly ever, which is why `write.py` exists.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

from pydantic import ValidationError

from selfchallenge.challenger.candidate import Candidate, with_costs, with_verifier
from selfchallenge.challenger.prompts import render
from selfchallenge.environments.asking import subject_of
from selfchallenge.environments.base import (
    Environment,
    describe_tools,
    environment_name,
    policy_of,
)
from selfchallenge.errors import SessionError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK, parse_action, show_observation
from selfchallenge.executor.agent import attempt_seed
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.quality.gate import check
from selfchallenge.ranges import COUNT, POSITIVE, TEMPERATURE, require
from selfchallenge.sandbox.host import Cell, Sandbox
from selfchallenge.task import Check, CodeAsTask

EVIDENCE = 800
"""Characters of a check's evidence that the writer is shown; the end says what went wrong."""

_ENOUGH = r"</failure>.*</failure>.*</failure>"
_BLOCK = re.compile(r"<(instruction|verifier|solution|failure)>\s*(.*?)\s*</\1>", re.DOTALL)


@dataclass(frozen=True)
class PaperSettings:
    """How the one-shot writer works.

    Attributes:
        wave: candidates that are written together.
        turns: exploring replies before the task is written.
        revisions: times a rejected task is written again.
        temperature: of sampling.
        max_tokens: of the reply that holds the task.
    """

    wave: int = 40
    turns: int = 2
    revisions: int = 1
    temperature: float = 0.8
    max_tokens: int = 900

    def __post_init__(self) -> None:
        require(self, wave=POSITIVE, turns=COUNT, revisions=COUNT)
        require(self, temperature=TEMPERATURE, max_tokens=POSITIVE)


@dataclass
class PaperWriter:
    """Writes candidates, each in a conversation of its own; the model sees a wave as one batch."""

    model: Model
    environment: type[Environment]
    sandbox: Sandbox
    settings: PaperSettings
    run_seed: int = 0

    def write(self, numbers: Sequence[int], seeds: Sequence[str | None]) -> Iterator[Candidate]:
        """One candidate for each number, `seeds[number % len(seeds)]` its subject."""
        queue = iter(numbers)
        while wave := list(islice(queue, self.settings.wave)):
            yield from self._wave([(number, seeds[number % len(seeds)]) for number in wave])

    def _wave(self, starts: Sequence[tuple[int, str | None]]) -> Iterator[Candidate]:
        started = time.perf_counter()
        talks = [_Talk(number, seed, self.run_seed) for number, seed in starts]
        self._explore(talks)
        for talk in talks:
            subject = subject_of(self.environment, talk.subject)
            talk.hear(render("paper_task.md.j2", answers=True, subject=subject))
        rejected = talks
        for revision in range(self.settings.revisions + 1):
            if revision:
                for talk in rejected:
                    talk.hear(self._revision_of(talk))
            self._reply(rejected, self.settings.max_tokens, stop=_ENOUGH)
            with ThreadPoolExecutor(max_workers=4) as pool:
                kept = list(pool.map(self._judge, rejected))
            rejected = [talk for talk, good in zip(rejected, kept, strict=True) if not good]
        share = round((time.perf_counter() - started) / len(talks), 3)
        for talk in talks:
            yield with_costs(talk.candidate(), talk.tokens, share)

    def _judge(self, talk: _Talk) -> bool:
        """Take the task of the last reply; whether the checker accepts it."""
        name = environment_name(self.environment)
        written = parse_task(talk.messages[-1].content, name, talk.subject, self.model.name)
        if isinstance(written, str):
            talk.rejected = Check(name="format", passed=False, evidence=written)
            return False
        talk.task = written
        verdict = check(written, self.environment, "paper", sandbox=self.sandbox)
        talk.rejected = verdict.checks[-1]
        return verdict.accepted

    @staticmethod
    def _revision_of(talk: _Talk) -> str:
        name, evidence = talk.rejected.name, talk.rejected.evidence[-EVIDENCE:]
        return render("paper_revise.md.j2", check=name, evidence=evidence)

    def _reply(self, talks: Sequence[_Talk], max_tokens: int, stop: str = "") -> None:
        """Let the model continue every conversation."""
        sampling = Sampling(self.settings.temperature, max_tokens, stop)
        found = self.model.generate([talk.prompt() for talk in talks], sampling) if talks else []
        for talk, completion in zip(talks, found, strict=True):
            talk.said(completion)

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        """The candidate with the verifier that the model writes when it sees what was let through.

        It sees the task and the wrong solutions that pass, not the conversation they came from.
        """
        task = candidate.task
        if task is None:
            return candidate
        started = time.perf_counter()
        talk = _Talk(candidate.candidate, candidate.seed, self.run_seed)
        shown = evidence.evidence[-EVIDENCE:]
        talk.hear(render("paper_verifier.md.j2", task=task, evidence=shown))
        self._reply([talk], self.settings.max_tokens)
        found = dict(_BLOCK.findall(talk.messages[-1].content))
        if "verifier" in found:
            source = parse_action(found["verifier"]) or found["verifier"]
            task = with_verifier(task, source, "model")
        seconds = candidate.seconds + round(time.perf_counter() - started, 3)
        revised = candidate.model_copy(update={"task": task})
        return with_costs(revised, candidate.tokens + talk.tokens, seconds)

    def _explore(self, talks: Sequence[_Talk]) -> None:
        for talk in talks:
            talk.hear(
                render(
                    "paper_explore.md.j2",
                    policy=policy_of(self.environment),
                    tools=describe_tools(self.environment, talk.subject),
                    subject=subject_of(self.environment, talk.subject),
                )
            )
        with ExitStack() as stack:
            opened = [(talk, self._cell(stack, talk)) for talk in talks]
            looking = [(talk, cell) for talk, cell in opened if cell]
            for _ in range(self.settings.turns):
                self._reply([talk for talk, _ in looking], 256, stop=STOP_AFTER_BLOCK)
                looking = [(talk, cell) for talk, cell in looking if self._look(talk, cell)]

    def _cell(self, stack: ExitStack, talk: _Talk) -> Cell | None:
        """A place to look around in until the stack is closed; None when it breaks at once."""
        try:
            session = stack.enter_context(self.sandbox.session(self.environment, talk.subject))
            return stack.enter_context(self.sandbox.cell(session))
        except SessionError as error:
            talk.hear(error.what)
            return None

    @staticmethod
    def _look(talk: _Talk, cell: Cell) -> bool:
        """Run the code of the last reply and show what it printed; whether to look on."""
        code = parse_action(talk.messages[-1].content)
        if code is None:
            return False
        try:
            done = cell.run(code)
        except SessionError as error:
            talk.hear(error.what)
            return False
        talk.hear(show_observation(done.output + (done.error or ""), 1500))
        return done.status in ("done", "error")


class _Talk:
    """A conversation with the model about one candidate."""

    def __init__(self, number: int, subject: str | None, run_seed: int) -> None:
        self.number, self.subject, self.run_seed = number, subject, run_seed
        self.messages: list[Message] = []
        self.context: tuple[int, ...] = ()
        self.known = self.tokens = 0
        self.task: CodeAsTask | None = None
        self.rejected = Check(name="format", passed=False, evidence="")

    def hear(self, text: str) -> None:
        """Something that is said to the model."""
        if self.messages and self.messages[-1].role == "user":
            text = f"{self.messages.pop().content}\n\n{text}"
        self.messages.append(Message("user", text))

    def prompt(self) -> Prompt:
        """What the model continues."""
        seed = attempt_seed(self.run_seed, "write", self.number, len(self.messages))
        return Prompt(tuple(self.messages), "", self.context, self.known, seed)

    def said(self, completion: Completion) -> None:
        """Something that the model said."""
        self.tokens += completion.completion_tokens
        self.messages.append(Message("assistant", completion.text))
        if completion.token_ids:
            self.context = (*completion.prompt_ids, *completion.token_ids)
            self.known = len(self.messages)

    def candidate(self) -> Candidate:
        """What came of it: the last task that was written, or why there is none."""
        return Candidate(
            candidate=self.number,
            seed=self.subject,
            task=self.task,
            failed=None if self.task else "format",
            evidence="" if self.task else self.rejected.evidence,
            writer="paper",
        )


def parse_task(reply: str, environment: str, seed: str | None, model: str = "") -> CodeAsTask | str:
    """The task that a reply holds, or what is missing in it, one sentence."""
    found: dict[str, list[str]] = {}
    for kind, text in _BLOCK.findall(reply):
        found.setdefault(kind, []).append(parse_action(text) or text)
    missing = [kind for kind in ("instruction", "verifier", "solution") if not found.get(kind)]
    if missing:
        return f"the reply has no block {', '.join(missing)}"
    try:
        return CodeAsTask(
            environment=environment,
            seed=seed,
            instruction=found["instruction"][0],
            verifier=found["verifier"][0],
            solution=found["solution"][0],
            failures=tuple(found.get("failure", ())),
            meta={"model": model, "authors": dict.fromkeys(found, "model")},
        )
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'task'}: {first['msg']}"
