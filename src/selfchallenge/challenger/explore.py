"""Explores with the tools, one executed call at a time, towards a solution (paper, section 3).

The order is answer-first: what a task asks for is decided by what was executed. A shape says how
many calls there are and what flows into what; at each step the program chooses the tool (coverage)
and writes the beginning of the call, the model writes the arguments behind it, several samples are
drawn, and each is executed on a fresh state. The first one that runs and gives something new
becomes the step; the others that run too are kept as near misses for the failure cases.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.draft import (
    Draft,
    Step,
    bind,
    cut_arguments,
    literals,
    names_in,
    program,
    use_results,
)
from selfchallenge.challenger.flow import belongs, opening_with, own_values, takes_values
from selfchallenge.challenger.prompts import render
from selfchallenge.challenger.shapes import Shape, Slot
from selfchallenge.environments.asking import subject_of
from selfchallenge.environments.base import Environment, ToolSpec, describe_tools, policy_of
from selfchallenge.errors import SessionError
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.quality.checks import brief
from selfchallenge.ranges import POSITIVE, SHARE, TEMPERATURE, require
from selfchallenge.sandbox.host import Execution, Limits, Sandbox

LIMITS = Limits(wall=3.0)
MOST_TOKENS = 96
MOST_TEXTS = 6
"""Texts of the subject that are tried in place of a refused one."""
ANOTHER = "another text"
"""What a call is told instead, to see whether what it gives depends on it."""
MEANT = 0.8
"""Probability that a result goes to a tool which names it, where there is one."""
END = r"\n|\)\s*#"
"""Where a sampled call ends: with its line, or at a comment behind it; `#` may stand in a text."""


@dataclass(frozen=True)
class ExploreSettings:
    """How calls are found.

    Attributes:
        samples: arguments sampled for each call.
        temperature: of sampling them.
        tries: tools tried for one step before the exploration ends there.
        same: probability that a repeated call keeps the values that do not flow into it.
    """

    samples: int = 3
    temperature: float = 0.9
    tries: int = 2
    same: float = 0.5

    def __post_init__(self) -> None:
        require(self, samples=POSITIVE, temperature=TEMPERATURE, tries=POSITIVE, same=SHARE)


@dataclass
class Exploration:
    """One draft under way.

    Attributes:
        draft: what has been executed so far.
        shape: the plan of its calls.
        mutate: the last call should change the state.
        subject: starting material, as the model is shown it.
        tool: chosen for the next step.
        opening: forced beginning of the next call's arguments.
        refused: names of the tools that were tried and whose sampled calls came to nothing.
    """

    draft: Draft
    shape: Shape
    mutate: bool
    rng: random.Random
    subject: str
    tool: ToolSpec | None = None
    opening: str = ""
    failed: int = 0
    evidence: str = ""
    tokens: int = 0
    tools: tuple[ToolSpec, ...] = field(default_factory=tuple)
    refused: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Long enough, or stuck."""
        return self.tool is None and (self.slot is None or self.failed > 0)

    @property
    def slot(self) -> Slot | None:
        """The place of the next call in the shape, None after the last one."""
        here = len(self.draft.steps)
        return self.shape.slots[here] if here < len(self.shape.slots) else None


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
        longest = max((len(start.shape.slots) for start in starts), default=0)
        with ThreadPoolExecutor(max_workers=4) as pool:
            for calls in range(longest):
                for attempt in range(self.settings.tries):
                    waiting = [
                        e
                        for e in starts
                        if not e.done and len(e.draft.steps) == calls and self._choose(e)
                    ]
                    if not waiting:
                        break
                    self._step(waiting, pool.map, last_try=attempt + 1 == self.settings.tries)

    def start(self, number: int, seed: str | None, rng: random.Random) -> Exploration:
        """A new exploration, its shape and kind drawn by the coverage."""
        tools = describe_tools(self.environment, seed)
        mutate = any(tool.mutates for tool in tools) and rng.random() < 0.7
        shape = self.coverage.draw_shape(rng)
        subject = subject_of(self.environment, seed)
        return Exploration(Draft(number, seed), shape, mutate, rng, subject, tools=tools)

    def _choose(self, e: Exploration) -> bool:
        """Choose the next tool and how its call begins; False when nothing fits."""
        slot, tried = e.slot, e.tool
        if slot is None:
            return False
        steps = e.draft.steps
        if slot.like is not None:
            e.tool = steps[slot.like].tool
            e.opening = self._again(e, slot, steps[slot.like])
            return True
        flowing = [steps[place] for place in slot.after]
        for tool in self._in_turn(e, flowing, tried):
            opening = opening_with(tool, flowing, e.tools, e.rng) if flowing else own_values(tool)
            if opening is not None:
                e.tool, e.opening = tool, opening
                return True
        e.failed, e.tool = e.failed + 1, None
        e.evidence = "no tool takes what the earlier calls returned"
        return False

    def _in_turn(
        self, e: Exploration, flowing: Sequence[Step], tried: ToolSpec | None
    ) -> list[ToolSpec]:
        """Tools for the next call in the order in which they are to be tried."""
        pool = self.coverage.order_tools(self._pool(e, flowing, tried), e.rng)
        meant = [tool for tool in pool if belongs(tool, flowing, e.tools)] if flowing else []
        if not meant or e.rng.random() > MEANT:
            return pool
        return [*meant, *(tool for tool in pool if tool not in meant)]

    def _pool(
        self, e: Exploration, flowing: Sequence[Step], tried: ToolSpec | None
    ) -> list[ToolSpec]:
        """Tools that the next call may be made with."""
        last = len(e.draft.steps) + 1 == len(e.shape.slots)
        pool = [t for t in e.tools if t.mutates == (last and e.mutate)] or list(e.tools)
        if tried is not None:
            pool = [t for t in pool if t is not tried] or pool
        if not flowing:
            pool = [t for t in pool if takes_values(t)] or pool
        if any(slot.like == len(e.draft.steps) for slot in e.shape.slots):
            pool = [t for t in pool if not _is_complete(own_values(t))] or pool
        # A result that goes into the tool it came from says nothing new, as a rule.
        used = {step.tool.name for step in e.draft.steps}
        return [t for t in pool if t.name not in used] or pool

    def _again(self, e: Exploration, slot: Slot, model: Step) -> str:
        """Beginning of a call that repeats an earlier one about something else."""
        if not slot.after:
            return own_values(model.tool)
        flowing = [e.draft.steps[place] for place in slot.after]
        before = e.shape.slots[slot.like or 0].after
        arguments = model.arguments
        for old, new in zip(before, flowing, strict=True):
            arguments = re.sub(rf"\b{e.draft.steps[old].variable}\b", new.variable, arguments)
        if e.rng.random() < self.settings.same:
            return arguments + ")"
        head = arguments.partition(", ")[0]
        return f"{head}, " if head != arguments and names_in(head) else arguments + ")"

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
        sampling = Sampling(self.settings.temperature, max_tokens=MOST_TOKENS, stop=END)
        replies = self.model.generate(prompts, sampling) if prompts else []
        chunks = [replies[i * count : (i + 1) * count] for i in range(len(open_ended))]
        settled = [e for e in waiting if _is_complete(e.opening)]
        jobs = [*zip(open_ended, chunks, strict=True), *((e, [Completion("")]) for e in settled)]
        refused = parallel(lambda job: self._take(*job, last_try=last_try), jobs)
        self.coverage.tools.update(name for name in refused if name)

    def _prompts(self, e: Exploration, count: int) -> list[Prompt]:
        tool = e.tool
        if tool is None:
            raise ValueError("no tool was chosen for this step")
        system = render("explore_system.md.j2", policy=policy_of(self.environment), tools=e.tools)
        user = render("explore_user.md.j2", subject=e.subject)
        lines = [f"{s.source}  # {brief(s.value, 200)}" for s in e.draft.steps]
        call = f"{_variable(e.draft)} = {tool.name}({e.opening}"
        begin = "\n".join(["```python", *lines, call])
        messages = (Message("system", system), Message("user", user))
        return [Prompt(messages, begin, seed=e.rng.getrandbits(31)) for _ in range(count)]

    def _take(self, e: Exploration, replies: Sequence[Completion], *, last_try: bool) -> str:
        """Execute the sampled calls and keep the first that is worth a step.

        Returns:
            The tool's name when none was, else nothing.
        """
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
            elif chosen is None and _is_new(step, e.draft) and not self._is_fixed(e, step):
                chosen = step
            else:
                others.append(arguments)
        if chosen is None and proposals and not others:
            chosen = self._with_subject(e, list(proposals))
        name = "" if e.tool is None else e.tool.name
        if chosen is not None:
            author = "program" if _is_complete(e.opening) else chosen.author
            step = replace(chosen, alternatives=tuple(others), author=author)
            e.draft = replace(e.draft, steps=(*e.draft.steps, step))
            e.tool = None
            return ""
        e.refused.append(name)
        if last_try:
            e.failed, e.tool = e.failed + 1, None
            e.evidence = e.evidence or "no sampled call could be parsed"
        return name

    def _with_subject(self, e: Exploration, refused: Sequence[str]) -> Step | None:
        """A refused call with a text that the subject quotes in place of its first one.

        A small model copies identifiers badly, and a forced quote hides from it those that begin
        with a sign (`'#` is one token).
        """
        if e.slot is None or e.slot.after:
            return None
        quoted = re.findall(r"(?<!\w)'([^'\n]+)'(?!\w)", e.subject)
        others = (a for a in dict.fromkeys(_replaced(refused, quoted)) if a not in refused)
        for arguments in islice(others, MOST_TEXTS):
            step, ran = self._execute(e, use_results(arguments, e.draft.steps))
            if ran.ok and _is_new(step, e.draft) and not self._is_fixed(e, step):
                return replace(step, author="program")
        return None

    def _is_fixed(self, e: Exploration, step: Step) -> bool:
        """A text that a reading call gives whatever it is told, as `Done.`: nothing to ask for."""
        if step.tool.mutates or not isinstance(step.value, str):
            return False
        arguments = _told_another(step.arguments)
        if arguments is None:
            return False
        other, ran = self._execute(e, arguments)
        return ran.ok and other.value == step.value

    def _arguments(self, e: Exploration, text: str) -> str | None:
        tool = e.tool
        if tool is None:
            return None
        tail = cut_arguments(e.opening + text)
        if tail is None:
            return None
        known = {step.variable for step in e.draft.steps}
        try:
            arguments = use_results(tail, e.draft.steps)
            free = names_in(f"f({arguments})") - known - {"f"}
            return None if free or bind(tool, arguments) is None else arguments
        except (ValueError, RecursionError):  # text of a model that Python reads and cannot write
            return None

    def _execute(self, e: Exploration, arguments: str) -> tuple[Step, Execution]:
        if e.tool is None:
            raise ValueError("no tool was chosen for this step")
        step = Step(_variable(e.draft), e.tool, arguments, None)
        code = program((*e.draft.steps, step), step.variable)
        try:
            with self.sandbox.session(self.environment, e.draft.seed) as session:
                ran = self.sandbox.execute(code, session, limits=LIMITS)
        except SessionError as error:
            ran = Execution(output="", error=error.what, answer=None, status="crashed", seconds=0.0)
        return replace(step, value=ran.answer), ran


def _is_new(step: Step, draft: Draft) -> bool:
    """The call gave something, and not just what it was given."""
    if step.tool.mutates:
        return True
    if step.value in (None, "", [], {}):
        return False
    if any(step.value == other.value and not isinstance(step.value, bool) for other in draft.steps):
        return False
    return not any(_same(step.value, node.value) for node in literals(step.arguments))


def _same(value: Any, given: Any) -> bool:
    """One is the other, or reads like it: `5.0`, `5` and `'5'`."""
    if str(value) == str(given) or isinstance(value, bool) or isinstance(given, bool):
        return str(value) == str(given)
    try:
        return float(value) == float(given)
    except (TypeError, ValueError, OverflowError):
        return False


def _replaced(refused: Sequence[str], quoted: Sequence[str]) -> Iterator[str]:
    """Arguments of refused calls with each of some texts, the likest first, as the first text."""
    for arguments in refused:
        tree = ast.parse(f"f({arguments})", mode="eval")
        given = tree.body.args if isinstance(tree.body, ast.Call) else []
        first = next((node for node in given if _is_text(node)), None)
        if not isinstance(first, ast.Constant):
            continue
        said = str(first.value)
        for text in sorted(quoted, key=lambda q: -SequenceMatcher(None, said, q).ratio()):
            first.value = text
            yield ast.unparse(tree)[2:-1]


def _told_another(arguments: str) -> str | None:
    """The arguments with another text for each text and each earlier result; None without any."""
    tree = ast.parse(f"f({arguments})", mode="eval")
    call = tree.body
    if not isinstance(call, ast.Call):
        return None
    before = ast.unparse(tree)
    call.args = [_another(node) for node in call.args]
    for keyword in call.keywords:
        keyword.value = _another(keyword.value)
    told = ast.unparse(tree)
    return None if told == before else told[2:-1]


def _another(node: ast.expr) -> ast.expr:
    used = names_in(f"f({ast.unparse(node)})") - {"f"}
    return ast.Constant(ANOTHER) if used or _is_text(node) else node


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_complete(opening: str) -> bool:
    return opening.endswith(")")


def _variable(draft: Draft) -> str:
    return f"r{len(draft.steps) + 1}"
