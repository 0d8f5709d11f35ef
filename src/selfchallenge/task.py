"""Code-as-Task and what the checker says of it: frozen, content-hashed records (paper, section 3).

A task is four pieces of text that a model writes and code that a checker can run: the instruction,
the verifier `evaluate`, an example solution, and at least three failure cases that come close and
are wrong. Everything that is *derived* by running them (frame, tools, answer type, isolation level)
belongs to the `Verdict` and is recomputed, never imported.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Path = tuple[str | int, ...]
"""Where in a state: the keys and indexes that lead there, outermost first."""

NonEmpty = Annotated[str, Field(min_length=1)]

FEWEST_FAILURES = 3
"""Failure cases that a task has at least (paper, section 3)."""


def content_hash(value: object) -> str:
    """Sixteen hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Record(BaseModel):
    """Base of all records: immutable, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CodeAsTask(Record):
    """One task as code; `id` hashes the first six fields and nothing else.

    Attributes:
        environment: label of the environment that the task is about.
        seed: which part of the world it is about (a user id, a domain), or None.
        instruction: what the agent is asked to do.
        verifier: Python source defining `evaluate(answer)` or `evaluate()`, returning a bool; the
            environment's tools are in its namespace and read the final state.
        solution: Python source calling tools by name; `answer` holds the final answer.
        failures: at least three sources like `solution` that are close but wrong.
        meta: who wrote which part, model, tokens, seconds, exploration episode.
        id: content hash; may be omitted on input, and is an error when it does not match.
    """

    environment: NonEmpty
    seed: str | None = None
    instruction: NonEmpty
    verifier: NonEmpty
    solution: NonEmpty
    failures: Annotated[tuple[NonEmpty, ...], Field(min_length=FEWEST_FAILURES)]
    meta: dict[str, Any] = Field(default_factory=dict)
    id: str = ""

    @model_validator(mode="after")
    def _fill_id(self) -> Self:
        found = content_hash(
            [
                self.environment,
                self.seed,
                self.instruction,
                self.verifier,
                self.solution,
                list(self.failures),
            ]
        )
        if self.id not in ("", found):
            raise ValueError(f"id {self.id!r} does not match the content, whose id is {found!r}")
        object.__setattr__(self, "id", found)
        return self


class Check(Record):
    """One named check of the gate, with the evidence that decided it."""

    name: str
    passed: bool
    evidence: str = ""


class Verdict(Record):
    """What the gate found out about one candidate by running it.

    Attributes:
        id: the task's id, or `line-N` for an input line that is no valid record.
        accepted: True when every check of the gate passed.
        isolation: level in force when its code ran (`A` to `D`, `X`), `-` when nothing ran.
        gate: which gate was asked for.
        checks: the checks in the order they ran; after the first failed one the rest is skipped.
        reason: one sentence on why the task was kept or dropped.
        frame: state paths that the executed solution changed; None when the state is unseen.
        tools: names of the tools that the executed solution called, sorted.
        answer_type: Python type name of the solution's answer, `NoneType` when it leaves none.
        seconds: wall time of checking it.
    """

    id: str
    accepted: bool
    isolation: str
    gate: str
    checks: tuple[Check, ...]
    reason: str = ""
    frame: tuple[Path, ...] | None = None
    tools: tuple[str, ...] = ()
    answer_type: str = "NoneType"
    seconds: float = 0.0


def stand_in(
    environment: str,
    seed: str | None,
    instruction: str,
    name: str = "",
    *,
    meta: dict[str, Any] | None = None,
) -> CodeAsTask:
    """A task that only holds an instruction, for attempts that are judged by another rule.

    Its verifier passes nothing, so that no attempt is ever rewarded by mistake.

    Args:
        environment: label of the environment.
        seed: which part of the world.
        instruction: what is asked for.
        name: tells stand-ins with equal instructions apart.
        meta: of the record.
    """
    return CodeAsTask(
        environment=environment,
        seed=seed,
        instruction=instruction,
        verifier="def evaluate(answer):\n    return False\n",
        solution=f"answer = {name!r}\n",
        failures=("answer = None\n", "answer = 0\n", "answer = ''\n"),
        meta=meta or {},
    )
