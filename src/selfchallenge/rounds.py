"""Several rounds of challenge and learning: what was learnt in one is the executor of the next.

The paper does one round with a fixed challenger. Here each round is a run directory of its own
(`round-1`, `round-2`, ...) whose executor is the model of the round before. Its new tasks are aimed
at what failed there: shapes, tools and flows of tasks that were seldom solved are written again
first, those of tasks that were solved last (by the staged writer; the others draw at random). From
the second round on, tasks that the executor always solves are not learnt from, because they have
nothing left to teach.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from selfchallenge.environments.base import Environment
from selfchallenge.errors import UsageError
from selfchallenge.learner.means import Means
from selfchallenge.manifest import RunSettings, amended
from selfchallenge.pipeline import run_loop
from selfchallenge.progress import Silent, Watch
from selfchallenge.runs.store import RunFiles
from selfchallenge.settings import overlay

Challenger = Literal["fixed", "latest"]

EASIEST = 0.99
"""From the second round on, the highest pass rate of a task that is learnt from."""


def run_rounds(
    environment: str | type[Environment],
    out: Path,
    settings: RunSettings,
    rounds: int,
    challenger: Challenger = "fixed",
    *,
    data: Path | None = None,
    watch: Watch | None = None,
    means: Means | None = None,
) -> list[dict[str, Any]]:
    """Run what is still owed of several rounds; the summary of each.

    Args:
        environment: as for `pipeline.run_loop`.
        out: folder of the rounds' run directories.
        settings: of the first round; the others differ in executor, seed, aim and band. What was
            changed of a round before its training (`selfchallenge train`) holds for that round.
        rounds: how many.
        challenger: `fixed` keeps who writes the tasks, `latest` lets the new executor write them.
        data: folder of the environment's external data.
        watch: who is told.
        means: by what means each round trains.

    Raises:
        UsageError: `out` is a run directory itself, or holds rounds with other settings; tasks or
            attempts are given, which would be the same in each round.
        StageError: a stage of a round ended without what the next one needs.
    """
    if (out / "run.json").exists():
        raise UsageError(
            "this is the directory of a single run", where=str(out), fix="give another --out"
        )
    given = settings.tasks_from or ", ".join(settings.learn_from)
    if rounds > 1 and given:
        raise UsageError(
            "each round writes and attempts tasks of its own, and these are given",
            where=given,
            fix="leave --rounds out, or --tasks-from and --learn-from",
        )
    watch, summaries = watch or Silent(), []
    every = [round_settings(settings, out, number, challenger) for number in range(1, rounds + 1)]
    for asked in every:
        asked.check()
    for number, wanted in enumerate(every, 1):
        watch.say(f"round {number} of {rounds}")
        folder = out / f"round-{number}"
        asked = overlay(wanted, amended(RunFiles(folder), wanted), where=str(folder / "run.json"))
        summaries.append(run_loop(environment, folder, asked, data=data, watch=watch, means=means))
    return summaries


def round_settings(
    settings: RunSettings, out: Path, number: int, challenger: Challenger
) -> RunSettings:
    """The settings of a round, counted from 1."""
    if number == 1:
        return settings
    # The adapter that is trained names its base by this path, from wherever it is loaded.
    before = out.absolute() / f"round-{number - 1}"
    scripted = settings.model.startswith("scripted:")
    model = settings.model if scripted else str(before / "model")
    writer = settings.challenger_model or settings.model
    quality = settings.quality
    return dataclasses.replace(
        settings,
        model=model,
        challenger_model=model if challenger == "latest" and not scripted else writer,
        seed=settings.seed + number - 1,
        aimed_at=str(before),
        quality=dataclasses.replace(quality, easiest=min(quality.easiest, EASIEST)),
    )
