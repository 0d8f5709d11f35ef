"""Results beside each other: what was measured, how, and the paired difference to the first.

A result is a folder that `eval --out` wrote (`score.json`, `scores.jsonl`), or a run directory,
which holds two: before and after training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfchallenge.episode import Episode, latest
from selfchallenge.errors import UsageError
from selfchallenge.evaluation.metrics import Outcomes, compare
from selfchallenge.runs.store import RunFiles

PHASES = ("eval", "before", "after")


@dataclass(frozen=True)
class Result:
    """One measurement that was kept.

    Attributes:
        name: its folder, with the phase where it is a run's.
        found: figures by name.
        outcomes: whether each trial passed, by task.
    """

    name: str
    found: dict[str, Any]
    outcomes: Outcomes


def is_result(folder: Path) -> bool:
    """Whether it is a folder of one measurement, finished or not, and no run directory."""
    names = ("score.json", "measurement.json")
    measured = any((folder / name).is_file() for name in names)
    return measured and not (folder / "run.json").exists()


def read_results(folder: Path) -> list[Result]:
    """The measurements that a folder holds.

    Raises:
        UsageError: it holds none.
    """
    files = RunFiles(folder)
    outcomes = _outcomes(files)
    if is_result(folder) and (folder / "score.json").is_file():
        return [Result(str(folder), files.read_json("score.json"), outcomes["eval"])]
    summary = files.read_json("summary.json") or {}
    found = [
        Result(f"{folder} {phase}", _of_run(summary, summary[phase]), outcomes[phase])
        for phase in ("before", "after")
        if summary.get(phase)
    ]
    if not found and (folder / "measurement.json").is_file():
        raise UsageError(
            "this measurement is not finished",
            where=str(folder),
            fix="run the same selfchallenge eval again: it goes on where it was",
        )
    if not found:
        raise UsageError(
            "nothing was measured there",
            where=str(folder),
            fix="give folders of selfchallenge eval ENV --out DIR, or runs with a summary "
            f"(selfchallenge report {folder} writes that of an unfinished one)",
        )
    return found


def outcomes_of(folder: Path) -> Outcomes:
    """The trials of the last measurement that a folder holds.

    Raises:
        UsageError: it holds none.
    """
    return read_results(folder)[-1].outcomes


def _outcomes(files: RunFiles) -> dict[str, Outcomes]:
    found: dict[str, dict[str, list[bool]]] = {phase: defaultdict(list) for phase in PHASES}
    for episode in latest(files.read("scores.jsonl", Episode)):
        if episode.phase in found:
            found[episode.phase][episode.task].append(episode.passed)
    return {phase: dict(tasks) for phase, tasks in found.items()}


def _of_run(summary: dict[str, Any], score: dict[str, Any]) -> dict[str, Any]:
    kept = ("environment", "model", "isolation", "noop_floor")
    return {**{name: summary.get(name) for name in kept}, "tasks": "held-out", **score}


def require_shared(before: Iterable[str], after: Iterable[str], name: str) -> None:
    """Refuse to compare results of which no task is the same.

    Raises:
        UsageError: they share no task.
    """
    if not set(before) & set(after):
        raise UsageError(
            "the two results share no task", where=name, fix="compare results on the same tasks"
        )


def paired_with(before: Outcomes, after: Outcomes, name: str) -> dict[str, Any]:
    """The paired difference over the tasks that both hold, after minus before.

    Raises:
        UsageError: they share no task.
    """
    require_shared(before, after, name)
    return {**compare(before, after).to_json(), "against": name}


def beside(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The results of these folders, each with its paired difference to the first where it can be.

    Raises:
        UsageError: a folder holds none.
    """
    results = [result for folder in folders for result in read_results(folder)]
    first = results[0]
    shown = []
    for result in results:
        entry = {"result": result.name, **result.found}
        if result is not first and first.outcomes.keys() & result.outcomes.keys():
            entry["paired"] = paired_with(first.outcomes, result.outcomes, first.name)
        shown.append(entry)
    return shown


def as_table(entries: Sequence[dict[str, Any]]) -> str:
    """Results as a Markdown table, one column each; a row in which all are empty is left out."""
    facts = dict.fromkeys(name for entry in entries for name in entry.get("measured", {}))
    rows: list[tuple[str, list[str]]] = [
        (name, [str(entry.get(name) or "") for entry in entries])
        for name in ("environment", "tasks", "model", "n", "attempts")
    ]
    figures = dict.fromkeys(n for e in entries for n in e if n.startswith(("pass@", "pass^")))
    rows += [
        (name, [_figure(entry, name) for entry in entries])
        for name in figures
        if not name.endswith("_ci95")
    ]
    rows.append(("doing nothing", [_share(entry.get("noop_floor")) for entry in entries]))
    rows.append(
        ("difference to the first", [_difference(entry.get("paired")) for entry in entries])
    )
    rows += [
        (name, [_plain(entry.get("cost", {}).get(name)) for entry in entries])
        for name in ("seconds", "prompt_tokens", "completion_tokens", "user_tokens")
    ]
    rows += [
        (name, [_plain(entry.get("measured", {}).get(name)) for entry in entries])
        for name in facts
        if name != "checker_differences"
    ]
    rows += [
        (name, [_plain(entry.get(name)) for entry in entries])
        for name in ("isolation", "prompt_hash", "version")
    ]
    head = ["", *(str(entry["result"]) for entry in entries)]
    lines = [_row(head), _row(["---"] * len(head))]
    return "\n".join(lines + [_row([name, *cells]) for name, cells in rows if any(cells)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _share(value: Any) -> str:
    return "" if value is None else f"{value:.1%}"


def _figure(entry: dict[str, Any], name: str) -> str:
    ends = entry.get("ci95" if name == "pass@1" else f"{name}_ci95")
    between = f" ({ends[0]:.1%} to {ends[1]:.1%})" if ends else ""
    return f"{_share(entry.get(name))}{between}" if name in entry else ""


def _difference(paired: dict[str, Any] | None) -> str:
    if not paired:
        return ""
    low, high = (f"{100 * end:+.1f}" for end in paired["ci95"])
    return f"{100 * paired['difference']:+.1f} points ({low} to {high}; {paired['n']} tasks)"
