"""The difficulty band: tasks that the executor always or never solves teach it little.

Measured by the executor's own rollouts, so it is asked after them and before learning (design,
section 4). Attempts with the solution in view, and those that the sandbox ended or the simulated
user spoilt, say nothing about difficulty and are not counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from selfchallenge.episode import HINTED, USER_FAULT, Episode, StopReason


def pass_rates(episodes: Iterable[Episode]) -> dict[str, float]:
    """Share of rewarded attempts by the id of the task, 0 to 1; see above for what counts."""
    rewards: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        spoilt = USER_FAULT in episode.meta or episode.stop is StopReason.SANDBOX
        if not (spoilt or episode.meta.get(HINTED)):
            rewards[episode.task].append(episode.reward == 1.0)
    return {task: sum(found) / len(found) for task, found in rewards.items()}


def latest(episodes: Iterable[Episode], count: int) -> list[Episode]:
    """The last `count` attempts at each task: those of a policy that changed as it made them."""
    kept, last = list(episodes), dict[str, int]()
    for one in kept:
        last[one.task] = max(one.attempt, last.get(one.task, 0))
    return [one for one in kept if one.attempt > last[one.task] - count]


def in_band(episodes: Iterable[Episode], hardest: float, easiest: float) -> list[Episode]:
    """Episodes of the tasks whose pass rate lies between `hardest` and `easiest`, both included."""
    kept = list(episodes)
    rates = pass_rates(kept)
    return [one for one in kept if hardest <= rates.get(one.task, hardest) <= easiest]
