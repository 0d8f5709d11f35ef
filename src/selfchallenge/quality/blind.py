"""Blind attempts: a model that sees the instruction alone must be able to do what is asked.

The other checks of sufficiency read the instruction as a program does; this one has it read by who
will be asked. It costs a model's time and rejects what that model cannot do yet, so it is asked
last and only where the settings want it (design, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from selfchallenge.environments.base import Environment
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.models.base import Model
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import Check, CodeAsTask, Verdict

PHASE = "blind"


@dataclass(frozen=True)
class Blind:
    """Who attempts, how often, and how many attempts must succeed."""

    model: Model
    attempts: int
    succeeding: int
    temperature: float = 1.0
    agent: AgentSettings = field(default_factory=AgentSettings)

    def check(
        self,
        task: CodeAsTask,
        reference: Verdict,
        environment: type[Environment],
        sandbox: Sandbox,
    ) -> Check:
        """Passed when enough attempts at the instruction earn the reward."""
        # Other seeds than those of the rollouts, which are attempts that are learnt from.
        seeds = range(1 << 30, (1 << 30) + self.attempts)
        episodes = rollout(
            self.model,
            [Assignment(task, reference, n, seed) for n, seed in enumerate(seeds)],
            environment,
            sandbox,
            settings=self.agent,
            phase=PHASE,
            temperature=self.temperature,
        )
        count = sum(episode.reward == 1.0 for episode in episodes)
        return Check(
            name="blind_attempts",
            passed=count >= self.succeeding,
            evidence=f"{count} of {self.attempts} attempts from the instruction alone succeed",
        )
