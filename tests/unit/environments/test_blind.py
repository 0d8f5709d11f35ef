"""The blind tasks: trusted by the gate, balanced, and none of the held-out tasks again.

A failure names a task by its id alone, so that mending one does not put the others in sight.
"""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from selfchallenge.environments.calculation import Calculation
from selfchallenge.environments.calculation.tools import DOMAINS, domain_of
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.quality.duplicates import Seen, normalise
from selfchallenge.quality.gate import Trial, derive_reference
from selfchallenge.runs.store import read_records
from selfchallenge.sandbox.host import default_sandbox
from selfchallenge.task import CodeAsTask

FILE = Path(__file__).parents[3] / "benchmarks/blind/calculation.jsonl"
TASKS = [record for _, record in read_records(FILE, CodeAsTask)]


@cache
def trials():
    """Every task with the paper's checks, its reference and the calls of its solution."""
    sandbox = default_sandbox()

    def run(task):
        trial = Trial(task, Calculation, sandbox)
        checks = list(trial.checks("paper"))
        return task.id, checks, derive_reference(task, Calculation, sandbox), trial.solution.calls

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(run, TASKS))


def test_sixty_valid_tasks_fifteen_a_domain():
    assert all(isinstance(task, CodeAsTask) for task in TASKS)
    assert len({task.id for task in TASKS}) == 60
    assert Counter(domain_of(task.seed) for task in TASKS) == dict.fromkeys(DOMAINS, 15)
    assert {task.seed for task in TASKS} <= set(Calculation.seeds())


def test_every_task_passes_the_gate():
    rejected = [
        (name, check.name)
        for name, checks, _, _ in trials()
        for check in checks
        if not check.passed
    ]
    assert rejected == []


def test_every_task_derives_a_reference_with_tools_and_an_answer():
    for name, _, reference, _ in trials():
        assert reference.accepted, name
        assert reference.tools, name
        assert reference.answer_type != "NoneType", name


def test_tasks_ask_for_one_to_five_calls_and_every_tool_is_needed():
    counts = Counter(len(calls) for _, _, _, calls in trials())
    assert counts[1] == counts[2] == 20
    assert set(counts) == {1, 2, 3, 4, 5}
    used = {call.tool for _, _, _, calls in trials() for call in calls}
    assert used == {name for names in DOMAINS.values() for name in names}


def test_none_repeats_a_held_out_task_or_another_blind_one():
    shipped = held_out_tasks(Calculation)
    solutions = {normalise(task.solution) for task in shipped}
    assert [task.id for task in TASKS if normalise(task.solution) in solutions] == []
    seen = Seen()
    for task in shipped:
        seen.add(task)
    for task in TASKS:
        assert seen.check(task).passed, task.id
        seen.add(task)


def test_no_instruction_says_what_it_is_for():
    telling = ("test set", "held-out", "held out", "benchmark", "verifier")
    assert [t.id for t in TASKS if any(word in t.instruction.lower() for word in telling)] == []


def test_exploration_starts_from_none_of_their_values():
    shown = values("\n".join(map(Calculation.describe_seed, Calculation.seeds())))
    asked = {task.id: values(task.instruction) for task in TASKS}
    assert len(set().union(*asked.values())) > 40
    assert [name for name, found in asked.items() if found & shown] == []


def values(text):
    """Telling values: quoted texts, hex of some length, and journeys."""
    bare = text.replace("'", "")
    return {
        *(found for found in re.findall(r"'([^'\n]*)'", text) if len(found) > 3),
        *re.findall(r"\b[0-9a-f]{8,}\b", text),
        *re.findall(r"\b[A-F] (?:back )?(?:to|for) [A-F] on [0-9-]{10}", bare),
    }
