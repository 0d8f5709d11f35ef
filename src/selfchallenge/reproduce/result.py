"""What the cells of an experiment came to: one row for every arm and environment.

Scores are those of the test tasks, by their verifiers. Trials and seeds of one task are not
independent of each other, so the interval of a score is that over tasks, each with its mean over
seeds; the scores of the single seeds stand beside it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from selfchallenge.errors import UsageError
from selfchallenge.evaluation.beside import Result, outcomes_of, read_results
from selfchallenge.evaluation.metrics import (
    Interval,
    Outcomes,
    bootstrap,
    paired,
    pass_at_k,
    proportion_interval,
    wilson,
)
from selfchallenge.reproduce.cells import NOTE, TESTS, kept_policies, point_of, state_of
from selfchallenge.reproduce.experiment import Arm, Experiment, Scale
from selfchallenge.reproduce.plan import Asked, Cell, environments_of, left_out
from selfchallenge.runs.store import RunFiles
from selfchallenge.task import CodeAsTask

AVERAGE = "average"
SCORES = {"pass@1": 1, "pass@4": 4}
"""Scores on test tasks, by how many trials they look at."""
COUNTS = ("tokens", "length")
"""Measures that are no shares."""

Row = dict[str, Any]


def rows(experiment: Experiment, scale: Scale, asked: Asked, cells: Sequence[Cell]) -> list[Row]:
    """The rows of the result, the average over environments behind each arm that has several.

    Each has `arm`, `environment`, `state`, `measures` (`value`, `ci95`, `n`, `seeds`; shares
    between 0 and 1), `paper` (values alike), `rates` (Pass@1 of each test task, mean over seeds),
    `learnt_from` (`tasks` and `attempts`, mean over seeds; None where nothing was trained),
    `sandbox_faults` (attempts at test tasks that the sandbox ended, which count as failed), and
    `paired` against each baseline that has a score; in an experiment with curves also `curve`, a
    Pass@1 for each number of `rollouts` that was measured.

    Raises:
        UsageError: cells of one environment were tested on different tasks.
    """
    found: list[Row] = []
    places = environments_of(experiment, scale)
    out = left_out(experiment, asked)
    at = {
        (arm.name, place): [c for c in cells if (c.arm, c.environment) == (arm.name, place)]
        for arm in experiment.arms
        for place in places
    }
    for place in places:
        _check_tests([cell for cell in cells if cell.environment == place])
    rates = {key: _rates(_tested(mine), 1) for key, mine in at.items()}
    for arm in (arm for arm in experiment.arms if arm.shown):
        own: list[Row] = []
        for environment in places:
            mine = at[arm.name, environment]
            row = _row(arm, environment, mine, left=arm in out)
            row["measures"] = _measures(experiment, mine)
            if experiment.plot == "curves":
                row["curve"] = _curve(_tested(mine))
            row["rates"] = rates[arm.name, environment]
            row["learnt_from"] = _learnt_from(_tested(mine))
            row["sandbox_faults"] = sum(_sandbox_faults(cell) for cell in _tested(mine))
            row["paired"] = {
                name: paired(rates[name, environment], row["rates"]).to_json()
                for name in experiment.baselines
                if name != arm.name and rates[name, environment] and row["rates"]
            }
            own.append(row)
        found += own
        if len(places) > 1:
            # The paper's averages are over its own environments.
            paper = _paper(arm, AVERAGE) if places == experiment.environments else {}
            found.append(_average(arm, own) | {"paper": paper})
    return found


def _row(arm: Arm, environment: str, cells: Sequence[Cell], *, left: bool) -> Row:
    return {
        "arm": arm.name,
        "environment": environment,
        "state": "left out: it needs --oracle-tasks FILE" if left else _state(cells),
        "paper": _paper(arm, environment),
    }


def _state(cells: Sequence[Cell]) -> str:
    """`done`, `owed`, or what failed, and in how many of the seeds when not in all."""
    states = [state_of(cell) for cell in cells]
    owed = sum(state not in ("done", "failed") for state, _ in states)
    if owed:
        return "owed" if owed == len(cells) else f"owed in {owed} of {len(cells)} seeds"
    reasons = [why for state, why in states if state == "failed"]
    if not reasons:
        return "done"
    some = f" in {len(reasons)} of {len(cells)} seeds" if len(reasons) < len(cells) else ""
    return f"failed{some}: {reasons[0]}"


def _tested(cells: Sequence[Cell]) -> list[Cell]:
    """Those that came to a score."""
    done = (cell for cell in cells if state_of(cell)[0] == "done")
    return [cell for cell in done if {*TESTS} & {*cell.stages}]


def _paper(arm: Arm, environment: str) -> dict[str, float]:
    told = arm.paper.get(environment, {})
    return {name: v if name in COUNTS else round(v / 100, 4) for name, v in told.items()}


def _measures(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Any]:
    """Scores of the seeds that came to one; what is told of tasks also where none was accepted."""
    found: dict[str, Any] = {}
    tested = _tested(cells)
    ended = [cell for cell in cells if state_of(cell)[0] in ("done", "failed")]
    wrote = [c for c in ended if "challenge" in c.stages and (c.folder / "run.json").exists()]
    for name in experiment.measures:
        if name in SCORES and tested:
            found |= _score(tested, name)
        elif name in ("yield", "tokens", "length") and wrote:
            found |= _of_tasks(wrote, name)
    return found


# -- scores on test tasks --------------------------------------------------------------------------


def _score_of(cell: Cell) -> Result:
    benchmark = cell.folder / "benchmark"
    return read_results(benchmark if benchmark.is_dir() else cell.folder)[-1]


def _outcomes(cell: Cell) -> Outcomes:
    return _score_of(cell).outcomes


def _sandbox_faults(cell: Cell) -> int:
    return int(_score_of(cell).found.get("sandbox_faults", 0))


def _check_tests(cells: Sequence[Cell]) -> None:
    """Refuse to put scores beside each other that are of different tasks."""
    tested = _tested(cells)
    asked = [{*_outcomes(cell)} for cell in tested]
    for cell, tasks in zip(tested, asked, strict=True):
        if tasks != asked[0]:
            raise UsageError(
                f"{cell.name} was tested on other tasks than {tested[0].name}: the test tasks have "
                "changed since",
                where=str(cell.folder),
                fix="another --out: its cells are all tested on the tasks of today",
            )


def _rates(cells: Sequence[Cell], k: int) -> dict[str, float]:
    return _mean_rates([_outcomes(cell) for cell in cells], k)


def _mean_rates(seeds: Sequence[Outcomes], k: int) -> dict[str, float]:
    """For each task the mean of its pass@k over seeds; empty where a task has fewer trials."""
    if not seeds or any(len(passed) < k for one in seeds for passed in one.values()):
        return {}
    return {
        task: fmean(pass_at_k(len(o[task]), sum(o[task]), k) for o in seeds) for task in seeds[0]
    }


def _score(cells: Sequence[Cell], name: str) -> dict[str, Any]:
    seeds = [_outcomes(cell) for cell in cells]
    return {name: _point(seeds, SCORES[name])} if _mean_rates(seeds, SCORES[name]) else {}


def _curve(tested: Sequence[Cell]) -> list[dict[str, Any]]:
    """Pass@1 after the rounds that every seed kept a policy of, and at the end."""
    if not tested:
        return []
    rounds = set.intersection(*({*kept_policies(cell)} for cell in tested))
    points = []
    for done in sorted(rounds):
        rollouts = [_rollouts(kept_policies(cell)[done], cell) for cell in tested]
        seeds = [outcomes_of(point_of(cell, done)) for cell in tested]
        points.append({"rollouts": fmean(rollouts), **_point(seeds, 1)})
    made = [learnt["attempts"] if (learnt := _learnt(cell)) else 0 for cell in tested]
    points.append({"rollouts": fmean(made), **_point([_outcomes(cell) for cell in tested], 1)})
    return points


def _rollouts(kept: Path, cell: Cell) -> int:
    """Attempts that were made until a policy was kept, those that taught nothing among them."""
    own = cell.settings.grpo if cell.settings.algorithm == "grpo" else cell.settings.ppo
    steps = json.loads((kept / "training.json").read_text("utf-8"))["steps"]
    return sum(int(step["figures"]["tried"]) * own.group for step in steps[:: own.updates])


def _learnt_from(tested: Sequence[Cell]) -> dict[str, float] | None:
    """How many tasks and attempts stand behind a score; fewer than asked for where tasks lacked."""
    found = [learnt for cell in tested if (learnt := _learnt(cell))]
    return {key: fmean(one[key] for one in found) for key in found[0]} if found else None


def _learnt(cell: Cell) -> dict[str, int] | None:
    learnt: dict[str, int] | None = RunFiles(cell.folder).read_json(NOTE)["learnt_from"]
    return learnt


def _point(seeds: Sequence[Outcomes], k: int) -> dict[str, Any]:
    """Pass@k over all seeds, with its interval, and that of each."""
    rates = list(_mean_rates(seeds, k).values())
    each = [fmean(_mean_rates([one], k).values()) for one in seeds]
    return _figure(fmean(rates), proportion_interval(rates), len(rates), each)


def _average(arm: Arm, own: Sequence[Row]) -> Row:
    """The mean over environments, where all are there; its interval adds theirs in quadrature."""
    shared = set.intersection(*({*row["measures"]} for row in own))
    measures = {}
    state = next((row["state"] for row in own if row["state"] != "done"), "done")
    for name in (name for name in SCORES if name in shared):
        parts = [row["measures"][name] for row in own]
        value = fmean(part["value"] for part in parts)
        low, high = (
            math.hypot(*(part["value"] - part["ci95"][end] for part in parts)) / len(parts)
            for end in (0, 1)
        )
        ends = max(0.0, value - low), min(1.0, value + high)
        # Where a seed is missing the others stand at other places.
        whole = zip(*(part["seeds"] for part in parts), strict=True) if state == "done" else ()
        seeds = [fmean(found) for found in whole]
        measures[name] = _figure(value, ends, sum(part["n"] for part in parts), seeds)
    return {
        "arm": arm.name,
        "environment": AVERAGE,
        "state": state,
        "measures": measures,
        "learnt_from": None,
        "sandbox_faults": sum(row["sandbox_faults"] for row in own),
        "paired": {},
    }


# -- the tasks themselves --------------------------------------------------------------------------


def _of_tasks(cells: Sequence[Cell], name: str) -> dict[str, Any]:
    summaries = [RunFiles(cell.folder).read_json("summary.json") for cell in cells]
    accepted = sum(one["tasks"]["accepted"] for one in summaries)
    if name == "yield":
        written = sum(one["tasks"]["attempted"] for one in summaries)
        share = accepted / written if written else 0.0
        return {name: _figure(share, wilson(accepted, written), written, [])}
    if not accepted:
        return {}
    if name == "tokens":
        spent = sum(one["stages"]["challenge"]["tokens"] for one in summaries)
        return {name: {"value": round(spent / accepted, 1), "n": accepted}}
    lines = [length(task) for cell in cells for task in _tasks(cell.folder)]
    spread = {str(n): count for n, count in sorted(Counter(lines).items())}
    return {name: _figure(fmean(lines), bootstrap(lines), len(lines), []) | {"spread": spread}}


def length(task: CodeAsTask) -> int:
    """Difficulty as the paper measures it: lines of the solution, empty ones and comments apart."""
    lines = (line.strip() for line in task.solution.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _tasks(folder: Path) -> list[CodeAsTask]:
    return RunFiles(folder).read("tasks.jsonl", CodeAsTask)


def _figure(value: float, ends: Interval, n: int, seeds: Sequence[float]) -> dict[str, Any]:
    found: Mapping[str, Any] = {"value": value, "ci95": list(ends), "n": n, "seeds": list(seeds)}
    return {**found, "value": round(value, 6), "ci95": [round(end, 6) for end in ends]}
