"""The held-out tasks: trusted by the gate, spread over shapes, and nobody else's material."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from selfchallenge.environments.airline import Airline
from selfchallenge.environments.calculation import Calculation
from selfchallenge.environments.calculation.material import WORDS
from selfchallenge.environments.calculation.tools import DOMAINS, domain_of
from selfchallenge.environments.library import Library
from selfchallenge.environments.retail import Retail
from selfchallenge.environments.web import Web
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.executor.actions import read_answer
from selfchallenge.quality.gate import Trial
from selfchallenge.sandbox.host import default_sandbox

TASKS = held_out_tasks(Calculation)
BENCHMARK = Path(__file__).parents[4] / "shared/benchmarks/m3tooleval/tasks.json"
needs_benchmark = pytest.mark.skipif(
    not BENCHMARK.is_file(), reason="the benchmark's tasks are not beside this checkout"
)


def trials(environment):
    """Every task before the gate."""
    sandbox = default_sandbox()
    return [Trial(task, environment, sandbox) for task in held_out_tasks(environment)]


@cache
def solved(environment):
    """Every task with its executed solution; running them once is enough."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda trial: (trial.task, trial.solution), trials(environment)))


@pytest.mark.parametrize("environment", [Calculation, Library, Retail, Airline, Web])
def test_every_task_passes_the_full_gate(environment):
    found = trials(environment)
    with ThreadPoolExecutor(max_workers=4) as pool:
        checks = list(pool.map(lambda trial: list(trial.checks("full")), found))
    rejected = [
        (trial.task.seed, check.name, check.evidence)
        for trial, results in zip(found, checks, strict=True)
        for check in results
        if not check.passed
    ]
    assert rejected == []
    least = {Calculation: 100, Library: 8, Retail: 40, Airline: 40, Web: 40}
    assert len(found) >= least[environment]


def test_the_failures_of_calculation_are_near_misses_of_the_right_world():
    for task in TASKS:
        assert 3 <= len(set(task.failures)) <= 4
        assert task.meta == {"author": "hand"}
        assert any(
            name in code for code in task.failures for name in Calculation.offered(task.seed)
        ), task.seed


def test_answers_survive_being_written_as_text():
    """An agent replies with text; read back, the reference answer must still be itself."""
    for task, run in solved(Calculation):
        answer = run.execution.answer
        assert read_answer(str(answer), type(answer).__name__) == answer, task.seed


def test_tasks_are_spread_over_domains_calls_and_shapes():
    shapes, calls = defaultdict(set), Counter()
    for task, run in solved(Calculation):
        shapes[domain_of(task.seed)].add(shape(run.calls))
        calls[min(len(run.calls), 6)] += 1
    domains = Counter(domain_of(task.seed) for task in TASKS)
    assert set(domains) == set(DOMAINS)
    assert min(domains.values()) >= 25
    assert min(len(found) for found in shapes.values()) >= 12
    assert set(calls) == {1, 2, 3, 4, 5}
    for count, share in {1: 0.2, 2: 0.3, 3: 0.25, 4: 0.15, 5: 0.1}.items():
        assert abs(calls[count] / len(TASKS) - share) < 0.06, (count, calls[count])


def test_every_tool_is_needed_somewhere():
    used = {call.tool for _, run in solved(Calculation) for call in run.calls}
    assert used == {name for names in DOMAINS.values() for name in names}


def shape(calls):
    """The tools in order, each with the earlier calls whose results its arguments hold."""
    return tuple(
        (call.tool, tuple(j for j, earlier in enumerate(calls[:i]) if flows(earlier, call)))
        for i, call in enumerate(calls)
    )


def flows(earlier, call):
    given = [value for value in atoms(call.arguments) if len(str(value)) > 1]
    made = [value for value in atoms(earlier.result) if len(str(value)) > 1]
    return any(
        value == result or (isinstance(value, str) and str(result) in value)
        for value in given
        for result in made
    )


def atoms(value):
    if isinstance(value, dict):
        return [atom for item in (*value, *value.values()) for atom in atoms(item)]
    if isinstance(value, list | tuple):
        return [atom for item in value for atom in atoms(item)]
    return [value]


# -- nobody else's material ------------------------------------------------------------------------


def test_seeds_and_instructions_are_their_own():
    seeds = [task.seed for task in TASKS]
    assert len(set(seeds)) == len(seeds)
    assert all(re.fullmatch(r"[a-z_]+-heldout-\d\d", seed) for seed in seeds)
    assert not set(seeds) & set(Calculation.seeds())
    assert not {task.seed for task in held_out_tasks(Library)} & set(Library.seeds())
    normal = Counter(template(task.instruction) for task in TASKS)
    assert [text for text, count in normal.items() if count > 1] == []


def test_exploration_starts_from_none_of_their_values():
    material = [Calculation.describe_seed(seed) for seed in Calculation.seeds()]
    shown = {value for line in material for value in values(line)}
    asked = {value for task in TASKS for value in values(task.instruction)}
    assert shown & asked == set()
    answers = " ".join(str(run.execution.answer) for _, run in solved(Calculation))
    assert set(WORDS) & set(re.findall(r"[a-z]+", answers.lower())) == set()


def values(text):
    """Telling values: quoted texts and hex of some length, and journeys."""
    return {
        *(found for found in re.findall(r"'([^']*)'", text) if len(found) > 3),
        *re.findall(r"\b[0-9a-f]{8,}\b", text),
        *re.findall(r"from '?[A-F]'? to '?[A-F]'? on \d{4}-\d\d-\d\d", text.replace("'", "")),
    }


@needs_benchmark
def test_none_is_a_task_of_the_benchmark_or_its_renumbering():
    theirs = [task["instruction"] for task in json.loads(BENCHMARK.read_text("utf-8"))]
    assert {template(text) for text in theirs} & {template(t.instruction) for t in TASKS} == set()
    nearest = max(overlap(task.instruction, text) for task in TASKS for text in theirs)
    assert nearest < 0.3, "too many words in a row are shared with a task of the benchmark"


@needs_benchmark
def test_no_value_of_the_benchmark_is_used():
    theirs = {
        value
        for task in json.loads(BENCHMARK.read_text("utf-8"))
        for value in values(task["instruction"])
    }
    ours = {value for task in TASKS for value in values(task.instruction)}
    shown = {v for seed in Calculation.seeds() for v in values(Calculation.describe_seed(seed))}
    assert len(theirs) > 20
    assert theirs & (ours | shown) == set()


def template(text):
    """An instruction without its figures and quoted values."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "Q", text.lower())
    bare = re.sub(r"\b[0-9a-f]*\d[0-9a-f]*(?:[.,-]\d+)*\b", "N", bare)
    words = " ".join(re.findall(r"\w+", bare)).lower()
    return re.sub(r"\b([nq])(?: (?:and )?\1)+\b", r"\1", words)


def test_a_renumbering_would_be_noticed():
    one = "Sell 30 of 'abc' for 1.5, then 'beef01' to \"A\" on 2024-01-01."
    other = "Sell 4 of 'x y' for 22 and 7, 9, then '00ff' to \"D\" on 2023-12-31."
    assert template(one) == template(other)
    assert overlap(one, other) == 1.0
    assert template(one) != template(one.replace("Sell", "Buy"))


def overlap(one, other):
    first, second = (trigrams(template(text)) for text in (one, other))
    return len(first & second) / min(len(first), len(second))


def trigrams(text):
    words = [word for word in text.split() if word not in "nq"]
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or {tuple(words)}
