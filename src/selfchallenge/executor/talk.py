"""An attempt in conversation: the task goes to a simulated user, who tells the agent about it.

A reply of the agent is an action (code, or one JSON tool call) or is said to the user. The episode
ends when the user says so, when a tool that ends it was called, or at the limit of steps.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from selfchallenge.environments.base import Environment, describe_tools, policy_of
from selfchallenge.episode import FIRST_REPLY, USER_FAULT, Episode, StopReason
from selfchallenge.errors import SandboxError, UsageError
from selfchallenge.executor.actions import STOP_AFTER_BLOCK, parse_action
from selfchallenge.executor.agent import AgentSettings, Assignment, Attempt, render
from selfchallenge.executor.batch import Ways
from selfchallenge.executor.user import GREETING, SHORTEST, STOP, Talk, User, fault
from selfchallenge.sandbox.host import Sandbox

STOP_AFTER_CALL = r"</tool_call>|Action:\s*\{[^\n]*\}\s*\n"
"""A JSON action ends a reply."""
API_OUTPUT = "API output: "
RESPOND = "respond"
"""The action of tau-bench's text strategies that speaks to the user; it is none of the tools."""


@dataclass(frozen=True)
class TalkRules:
    """How an agent acts in a conversation.

    Attributes:
        actions: `code` (the paper) or `json` (tau-bench's leaderboard).
        policy: whether the policy is shown beside the tools (the paper showed the tools only),
            where the agent's settings do not leave it out.
        ending: tools that end the episode.
    """

    actions: Literal["code", "json"] = "code"
    policy: bool = True
    ending: tuple[str, ...] = ("transfer_to_human_agents",)

    @property
    def stop(self) -> str:
        """Pattern that ends a reply of the agent."""
        return STOP_AFTER_BLOCK if self.actions == "code" else STOP_AFTER_CALL


def talk_prompt(environment: type[Environment], seed: str | None, rules: TalkRules) -> str:
    """What the agent is told first: the policy when it is shown, the tools, the form of actions."""
    tools = describe_tools(environment, seed)
    schemas = [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
        }
        for t in tools
    ]
    return render(
        f"talk_{rules.actions}.md.j2",
        policy=policy_of(environment) if rules.policy else "",
        tools=tools,
        schemas="\n".join(json.dumps(schema) for schema in schemas),
    )


@dataclass
class Conversation(Attempt):
    """An attempt whose instruction is told by a user; `hear` takes what the user says."""

    rules: TalkRules = field(kw_only=True)
    needed: tuple[str, ...] = field(kw_only=True, default=())
    user: str = field(kw_only=True, default="")

    def __post_init__(self) -> None:
        task = self.assignment.task
        if self.assignment.hinted:
            raise UsageError("a solution cannot be shown where a user tells the task")
        self.talk = Talk(task.instruction, [], [GREETING], self.assignment.seed)
        shown = self.rules.policy and self.settings.policy
        rules = replace(self.rules, policy=shown)
        self._say("system", talk_prompt(self.environment, task.seed, rules))
        self.meta = {FIRST_REPLY: len(self.turns)}

    @property
    def waits(self) -> bool:
        """Whether it is the user's turn."""
        return self.stop is None and len(self.talk.said) < len(self.talk.heard)

    def hear(self, text: str) -> None:
        """Take what the user says; a message with `STOP` ends the episode."""
        self.talk.said.append(text)
        if STOP in text:
            self.stop = StopReason.USER
        else:
            self._say("user", text)

    def finish(self) -> Episode:
        """Judge the attempt; a failure that the user caused says so in `meta`."""
        self.answer_text = self.replies[-1] if self.replies else None
        episode = super().finish()
        meta = {**episode.meta, "user": self.user, "user_tokens": self.talk.tokens}
        blame = fault(self.talk, self.needed, ended=self.stop is StopReason.USER)
        if episode.reward != 1.0 and blame:
            meta[USER_FAULT] = blame
        return episode.model_copy(update={"meta": meta})

    @property
    def replies(self) -> list[str]:
        """What the agent told the user."""
        return self.talk.heard[1:]

    def _respond(self, text: str) -> None:
        """Run the action of a reply, or tell the reply to the user."""
        code = parse_action(text) if self.rules.actions == "code" else None
        call = parse_call(text) if self.rules.actions == "json" else None
        if code is not None:
            self._act(code)
        elif call is not None and call[0] != RESPOND:
            self._call(*call)
        else:
            self.talk.heard.append(text if call is None else str(call[1].get("content", "")))
            return
        if self.stop is None and self._over():
            self.stop = StopReason.TOOL

    def _call(self, name: str, arguments: dict[str, Any]) -> None:
        try:
            self._say("user", API_OUTPUT + self._open_session().call(name, arguments))
        except UsageError as error:  # what no call can be made of, such as half a character
            self._say("user", f"{API_OUTPUT}Error: {error}")
        except SandboxError as error:
            self.stop, self.error = StopReason.SANDBOX, str(error)

    def _over(self) -> bool:
        try:
            trace = self._open_session().trace()
        except SandboxError as error:
            self.stop, self.error = StopReason.SANDBOX, str(error)
            return False
        return any(call.ok and call.tool in self.rules.ending for call in trace)


def told_by(user: User, rules: TalkRules = TalkRules(ending=())) -> Ways:
    """Attempts at our own tasks that a user tells; the last reply to the user is the answer.

    No tool ends them: what it gave may be the answer, which the user has still to be told.
    """

    def begin(
        assignment: Assignment,
        world: type[Environment],
        sandbox: Sandbox,
        settings: AgentSettings,
        phase: str,
        model: str,
    ) -> Conversation:
        needed = texts_in(assignment.task.solution)
        given = (assignment, world, sandbox, settings, phase, model)
        return Conversation(*given, rules=rules, needed=needed, user=user.name)

    return Ways(begin=begin, between=partial(let_talk, user), stop=rules.stop)


def texts_in(source: str) -> tuple[str, ...]:
    """The texts that a piece of code is about, each once; none where it is no code."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # what a writer wrote, unchecked
        return ()
    found = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return tuple(dict.fromkeys(text for text in found if len(text) >= SHORTEST))


def let_talk(user: User, active: Sequence[Conversation]) -> None:
    """Let the user answer every agent that waits for it; who spoke its last step is at its end."""
    waiting = [attempt for attempt in active if attempt.waits]
    replies = user.reply([attempt.talk for attempt in waiting])
    for attempt, text in zip(waiting, replies, strict=True):
        attempt.hear(text)
        if attempt.stop is None and attempt.steps >= attempt.settings.max_steps:
            attempt.stop = StopReason.STEPS


def parse_call(reply: str) -> tuple[str, dict[str, Any]] | None:
    """The tool call that a reply ends with; None when it is said to the user.

    It is JSON with `name` and `arguments`, after the last `Action:` (tau-bench's text strategies)
    or in `<tool_call>` (what models with native tool calls write). The first of several counts.
    """
    native = re.search(r"<tool_call>(.*?)(?:</tool_call>|\Z)", reply, re.DOTALL)
    text = native[1] if native else reply.rpartition("Action:")[2] if "Action:" in reply else ""
    try:
        found, _ = json.JSONDecoder().raw_decode(text.strip())
        name, arguments = found["name"], found.get("arguments", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    usable = isinstance(name, str) and isinstance(arguments, dict)
    return (name, arguments) if usable else None
