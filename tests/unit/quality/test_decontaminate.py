"""Test tasks kept out: hashed phrases, hashed calls, and the split of the seeds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.environments.asking import seeds_of
from selfchallenge.environments.base import Environment, describe_tools, tool
from selfchallenge.environments.library import Library
from selfchallenge.environments.loading import load_environment
from selfchallenge.evaluation.m3tooleval import read_questions
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.evaluation.tau_bench import read_tasks
from selfchallenge.evaluation.tested import held_of
from selfchallenge.quality.decontaminate import TRAIN_SHARE, Held, is_training_seed, solution_keys
from selfchallenge.task import CodeAsTask

BENCHMARKS = Path(__file__).parents[4] / "shared/benchmarks"
M3TOOLEVAL, TAU_BENCH = BENCHMARKS / "m3tooleval", BENCHMARKS / "tau-bench"
TOLD = "Please cancel the order W1 because it was ordered twice by mistake last night."
SOLUTION = "cancel('W1', reason='mistake')\nnote('twice')"
HELD = Held.of([TOLD], [SOLUTION], ["mia"])


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
        (task(seed="mia"), "kept"),
    ],
)
def test_what_is_like_a_test_task_is_dropped(bad, evidence):
    found = HELD.check(bad)
    assert not found.passed
    assert evidence in found.evidence


def test_nothing_can_be_read_back():
    assert "cancel" not in repr(HELD)
    assert "W1" not in repr(HELD)
    assert "mia" not in repr(HELD)


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


@pytest.mark.skipif(not TAU_BENCH.is_dir(), reason="the data of tau-bench is not here")
@pytest.mark.parametrize("name", ["retail", "airline"])
def test_a_benchmark_s_users_and_changes_are_held_where_its_data_is_given(name):
    world = load_environment(name, TAU_BENCH)
    held, tests = held_of(world), read_tasks(TAU_BENCH, name)
    users = {one.user_id for one in tests}
    assert users <= set(seeds_of(world))
    assert not any(map(held.spares, users))
    assert sum(map(held.spares, seeds_of(world))) > 300
    changing = {tool.name for tool in describe_tools(world) if tool.mutates}
    tried = 0
    for one in tests:
        calls = [call for call in one.actions if call.name in changing]
        source = "\n".join(
            f"{call.name}({', '.join(f'{k}={v!r}' for k, v in call.kwargs.items())})"
            for call in calls
        )
        if source:
            tried += 1
            assert not held.check(task(environment=name, solution=source)).passed
    assert tried > 20


class Alone(Environment):
    """A world of two parts."""

    @tool
    def look(self) -> int:
        """Look."""
        return 1

    @classmethod
    def seeds(cls) -> list[str]:
        """Its parts."""
        return ["b", "c"]


@pytest.mark.parametrize(("tested", "spared"), [(["b"], ["c"]), (["b", "c"], ["b", "c"])])
def test_a_part_that_is_tested_is_not_trained_on_unless_all_are(monkeypatch, tested, spared):
    assert all(map(is_training_seed, Alone.seeds()))
    ours = [task(seed=seed) for seed in tested]
    monkeypatch.setattr("selfchallenge.evaluation.tested.held_out_tasks", lambda _: ours)
    assert list(filter(held_of(Alone).spares, Alone.seeds())) == spared


@pytest.mark.parametrize(
    "source", ["f({[]: 1})", "f({[]})", "f(0x" + "f" * 5000 + ")", "-" * 100_000 + "1", "a\0b"]
)
def test_source_that_is_no_value_or_no_code_has_keys_too(source):
    assert solution_keys(source)
    assert Held.of(["Do it."], ["f(1)\nf(2)"]).solutions.isdisjoint(solution_keys(source))
