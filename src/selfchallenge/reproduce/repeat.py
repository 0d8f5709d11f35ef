"""Repeats an experiment: runs the cells that are owed, and writes the table or the figure.

`OUT` holds `cells/`, a run directory for each, and `NAME.md`, `NAME.json` and, for a figure,
`NAME.svg`, which are written anew as each cell ends. The same command goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfchallenge import __version__
from selfchallenge.errors import UsageError
from selfchallenge.learner import processes
from selfchallenge.models.loading import absolute
from selfchallenge.progress import Watch
from selfchallenge.reproduce.cells import run_cells, state_of
from selfchallenge.reproduce.estimate import resized
from selfchallenge.reproduce.experiment import Scale, read_experiment, read_scale
from selfchallenge.reproduce.plan import Asked, check_asked, chosen, plan
from selfchallenge.reproduce.plots import check_plots, draw
from selfchallenge.reproduce.result import rows
from selfchallenge.reproduce.tell import conditions, plan_of, result_text, told
from selfchallenge.runs.store import replace_file


def foresee(name: str, scale_name: str, asked: Asked) -> dict[str, Any]:
    """The cells of an experiment with estimated tokens and hours; nothing is run or written.

    Raises:
        UsageError: no such experiment, scale, role or setting.
    """
    experiment = read_experiment(name)
    scale, asked = _cast(read_scale(scale_name), asked)
    check_asked(experiment, asked)
    cells = plan(experiment, scale_name, scale, asked)
    return plan_of(experiment, scale, asked, chosen(cells, asked.arms))


def repeat(name: str, scale_name: str, asked: Asked, watch: Watch) -> dict[str, Any]:
    """Run what is owed of an experiment and write its result; what `NAME.json` holds.

    Raises:
        UsageError: no such experiment, scale, setting or data, or `asked.out` holds cells that
            were run with other settings.
        MissingExtraError: what draws its figure is not installed.
        SelfChallengeError: a cell could not go on; what was done is kept.
    """
    processes.require_one("an experiment")
    experiment = read_experiment(name)
    scale, asked = _cast(read_scale(scale_name), asked)
    check_asked(experiment, asked)
    if scale.benchmarks and asked.data is None:
        raise UsageError(
            "the paper's setting is tested on the benchmarks, whose data has to be named",
            where=f"--scale {scale_name}",
            fix="selfchallenge data get m3tooleval --to DATA/m3tooleval, and tau-bench alike; "
            "then --data DATA",
        )
    check_plots(experiment)
    cells = plan(experiment, scale_name, scale, asked)

    def written() -> dict[str, Any]:
        """What the cells have come to by now."""
        arms = rows(experiment, scale, asked, cells)
        found = {
            "experiment": name,
            "title": experiment.title,
            "note": experiment.note,
            "scale": scale_name,
            "tests": "held-out" if asked.data is None else "benchmarks",
            "conditions": conditions(scale_name, scale, asked, cells),
            "changes": dict(told(asked.changes or {})),
            "models": scale.names,
            "version": __version__,
            "rows": arms,
        }
        _write(asked.out / f"{name}.json", json.dumps(found, indent=1) + "\n")
        _write(asked.out / f"{name}.md", result_text(experiment, str(found["conditions"]), arms))
        if figure := draw(experiment, scale_name, arms):
            _write(asked.out / f"{name}.svg", figure)
        return found

    for cell in cells:  # also of those that are not run now, whose rows are written
        state_of(cell)
    run_cells(chosen(cells, asked.arms), watch, written)
    return written()


def _cast(scale: Scale, asked: Asked) -> tuple[Scale, Asked]:
    """The scale with the models that the user gives roles to (`--set names.ROLE=MODEL`)."""
    changes = dict(asked.changes or {})
    names = changes.pop("names", {})
    known = ", ".join(scale.names)
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UsageError("a role takes a model", where="--set names", fix="--set names.ROLE=MODEL")
    if unknown := names.keys() - scale.names.keys():
        role = min(unknown)
        raise UsageError(f"there is no role {role!r}", where="--set", fix=f"use one of {known}")
    names = {role: absolute(name) for role, name in names.items()}
    cast = scale.model_copy(
        update={"names": {**scale.names, **names}, "basis": resized(scale.basis, names)}
    )
    return cast, replace(asked, changes=changes)


def _write(file: Path, text: str) -> None:
    replace_file(file, text.encode())
