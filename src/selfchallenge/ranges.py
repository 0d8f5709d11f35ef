"""What values a setting may have, said beside the settings and in one wording for all rooms."""

from __future__ import annotations

import math
from dataclasses import dataclass

from selfchallenge.errors import UsageError


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, both included; without `high` there is no upper end."""

    low: float
    high: float | None = None

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= (
            math.inf if self.high is None else self.high
        )

    def __str__(self) -> str:
        return f"{self.low} or more" if self.high is None else f"between {self.low} and {self.high}"


ABOVE_ZERO = Range(1e-12)
"""Rates, weights and bounds that may not be nothing."""
LEARNING_RATE = Range(1e-12, 1)
"""Of AdamW, which moves every weight by about as much at each step."""
POSITIVE = Range(1)
"""Counts of which none would leave nothing to do."""
COUNT = Range(0)
"""Counts of which there may be none."""
TEMPERATURE = Range(0)
"""Of sampling; 0 is greedy."""
SHARE = Range(0, 1)
"""Shares and probabilities."""
SEED = Range(0, 2**31 - 1)
"""Seeds that every random generator takes."""


def require(settings: object, *, within: str = "", **allowed: Range) -> None:
    """Refuse `settings` when a field lies outside of its range.

    Args:
        settings: whose fields are looked at.
        within: what is written before the name of a field in the error.
        allowed: ranges by the name of the field.

    Raises:
        UsageError: the first such field, what it is, and what it may be.
    """
    for name, values in allowed.items():
        found = getattr(settings, name)
        if found not in values:
            spelled = f"{within}.{name}" if within else name
            raise UsageError(
                f"{spelled} must be {values}, not {found!r}",
                fix="choose a value in that range",
            )
