"""The benchmarks whole: a double scores all of them, idling scores exactly the floor."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import LoadError, UsageError
from selfchallenge.evaluation.benchmarks import Measuring, measure
from selfchallenge.evaluation.m3tooleval import read_questions
from selfchallenge.evaluation.questions import question_prompt
from selfchallenge.evaluation.sets import SetOptions, benchmark_set
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.executor.user import ScriptedUser
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.progress import Silent
from selfchallenge.sandbox.host import Sandbox

FOLDER = Path(__file__).parents[4] / "shared/benchmarks"
needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmarks' files are not beside this checkout"
)
QUICK = Measuring(1, AgentSettings(), temperature=0.0, seed=0, batch=40)

# environment, benchmark, options, tasks, how many of them idling passes
SPLITS = [
    ("calculation", "m3tooleval", {}, 48, 0),
    ("calculation", "m3tooleval", {"checker": "fair", "feedback": True}, 48, 0),
    ("calculation", "m3tooleval", {"actions": "json", "steps": 10}, 48, 0),
    ("calculation", "m3tooleval", {"prompt": "own"}, 48, 0),
    ("web", "m3tooleval", {}, 34, 0),
    ("airline", "tau-bench", {}, 50, 19),
    ("airline", "tau-bench", {"subset": "paper", "actions": "json"}, 30, 0),
    ("retail", "tau-bench", {}, 115, 7),
    ("retail", "tau-bench", {"actions": "json", "steps": 30, "policy": False}, 115, 7),
    ("retail", "tau-bench", {"split": "dev"}, 20, 1),
    ("retail", "tau-bench", {"split": "train"}, 500, 5),
]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as box:
        yield box


@needs_data
@pytest.mark.parametrize(("name", "benchmark", "options", "count", "floor"), SPLITS)
def test_a_double_scores_all_and_idling_the_floor(name, benchmark, options, count, floor, sandbox):
    world = load_environment(name, FOLDER / benchmark)
    chosen = benchmark_set(benchmark, world, SetOptions(**options))
    found = measure("scripted:oracle", chosen, world, sandbox, QUICK, watch=Silent())
    assert (found["n"], found["pass@1"], found["noop_passed"]) == (count, 1.0, floor)
    assert found["noop_floor"] == floor / count
    assert found["measured"].items() >= options.items() - {("steps", 10), ("steps", 30)} - {
        ("policy", False)
    }
    assert found["measured"]["max_steps"] == options.get("steps", 15)


@needs_data
def test_only_the_first_tasks_are_taken_where_the_score_says_so(sandbox):
    world = load_environment("web", FOLDER / "m3tooleval")
    chosen = benchmark_set("m3tooleval", world, SetOptions(first=3))
    found = measure("scripted:oracle", chosen, world, sandbox, QUICK, watch=Silent())
    assert (found["n"], found["measured"]["first"]) == (3, 3)


@needs_data
@pytest.mark.parametrize(
    ("name", "benchmark"), [("calculation", "m3tooleval"), ("airline", "tau-bench")]
)
def test_a_stopped_benchmark_goes_on_where_it_was(name, benchmark, sandbox, tmp_path):
    world = load_environment(name, FOLDER / benchmark)
    chosen = benchmark_set(benchmark, world, SetOptions(first=4))

    def found(out):
        told = measure("scripted:oracle", chosen, world, sandbox, QUICK, watch=Silent(), out=out)
        return {key: value for key, value in told.items() if key != "cost"}

    whole = found(tmp_path / "whole")
    lines = (tmp_path / "whole/scores.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 8  # doing nothing, and the double
    (tmp_path / "part").mkdir()
    (tmp_path / "part/measurement.json").write_bytes(
        (tmp_path / "whole/measurement.json").read_bytes()
    )
    (tmp_path / "part/scores.jsonl").write_bytes(b"".join(lines[:6]))
    assert found(tmp_path / "part") == whole
    made = (tmp_path / "part/scores.jsonl").read_bytes().splitlines(keepends=True)
    assert made[:6] == lines[:6]
    assert len(made) == 8


@needs_data
def test_what_is_shown_changes_the_hash_of_the_prompt(sandbox):
    world = load_environment("airline", FOLDER / "tau-bench")
    hashes = set()
    for options in ({}, {"policy": False}, {"actions": "json"}):
        chosen = benchmark_set("tau-bench", world, SetOptions(subset="paper", **options))
        found = measure("scripted:silent", chosen, world, sandbox, QUICK, watch=Silent())
        hashes.add(found["prompt_hash"])
        assert found["measured"]["policy_shown"] is options.get("policy", True)
    assert len(hashes) == 3


@needs_data
@pytest.mark.parametrize("actions", ["code", "json"])
def test_m3tooleval_tells_what_its_tools_need(actions):
    told = {}
    for name in ("calculation", "web"):
        world = load_environment(name, FOLDER / "m3tooleval")
        for question in read_questions(FOLDER / "m3tooleval", name):
            told[question.name.partition("/")[0]] = question_prompt(world, question, actions)
    travel = told["travel_itinerary_planning"]
    assert "Signature: find_flights(destination: str, date: str)" in travel
    for word in ("from_location (str)", "YYYY-MM-DD", "price_per_night", "*preferences"):
        assert word in travel
    assert "[Clickable 'address']" in told["web_browsing"]


@needs_data
def test_tools_called_by_json_show_what_they_returned(sandbox):
    world = load_environment("calculation", FOLDER / "m3tooleval")
    called = 'Action: {"tool": "reverse_string", "args": ["01x0"]} End Action'
    chosen = benchmark_set("m3tooleval", world, SetOptions(first=1, actions="json", steps=2))
    [episode] = rollout(
        ScriptedModel("agent", lambda _: called),
        [Assignment(*chosen.pairs[0])],
        world,
        sandbox,
        settings=AgentSettings(max_steps=2, max_tokens=100),
        ways=chosen.ways,
    )
    assert episode.turns[2].content == "0x10"


@needs_data
def test_the_policy_of_the_benchmark_is_not_replaced_by_ours(tmp_path):
    home = tmp_path / "airline"
    home.mkdir()
    for file in (FOLDER / "tau-bench/airline").glob("*.json"):
        (home / file.name).write_bytes(file.read_bytes())
    world = load_environment("airline", tmp_path)
    with pytest.raises(LoadError, match="policy is not there") as error:
        benchmark_set("tau-bench", world, SetOptions())
    assert "--no-policy" in str(error.value.fix)
    assert benchmark_set("tau-bench", world, SetOptions(policy=False)).pairs


@pytest.mark.parametrize(
    ("name", "benchmark", "options", "said"),
    [
        ("library", "tau-bench", {}, "no tasks for 'library'"),
        ("library", "m3tooleval", {}, "no tasks for 'library'"),
        ("airline", "tau-bench", {"split": "train"}, "no split 'train'"),
        ("retail", "tau-bench", {"subset": "paper"}, "airline only|there are no"),
        ("calculation", "m3tooleval", {"prompt": "own", "actions": "json"}, "asks for code|read"),
        ("calculation", "m3tooleval", {"policy": False}, "policy is an option of tau-bench and"),
        ("retail", "tau-bench", {"checker": "fair"}, "checker is an option of m3tooleval, not of"),
        ("retail", "tau2", {"split": "dev"}, "split is an option of tau-bench, not of tau2"),
    ],
)
def test_what_does_not_fit_is_refused(name, benchmark, options, said, tmp_path):
    (tmp_path / "tasks.json").write_text("[]")
    (tmp_path / "tasks_test.json").write_text("[]")
    world = load_environment(name, tmp_path)
    with pytest.raises(UsageError, match=said):
        benchmark_set(benchmark, world, SetOptions(**options))


def test_a_user_where_there_is_none_is_refused(tmp_path):
    world = load_environment("web", tmp_path)
    with pytest.raises(UsageError, match="nobody tells") as error:
        benchmark_set("m3tooleval", world, SetOptions(), ScriptedUser())
    assert "--user-model" in str(error.value.fix)


@pytest.mark.parametrize("benchmark", ["m3tooleval", "tau-bench"])
def test_a_benchmark_needs_its_data(benchmark):
    with pytest.raises(UsageError, match="need its data") as error:
        benchmark_set(benchmark, load_environment("retail"), SetOptions())
    assert f"data get {benchmark}" in str(error.value.fix)
