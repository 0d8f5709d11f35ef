"""Tells of an experiment: the plan with its estimate, and the result as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfchallenge.progress import counted
from selfchallenge.reproduce.cells import state_of
from selfchallenge.reproduce.estimate import estimate, work_of
from selfchallenge.reproduce.experiment import Experiment, Scale
from selfchallenge.reproduce.plan import Asked, Cell, left_out
from selfchallenge.reproduce.result import COUNTS, Row


def plan_of(
    experiment: Experiment, scale: Scale, asked: Asked, cells: Sequence[Cell]
) -> dict[str, Any]:
    """The cells with what each will cost, the sum of those that are owed, and what it rests on."""
    listed, owed = [], []
    for cell in cells:
        work, (state, _) = work_of(cell, cells, scale), state_of(cell)
        owed += work if state in ("owed", "begun") else []
        cost = estimate(work, scale.basis)
        listed.append({"cell": cell.name, "state": state, "stages": list(cell.stages), **_of(cost)})
    return {
        "title": experiment.title,
        "models": {role: name for role, name in scale.names.items() if name},
        "cells": listed,
        "left_out": [arm.name for arm in left_out(experiment, asked)],
        "user_model": any(cell.user_model or cell.settings.user_model for cell in cells),
        "owed": _of(estimate(owed, scale.basis)),
        "rests_on": scale.basis.model_dump(mode="json"),
    }


def _of(cost: Any) -> dict[str, Any]:
    return {
        "tokens": {
            "read": round(cost.read),
            "sampled": round(cost.written),
            "trained": round(cost.trained),
        },
        "hours": {name: float(f"{hours:.3g}") for name, hours in cost.hours.items()},
    }


def plan_text(plan: dict[str, Any]) -> str:
    """The plan for a reader."""
    devices = plan["rests_on"]["devices"]
    lines = [plan["title"], ""]
    head = ["cell", "state", "stages", "read", "sampled", "trained", *_columns(devices)]
    lines += [_line(head), _line(["---"] * len(head))]
    for cell in [*plan["cells"], {"cell": "all that is owed", **plan["owed"]}]:
        tokens = [f"{cell['tokens'][name]:,}" for name in ("read", "sampled", "trained")]
        hours = [f"{hours:g}" for hours in cell["hours"].values()]
        stages = " ".join(cell.get("stages", ()))
        lines.append(_line([cell["cell"], cell.get("state", ""), stages, *tokens, *hours]))
    roles = ", ".join(f"{role} {name}" for role, name in plan["models"].items())
    lines += ["", f"Models: {roles}"]
    lines += ["", "Tokens and hours are estimates. They rest on:"]
    lines.append(f"- {plan['rests_on']['source']}")
    lines += [f"- {name}: {device['name']}" for name, device in _devices(devices)]
    lines += [f"- {name}: {plan['rests_on'][name]}" for name in _ASSUMED]
    if plan["user_model"]:
        lines.append("- not counted: the tokens of the model that plays the user")
    lines += [f"left out, needs --oracle-tasks FILE: {name}" for name in plan["left_out"]]
    return "\n".join(lines)


_ASSUMED = (
    "student",
    "teacher",
    "accepted",
    "teacher_accepted",
    "candidate_read",
    "candidate_written",
    "attempt_read",
    "attempt_written",
    "solved",
    "judged_read",
    "judged_written",
    "judge_accepts",
)


def _columns(devices: Sequence[dict[str, Any]]) -> list[str]:
    return [name for name, _ in _devices(devices)]


def _devices(devices: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Devices under the heading of their column; the first is a GPU."""
    for number, device in enumerate(devices):
        yield ("hours on two cores" if number else "GPU-hours"), device


def conditions(scale_name: str, scale: Scale, asked: Asked, cells: Sequence[Cell]) -> str:
    """How ours was measured, and in what it differs from the paper."""
    models = f"{scale.names['student']}, teacher {scale.names['teacher']}"
    if asked.data is None:
        tests = (
            "our held-out tasks, and not the benchmarks of the paper's numbers: compare arms with "
            "arms, not ours with the paper's"
        )
    else:
        user = asked.user_model or "a script"
        most = max(cell.settings.agent.max_tokens for cell in cells)
        tests = (
            f"the benchmarks of the paper, with replies of at most {most} tokens (--set "
            f"agent.max_tokens); the user of tau-bench is {user}"
        )
    changed = " ".join(f"--set {name}={value}" for name, value in told(asked.changes or {}))
    with_them = f" With {changed}." if changed else ""
    return f"Scale {scale_name}: {models}. {scale.note}{with_them} Tested on {tests}."


def told(changes: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Single settings by their dotted names, as `--set` takes them."""
    for name, value in changes.items():
        if isinstance(value, Mapping):
            yield from told(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value if isinstance(value, str) else json.dumps(value)


def result_text(experiment: Experiment, how: str, rows: Sequence[Row]) -> str:
    """The result as Markdown: ours with its interval, the paper's number, and how both came."""
    measures = experiment.measures
    head = ["arm", "environment", "learnt from"]
    head += [c for m in measures for c in (m, f"paper's {m}")]
    head += [f"Pass@1 less {name}" for name in experiment.baselines]
    lines = [f"# {experiment.title}", "", experiment.note, "", how, ""]
    lines += [_line(head), _line(["---"] * len(head))]
    for row in rows:
        cells = [row["arm"], row["environment"], _learnt(row["learnt_from"])]
        for measure in measures:
            cells += [_ours(row, measure), _theirs(row, measure)]
        cells += [_difference(row["paired"].get(name)) for name in experiment.baselines]
        lines.append(_line(cells))
    lines += _curves(rows)
    lines += ["", _EXPLAINED]
    return "\n".join(lines) + "\n"


def _learnt(found: dict[str, float] | None) -> str:
    return f"{found['attempts']:,.0f} attempts at {found['tasks']:,.0f} tasks" if found else ""


def _curves(rows: Sequence[Row]) -> list[str]:
    """Pass@1 over rollouts, where policies were kept on the way."""
    curved = [row for row in rows if len(row.get("curve", ())) > 1]
    if not curved:
        return []
    lines = ["", "Pass@1 on the way:", "", _line(["arm", "rollouts", "pass@1"])]
    lines.append(_line(["---"] * 3))
    for row in curved:
        for point in row["curve"]:
            there = {"measures": {"pass@1": point}, "state": "done", "sandbox_faults": 0}
            shown = _ours(there, "pass@1")
            lines.append(_line([row["arm"], f"{point['rollouts']:,.0f}", shown]))
    return lines


_EXPLAINED = (
    "Shares in %, with 95 % intervals over test tasks (each with its mean over seeds), and the "
    "scores of the single seeds. An average's interval adds those of its environments in "
    "quadrature. Differences are paired by task (intervals by bootstrap, p of the exact sign-flip "
    "test). The paper gives no intervals."
)


def _ours(row: Row, measure: str) -> str:
    found = row["measures"].get(measure)
    if found is None:
        return "" if row["state"] == "done" else row["state"]
    if measure in COUNTS:
        ends = f" ({found['ci95'][0]:.1f} to {found['ci95'][1]:.1f})" if "ci95" in found else ""
        return f"{found['value']:.1f}{ends}"
    low, high = (100 * end for end in found["ci95"])
    text = f"{100 * found['value']:.1f} ({low:.1f} to {high:.1f}; n = {found['n']})"
    if len(found["seeds"]) > 1:
        text += f"; seeds {', '.join(f'{100 * one:.1f}' for one in found['seeds'])}"
    if faults := row["sandbox_faults"]:
        text += f"; {counted(faults, 'attempt')} ended by the sandbox count as failed"
    return text if row["state"] == "done" else f"{text}; {row['state']}"


def _theirs(row: Row, measure: str) -> str:
    value = row["paper"].get(measure)
    if value is None:
        return ""
    return f"{value:.1f}" if measure in COUNTS else f"{100 * value:.1f}"


def _difference(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    low, high = (100 * end for end in found["ci95"])
    ends = f"({low:+.1f} to {high:+.1f}; p = {found['p_value']:.2g})"
    return f"{100 * found['difference']:+.1f} {ends}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
