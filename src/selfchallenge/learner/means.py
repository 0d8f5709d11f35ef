"""By what means a run trains, and whether they are there, without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import get_args

from selfchallenge.errors import MissingExtraError, UsageError
from selfchallenge.learner.settings import Engine, GrpoSettings, StepSettings
from selfchallenge.learner.trackers import check_trackers


@dataclass(frozen=True)
class Means:
    """No part of what a run is asked for, so they may be others when it goes on.

    Attributes:
        engine: whose step is taken.
        report_to: trackers that are told of every training step, of `trackers.TRACKERS`.
    """

    engine: Engine = "own"
    report_to: tuple[str, ...] = ()

    def check(self, algorithm: str, settings: StepSettings) -> None:
        """Make sure that they are there and go with the algorithm and its settings.

        Raises:
            UsageError: a tracker or an engine that is unknown, missing or of no use here.
            MissingExtraError: TRL is not installed.
        """
        check_trackers(self.report_to)
        where = f"--engine {self.engine}"
        if self.engine not in get_args(Engine):
            names = ", ".join(get_args(Engine))
            raise UsageError("there is no such engine", where=where, fix=f"use one of {names}")
        if self.engine == "trl" and algorithm == "ppo":
            raise UsageError(
                "TRL has no PPO", where=where, fix="use --engine own, or --algorithm grpo"
            )
        if self.engine == "trl":
            if find_spec("trl") is None:
                raise MissingExtraError("trl", "train")
            check_trl(settings)


def check_trl(settings: StepSettings) -> None:
    """Refuse what TRL's trainers cannot do.

    Raises:
        UsageError: it is asked for.
    """
    if settings.keep:
        raise UsageError(
            "TRL's trainers keep no policies of earlier steps",
            where="--engine trl",
            fix="set keep to 0, or use --engine own",
        )
    if isinstance(settings, GrpoSettings) and settings.kl and not settings.rank:
        raise UsageError(
            "TRL loads the model to be diverged from by its name, and this one is in memory",
            where="--engine trl",
            fix="train adapters (grpo.rank above 0), set grpo.kl = 0, or use --engine own",
        )
