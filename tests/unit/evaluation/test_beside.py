"""Results as files: what one holds, and several of them side by side."""

from __future__ import annotations

import json
from functools import partial

import pytest

from selfchallenge.environments.library import Library
from selfchallenge.episode import Episode, StopReason
from selfchallenge.errors import SpoiltError, UsageError
from selfchallenge.evaluation import benchmarks
from selfchallenge.evaluation.benchmarks import Measuring, choose_tasks, measure
from selfchallenge.evaluation.beside import as_table, beside, is_result, outcomes_of, read_results
from selfchallenge.executor.agent import AgentSettings, Attempt
from selfchallenge.models.scripted import named_script
from selfchallenge.progress import Silent
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask

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


def measured(
    out,
    *,
    seed=3,
    settings=AgentSettings(),  # noqa: B008
    tasks=None,
    stop_after=None,
    against=None,
):
    """What an oracle scores on the library's tasks, or nothing where it is stopped before."""
    how = Measuring(TRIALS, settings, temperature=0.0, seed=seed, batch=4)
    tasks = tasks or choose_tasks(Library, "held-out")
    with Sandbox() as sandbox:
        watch = Silent() if stop_after is None else Stopping(stop_after)
        return measure(
            "scripted:oracle", tasks, Library, sandbox, how, watch=watch, out=out, against=against
        )


class Stopping(Silent):
    """Someone presses Ctrl-C after so many attempts."""

    def __init__(self, after):
        self.after = after

    def stage(self, name, total, done=0):
        return self

    def update(self, done, note=""):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def test_a_stopped_measurement_goes_on_where_it_was(tmp_path):
    whole = measured(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "stopped", stop_after=20)
    with (tmp_path / "stopped/scores.jsonl").open("a") as torn:
        torn.write('{"phase": "eval", "ta')
    with pytest.raises(UsageError, match="not finished") as unfinished:
        beside([tmp_path / "stopped"])
    assert "eval again" in unfinished.value.fix
    kept = (tmp_path / "stopped/scores.jsonl").read_text().splitlines()[:20]
    resumed = measured(tmp_path / "stopped")
    lines = (tmp_path / "stopped/scores.jsonl").read_text().splitlines()
    assert lines[:20] == kept
    attempts = [Episode.model_validate_json(line).key for line in lines]
    assert len(attempts) == len(set(attempts)) == (1 + TRIALS) * whole["n"]
    for found in (whole, resumed):
        assert found["cost"].pop("seconds") > 0
    assert resumed == whole


def test_a_measurement_of_nothing_but_a_dead_sandbox_is_none(tmp_path, monkeypatch):
    finish = Attempt.finish

    def ended(self):
        return finish(self).model_copy(update={"stop": StopReason.SANDBOX, "passed": False})

    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "finish", ended)
        with pytest.raises(SpoiltError, match="were ended by the sandbox"):
            measured(tmp_path / "result")
    assert not (tmp_path / "result/score.json").exists()
    assert measured(tmp_path / "result")["pass@1"] == 1.0


def test_a_finished_measurement_is_told_again(tmp_path):
    first = measured(tmp_path / "result")
    before = (tmp_path / "result/scores.jsonl").read_bytes()
    again = measured(tmp_path / "result")
    assert (tmp_path / "result/scores.jsonl").read_bytes() == before
    assert again["cost"].pop("seconds") >= first["cost"].pop("seconds")
    assert again == first


def test_a_folder_holds_one_measurement(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, stop_after=14)
    before = (tmp_path / "scores.jsonl").read_bytes()
    with pytest.raises(UsageError, match="a measurement with seed = 3, not 4") as refused:
        measured(tmp_path, seed=4)
    assert "another --out" in refused.value.fix
    with pytest.raises(UsageError, match="a measurement with max_observation = 2000, not 5"):
        measured(tmp_path, settings=AgentSettings(max_observation=5))
    assert "policy" not in json.loads((tmp_path / "measurement.json").read_text())["measured"]
    with pytest.raises(UsageError, match="a measurement with policy = None, not False"):
        measured(tmp_path, settings=AgentSettings(policy=False))
    *others, last = choose_tasks(Library, "held-out")
    changed = last.model_dump(exclude={"id"}) | {"verifier": f"{last.verifier}# another\n"}
    with pytest.raises(UsageError, match="a measurement with tasks_hash"):
        measured(tmp_path, tasks=[*others, CodeAsTask.model_validate(changed)])
    (tmp_path / "measurement.json").unlink()
    with pytest.raises(UsageError, match="does not say how they were made"):
        measured(tmp_path)
    assert (tmp_path / "scores.jsonl").read_bytes() == before


def test_what_cannot_be_compared_is_refused_before_it_is_measured(tmp_path):
    first, *_, last = choose_tasks(Library, "held-out")
    measured(tmp_path / "first", tasks=[first])
    with pytest.raises(UsageError, match="share no task"):
        measured(tmp_path / "last", tasks=[last], against=tmp_path / "first")
    assert not (tmp_path / "last").exists()


def test_trials_of_a_task_and_tasks_of_a_trial_have_seeds_of_their_own(tmp_path):
    tasks = choose_tasks(Library, "held-out")
    for seed in (0, 1):
        how = Measuring(3, AgentSettings(), temperature=0.0, seed=seed, batch=40)
        with Sandbox() as sandbox:
            measure(
                "scripted:silent",
                tasks,
                Library,
                sandbox,
                how,
                watch=Silent(),
                out=tmp_path / str(seed),
            )
    seeds = [
        json.loads(line)["seed"]
        for seed in (0, 1)
        for line in (tmp_path / str(seed) / "scores.jsonl").read_text().splitlines()
        if json.loads(line)["phase"] == "eval"
    ]
    assert len(set(seeds)) == len(seeds) == 2 * 3 * len(tasks)


def test_a_model_that_was_trained_anew_is_another(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "training.json").write_text('{"loss": 1.0}')
    monkeypatch.setattr(benchmarks, "load_model", lambda *_, **__: named_script("silent"))
    tasks = choose_tasks(Library, "held-out")[:2]
    how = Measuring(1, AgentSettings(), temperature=0.0, seed=0, batch=4)
    with Sandbox() as sandbox:
        again = partial(
            measure, str(folder), tasks, Library, sandbox, how, watch=Silent(), out=tmp_path / "out"
        )
        assert again()["training"] == again()["training"] != ""
        (folder / "training.json").write_text('{"loss": 0.5}')
        with pytest.raises(UsageError, match="a measurement with training = "):
            again()


def test_where_nothing_was_measured_it_is_said(tmp_path):
    with pytest.raises(UsageError, match="nothing was measured"):
        read_results(tmp_path)
