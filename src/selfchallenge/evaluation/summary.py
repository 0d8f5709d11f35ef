"""What a run came to, in figures: `summary.json`, computed from the run's files alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selfchallenge.episode import HINTED, USER_FAULT, Episode, StopReason, latest
from selfchallenge.evaluation.metrics import compare, score
from selfchallenge.runs.cost import costs
from selfchallenge.runs.store import RunFiles


def summarise(run: RunFiles) -> dict[str, Any]:
    """The summary of a run directory, also of one that stopped on the way.

    `before`, `after` and `paired` are None until they have been measured; `pass@1` is the verifier
    alone, `grounded` the full reward, `sandbox_faults` how many failures are attempts that the
    sandbox ended. `episodes` are the executor's own attempts, `hinted` those
    with the example solution in view (None without any). `user` is who told the tasks, what its
    model read and wrote, and how many failed attempts it is to blame for (None without one).
    """
    manifest = run.read_json("run.json")
    candidates = run.read("candidates.jsonl")
    verdicts = [line["verdict"] for line in run.read("verdicts.jsonl")]
    episodes = latest(run.read("episodes.jsonl", Episode))
    hinted = any(episode.meta.get(HINTED) for episode in episodes)
    scores = latest(run.read("scores.jsonl", Episode))
    stages = costs(run)
    accepted = len(run.read("tasks.jsonl"))
    phases = {phase: _outcomes(scores, phase) for phase in ("before", "after", "noop")}
    floor = score(phases["noop"])
    challenge = stages.get("challenge", {"seconds": 0.0, "tokens": 0})
    return {
        "environment": manifest["environment"],
        "model": manifest["settings"]["model"],
        "algorithm": manifest["settings"]["algorithm"],
        "isolation": manifest["isolation"],
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 1),
        "tasks": {"attempted": len(candidates), "accepted": accepted},
        "episodes": _rewarded(e for e in episodes if not e.meta.get(HINTED)),
        "hinted": _rewarded(e for e in episodes if e.meta.get(HINTED)) if hinted else None,
        "user": _user(manifest["settings"].get("user_model", ""), [*episodes, *scores]),
        "before": _score(scores, "before"),
        "after": _score(scores, "after"),
        "paired": _paired(phases["before"], phases["after"]),
        "noop_floor": floor.pass_at_1 if floor.n else None,
        "cost": {
            "tokens": sum(stage["tokens"] for stage in stages.values()),
            "seconds_per_accepted_task": _per(challenge["seconds"], accepted),
            "tokens_per_accepted_task": _per(challenge["tokens"], accepted),
        },
        "rejections": _rejections(candidates, verdicts),
        "stages": stages,
    }


def _rewarded(episodes: Iterable[Episode]) -> dict[str, int]:
    rewards = [episode.reward for episode in episodes]
    return {"count": len(rewards), "successes": sum(reward == 1.0 for reward in rewards)}


def _user(name: str, episodes: Sequence[Episode]) -> dict[str, Any] | None:
    if not name:
        return None
    tokens = sum(episode.meta.get("user_tokens", 0) for episode in episodes)
    faults = sum(USER_FAULT in episode.meta for episode in episodes)
    return {"model": name, "tokens": tokens, "faults": faults}


def _outcomes(
    scores: Iterable[Episode], phase: str, *, grounded: bool = False
) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = defaultdict(list)
    for episode in scores:
        if episode.phase == phase:
            found[episode.task].append(episode.reward == 1.0 if grounded else episode.passed)
    return dict(found)


def _score(scores: list[Episode], phase: str) -> dict[str, Any] | None:
    outcomes = _outcomes(scores, phase)
    if not outcomes:
        return None
    grounded = score(_outcomes(scores, phase, grounded=True))
    faults = sum(e.phase == phase and e.stop is StopReason.SANDBOX for e in scores)
    return {
        **score(outcomes).to_json(),
        "grounded": grounded.to_json(),
        "sandbox_faults": faults,
    }


def _paired(
    before: Mapping[str, list[bool]], after: Mapping[str, list[bool]]
) -> dict[str, Any] | None:
    return compare(before, after).to_json() if before and after else None


def _rejections(
    candidates: Iterable[dict[str, Any]], verdicts: Iterable[dict[str, Any]]
) -> dict[str, int]:
    """Why candidates were dropped: the stage of the writer, or the check of the gate."""
    reasons = Counter(c["failed"] for c in candidates if c["failed"])
    for verdict in verdicts:
        if not verdict["accepted"]:
            reasons[next(c["name"] for c in verdict["checks"] if not c["passed"])] += 1
    return dict(reasons.most_common())


def _per(amount: float, count: int) -> float | None:
    return round(amount / count, 1) if count else None
