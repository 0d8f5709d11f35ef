"""One attempt at a task: reply, run its code, read what it printed, until there is an answer.

This is the loop of the paper (section 2): o_0 is the API documentation, an action is a thought and
a block of code, an observation is what the block printed, and at most 15 steps are taken. An
`Attempt` is driven from outside, one reply at a time, so that many of them share a batch of the
model; nothing that a model writes can make it raise.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jinja2

from selfchallenge.environments.base import Environment, describe_tools, policy_of
from selfchallenge.episode import CUT, FIRST_REPLY, HINTED, Call, Episode, StopReason, Turn
from selfchallenge.errors import SandboxError
from selfchallenge.executor.actions import parse_action, read_answer, show_observation
from selfchallenge.executor.reward import judge
from selfchallenge.models.base import Completion, Message, Prompt
from selfchallenge.sandbox.host import Cell, Limits, Sandbox, Session
from selfchallenge.task import CodeAsTask, Verdict


@dataclass(frozen=True)
class AgentSettings:
    """How an agent acts.

    Attributes:
        actions: `code`: a thought and one fenced python block a step.
        max_steps: replies an episode at most (the paper: 15).
        max_tokens: tokens a reply at most.
        max_observation: characters of an observation at most.
        wall: seconds that one action may run.
        policy: whether the environment's policy is shown beside its tools.
    """

    actions: Literal["code"] = "code"
    max_steps: int = 15
    max_tokens: int = 256
    max_observation: int = 2000
    wall: float = 5.0
    policy: bool = True


@dataclass(frozen=True)
class Assignment:
    """A task to be attempted: the task, its verdict as the reference, and which attempt it is.

    Attributes:
        task: what is to be done.
        reference: its verdict, which the attempt is judged by.
        attempt: number of the attempt at this task within the phase, from 0.
        seed: random seed of the attempt.
        hinted: show the example solution with the task. Only ever for training: the learner reads
            the attempt as if the task had been put without it (`learner.samples.without_hint`).
    """

    task: CodeAsTask
    reference: Verdict
    attempt: int = 0
    seed: int = 0
    hinted: bool = False


def attempt_seed(*of: object) -> int:
    """A random seed for what these words and numbers name; it is another one for all others."""
    text = "/".join(map(str, of))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3])


def system_prompt(environment: type[Environment], seed: str | None, *, policy: bool = True) -> str:
    """What the agent is told first (o_0): the policy, the tools for this seed, the format."""
    return _template("code.md.j2").render(
        policy=policy_of(environment) if policy else "", tools=describe_tools(environment, seed)
    )


def opening(
    environment: type[Environment],
    seed: str | None,
    instruction: str,
    hint: str = "",
    *,
    policy: bool = True,
) -> list[Message]:
    """The conversation before the agent's first reply: the system turn, the example, the task.

    Args:
        environment: where the task is.
        seed: which part of its world it is about.
        instruction: the task.
        hint: source of a solution to be shown with the task, empty for none.
        policy: whether the environment's policy is shown.
    """
    messages = [Message("system", system_prompt(environment, seed, policy=policy))]
    example = environment.demonstration(seed)
    if example is not None:
        messages += [
            Message("user", task_prompt(example.instruction)),
            Message("assistant", f"{example.thought}\n```python\n{example.code}\n```"),
            Message("user", OUTPUT + example.output),
            Message("assistant", example.answer),
        ]
    return [*messages, Message("user", task_prompt(instruction, hint))]


def task_prompt(instruction: str, hint: str = "") -> str:
    """How a task is put to the agent, with the source of a solution when it is to be hinted at."""
    return _template("task.md.j2").render(instruction=instruction, hint=hint.strip())


def hint_of(task: CodeAsTask) -> str:
    """The example solution in the form of an action: it prints its answer."""
    if not re.search(r"^answer\s*=", task.solution, re.MULTILINE):
        return task.solution.strip()
    return f"{task.solution.strip()}\nprint(answer)"


def render(name: str, **values: Any) -> str:
    """A prompt of this folder with its values in it."""
    return _template(name).render(**values)


OUTPUT = "Output:\n"
"""What an observation begins with."""


@cache
def _template(name: str) -> jinja2.Template:
    text = files("selfchallenge.executor").joinpath(f"prompts/{name}").read_text("utf-8")
    # The prompt is text for a model, not markup for a browser.
    loader = jinja2.Environment(autoescape=False, keep_trailing_newline=False)  # noqa: S701
    return loader.from_string(text)


@dataclass
class Attempt:
    """An episode in the making: `prompt()` asks, `advance(reply)` acts, `finish()` records."""

    assignment: Assignment
    environment: type[Environment]
    sandbox: Sandbox
    settings: AgentSettings
    phase: str
    model: str
    messages: list[Message] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    context: tuple[int, ...] = ()
    known: int = 0
    steps: int = 0
    stop: StopReason | None = None
    answer_text: str | None = None
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    meta: dict[str, Any] = field(default_factory=dict)
    _session: Session | None = None
    _cell: Cell | None = None

    def __post_init__(self) -> None:
        task = self.assignment.task
        hint = hint_of(task) if self.assignment.hinted else ""
        told = task.seed, task.instruction, hint
        for message in opening(self.environment, *told, policy=self.settings.policy):
            self._say(message.role, message.content)
        self.meta = {FIRST_REPLY: len(self.turns)} | (
            {HINTED: True} if self.assignment.hinted else {}
        )

    def prompt(self) -> Prompt:
        """The conversation to be continued, with the ids that already stand for its beginning."""
        return Prompt(
            messages=tuple(self.messages),
            context=self.context,
            known=self.known,
            seed=self.assignment.seed * 1000 + self.steps,
        )

    @property
    def waits(self) -> bool:
        """Whether somebody else has to speak before the next reply."""
        return False

    def advance(self, reply: Completion) -> None:
        """Take one reply: run its action, or stop with its answer."""
        started = time.perf_counter()
        self._record(reply)
        if reply.finish == "context":
            self.stop = StopReason.CONTEXT
        else:
            self._respond(reply.text)
        if self.stop is None and self.steps >= self.settings.max_steps and not self.waits:
            self.stop = StopReason.STEPS
        self.seconds += time.perf_counter() - started

    def finish(self) -> Episode:
        """Judge the attempt and write it down; ends its processes."""
        started = time.perf_counter()
        verdict = self.assignment.reference
        answer = (
            None if self.answer_text is None else read_answer(self.answer_text, verdict.answer_type)
        )
        reward, passed, evidence = 0.0, False, self.error
        calls: tuple[Call, ...] = ()
        try:
            if self.stop is not StopReason.SANDBOX:
                reward, passed, evidence = self._judge(answer)
            calls = () if self._session is None else self._session.trace()
        except SandboxError as error:
            self.stop, evidence = StopReason.SANDBOX, str(error)
        finally:
            self.close()
        self.seconds += time.perf_counter() - started
        return Episode(
            phase=self.phase,
            task=self.assignment.task.id,
            attempt=self.assignment.attempt,
            model=self.model,
            seed=self.assignment.seed,
            turns=tuple(self.turns),
            answer=answer if _is_json(answer) else repr(answer),
            stop=self.stop or StopReason.STEPS,
            reward=reward,
            passed=passed,
            evidence=evidence,
            calls=calls,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=round(self.seconds, 3),
            isolation=self.sandbox.isolation,
            meta=self.meta,
        )

    def _judge(self, answer: Any) -> tuple[float, bool, str]:
        task, reference = self.assignment.task, self.assignment.reference
        verdict = judge(self.sandbox, self._open_session(), task, reference, answer)
        return verdict.reward, verdict.passed, verdict.evidence

    def _record(self, reply: Completion) -> None:
        given = reply.prompt_ids[len(self.context) :]
        self.turns.append(
            Turn(
                role="assistant",
                content=reply.text,
                token_ids=(*given, *reply.token_ids),
                logprobs=reply.logprobs,
            )
        )
        if reply.finish == "length":
            self.meta.setdefault(CUT, []).append(len(self.turns) - 1)
        self.messages.append(Message("assistant", reply.text))
        if reply.token_ids:
            self.context = (*reply.prompt_ids, *reply.token_ids)
            self.known = len(self.messages)
        self.steps += 1
        self.prompt_tokens += len(given) or reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens

    def _respond(self, text: str) -> None:
        code = parse_action(text)
        if code is None:
            self.stop, self.answer_text = StopReason.ANSWER, text
        else:
            self._act(code)

    def _act(self, code: str) -> None:
        text = self._run(code)
        if text is not None:
            self._say("user", OUTPUT + show_observation(text, self.settings.max_observation))

    def _run(self, code: str) -> str | None:
        """What code prints, and its error; None when the sandbox is gone."""
        try:
            if self._cell is None:
                limits = Limits(wall=self.settings.wall)
                self._cell = self.sandbox.cell(
                    self._open_session(), limits=limits, seed=self.assignment.seed
                )
            done = self._cell.run(code)
        except SandboxError as error:
            self.stop, self.error = StopReason.SANDBOX, str(error)
            return None
        if done.status not in ("done", "error"):
            self._cell.close()
            self._cell = None
        return done.output + (done.error or "")

    def _open_session(self) -> Session:
        if self._session is None:
            self._session = self.sandbox.session(self.environment, self.assignment.task.seed)
        return self._session

    def _say(self, role: Literal["system", "user", "assistant"], text: str) -> None:
        self.messages.append(Message(role, text))
        self.turns.append(Turn(role=role, content=text))

    def close(self) -> None:
        """End the attempt's processes."""
        if self._cell is not None:
            self._cell.close()
        if self._session is not None:
            self._session.close()


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
