"""What the full gate asks for beyond its yes-or-no checks."""

from __future__ import annotations

from dataclasses import dataclass

from selfchallenge.ranges import COUNT, POSITIVE, SHARE, Range, require


@dataclass(frozen=True)
class GateSettings:
    """What the full gate asks for.

    Attributes:
        survivors: wrong variants of the solution that may earn the reward.
        revisions: times that the writer may mend a verifier which lets wrong variants pass; it is
            shown which (0 or 1).
        blind: attempts by the executor, who sees the instruction alone; 0 for none.
        succeeding: how many of them must earn the reward.
        hardest: lowest share of successful rollouts of a task that is learnt from.
        easiest: highest share of them.
    """

    survivors: int = 0
    revisions: int = 1
    blind: int = 0
    succeeding: int = 1
    hardest: float = 0.0
    easiest: float = 1.0

    def __post_init__(self) -> None:
        require(self, survivors=COUNT, revisions=Range(0, 1), blind=COUNT, succeeding=POSITIVE)
        require(self, hardest=SHARE, easiest=SHARE)
