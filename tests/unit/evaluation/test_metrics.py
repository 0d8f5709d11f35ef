"""Known values and general rules of scores, intervals and comparisons."""

import itertools
import math
import operator
import random
from itertools import combinations
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.evaluation.metrics import (
    _few_differ,
    bootstrap,
    compare,
    paired,
    pass_at_k,
    pass_hat_k,
    proportion_interval,
    score,
    sign_flip_test,
    wilson,
)

counts = st.integers(1, 8).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))
)
trials = st.dictionaries(
    st.text(min_size=1, max_size=3), st.lists(st.booleans(), max_size=4), max_size=12
)


@given(counts)
def test_pass_at_k_and_pass_hat_k_count_the_subsets_of_k_trials(numbers):
    n, c, k = numbers
    outcomes = [True] * c + [False] * (n - c)
    draws = list(combinations(outcomes, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_known_values_of_pass_at_k():
    assert pass_at_k(200, 3, 10) == pytest.approx(1 - comb(197, 10) / comb(200, 10))
    assert pass_at_k(4, 1, 1) == 0.25
    assert pass_hat_k(4, 3, 2) == 0.5


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_impossible_counts_are_refused(n, c, k):
    for function in (pass_at_k, pass_hat_k):
        with pytest.raises(ValueError, match="trials"):
            function(n, c, k)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # R: binom::binom.wilson, and prop.test(correct = FALSE)
        (20, 100, 0.1333669, 0.2888292),
        (5, 10, 0.2365931, 0.7634069),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (1, 1, 0.2065493, 1.0),
    ],
)
def test_known_values_of_wilson(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_without_trials_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_mirrors(pair):
    successes, n = pair
    low, high = wilson(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0
    other_low, other_high = wilson(n - successes, n)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low))


def test_bootstrap_is_near_the_normal_interval_and_repeats():
    values = [0.0] * 60 + [1.0] * 40
    low, high = bootstrap(values)
    assert (low, high) == pytest.approx((0.304, 0.496), abs=0.015)
    assert bootstrap(values) == (low, high)


def test_bootstrap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        bootstrap([])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@settings(max_examples=40)
def test_bootstrap_stays_between_the_extremes(values):
    low, high = bootstrap(values, draws=200)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (8, 1, 0.0390625), (10, 10, 1.0), (20, 3, 0.000488)],
)
def test_with_one_trial_a_task_it_is_the_sign_test(gained, lost, p):
    differences = [1.0] * gained + [-1.0] * lost + [0.0] * 7
    assert sign_flip_test(differences) == pytest.approx(p, abs=1e-6)
    assert sign_flip_test([-one for one in differences]) == sign_flip_test(differences)


@given(st.lists(st.sampled_from([i / 12 for i in range(-12, 13)]), max_size=9))
def test_the_p_value_is_the_share_of_signs_that_come_out_as_far(differences):
    sums = [
        abs(math.fsum(map(operator.mul, differences, signs)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    seen = abs(math.fsum(differences)) - 1e-9
    assert sign_flip_test(differences) == pytest.approx(
        sum(one >= seen for one in sums) / len(sums)
    )


def test_more_trials_on_one_side_are_no_evidence():
    # One trial passed of three is above none of one: nine such tasks against three the other way.
    differences = [1 / 3] * 9 + [-1.0] * 3
    assert sum(differences) == pytest.approx(0)
    assert sign_flip_test(differences) == 1.0


@pytest.mark.parametrize(("n", "rate"), [(9, 0.4), (12, 0.35), (12, 0.3), (30, 0.15)])
def test_the_interval_of_few_differences_holds_what_it_says(n, rate):
    # Exactly, over all ways that n tasks can be gained, lost or neither, given that few differ.
    inside = outside = 0.0
    for gained in range(n + 1):
        for lost in range(min(n - gained, 9 - gained) + 1):
            ways = math.comb(n, gained) * math.comb(n - gained, lost)
            chance = ways * rate ** (gained + lost) * (1 - 2 * rate) ** (n - gained - lost)
            low, high = _few_differ([1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost))
            inside, outside = (
                (inside + chance, outside) if low <= 0 <= high else (inside, outside + chance)
            )
    assert inside / (inside + outside) > 0.92


def test_one_trial_a_task_gives_a_plain_proportion():
    found = score({str(i): [i < 20] for i in range(100)})
    assert found.pass_at_1 == pytest.approx(0.2)
    assert found.ci95 == wilson(20, 100)
    assert found.to_json() == {"pass@1": pytest.approx(0.2), "ci95": list(found.ci95), "n": 100}


def test_several_trials_give_pass_at_and_pass_hat():
    found = score({"a": [True, False], "b": [True, True], "c": [False, False], "d": [True, False]})
    shown = found.to_json()
    assert shown["pass@1"] == 0.5
    assert (shown["trials"], shown["pass@2"], shown["pass^2"]) == (2, 0.75, 0.25)
    assert found.ci95[0] < 0.5 < found.ci95[1]


def test_trials_that_agree_keep_an_interval():
    found = score({str(i): [True, True] for i in range(10)})
    assert found.ci95 == wilson(10, 10)
    assert found.ci95[0] < 1


def test_no_tasks_no_knowledge():
    assert score({}).to_json() == {"pass@1": 0.0, "ci95": [0.0, 1.0], "n": 0}
    assert compare({}, {"a": [True]}).to_json() == {
        "difference": 0.0,
        "ci95": [-1.0, 1.0],
        "n": 0,
        "gained": 0,
        "lost": 0,
        "p_value": 1.0,
    }


@given(trials)
@settings(max_examples=25, deadline=None)
def test_a_score_lies_in_its_interval(outcomes):
    found = score(outcomes)
    assert found.ci95[0] - 1e-9 <= found.pass_at_1 <= found.ci95[1] + 1e-9
    assert found.pass_hat_trials - 1e-9 <= found.pass_at_1 <= found.pass_at_trials + 1e-9 or (
        found.n == 0
    )
    assert found.n == sum(bool(passed) for passed in outcomes.values())


@given(trials, trials)
@settings(max_examples=15, deadline=None)
def test_a_comparison_turns_its_sign_when_the_sides_are_swapped(before, after):
    there, back = compare(before, after), compare(after, before)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.gained, there.lost, there.p_value) == (back.lost, back.gained, back.p_value)
    assert there.n == back.n == len([t for t in before if before[t] and after.get(t)])


def test_a_comparison_pairs_tasks_and_ignores_the_others():
    before = {"a": [False], "b": [True], "c": [False], "only before": [True]}
    after = {"a": [True], "b": [True], "c": [True], "only after": [False]}
    found = compare(before, after)
    assert (found.n, found.gained, found.lost) == (3, 2, 0)
    assert found.difference == pytest.approx(2 / 3)
    assert found.p_value == 0.5
    assert found.ci95[0] <= found.difference <= found.ci95[1]


def test_pairing_is_sharper_than_two_intervals():
    before = {str(i): [i < 50] for i in range(100)}
    after = {str(i): [i < 60] for i in range(100)}
    assert score(before).ci95[1] > score(after).ci95[0]
    found = compare(before, after)
    assert found.ci95[0] > 0
    assert found.p_value < 0.01


def test_single_outcomes_are_wilson_and_rates_are_a_bootstrap_over_tasks():
    assert proportion_interval([1.0, 0.0, 1.0, 1.0]) == wilson(3, 4)
    assert proportion_interval([]) == (0.0, 1.0)
    many = [0.0, 0.25, 0.5, 0.75, 1.0] * 40
    half = 1.96 * (0.125 / 200) ** 0.5
    assert proportion_interval(many) == pytest.approx((0.5 - half, 0.5 + half), abs=0.005)


@pytest.mark.parametrize("rate", [1 / 12, 0.25, 0.5, 11 / 12])
def test_a_better_score_near_the_end_has_no_narrower_interval(rate):
    """One task of 42 that passes now and then, where a bootstrap sees almost nothing vary."""
    none, some = [0.0] * 42, [0.0] * 41 + [rate]
    assert proportion_interval(some)[1] > proportion_interval(none)[1]
    assert bootstrap(some)[1] < proportion_interval(none)[1]
    turned = [1 - one for one in some]
    assert proportion_interval(turned)[0] == pytest.approx(1 - proportion_interval(some)[1])


@pytest.mark.parametrize("chance", [0.01, 0.03, 0.1, 0.3])
def test_intervals_hold_the_truth_as_often_as_they_say(chance):
    """Rates of 42 tasks, four correlated trials each (half of the tasks never pass)."""
    rng, holds = random.Random(0), 0
    for _ in range(80):
        hard = [rng.random() < 0.5 for _ in range(42)]
        rates = [sum(rng.random() < 2 * chance for _ in range(4)) / 4 * (not h) for h in hard]
        low, high = proportion_interval(rates)
        holds += low <= chance <= high
    assert holds >= 0.88 * 80


@pytest.mark.parametrize("rate", [1.5, -0.1, float("nan")])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="between 0 and 1"):
        proportion_interval([rate])
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired({"a": rate}, {"a": 1.0})


def test_rates_pair_like_the_trials_they_stand_for():
    before = {"a": [False, True], "b": [True, True], "c": [False, False]}
    after = {"a": [True, True], "b": [True, False], "c": [True, True]}
    rates = [{t: sum(passed) / 2 for t, passed in side.items()} for side in (before, after)]
    assert paired(*rates) == compare(before, after)


def test_nothing_changed_is_not_certainty():
    same = dict.fromkeys(map(str, range(20)), 1.0)
    slack = wilson(0, 20)[1]
    assert paired(same, same).ci95 == pytest.approx((-slack, slack))


def test_one_task_that_differs_a_little_leaves_the_others_in_doubt():
    before = dict.fromkeys(map(str, range(42)), 0.0)
    found = paired(before, before | {"0": 0.25})
    assert found.difference == pytest.approx(0.25 / 42)
    assert found.ci95[0] < -0.05
    assert found.ci95[1] > wilson(0, 42)[1]


@given(st.lists(st.sampled_from([-1.0, -0.25, 0.0, 0.0, 0.5, 1.0]), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_a_difference_lies_in_its_interval(differences):
    before = {str(i): max(0.0, -one) for i, one in enumerate(differences)}
    after = {str(i): max(0.0, one) for i, one in enumerate(differences)}
    found = paired(before, after)
    assert -1 <= found.ci95[0] <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.ci95[1] <= 1
