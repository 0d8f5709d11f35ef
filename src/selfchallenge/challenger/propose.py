"""The proposer of the baseline PAE: instructions from the documentation of the tools alone.

Proposer-Agent-Evaluator (Zhou et al. 2024) is what the paper compares itself with (table 1): nobody
looks at the environment before asking, and nothing can be run to see whether a task makes sense, so
the reward is the opinion of a judge (`executor/judge.py`). The prompts are our own. Each proposal
is asked to need one function, drawn at random, or a model asked again and again repeats itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from selfchallenge.challenger.candidate import Candidate, with_costs
from selfchallenge.challenger.prompts import render
from selfchallenge.environments.base import (
    Environment,
    describe_tools,
    environment_name,
    policy_of,
)
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.ranges import POSITIVE, TEMPERATURE, require
from selfchallenge.task import Check, stand_in

BEGIN = "<instruction>\n"
END = "</instruction>"


@dataclass(frozen=True)
class PaeSettings:
    """How the proposer works.

    Attributes:
        wave: proposals that are sampled together.
        temperature: of sampling.
        max_tokens: of a proposal.
    """

    wave: int = 40
    temperature: float = 1.0
    max_tokens: int = 200

    def __post_init__(self) -> None:
        require(self, wave=POSITIVE, temperature=TEMPERATURE, max_tokens=POSITIVE)


@dataclass
class Proposer:
    """Writes instructions; the tasks around them hold no code that could judge anything."""

    model: Model
    environment: type[Environment]
    settings: PaeSettings
    seed: int = 0

    def write(self, numbers: Sequence[int], seeds: Sequence[str | None]) -> Iterator[Candidate]:
        """One candidate for each number, `seeds[number % len(seeds)]` its part of the world."""
        queue = iter(numbers)
        sampling = Sampling(self.settings.temperature, self.settings.max_tokens, END)
        while wave := list(islice(queue, self.settings.wave)):
            started = time.perf_counter()
            starts = [(number, seeds[number % len(seeds)]) for number in wave]
            replies = self.model.generate([self._prompt(*start) for start in starts], sampling)
            share = round((time.perf_counter() - started) / len(wave), 3)
            for start, reply in zip(starts, replies, strict=True):
                yield with_costs(self._candidate(*start, reply), reply.completion_tokens, share)

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        """The same candidate: it has no verifier to mend."""
        del evidence
        return candidate

    def _prompt(self, number: int, seed: str | None) -> Prompt:
        tools = describe_tools(self.environment, seed)
        drawn = (self.seed * 100_003 + number) % 2**31
        text = render(
            "pae_propose.md.j2",
            policy=policy_of(self.environment),
            tools=tools,
            focus=random.Random(drawn).choice(tools).name,
        )
        return Prompt((Message("user", text),), BEGIN, seed=drawn)

    def _candidate(self, number: int, seed: str | None, reply: Completion) -> Candidate:
        told, end, _ = reply.text.partition(END)
        told = told.strip()
        wrong = "" if end else "the proposal does not end"
        if end and not told:
            wrong = "the proposal is empty"
        meta = {"model": self.model.name, "authors": {"instruction": "model"}, "reward": "judge"}
        name = environment_name(self.environment)
        return Candidate(
            candidate=number,
            seed=seed,
            task=None if wrong else stand_in(name, seed, told, meta=meta),
            failed="format" if wrong else None,
            evidence=wrong,
            writer="pae",
        )
