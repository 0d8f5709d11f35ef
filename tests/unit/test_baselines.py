"""PAE, shared tasks, and training on the attempts of other runs, through the whole loop."""

import json

import pytest

from selfchallenge.environments.library import Library
from selfchallenge.episode import Episode
from selfchallenge.errors import StageError, UsageError
from selfchallenge.evaluation.suite import held_out_file
from selfchallenge.executor.judge import FAULT, JUDGED
from selfchallenge.pipeline import open_loop, run_loop
from selfchallenge.runs.store import RunFiles
from selfchallenge.settings import overlay, preset
from selfchallenge.task import CodeAsTask

pytest.importorskip("torch")

PAE = {"writer": "pae", "judge_model": "scripted:judge"}


def settings(**changes):
    small = {"tasks": 3, "candidates": 12, "model": "scripted:half", "rollouts": 4}
    return overlay(preset("smoke"), small | changes)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run that has tasks and attempts and was not trained."""
    folder = tmp_path_factory.mktemp("source") / "run"
    with open_loop("library", folder, settings()) as loop:
        loop.challenge()
        loop.roll_out()
    return folder


def tasks(run):
    return RunFiles.view(run).read("tasks.jsonl", CodeAsTask)


def episodes(run, name="episodes.jsonl"):
    return RunFiles.view(run).read(name, Episode)


# -- PAE


def test_pae_goes_through_the_whole_loop_and_is_measured_by_verifiers(tmp_path):
    summary = run_loop("library", tmp_path, settings(**PAE))
    assert len(tasks(tmp_path)) == 3
    made = episodes(tmp_path)
    assert {one.reward for one in made} == {0.0, 1.0}
    assert not any(one.passed for one in made)
    assert all(one.meta[JUDGED]["model"] == "scripted:judge" for one in made)
    measured = episodes(tmp_path, "scores.jsonl")
    assert not any(JUDGED in one.meta for one in measured)
    assert summary["after"]["n"] == summary["before"]["n"] > 0
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    distinct = {(one.task, one.turns[-1].content) for one in made if one.reward == 1.0}
    assert trained["samples"] == len(distinct)


def test_its_tasks_need_no_gate_and_show_no_solution():
    asked = settings(**PAE, gate="full", hinted=3)
    assert (asked.gate, asked.hinted, asked.judged) == ("none", 0, True)
    assert not settings().judged


def test_a_judge_that_says_nothing_leaves_failures_and_no_model(tmp_path):
    asked = settings(writer="pae", judge_model="scripted:silent")
    with pytest.raises(StageError, match="earned the reward"):
        run_loop("library", tmp_path, asked)
    assert {one.meta[FAULT] for one in episodes(tmp_path)} == {"no verdict"}
    assert {one.reward for one in episodes(tmp_path)} == {0.0}


def test_a_proposer_that_says_nothing_leaves_candidates_that_failed(tmp_path):
    with pytest.raises(StageError, match="no candidate was accepted"):
        run_loop("library", tmp_path, settings(**PAE, challenger_model="scripted:silent"))
    found = RunFiles.view(tmp_path).read("candidates.jsonl")
    assert {one["failed"] for one in found} == {"format"}


def test_a_model_in_training_does_not_judge_itself(tmp_path):
    asked = settings(writer="pae", algorithm="ppo", challenger_model="", judge_model="")
    with pytest.raises(UsageError, match="judge") as error:
        run_loop("library", tmp_path / "run", asked)
    assert "judge_model" in error.value.fix
    assert not (tmp_path / "run").exists()


def test_an_unknown_judge_is_found_out_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="no script"):
        run_loop("library", tmp_path / "run", settings(**PAE | {"judge_model": "scripted:nobody"}))
    assert not (tmp_path / "run").exists()


# -- tasks from elsewhere


def test_the_candidates_of_a_run_serve_another_gate(source, tmp_path):
    with open_loop("library", tmp_path, settings(tasks_from=str(source), gate="paper")) as loop:
        loop.challenge()
    assert [one.id for one in tasks(tmp_path)] == [one.id for one in tasks(source)]
    verdicts = RunFiles.view(tmp_path).read("verdicts.jsonl")
    assert {line["verdict"]["gate"] for line in verdicts} == {"paper"}


def test_fewer_tasks_are_the_first_ones(source, tmp_path):
    with open_loop("library", tmp_path, settings(tasks_from=str(source), tasks=2)) as loop:
        loop.challenge()
    assert [one.id for one in tasks(tmp_path)] == [one.id for one in tasks(source)][:2]


def test_a_file_of_ones_own_is_trained_on(source, tmp_path):
    file = source / "tasks.jsonl"
    with open_loop("library", tmp_path, settings(tasks_from=str(file))) as loop:
        loop.challenge()
    assert len(tasks(tmp_path)) == 3
    assert {one["writer"] for one in RunFiles.view(tmp_path).read("candidates.jsonl")} == {"given"}


@pytest.mark.parametrize("gate", ["none", "paper"])
def test_held_out_tasks_are_refused_whatever_the_gate(tmp_path, gate):
    asked = settings(tasks_from=str(held_out_file(Library)), gate=gate, candidates=50)
    with (
        pytest.raises(StageError, match="no candidate"),
        open_loop("library", tmp_path, asked) as loop,
    ):
        loop.challenge()
    assert not (tmp_path / "tasks.jsonl").exists()


# -- attempts from elsewhere


@pytest.mark.parametrize("algorithm", ["rft", "dpo"])
def test_attempts_of_other_runs_are_learnt_from(source, tmp_path, algorithm):
    asked = settings(algorithm=algorithm, learn_from=(str(source),))
    summary = run_loop("library", tmp_path, asked)
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    assert trained["samples"] > 0
    assert not (tmp_path / "episodes.jsonl").exists()
    assert summary["after"]["n"] > 0


def test_several_environments_are_trained_on_together(source, tmp_path):
    with open_loop("calculation", tmp_path / "other", settings()) as loop:
        loop.challenge()
        loop.roll_out()
    both = (str(source), str(tmp_path / "other"))
    with open_loop("library", tmp_path / "joint", settings(learn_from=both)) as loop:
        loop.train()
    trained = json.loads((tmp_path / "joint" / "model" / "training.json").read_text())
    successes = [one for run in both for one in episodes(run) if one.reward == 1.0]
    assert len({one.task for one in successes}) > 3
    assert trained["samples"] == len({(one.task, one.turns[-1].content) for one in successes})


def test_attempts_of_another_model_are_refused(source, tmp_path):
    asked = settings(model="scripted:oracle", learn_from=(str(source),))
    with (
        pytest.raises(UsageError, match="scripted:half"),
        open_loop("library", tmp_path, asked) as loop,
    ):
        loop.train()


def test_an_online_algorithm_takes_no_attempts_of_others(source, tmp_path):
    with pytest.raises(UsageError, match="grpo") as error:
        run_loop("library", tmp_path / "x", settings(algorithm="grpo", learn_from=(str(source),)))
    assert "--tasks-from" in error.value.fix


@pytest.mark.parametrize(
    "changes", [{"tasks_from": "nowhere"}, {"learn_from": ("nowhere",)}], ids=["tasks", "attempts"]
)
def test_a_source_that_is_not_there_is_said_before_anything_is_written(tmp_path, changes):
    with pytest.raises(UsageError, match="no run directory"):
        run_loop("library", tmp_path / "x", settings(**changes))
    assert not (tmp_path / "x").exists()


def test_a_source_without_attempts_is_said_before_anything_is_written(tmp_path):
    with open_loop("library", tmp_path / "source", settings()) as loop:
        loop.challenge()
    with pytest.raises(UsageError, match="nothing to learn from it") as error:
        run_loop("library", tmp_path / "x", settings(learn_from=(str(tmp_path / "source"),)))
    assert error.value.where == str(tmp_path / "source")
    assert not (tmp_path / "x").exists()


def test_tasks_and_attempts_of_others_exclude_each_other(source, tmp_path):
    asked = settings(tasks_from=str(source), learn_from=(str(source),))
    with pytest.raises(UsageError, match="their own tasks"):
        run_loop("library", tmp_path / "x", asked)
