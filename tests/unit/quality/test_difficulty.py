"""The difficulty band, from the executor's own attempts."""

from selfchallenge.episode import HINTED, USER_FAULT, Episode, StopReason
from selfchallenge.quality.difficulty import in_band, latest, pass_rates


def attempt(
    task: str, number: int, reward: float, stop: StopReason = StopReason.ANSWER, **meta: object
) -> Episode:
    return Episode.model_construct(task=task, attempt=number, reward=reward, stop=stop, meta=meta)


EPISODES = [
    attempt("easy", 0, 1.0),
    attempt("easy", 1, 1.0),
    attempt("middle", 0, 1.0),
    attempt("middle", 1, 0.0),
    attempt("hard", 0, 0.0),
    attempt("hard", 1, 1.0, **{HINTED: True}),
    attempt("easy", 2, 0.0, **{USER_FAULT: "left without a word"}),
    attempt("easy", 3, 0.0, StopReason.SANDBOX),
]


def test_attempts_that_were_hinted_or_that_others_spoilt_do_not_count():
    assert pass_rates(EPISODES) == {"easy": 1.0, "middle": 0.5, "hard": 0.0}


def test_of_a_policy_that_changed_the_last_attempts_at_each_task_are_taken():
    made = [attempt("a", n, float(n > 3)) for n in range(6)] + [attempt("b", 0, 1.0)]
    assert [(e.task, e.attempt) for e in latest(made, 2)] == [("a", 4), ("a", 5), ("b", 0)]
    assert pass_rates(latest(made, 3)) == {"a": 2 / 3, "b": 1.0}


def test_the_band_keeps_whole_tasks():
    assert {e.task for e in in_band(EPISODES, 0.0, 1.0)} == {"easy", "middle", "hard"}
    assert {e.task for e in in_band(EPISODES, 0.0, 0.5)} == {"middle", "hard"}
    assert {e.task for e in in_band(EPISODES, 0.1, 0.9)} == {"middle"}
    assert len(in_band(EPISODES, 0.0, 0.5)) == 4
