"""Numbers about outcomes: pass@k, pass^k, 95 % intervals, and before against after.

The paper reports Pass@1 on 34 to 115 tasks without error bars (tables 1 and 2); every score here
has an interval, and two scores on the same tasks are compared task by task. Pure functions, no
dependencies, and the same result every time.

Tasks are the unit of resampling: trials of one task are not independent of each other. When every
task has one outcome (one trial, or all of its trials agree) a score is a plain proportion and its
interval is Wilson's. Otherwise it is the percentile bootstrap over tasks, unless only a few of them
passed, or failed: there a bootstrap collapses, and Wilson's interval, which takes each task for one
trial, is the wider one that holds. Differences alike, where only a few tasks differ.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""

Outcomes = Mapping[str, Sequence[bool]]
"""For each task whether each of its trials passed."""

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
FEW = 10
"""So many tasks have to pass, and to fail, or to differ, for a bootstrap over them."""
PARTS = 2520
"""A difference of rates is told in so many parts of 1: exact for up to ten trials on each side."""
DRAWS = 10_000
"""Resamples of a bootstrap; the ends of the interval then move by less than a tenth of it."""


@dataclass(frozen=True)
class Score:
    """How often tasks are passed.

    Attributes:
        pass_at_1: mean over tasks of the share of trials passed, 0 to 1.
        ci95: its 95 % interval.
        n: number of tasks.
        trials: fewest trials of a task; 0 without tasks.
        pass_at_trials: share of tasks passed in at least one of `trials` trials.
        pass_hat_trials: share of tasks passed in all of `trials` trials.
    """

    pass_at_1: float
    ci95: Interval
    n: int
    trials: int = 1
    pass_at_trials: float = 0.0
    pass_hat_trials: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """`pass@1`, `ci95` and `n`; with several trials also their number k, `pass@k`, `pass^k`."""
        plain = {"pass@1": self.pass_at_1, "ci95": list(self.ci95), "n": self.n}
        if self.trials < 2:
            return plain
        return plain | {
            "trials": self.trials,
            f"pass@{self.trials}": self.pass_at_trials,
            f"pass^{self.trials}": self.pass_hat_trials,
        }


@dataclass(frozen=True)
class Paired:
    """Two scores on the same tasks.

    Attributes:
        difference: second score minus first, -1 to 1.
        ci95: its 95 % interval, by a paired bootstrap over tasks.
        p_value: two-sided p-value of the exact sign-flip test over the differences; with one trial
            a task this is the exact McNemar test.
        gained: tasks that pass more often in the second.
        lost: tasks that pass less often in the second.
        n: number of tasks that both have.
    """

    difference: float
    ci95: Interval
    p_value: float
    gained: int
    lost: int
    n: int

    def to_json(self) -> dict[str, Any]:
        """All attributes under their names."""
        return {**asdict(self), "ci95": list(self.ci95)}


def score(outcomes: Outcomes) -> Score:
    """The score of trials grouped by task; 0 with the interval [0, 1] when there are none."""
    trials = [list(passed) for passed in outcomes.values() if passed]
    if not trials:
        return Score(0.0, (0.0, 1.0), 0, trials=0)
    rates = [fmean(passed) for passed in trials]
    k = min(map(len, trials))
    counts = [(len(passed), sum(passed)) for passed in trials]
    return Score(
        pass_at_1=fmean(rates),
        ci95=proportion_interval(rates),
        n=len(rates),
        trials=k,
        pass_at_trials=fmean(pass_at_k(n, c, k) for n, c in counts),
        pass_hat_trials=fmean(pass_hat_k(n, c, k) for n, c in counts),
    )


def several(outcomes: Outcomes, k: int) -> dict[str, Any]:
    """`pass@K` and `pass^K` with their 95 % intervals; empty where a task has fewer trials."""
    counts = [(len(passed), sum(passed)) for passed in outcomes.values() if passed]
    if not counts or k < 2 or min(n for n, _ in counts) < k:
        return {}
    found: dict[str, Any] = {}
    for name, estimate in ((f"pass@{k}", pass_at_k), (f"pass^{k}", pass_hat_k)):
        rates = [estimate(n, c, k) for n, c in counts]
        found |= {name: fmean(rates), f"{name}_ci95": list(proportion_interval(rates))}
    return found


def compare(before: Outcomes, after: Outcomes) -> Paired:
    """Compare the trials of two measurements over the tasks that both hold."""
    sides = [{t: fmean(passed) for t, passed in side.items() if passed} for side in (before, after)]
    return paired(*sides)


def paired(before: Mapping[str, float], after: Mapping[str, float]) -> Paired:
    """Compare the rates of two measurements over the tasks that both hold.

    Raises:
        ValueError: a rate is not between 0 and 1.
    """
    tasks = sorted(before.keys() & after.keys())
    _check_rates([side[task] for side in (before, after) for task in tasks])
    differences = [after[task] - before[task] for task in tasks]
    gained = sum(difference > 0 for difference in differences)
    lost = sum(difference < 0 for difference in differences)
    return Paired(
        difference=fmean(differences) if differences else 0.0,
        ci95=_difference_interval(differences),
        p_value=sign_flip_test(differences),
        gained=gained,
        lost=lost,
        n=len(tasks),
    )


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k trials passes, unbiased from n trials of which c passed.

    1 - C(n-c, k) / C(n, k) (Chen et al. 2021, equation 1).

    Raises:
        ValueError: not 0 <= c <= n, or not 1 <= k <= n.
    """
    _check_counts(n, c, k)
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Chance that all of k trials pass (pass^k), unbiased from n trials of which c passed.

    C(c, k) / C(n, k) (Yao et al. 2024, tau-bench).

    Raises:
        ValueError: not 0 <= c <= n, or not 1 <= k <= n.
    """
    _check_counts(n, c, k)
    return math.comb(c, k) / math.comb(n, k)


def proportion_interval(rates: Sequence[float]) -> Interval:
    """95 % interval of the mean of rates between 0 and 1, one for each task.

    Raises:
        ValueError: a rate is not between 0 and 1.
    """
    _check_rates(rates)
    plain = all(rate in (0.0, 1.0) for rate in rates)
    passed, failed = sum(rate > 0 for rate in rates), sum(rate < 1 for rate in rates)
    if plain or min(passed, failed) < FEW:
        return wilson(math.fsum(rates), len(rates))
    return bootstrap(rates)


def wilson(successes: float, n: int) -> Interval:
    """Wilson's 95 % score interval of a proportion; [0, 1] when n is 0.

    With a sum of rates for `successes` it is too wide rather than too narrow: no mean of n rates
    varies more than that of n single trials.
    """
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, Z95**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    # Exactly 0 and 1 at the ends, where rounding would leave 1e-17.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return low, high


def bootstrap(values: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Percentile 95 % interval of the mean of `values`, resampled with replacement.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a bootstrap needs at least one value")
    rng = random.Random(seed)
    n = len(values)
    means = sorted(fmean(rng.choices(values, k=n)) for _ in range(draws))
    return _quantile(means, 0.025), _quantile(means, 0.975)


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided exact p-value of a mean difference when the sign of each is a fair coin's.

    With one trial a task on both sides that is the sign test. With several, the signs alone would
    favour the side with more of them: a rate of three trials is more often above 0 than one of one.
    """
    steps = [step for difference in differences if (step := round(difference * PARTS))]
    unit = math.gcd(*steps)
    ways = {0: 1}
    for step in steps:
        flipped: dict[int, int] = defaultdict(int)
        for total, count in ways.items():
            flipped[total + step // unit] += count
            flipped[total - step // unit] += count
        ways = flipped
    seen = abs(sum(steps)) // (unit or 1)
    far = sum(count for total, count in ways.items() if abs(total) >= seen)
    return far / (1 << len(steps))


def _difference_interval(differences: Sequence[float]) -> Interval:
    if not differences:
        return -1.0, 1.0
    if sum(difference != 0 for difference in differences) < FEW or len(set(differences)) == 1:
        return _few_differ(differences)
    return bootstrap(differences)


def _few_differ(differences: Sequence[float]) -> Interval:
    """Interval of gains less losses, from Wilson's of each (Newcombe 1998: square and add).

    A task that is gained is not lost, so the two are correlated, which counts the more the fewer
    tasks there are.
    """
    gained = math.fsum(max(0.0, difference) for difference in differences)
    lost = math.fsum(max(0.0, -difference) for difference in differences)
    n = len(differences)
    (gain_low, gain_high), (loss_low, loss_high) = wilson(gained, n), wilson(lost, n)
    gain, loss = gained / n, lost / n
    spread = (1 - gain) * (1 - loss)
    together = math.sqrt(gain * loss / spread) if spread else 0.0
    low = gain - loss - _added(gain - gain_low, loss_high - loss, together)
    high = gain - loss + _added(gain_high - gain, loss - loss_low, together)
    return max(-1.0, low), min(1.0, high)


def _added(one: float, other: float, together: float) -> float:
    """Square root of two squares and what they have in common."""
    return math.sqrt(one * one + other * other + 2 * together * one * other)


def _quantile(ordered: Sequence[float], q: float) -> float:
    position = q * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def _check_rates(rates: Sequence[float]) -> None:
    for rate in rates:
        if not 0 <= rate <= 1:
            raise ValueError(f"{rate} is no share of trials: rates lie between 0 and 1")


def _check_counts(n: int, c: int, k: int) -> None:
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} trials cannot have passed")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}, but there are {n} trials")
