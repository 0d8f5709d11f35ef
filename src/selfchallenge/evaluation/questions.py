"""Attempts at M3ToolEval's tasks: its prompt, its turns, its check, in our sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jinja2

from selfchallenge.environments.base import Environment, describe_tools
from selfchallenge.episode import Episode, StopReason
from selfchallenge.errors import SandboxError, ToolError, UsageError
from selfchallenge.evaluation import m3tooleval
from selfchallenge.evaluation.m3tooleval import CHECKERS, Checker, Parsed, Question
from selfchallenge.executor.actions import STOP_AFTER_BLOCK, parse_action
from selfchallenge.executor.agent import Attempt, opening
from selfchallenge.models.base import Message, Prompt
from selfchallenge.models.scripted import ScriptedModel

PromptStyle = Literal["benchmark", "own"]


@dataclass(frozen=True)
class QuestionRules:
    """How M3ToolEval's tasks are put and judged; every score says it.

    Attributes:
        checker: `benchmark`, quirks included, or `fair`.
        feedback: whether a wrong answer is said to be wrong and may be given again, as in the
            benchmark; the paper does not say.
        actions: `code` or `json`.
        prompt: the `benchmark`'s one message, or our `own` as in training, with its worked example.
    """

    checker: Checker = "benchmark"
    feedback: bool = False
    actions: Literal["code", "json"] = "code"
    prompt: PromptStyle = "benchmark"


@cache
def _template() -> jinja2.Template:
    source = files("selfchallenge.evaluation").joinpath("prompts/m3tooleval.md.j2")
    # The prompt is text for a model, not markup for a browser.
    return jinja2.Environment(autoescape=False).from_string(source.read_text("utf-8"))  # noqa: S701


TOLD = {
    "find_flights": "Find the flights from one place to another on a date. Arguments: "
    "from_location (str), to_location (str), date (str, YYYY-MM-DD). Returns a list of dicts with "
    "the keys from_location, to_location, date and price, for instance "
    '[{"from_location": "C", "to_location": "F", "date": "2024-02-03", "price": 120}].',
    "book_hotel": "Find the hotels at a place that have all preferences. Arguments: location "
    "(str), *preferences (any number of str). Returns a list of dicts with the keys location, "
    "preferences, price_per_night and rating, for instance "
    '[{"location": "C", "preferences": ["gym"], "price_per_night": 80, "rating": 3}].',
    "click_url": "Open the address of a link; a page writes its links as [Clickable 'address']. "
    "Arguments: url (str). Returns what can be seen of the page that it opens.",
}
"""What the benchmark tells of its tools beyond our documentation, in our words."""

_SIGNATURES = {"(from_location: str, to_location: str, ": "(destination: str, "}
"""The benchmark leaves a parameter out of the signature of one tool; its description has it."""


def question_prompt(environment: type[Environment], question: Question, actions: str) -> str:
    """The benchmark's one message: numbered tools, the form of actions, the task, the rules."""
    tools = []
    for tool in describe_tools(environment, question.seed):
        signature = tool.signature
        for ours, theirs in _SIGNATURES.items():
            signature = signature.replace(ours, theirs)
        description = TOLD.get(tool.name, tool.description)
        tools.append({"name": tool.name, "description": description, "signature": signature})
    return _template().render(tools=tools, actions=actions, instruction=question.instruction)


@dataclass
class QuestionAttempt(Attempt):
    """An attempt at a task of M3ToolEval."""

    question: Question = field(kw_only=True)
    rules: QuestionRules = field(kw_only=True)

    def __post_init__(self) -> None:
        for message in question_opening(self.environment, self.question, self.rules):
            self._say(message.role, message.content)

    def finish(self) -> Episode:
        """Judge the attempt and write it down under the task's name."""
        episode = super().finish()
        return episode.model_copy(update={"task": self.question.name, "answer": self.answer_text})

    def _read(self, text: str) -> Parsed:
        if self.rules.prompt == "benchmark":
            return m3tooleval.parse(text)
        code = parse_action(text)
        return Parsed(answer=text.strip()) if code is None else Parsed(action=code)

    def _respond(self, text: str) -> None:
        """Take an action, an answer, or neither, which costs a turn."""
        found = self._read(text)
        if found.answer is not None:
            self.answer_text = found.answer
            if self._right() or not self.rules.feedback:
                self.stop = StopReason.ANSWER
            else:
                self._say("user", m3tooleval.INCORRECT + found.reminder)
        elif found.action is None:
            self._say("user", found.invalid)
        else:
            seen = self._tool(found.action) if self.rules.actions == "json" else self._code(found)
            if seen is not None:
                self._say("user", seen + found.reminder)

    def _code(self, found: Parsed) -> str | None:
        output = self._run(found.action or "")
        return None if output is None else m3tooleval.observed(output)

    def _tool(self, action: str) -> str | None:
        called = m3tooleval.json_action(action)
        if isinstance(called, str):
            return called
        name, arguments = called
        try:
            session = self._open_session()
            if name not in session.tools:
                return f"Cound not find tool with name {name}"
            return m3tooleval.returned(session.value(name, arguments))
        except (ToolError, UsageError):  # the latter: what no call can be made of
            return m3tooleval.failed_call(name, arguments)
        except SandboxError as error:
            self.stop, self.error = StopReason.SANDBOX, str(error)
            return None

    def _right(self) -> bool:
        check = CHECKERS[self.rules.checker]
        return self.answer_text is not None and check(self.answer_text, self.question.expected)

    def _judge(self, answer: Any) -> tuple[float, bool, str]:
        del answer
        right = self._right()
        said = "no answer was given" if self.answer_text is None else "the answer is not accepted"
        evidence = f"accepted by the {self.rules.checker} check" if right else said
        return float(right), right, evidence


def stop_pattern(rules: QuestionRules) -> str:
    """What ends a reply of the agent."""
    return m3tooleval.STOP if rules.prompt == "benchmark" else STOP_AFTER_BLOCK


def question_opening(
    environment: type[Environment], question: Question, rules: QuestionRules
) -> list[Message]:
    """What the agent reads before its first reply."""
    if rules.prompt == "own":
        return opening(environment, question.seed, question.instruction)
    return [Message("user", question_prompt(environment, question, rules.actions))]


def replayer(questions: Sequence[Question]) -> ScriptedModel:
    """A double that gives the expected answers; every check must score it 100 %."""
    known = {question.instruction.strip(): str(question.expected) for question in questions}

    def reply(prompt: Prompt) -> str:
        asked = prompt.messages[-1].content
        answer = next((known[text] for text in known if text in asked), "")
        return f"Answer: {answer}" if "'Answer:'" in asked else answer

    return ScriptedModel("oracle", reply)
