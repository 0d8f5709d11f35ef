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
from dataclasses import dataclass

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
from selfchallenge.models.base import Message, Model, Prompt, Sampling
from selfchallenge.quality.gate import check
from selfchallenge.ranges import COUNT, POSITIVE, TEMPERATURE, require
from selfchallenge.sandbox.host import Cell, Sandbox
from selfchallenge.task import Check, CodeAsTask

_BLOCK = re.compile(r"<(instruction|verifier|solution|failure)>\s*(.*?)\s*</\1>", re.DOTALL)


@dataclass(frozen=True)
class PaperSettings:
    """How the one-shot writer works.

    Attributes:
        turns: exploring replies before the task is written.
        revisions: times a rejected task is written again.
        temperature: of sampling.
        max_tokens: of the reply that holds the task.
    """

    turns: int = 2
    revisions: int = 1
    temperature: float = 0.8
    max_tokens: int = 900

    def __post_init__(self) -> None:
        require(self, turns=COUNT, revisions=COUNT, temperature=TEMPERATURE, max_tokens=POSITIVE)


@dataclass
class PaperWriter:
    """Writes candidates one by one, each a conversation."""

    model: Model
    environment: type[Environment]
    sandbox: Sandbox
    settings: PaperSettings

    def write(self, numbers: Sequence[int], seeds: Sequence[str | None]) -> Iterator[Candidate]:
        """One candidate for each number, `seeds[number % len(seeds)]` its subject."""
        for number in numbers:
            yield self._one(number, seeds[number % len(seeds)])

    def _one(self, number: int, seed: str | None) -> Candidate:
        started = time.perf_counter()
        talk = _Talk(self.model, self.settings, number)
        self._explore(talk, seed)
        talk.hear(render("paper_task.md.j2", answers=True))
        task: CodeAsTask | None = None
        failed, evidence = "format", ""
        for revision in range(self.settings.revisions + 1):
            reply = talk.reply(self.settings.max_tokens)
            written = parse_task(reply, environment_name(self.environment), seed, self.model.name)
            if isinstance(written, str):
                evidence = written
                rejected = Check(name="format", passed=False, evidence=written)
            else:
                task, failed = written, ""
                verdict = check(task, self.environment, "paper", sandbox=self.sandbox)
                if verdict.accepted or revision == self.settings.revisions:
                    break
                rejected = verdict.checks[-1]
            talk.hear(
                render("paper_revise.md.j2", check=rejected.name, evidence=rejected.evidence[-800:])
            )
        candidate = Candidate(
            candidate=number,
            seed=seed,
            task=task,
            failed=failed or None,
            evidence=evidence if task is None else "",
            writer="paper",
        )
        return with_costs(candidate, talk.tokens, round(time.perf_counter() - started, 3))

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        """The candidate with the verifier that the model writes when it sees what was let through.

        It sees the task and the wrong solutions that pass, not the conversation they came from.
        """
        task = candidate.task
        if task is None:
            return candidate
        started = time.perf_counter()
        talk = _Talk(self.model, self.settings, candidate.candidate)
        talk.hear(render("paper_verifier.md.j2", task=task, evidence=evidence.evidence[-800:]))
        found = dict(_BLOCK.findall(talk.reply(self.settings.max_tokens)))
        if "verifier" in found:
            source = parse_action(found["verifier"]) or found["verifier"]
            task = with_verifier(task, source, "model")
        seconds = candidate.seconds + round(time.perf_counter() - started, 3)
        revised = candidate.model_copy(update={"task": task})
        return with_costs(revised, candidate.tokens + talk.tokens, seconds)

    def _explore(self, talk: _Talk, seed: str | None) -> None:
        tools = describe_tools(self.environment, seed)
        subject = subject_of(self.environment, seed)
        opening = render(
            "paper_explore.md.j2",
            policy=policy_of(self.environment),
            tools=tools,
            subject=subject,
        )
        talk.hear(opening)
        try:
            with (
                self.sandbox.session(self.environment, seed) as session,
                self.sandbox.cell(session) as cell,
            ):
                self._look_around(talk, cell)
        except SessionError as error:
            talk.hear(error.what)

    def _look_around(self, talk: _Talk, cell: Cell) -> None:
        for _ in range(self.settings.turns):
            code = parse_action(talk.reply(256, stop=STOP_AFTER_BLOCK))
            if code is None:
                return
            done = cell.run(code)
            talk.hear(show_observation(done.output + (done.error or ""), 1500))
            if done.status not in ("done", "error"):
                return


class _Talk:
    """A conversation with the model."""

    def __init__(self, model: Model, settings: PaperSettings, seed: int) -> None:
        self.model, self.settings, self.seed = model, settings, seed
        self.messages: list[Message] = []
        self.context: tuple[int, ...] = ()
        self.known = self.tokens = 0

    def hear(self, text: str) -> None:
        if self.messages and self.messages[-1].role == "user":
            text = f"{self.messages.pop().content}\n\n{text}"
        self.messages.append(Message("user", text))

    def reply(self, max_tokens: int, stop: str = "") -> str:
        prompt = Prompt(
            tuple(self.messages), "", self.context, self.known, self.seed * 100 + len(self.messages)
        )
        sampling = Sampling(self.settings.temperature, max_tokens, stop)
        found = self.model.generate([prompt], sampling)[0]
        self.tokens += found.completion_tokens
        self.messages.append(Message("assistant", found.text))
        if found.token_ids:
            self.context = (*found.prompt_ids, *found.token_ids)
            self.known = len(self.messages)
        return found.text


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
