"""Reads what a run directory holds into what the page shows, for whole and for unfinished runs.

Counts come from the records themselves; scores, intervals and comparisons come from `summary.json`
and are absent until the run has ended. Episodes are scanned one at a time, and only a sample of
them is kept, so that a page of a large run stays small.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from selfchallenge.episode import HINTED
from selfchallenge.runs.cost import costs
from selfchallenge.runs.store import RunFiles
from selfchallenge.task import CodeAsTask, Verdict

EPISODES = 60
"""Episodes on the page at most."""
CARDS = 200
"""Accepted tasks, and rejected candidates, on the page at most."""

Key = tuple[str, str, int]
"""Of an episode: phase, task, attempt."""
Change = Literal["gained", "lost", "never", "always"]
PAIRS: dict[Change, int] = {"gained": 10, "lost": 6, "never": 5, "always": 3}
"""Held-out tasks shown with both attempts, by what training changed; two episodes each."""
ROLLOUTS = (EPISODES - 2 * sum(PAIRS.values())) // 2
"""Training episodes shown of each outcome."""


@dataclass(frozen=True)
class Accepted:
    """A task that passed the gate, and what became of its rollouts."""

    task: CodeAsTask
    verdict: Verdict | None
    attempts: int
    successes: int


@dataclass(frozen=True)
class Rejected:
    """A candidate that is no task: the stage or check it failed at, and why."""

    number: int
    seed: str | None
    reason: str
    evidence: str
    task: CodeAsTask | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Pair:
    """The same held-out task attempted before and after training (first trial each)."""

    task_id: str
    task: CodeAsTask | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True)
class Funnel:
    """How many came through each step; `reasons` counts what the candidates failed at."""

    written: int
    complete: int
    accepted: int
    unchecked: int
    rollouts: int
    successes: int
    hinted: int
    hinted_successes: int
    tasks_solved: int
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Step:
    """One optimiser step of the learning curve."""

    step: int
    loss: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class RunView:
    """Everything that the page shows."""

    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    funnel: Funnel
    accepted: Sequence[Accepted]
    rejected: Sequence[Rejected]
    steps: Sequence[Step]
    stages: Mapping[str, Mapping[str, float]]
    rates: Mapping[str, tuple[int, int]]
    changes: Mapping[Change, int]
    pairs: Mapping[Change, Sequence[Pair]]
    wins: Sequence[Mapping[str, Any]]
    misses: Sequence[Mapping[str, Any]]
    texts: Mapping[str, CodeAsTask]
    missing: Sequence[str]

    @property
    def shown(self) -> int:
        """Episodes that the page holds."""
        pairs = sum(len(pairs) for pairs in self.pairs.values())
        return 2 * pairs + len(self.wins) + len(self.misses)

    @property
    def episodes(self) -> int:
        """Episodes that the run holds."""
        trained = self.funnel.rollouts + self.funnel.hinted
        return trained + sum(n for _, n in self.rates.values())


@dataclass
class _Tally:
    """Outcomes of the attempts in one file, by key (phase, task, attempt)."""

    passed: dict[Key, bool] = field(default_factory=dict)
    earned: dict[Key, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, episodes: Iterable[Mapping[str, Any]]) -> _Tally:
        tally = cls()
        for episode in episodes:
            key = _key(episode)
            tally.passed[key] = bool(episode["passed"])
            tally.earned[key] = episode["reward"] == 1.0
        return tally


def gather(run: RunFiles, heldout: Mapping[str, CodeAsTask]) -> RunView:
    """Read a run directory; files that are not there yet are empty.

    Raises:
        RecordError: a file of the run is damaged.
        StorageError: a file cannot be read.
    """
    rollouts = _Tally.of(e for e in run.scan("episodes.jsonl") if not _is_hinted(e))
    hinted = _Tally.of(e for e in run.scan("episodes.jsonl") if _is_hinted(e))
    scores = _Tally.of(run.scan("scores.jsonl"))
    accepted, rejected, funnel = _tasks(run, rollouts, hinted)
    keys = _paired_keys(scores)
    earned = rollouts.earned | hinted.earned
    wins = _spread([key for key, won in earned.items() if won], ROLLOUTS)
    misses = _spread([key for key, won in earned.items() if not won], ROLLOUTS)
    trained = _episodes(run, "episodes.jsonl", {*wins, *misses})
    chosen = {change: _spread(tasks, PAIRS[change]) for change, tasks in keys.items()}
    wanted = {(p, t, 0) for tasks in chosen.values() for t in tasks for p in ("before", "after")}
    measured = _episodes(run, "scores.jsonl", wanted)
    summary = run.read_json("summary.json") or {}
    return RunView(
        manifest=run.read_json("run.json") or {},
        summary=summary,
        funnel=funnel,
        accepted=accepted,
        rejected=rejected,
        steps=_steps(run),
        stages=costs(run) or summary.get("stages", {}),
        rates=_rates(scores),
        changes={change: len(tasks) for change, tasks in keys.items()},
        pairs={
            change: [
                Pair(t, heldout.get(t), measured["before", t, 0], measured["after", t, 0])
                for t in tasks
            ]
            for change, tasks in chosen.items()
        },
        wins=[trained[key] for key in wins],
        misses=[trained[key] for key in misses],
        texts={item.task.id: item.task for item in accepted},
        missing=_missing(run),
    )


def _is_hinted(episode: Mapping[str, Any]) -> bool:
    return bool((episode.get("meta") or {}).get(HINTED))


def _tasks(
    run: RunFiles, rollouts: _Tally, hinted: _Tally
) -> tuple[list[Accepted], list[Rejected], Funnel]:
    candidates = {line["candidate"]: line for line in run.scan("candidates.jsonl")}
    verdicts = {
        line["candidate"]: Verdict.model_validate(line["verdict"])
        for line in run.scan("verdicts.jsonl")
    }
    by_id = {verdict.id: verdict for verdict in verdicts.values() if verdict.accepted}
    attempts = Counter(task for _, task, _ in rollouts.earned)
    successes = Counter(task for (_, task, _), won in rollouts.earned.items() if won)
    accepted = [
        Accepted(task, by_id.get(task.id), attempts[task.id], successes[task.id])
        for task in run.read("tasks.jsonl", CodeAsTask)
    ]
    rejected = [
        item for line in candidates.values() if (item := _rejected(line, verdicts)) is not None
    ]
    complete = [number for number, line in candidates.items() if line["task"] is not None]
    return (
        accepted,
        rejected,
        Funnel(
            written=len(candidates),
            complete=len(complete),
            accepted=len(accepted),
            unchecked=sum(number not in verdicts for number in complete),
            rollouts=len(rollouts.earned),
            successes=sum(successes.values()),
            hinted=len(hinted.earned),
            hinted_successes=sum(hinted.earned.values()),
            tasks_solved=len(successes),
            reasons=dict(Counter(item.reason for item in rejected).most_common()),
        ),
    )


def _rejected(line: Mapping[str, Any], verdicts: Mapping[int, Verdict]) -> Rejected | None:
    number = line["candidate"]
    if line["task"] is None:
        reason = f"writing: {line['failed'] or 'unknown'}"
        return Rejected(number, line.get("seed"), reason, line.get("evidence", ""), None, None)
    verdict = verdicts.get(number)
    if verdict is None or verdict.accepted:
        return None
    failed = next((check for check in verdict.checks if not check.passed), None)
    return Rejected(
        number,
        line.get("seed"),
        failed.name if failed else "unknown",
        failed.evidence if failed else verdict.reason,
        CodeAsTask.model_validate(line["task"]),
        verdict,
    )


def _paired_keys(scores: _Tally) -> dict[Change, list[str]]:
    """Held-out tasks by what their first trial was before and after."""
    keys: dict[Change, list[str]] = {"gained": [], "lost": [], "never": [], "always": []}
    names: dict[tuple[bool, bool], Change] = {
        (False, True): "gained",
        (True, False): "lost",
        (False, False): "never",
        (True, True): "always",
    }
    for phase, task, attempt in scores.passed:
        after = scores.passed.get(("after", task, 0))
        if phase == "before" and attempt == 0 and after is not None:
            keys[names[scores.passed["before", task, 0], after]].append(task)
    return keys


def _rates(scores: _Tally) -> dict[str, tuple[int, int]]:
    """Of each phase: attempts passed, attempts made."""
    made = Counter(phase for phase, _, _ in scores.passed)
    passed = Counter(phase for (phase, _, _), won in scores.passed.items() if won)
    return {phase: (passed[phase], count) for phase, count in made.items()}


def _episodes(run: RunFiles, name: str, keys: set[Key]) -> dict[Key, Mapping[str, Any]]:
    return {_key(line): line for line in _matching(run, name, keys)}


def _matching(run: RunFiles, name: str, keys: set[Key]) -> Iterator[Mapping[str, Any]]:
    return (line for line in run.scan(name) if keys and _key(line) in keys)


def _key(episode: Mapping[str, Any]) -> Key:
    return episode["phase"], episode["task"], episode["attempt"]


def _steps(run: RunFiles) -> list[Step]:
    """Steps that the learner left in `model/`; none while it is at work."""
    report = run.read_json("model/training.json") or {}
    return [
        Step(line["step"], float(line["loss"]), int(line["tokens"]), float(line["seconds"]))
        for line in report.get("steps", [])
        if math.isfinite(line["loss"])
    ]


def _missing(run: RunFiles) -> list[str]:
    """Stages that have left nothing yet, in the words of the page."""
    owed = {
        "candidates.jsonl": "candidates",
        "tasks.jsonl": "accepted tasks",
        "episodes.jsonl": "rollouts",
        "model": "training",
        "scores.jsonl": "measurements",
        "summary.json": "the summary",
    }
    return [text for name, text in owed.items() if not (run.path / name).exists()]


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly spread over them."""
    if len(items) <= most:
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]
