from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_learner import make_episode

from selfchallenge.episode import USER_FAULT, Episode, StopReason, Turn
from selfchallenge.learner.samples import (
    Sample,
    samples_from,
    select_successes,
    without_hint,
    without_user_faults,
)


def spoken(ids, sampled):
    return Turn(role="assistant", content="x", token_ids=ids, logprobs=(-0.5,) * sampled)


def with_turns(*turns):
    return make_episode().model_copy(update={"turns": turns})


ids = st.lists(st.integers(0, 9), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=5))
def test_exactly_the_sampled_tokens_are_trained(pieces):
    turns = [spoken((*before, *sampled), len(sampled)) for before, sampled in pieces]
    found = samples_from([with_turns(*turns)], 10_000)

    expected = [
        (i, mark) for b, s in pieces for part, mark in ((b, False), (s, True)) for i in part
    ]
    if found.samples:
        (sample,) = found.samples
        assert list(zip(sample.ids, sample.mask, strict=True)) == expected
        assert len(sample.logprobs) == sample.trained == sum(mark for _, mark in expected)
    else:
        assert not any(mark for _, mark in expected) or expected[0][1]
    assert len(found.samples) + sum(found.dropped.values()) == 1


def test_what_cannot_be_trained_is_counted_with_its_reason():
    found = samples_from(
        [
            with_turns(Turn(role="user", content="hello"), Turn(role="assistant", content="hi")),
            with_turns(spoken((1, 2, 3), 0)),
            with_turns(spoken((1, 2, 3), 3)),
            with_turns(spoken((1, 2), 3)),
            with_turns(spoken(tuple(range(60)), 1)),
            make_episode(),
        ],
        max_length=59,
    )
    assert len(found.samples) == 1
    assert found.dropped == {
        "no tokens recorded (the model does not show them)": 1,
        "no sampled token": 1,
        "nothing stands before the first sampled token": 1,
        "more log-probabilities than tokens": 1,
        "longer than 59 tokens": 1,
    }


def test_tokens_after_the_last_sampled_one_do_not_count_as_length():
    sample = Sample((1, 2, 3, 4), (False, True, False, False), (-1.0,))
    assert (sample.length, sample.trained) == (2, 1)
    assert samples_from([with_turns(spoken((1, 2), 1), spoken((3,) * 50, 0))], 2).samples


def test_successes_are_of_the_training_phase_and_of_reward_one():
    chosen = select_successes(
        [
            make_episode("a", 0, reward=0.0),
            make_episode("a", 1),
            make_episode("a", 2, phase="before"),
            make_episode("a", 3, phase="after"),
            make_episode("a", 4, reward=0.99),
        ],
    )
    assert [episode.key for episode in chosen] == ["train/a/1"]


def test_the_same_sequence_counts_once_also_without_tokens():
    same = make_episode("a", 0)
    silent = with_turns(Turn(role="assistant", content="hi"))
    other = with_turns(Turn(role="assistant", content="ho"))
    episodes = [
        same,
        same.model_copy(update={"attempt": 1}),
        silent,
        silent.model_copy(update={"attempt": 2}),
        other.model_copy(update={"attempt": 3}),
    ]
    assert [e.key for e in select_successes(episodes)] == ["train/a/0", "train/t/0", "train/t/3"]


@settings(deadline=None)
@given(st.permutations([(t, a) for t in "abc" for a in range(4)]))
def test_a_task_gives_its_first_successes_whatever_the_order(keys):
    chosen: list[Episode] = select_successes([make_episode(t, a) for t, a in keys])
    assert [(e.task, e.attempt) for e in chosen] == [(t, a) for t in "abc" for a in range(4)]
    first = [make_episode(t, a) for t in "abc" for a in (0, 1)]
    assert samples_from(chosen, 99, per_task_limit=2) == samples_from(first, 99)


def test_what_is_too_long_takes_no_place_among_the_successes_of_a_task():
    long = make_episode("a", 0, parts=[(tuple(range(40)), 400)])
    found = samples_from([long, make_episode("a", 1)], 99, per_task_limit=1)
    assert found.samples == samples_from([make_episode("a", 1)], 99).samples
    assert found.dropped == {"longer than 99 tokens": 1}


def hinted(turns, **meta):
    return with_turns(*turns).model_copy(update={"meta": {"hinted": True, **meta}, "attempt": 7})


def test_a_hinted_episode_is_read_as_if_the_task_had_no_hint():
    asked = Turn(role="user", content="task")
    plain = with_turns(asked, spoken((1, 2, 3, 50, 51), 2))
    told = [
        Turn(role="user", content="task and hint"),
        spoken((1, 2, 9, 9, 3, 60, 61, 62), 3),
        Turn(role="user", content="output"),
        spoken((4, 70), 1),
    ]
    kept, retold = without_hint([plain, hinted(told)])
    assert kept == plain
    assert [turn.content for turn in retold.turns] == ["task", "x", "output", "x"]
    (sample,) = samples_from([retold], 100).samples
    assert sample.ids == (1, 2, 3, 60, 61, 62, 4, 70)
    assert sample.mask == (False, False, False, True, True, True, False, True)
    assert retold.reward == plain.reward


def test_a_hinted_episode_without_an_unhinted_one_is_left_out():
    other = with_turns(spoken((1, 2), 1)).model_copy(update={"task": "another"})
    assert without_hint([hinted([spoken((1, 9, 2), 1)]), other]) == [other]


def test_a_spoilt_attempt_says_nothing_of_how_a_task_is_put():
    spoilt = with_turns(spoken((7, 7, 7, 1), 1)).model_copy(update={"stop": StopReason.SANDBOX})
    plain = with_turns(spoken((1, 2, 3, 50), 1)).model_copy(update={"attempt": 1})
    *_, retold = without_hint([spoilt, plain, hinted([spoken((1, 9, 60), 1)])])
    assert retold.turns[0].token_ids == (1, 2, 3, 60)


def test_what_the_user_spoilt_is_left_out():
    spoilt = make_episode().model_copy(update={"meta": {USER_FAULT: "invented #1"}})
    assert without_user_faults([spoilt, make_episode()]) == [make_episode()]
