"""Results as files: what one holds, and several of them side by side."""

from __future__ import annotations

import json

import pytest

from selfchallenge.environments.library import Library
from selfchallenge.errors import UsageError
from selfchallenge.evaluation.benchmarks import Measuring, choose_tasks, measure
from selfchallenge.evaluation.beside import as_table, beside, is_result, outcomes_of, read_results
from selfchallenge.executor.agent import AgentSettings
from selfchallenge.progress import Silent
from selfchallenge.sandbox.host import Sandbox

TRIALS = 4


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folders of what an oracle and a silent model score on the library's tasks."""
    folder = tmp_path_factory.mktemp("results")
    tasks = choose_tasks(Library, "held-out")
    how = Measuring(TRIALS, AgentSettings(), temperature=0.0, seed=3, batch=40)
    with Sandbox() as sandbox:
        for model, against in (("silent", None), ("oracle", folder / "silent")):
            measure(
                f"scripted:{model}",
                tasks,
                Library,
                sandbox,
                how,
                watch=Silent(),
                label="held-out",
                out=folder / model,
                against=against,
            )
    return folder


def test_a_score_says_all_about_itself(results):
    found = json.loads((results / "oracle/score.json").read_text())
    assert found["pass@1"] == found[f"pass@{TRIALS}"] == found[f"pass^{TRIALS}"] == 1.0
    assert found["noop_floor"] == 0.0
    for name in ("pass@1", "ci95", f"pass@{TRIALS}_ci95", "isolation", "prompt_hash", "version"):
        assert found[name]
    assert found["cost"].keys() == {"seconds", "prompt_tokens", "completion_tokens", "user_tokens"}
    assert found["measured"].items() >= {"seed": 3, "temperature": 0.0}.items()
    paired = found["paired"]
    assert (paired["difference"], paired["gained"], paired["lost"]) == (1.0, found["n"], 0)
    assert 0.5 < paired["ci95"][0] <= paired["ci95"][1] == 1.0


def test_every_trial_of_every_task_is_kept(results):
    outcomes = outcomes_of(results / "oracle")
    assert all(all(trials) for trials in outcomes.values())
    assert {len(trials) for trials in outcomes.values()} == {TRIALS}
    assert is_result(results / "oracle")
    assert not is_result(results)


def test_side_by_side_each_is_compared_with_the_first(results):
    entries = beside([results / "silent", results / "oracle"])
    assert [entry["model"] for entry in entries] == ["scripted:silent", "scripted:oracle"]
    assert "paired" not in entries[0]
    assert entries[1]["paired"]["difference"] == 1.0
    table = as_table(entries)
    assert "| pass@1 | 0.0% (0.0% to" in table
    assert "| difference to the first |  | +100.0 points" in table
    assert "| prompt_hash |" in table


def test_a_folder_is_not_written_to_twice(results):
    tasks = choose_tasks(Library, "held-out")
    how = Measuring(1, AgentSettings(), temperature=0.0, seed=0, batch=4)
    out = results / "silent"
    with Sandbox() as sandbox, pytest.raises(UsageError, match="holds attempts already"):
        measure("scripted:silent", tasks, Library, sandbox, how, watch=Silent(), out=out)


def test_where_nothing_was_measured_it_is_said(tmp_path):
    with pytest.raises(UsageError, match="nothing was measured"):
        read_results(tmp_path)
