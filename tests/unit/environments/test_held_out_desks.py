"""The held-out tasks of retail and airline: their spread, and that they are nobody else's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from test_held_out import overlap, solved, template

from selfchallenge.environments.airline import Airline
from selfchallenge.environments.base import describe_tools
from selfchallenge.environments.retail import Retail
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.executor.actions import read_answer

BENCHMARK = Path(__file__).parents[4] / "shared/benchmarks/tau-bench"
DESKS = [Retail, Airline]
TALK = {"think", "transfer_to_human_agents", "list_all_airports"}
"""Tools that a task need not use."""


@pytest.mark.parametrize("desk", DESKS)
def test_seeds_are_their_own(desk):
    seeds = [task.seed for task in held_out_tasks(desk)]
    assert seeds == [f"heldout-{n:02}" for n in range(1, len(seeds) + 1)]
    assert not set(seeds) & set(desk.seeds())
    assert desk.world(seeds[0]) is desk.world(seeds[-1]) is not desk.world(None)


@pytest.mark.parametrize("desk", DESKS)
def test_they_read_write_refuse_and_take_several_steps(desk):
    writing = {tool.name for tool in describe_tools(desk) if tool.mutates}
    calls, kinds = Counter(), Counter()
    for _, run in solved(desk):
        used = [call.tool for call in run.calls]
        calls[min(len(used), 5)] += 1
        kinds[sum(name in writing for name in used)] += 1
    assert min(kinds[0], kinds[1]) >= 8
    assert sum(count for changes, count in kinds.items() if changes > 1) >= 3
    assert sum(count for used, count in calls.items() if used > 2) >= 12
    refused = [t for t in held_out_tasks(desk) if "refused" in t.instruction + t.solution]
    assert len(refused) >= 1


@pytest.mark.parametrize("desk", DESKS)
def test_every_tool_is_needed_somewhere(desk):
    used = {call.tool for _, run in solved(desk) for call in run.calls}
    assert set(desk.offered(None)) - used <= TALK


@pytest.mark.parametrize("desk", DESKS)
def test_answers_survive_being_written_as_text(desk):
    for task, run in solved(desk):
        answer = run.execution.answer
        assert read_answer(str(answer), type(answer).__name__) == answer, task.seed


@pytest.mark.parametrize("desk", DESKS)
def test_failures_are_different_and_touch_the_world(desk):
    names = desk.offered(None)
    for task in held_out_tasks(desk):
        assert len(set(task.failures)) == len(task.failures) >= 3
        assert any(name in code for code in task.failures for name in names), task.seed
        assert task.meta == {"author": "hand"}


@pytest.mark.parametrize("desk", DESKS)
def test_the_demonstration_is_no_task(desk):
    shown = desk.demonstration(None)
    assert shown is desk.demonstration("heldout-01") is not None
    assert all(overlap(shown.instruction, t.instruction) < 0.3 for t in held_out_tasks(desk))


@pytest.mark.skipif(
    not BENCHMARK.is_dir(), reason="the benchmark's files are not beside this checkout"
)
@pytest.mark.parametrize("desk", DESKS)
def test_none_is_a_task_of_the_benchmark(desk):
    theirs = [
        task["instruction"]
        for file in (BENCHMARK / desk.label).glob("tasks_*.json")
        for task in json.loads(file.read_text("utf-8"))
    ]
    ours = [task.instruction for task in held_out_tasks(desk)]
    assert not {template(text) for text in theirs} & {template(text) for text in ours}
    assert max(overlap(one, other) for one in ours for other in theirs) < 0.3
