"""The held-out tasks of web: their spread, and that they are nobody else's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from test_held_out import overlap, solved, template

from selfchallenge.environments.web import Web
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.executor.actions import read_answer

BENCHMARK = Path(__file__).parents[4] / "shared/benchmarks/m3tooleval/tasks.json"
TASKS = held_out_tasks(Web)


def test_seeds_are_their_own():
    assert [task.seed for task in TASKS] == [f"heldout-{n:02}" for n in range(1, len(TASKS) + 1)]
    assert not {task.seed for task in TASKS} & set(Web.seeds())
    sites = [Web.site(seed) for seed in Web.seeds()[:50]]
    assert all(Web.site("heldout-01")["/about"] != site["/about"] for site in sites)


def test_they_look_up_list_follow_and_reckon():
    calls, used = Counter(), set()
    for _, run in solved(Web):
        calls[min(len(run.calls), 5)] += 1
        used |= {call.tool for call in run.calls}
    assert set(Web.offered(None)) - used <= {"scroll_up"}, "who reads on need not go back up"
    assert calls[1] >= 8
    assert sum(count for number, count in calls.items() if number > 2) >= 15


def test_answers_survive_being_written_as_text():
    for task, run in solved(Web):
        answer = run.execution.answer
        assert read_answer(str(answer), type(answer).__name__) == answer, task.seed


def test_failures_are_different_and_browse():
    for task in TASKS:
        assert len(set(task.failures)) == len(task.failures) >= 3
        assert all(any(name in code for name in Web.offered(None)) for code in task.failures)
        assert task.meta == {"author": "hand"}
    templates = Counter(template(task.instruction) for task in TASKS)
    assert [text for text, count in templates.items() if count > 1] == []


def test_the_demonstration_is_no_task():
    shown = Web.demonstration(None)
    assert all(overlap(shown.instruction, task.instruction) < 0.3 for task in TASKS)


@pytest.mark.skipif(not BENCHMARK.is_file(), reason="the benchmark is not beside this checkout")
def test_none_is_a_task_of_the_benchmark():
    theirs = [task["instruction"] for task in json.loads(BENCHMARK.read_text("utf-8"))]
    assert not {template(text) for text in theirs} & {template(t.instruction) for t in TASKS}
    assert max(overlap(t.instruction, text) for t in TASKS for text in theirs) < 0.4
