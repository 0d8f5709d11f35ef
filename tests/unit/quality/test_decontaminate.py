"""Test tasks kept out: hashed phrases, hashed calls, and the split of the seeds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.environments.library import Library
from selfchallenge.environments.loading import load_environment
from selfchallenge.evaluation.m3tooleval import read_questions
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.evaluation.tested import held_of
from selfchallenge.quality.decontaminate import TRAIN_SHARE, Held, is_training_seed, solution_keys
from selfchallenge.task import CodeAsTask

M3TOOLEVAL = Path(__file__).parents[4] / "shared/benchmarks/m3tooleval"
TOLD = "Please cancel the order W1 because it was ordered twice by mistake last night."
SOLUTION = "cancel('W1', reason='mistake')\nnote('twice')"
HELD = Held.of([TOLD], [SOLUTION])


def task(**changes: object) -> CodeAsTask:
    fields = {
        "environment": "shop",
        "instruction": "What does W7 cost?",
        "verifier": "def evaluate(answer):\n    return answer == 1",
        "solution": "answer = price('W7')",
        "failures": ["answer = 2", "answer = 3", "answer = 4"],
    }
    return CodeAsTask.model_validate({**fields, **changes})


def test_an_unlike_task_passes():
    assert HELD.check(task()).passed


@pytest.mark.parametrize(
    ("bad", "evidence"),
    [
        (task(instruction=TOLD.upper()), "words in a row"),
        (task(instruction=f"Hello! {TOLD} Thanks."), "words in a row"),
        (task(solution="x = 1\n" + SOLUTION), "calls of a test task"),
        (task(solution="note('twice')\ncancel('W1', 'mistake')"), "calls of a test task"),
        (task(seed=next(str(n) for n in range(99) if not is_training_seed(str(n)))), "kept"),
    ],
)
def test_what_is_like_a_test_task_is_dropped(bad, evidence):
    found = HELD.check(bad)
    assert not found.passed
    assert evidence in found.evidence


def test_nothing_can_be_read_back():
    assert "cancel" not in repr(HELD)
    assert "W1" not in repr(HELD)


@pytest.mark.parametrize("nothing", ["  \n", "# wait\n"])
def test_having_nothing_to_do_is_like_no_test_task(nothing):
    held = Held.of([TOLD], [SOLUTION, ""])
    assert held.check(task(solution=nothing)).passed


def test_one_call_alone_tells_nothing():
    assert len(solution_keys("answer = price('W7')")) == 1


@given(st.text())
def test_any_source_and_any_text_are_hashed(text):
    assert Held.of([text], [text]).check(task(instruction=text or "x", solution=text or "x"))


def test_the_split_of_the_seeds_is_by_hash():
    share = sum(is_training_seed(f"seed-{n}") for n in range(2000)) / 2000
    assert abs(share - TRAIN_SHARE) < 0.03


def test_held_out_tasks_of_an_environment_are_held():
    held = held_of(Library)
    assert held_out_tasks(Library)
    for one in held_out_tasks(Library):
        assert not held.check(one.model_copy(update={"seed": None})).passed


@pytest.mark.skipif(not M3TOOLEVAL.is_dir(), reason="the data of m3tooleval is not here")
@pytest.mark.parametrize("name", ["calculation", "web"])
def test_a_benchmark_s_questions_are_held_where_its_data_is_given(name):
    world = load_environment(name, M3TOOLEVAL)
    held = held_of(world)
    for question in read_questions(M3TOOLEVAL, name):
        assert not held.check(task(environment=name, instruction=question.instruction)).passed


@pytest.mark.parametrize(
    "source", ["f({[]: 1})", "f({[]})", "f(0x" + "f" * 5000 + ")", "-" * 100_000 + "1", "a\0b"]
)
def test_source_that_is_no_value_or_no_code_has_keys_too(source):
    assert solution_keys(source)
    assert Held.of(["Do it."], ["f(1)\nf(2)"]).solutions.isdisjoint(solution_keys(source))
