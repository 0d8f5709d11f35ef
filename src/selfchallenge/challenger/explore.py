"""Explores with the tools, one executed call at a time, towards a solution (paper, section 3).

The order is answer-first: what a task asks for is decided by what was executed. At each step the
program chooses the tool (coverage) and which earlier result flows into it, the model writes the
arguments behind that forced beginning, several samples are drawn, and each is executed on a fresh
state. The first one that runs and gives something new becomes the step; the others that run too
are kept as near misses for the failure cases.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.draft import (
    Draft,
    Step,
    bind,
    cut_arguments,
    names_in,
    program,
    variadic,
)
from selfchallenge.challenger.prompts import render
from selfchallenge.challenger.views import combined, fits, views
from selfchallenge.environments.base import Environment, ToolSpec, describe_tools, policy_of
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.quality.checks import brief
from selfchallenge.sandbox.host import Execution, Limits, Sandbox

LIMITS = Limits(wall=3.0)


@dataclass(frozen=True)
class ExploreSettings:
    """How calls are found.

    Attributes:
        samples: arguments sampled for each call.
        temperature: of sampling them.
        tries: tools tried for one step before the exploration ends there.
        flow: probability that an earlier result flows into the next call.
    """

    samples: int = 3
    temperature: float = 0.9
    tries: int = 2
    flow: float = 0.8


@dataclass
class Exploration:
    """One draft under way.

    Attributes:
        draft: what has been executed so far.
        wanted: how many calls it should have.
        mutate: the last call should change the state.
        tool: chosen for the next step.
        opening: forced beginning of the next call's arguments.
    """

    draft: Draft
    wanted: int
    mutate: bool
    rng: random.Random
    tool: ToolSpec | None = None
    opening: str = ""
    failed: int = 0
    evidence: str = ""
    tokens: int = 0
    tools: tuple[ToolSpec, ...] = field(default_factory=tuple)

    @property
    def done(self) -> bool:
        """Long enough, or stuck."""
        return self.tool is None and (len(self.draft.steps) >= self.wanted or self.failed > 0)


class Explorer:
    """Runs many explorations side by side; the model sees their prompts as one batch."""

    def __init__(
        self,
        model: Model,
        environment: type[Environment],
        sandbox: Sandbox,
        coverage: Coverage,
        settings: ExploreSettings,
    ) -> None:
        self.model, self.environment, self.sandbox = model, environment, sandbox
        self.coverage, self.settings = coverage, settings

    def explore(self, starts: Sequence[Exploration]) -> None:
        """Carry every exploration to its end, in place."""
        longest = max((start.wanted for start in starts), default=0)
        with ThreadPoolExecutor(max_workers=4) as pool:
            for _ in range(longest):
                for attempt in range(self.settings.tries):
                    waiting = [e for e in starts if not e.done and self._choose(e)]
                    if not waiting:
                        break
                    self._step(waiting, pool.map, last_try=attempt + 1 == self.settings.tries)

    def start(self, number: int, seed: str | None, rng: random.Random) -> Exploration:
        """A new exploration, its length and kind drawn by the coverage."""
        tools = describe_tools(self.environment, seed)
        mutate = any(tool.mutates for tool in tools) and rng.random() < 0.7
        wanted = self.coverage.draw_calls(rng)
        self.coverage.calls[wanted] += 1
        return Exploration(Draft(number, seed), wanted, mutate, rng, tools=tools)

    def _choose(self, e: Exploration) -> bool:
        """Choose the next tool and what flows into it; False when the step has been made."""
        if len(e.draft.steps) >= e.wanted:
            return False
        last = len(e.draft.steps) + 1 == e.wanted
        pool = [t for t in e.tools if t.mutates == (last and e.mutate)] or list(e.tools)
        if e.tool is not None:
            pool = [t for t in pool if t is not e.tool] or pool
        flows = e.rng.random() < self.settings.flow
        # A tool that takes any number of values is for results; alone it tempts to invent some.
        if e.wanted > 1 and len(e.draft.steps) < 2:
            pool = [t for t in pool if variadic(t) is None or len(_required(t)) > 1] or pool
        for tool in self.coverage.order_tools(pool, e.rng):
            flowing = flows and e.draft.steps
            opening = _flow_into(tool, e.draft.steps, e.rng) if flowing else _quote(tool)
            if opening is not None:
                e.tool, e.opening = tool, opening
                return True
        e.tool = e.rng.choice(pool)
        e.opening = _quote(e.tool)
        return True

    def _step(
        self,
        waiting: Sequence[Exploration],
        parallel: Callable[..., Any],
        *,
        last_try: bool,
    ) -> None:
        open_ended = [e for e in waiting if not _is_complete(e.opening)]
        count = self.settings.samples
        prompts = [prompt for e in open_ended for prompt in self._prompts(e, count)]
        sampling = Sampling(self.settings.temperature, max_tokens=40, stop=r"[\n#]")
        replies = self.model.generate(prompts, sampling) if prompts else []
        chunks = [replies[i * count : (i + 1) * count] for i in range(len(open_ended))]
        list(parallel(lambda e, chunk: self._take(e, chunk, last_try=last_try), open_ended, chunks))
        settled = [e for e in waiting if _is_complete(e.opening)]
        list(parallel(lambda e: self._take(e, [Completion("")], last_try=last_try), settled))

    def _prompts(self, e: Exploration, count: int) -> list[Prompt]:
        tool = e.tool
        if tool is None:
            raise ValueError("no tool was chosen for this step")
        system = render("explore_system.md.j2", policy=policy_of(self.environment), tools=e.tools)
        subject = self.environment.describe_seed(e.draft.seed) if e.draft.seed else "anything"
        user = render("explore_user.md.j2", subject=subject)
        lines = [f"{s.source}  # {brief(s.value, 200)}" for s in e.draft.steps]
        call = f"{_variable(e.draft)} = {tool.name}({e.opening}"
        begin = "\n".join(["```python", *lines, call])
        messages = (Message("system", system), Message("user", user))
        return [Prompt(messages, begin, seed=e.rng.getrandbits(31)) for _ in range(count)]

    def _take(self, e: Exploration, replies: Sequence[Completion], *, last_try: bool) -> None:
        """Execute the sampled calls and keep the first that is worth a step."""
        e.tokens += sum(reply.completion_tokens for reply in replies)
        proposals = dict.fromkeys(
            a for r in replies if (a := self._arguments(e, r.text)) is not None
        )
        chosen: Step | None = None
        others: list[str] = []
        for arguments in proposals:
            step, ran = self._execute(e, arguments)
            if not ran.ok:
                e.evidence = (ran.error or ran.status).strip().splitlines()[-1]
            elif chosen is None and _is_new(step, e.draft):
                chosen = step
            else:
                others.append(arguments)
        if chosen is not None:
            step = replace(chosen, alternatives=tuple(others))
            e.draft = replace(e.draft, steps=(*e.draft.steps, step))
            e.tool = None
        elif last_try:
            e.failed, e.tool = e.failed + 1, None
            e.evidence = e.evidence or "no sampled call could be parsed"

    def _arguments(self, e: Exploration, text: str) -> str | None:
        tool = e.tool
        if tool is None:
            return None
        tail = cut_arguments(e.opening + text)
        if tail is None:
            return None
        arguments = use_results(tail, e.draft.steps)
        known = {step.variable for step in e.draft.steps}
        free = names_in(f"f({arguments})") - known - {"f", "len"}
        return None if free or bind(tool, arguments) is None else arguments

    def _execute(self, e: Exploration, arguments: str) -> tuple[Step, Execution]:
        if e.tool is None:
            raise ValueError("no tool was chosen for this step")
        step = Step(_variable(e.draft), e.tool, arguments, None)
        code = program((*e.draft.steps, step), step.variable)
        with self.sandbox.session(self.environment, e.draft.seed) as session:
            ran = self.sandbox.execute(code, session, limits=LIMITS)
        return replace(step, value=ran.answer), ran


def finish(e: Exploration, coverage: Coverage) -> Draft | None:
    """Choose what the task asks for; None when the executed calls make no task."""
    draft = e.draft
    if not draft.steps:
        return None
    if draft.steps[-1].tool.mutates:
        return replace(draft, flow="none").pruned()
    readable = [step for step in draft.steps if not step.tool.mutates]
    for flow in coverage.order_flows(e.rng):
        found = _answers(flow, readable)
        if found:
            view = e.rng.choice(found)
            chosen = replace(draft, answer=view.source, value=view.value, flow=flow).pruned()
            coverage.flows[flow] += 1
            return chosen
    return None


def _answers(flow: str, steps: Sequence[Step]) -> list[Any]:
    last = steps[-1]
    if flow == "combined":
        ends = [s for s in steps if s is last or not _is_used(s, steps)]
        return [v for v in combined(list(ends)) if _worth(v.value)]
    found = [v for v in views(last.variable, last.value) if _worth(v.value)]
    if flow == "last":
        return [v for v in found if v.source == last.variable]
    return [v for v in found if v.source != last.variable]


def _is_used(step: Step, steps: Sequence[Step]) -> bool:
    return any(step.variable in names_in(f"f({other.arguments})") for other in steps)


def _worth(value: Any) -> bool:
    """Something that can be asked for: not empty, not huge, sayable in one line."""
    return value not in (None, "", [], {}, ()) and len(repr(value)) <= 120


def _is_new(step: Step, draft: Draft) -> bool:
    """The call gave something, and not just what it was given."""
    if step.tool.mutates:
        return True
    if step.value in (None, "", [], {}):
        return False
    if any(step.value == other.value and not isinstance(step.value, bool) for other in draft.steps):
        return False
    return repr(step.value) not in {ast.unparse(n) for n in _literals(step.arguments)}


def _literals(arguments: str) -> list[ast.expr]:
    tree = ast.parse(f"f({arguments})", mode="eval")
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def use_results(arguments: str, steps: Sequence[Step]) -> str:
    """Arguments in which a literal that repeats an earlier result is replaced by its variable."""
    try:
        tree = ast.parse(f"f({arguments})", mode="eval")
    except SyntaxError:
        return arguments
    replaced = _Replace(steps).visit(tree)
    return ast.unparse(replaced)[2:-1]


class _Replace(ast.NodeTransformer):
    """Replaces telling literals (texts, and numbers that nobody guesses) by the result's name."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        telling = isinstance(node.value, str | float) and len(str(node.value)) > 3
        for step in reversed(self.steps):
            if telling and type(step.value) is type(node.value) and step.value == node.value:
                return ast.Name(step.variable, ast.Load())
        return node


def _flow_into(tool: ToolSpec, steps: Sequence[Step], rng: random.Random) -> str | None:
    """Forced beginning of a call that an earlier result flows into; None when none fits."""
    parameters = list(tool.parameters.get("properties", {}))
    unused = [step for step in steps if not _is_used(step, steps)]
    rest = variadic(tool)
    if rest is not None and parameters == [rest]:
        alike = [
            s for s in unused if isinstance(s.value, int | float) and fits(s.value, tool, rest)
        ]
        if len(alike) > 1:
            return ", ".join(step.variable for step in alike) + ")"
    for step in sorted(unused or steps, key=lambda _: rng.random()):
        found = [
            (position, name, view.source)
            for view in views(step.variable, step.value)
            for position, name in enumerate(parameters)
            if fits(view.value, tool, name)
        ]
        if found:
            position, name, source = rng.choice(found)
            first = position == 0 or f"*{name}" in tool.signature
            end = ")" if len(parameters) == 1 and f"*{name}" not in tool.signature else ", "
            return source + end if first else f"{name}={source}{end}"
    return None


def _quote(tool: ToolSpec) -> str:
    """Forced beginning of a call with values of its own: a quote where a text comes first."""
    first: dict[str, Any] = next(iter(tool.parameters.get("properties", {}).values()), {})
    return "'" if first.get("type") == "string" else ""


def _required(tool: ToolSpec) -> list[str]:
    return [*tool.parameters.get("required", []), *filter(None, [variadic(tool)])]


def _is_complete(opening: str) -> bool:
    return opening.endswith(")")


def _variable(draft: Draft) -> str:
    return f"r{len(draft.steps) + 1}"
