"""Several rounds: whose model attempts, who writes, what is aimed at, and what is resumed."""

import json
from pathlib import Path

import pytest

from selfchallenge.episode import Episode, StopReason
from selfchallenge.errors import StageError, UsageError
from selfchallenge.intake import Intake
from selfchallenge.learning import mastered
from selfchallenge.manifest import amend, amended
from selfchallenge.pipeline import open_loop, run_loop
from selfchallenge.quality.difficulty import pass_rates
from selfchallenge.rounds import EASIEST, round_settings, run_rounds
from selfchallenge.runs.store import RunFiles
from selfchallenge.settings import overlay, preset
from selfchallenge.task import CodeAsTask

pytest.importorskip("torch")


def settings(**changes):
    small = {"tasks": 3, "candidates": 12, "model": "scripted:half", "rollouts": 4}
    return overlay(preset("smoke"), small | changes)


def ids(run):
    return [json.loads(line)["id"] for line in (run / "tasks.jsonl").read_text().splitlines()]


def test_each_round_is_a_run_with_new_tasks_and_the_same_command_repeats_none(tmp_path):
    summaries = run_rounds("library", tmp_path, settings(), 2)
    assert len(summaries) == 2
    first, second = tmp_path / "round-1", tmp_path / "round-2"
    assert len(ids(first)) == len(ids(second)) == 3
    assert not set(ids(first)) & set(ids(second))
    assert (second / "model" / "adapter_model.safetensors").exists()
    before = (second / "episodes.jsonl").read_bytes()
    assert run_rounds("library", tmp_path, settings(), 2) == summaries
    assert (second / "episodes.jsonl").read_bytes() == before


def test_the_executor_is_the_model_of_the_round_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = overlay(preset("laptop"), {"seed": 5})
    out, before = Path("runs/x"), tmp_path / "runs" / "x" / "round-2"
    assert round_settings(base, out, 1, "latest") == base
    fixed, latest = (round_settings(base, out, 3, who) for who in ("fixed", "latest"))
    assert fixed.model == latest.model == str(before / "model")
    assert (fixed.challenger_model, latest.challenger_model) == ("default", fixed.model)
    assert (fixed.seed, fixed.aimed_at) == (7, str(before))
    assert fixed.quality.easiest == EASIEST


def test_what_is_mastered_counts_as_covered(tmp_path):
    run_loop("library", tmp_path / "one", settings())
    run = RunFiles.view(tmp_path / "one")
    rates = pass_rates(run.read("episodes.jsonl", Episode))
    solved, failed = ({c.task.id for c in found} for found in mastered(run))
    assert solved == {task for task, rate in rates.items() if rate >= 0.5}
    assert failed == rates.keys() - solved
    after = settings(aimed_at=str(tmp_path / "one"), seed=1)
    with open_loop("library", tmp_path / "two", after) as loop:
        intake = Intake(loop.run, loop.environment, loop.sandbox, after)
        for task in run.read("tasks.jsonl", CodeAsTask):
            assert not intake._seen.check(task).passed
    third = settings(aimed_at=str(tmp_path / "two"), seed=2)
    with open_loop("library", tmp_path / "three", third) as loop:
        intake = Intake(loop.run, loop.environment, loop.sandbox, third)
        for task in run.read("tasks.jsonl", CodeAsTask):  # of two rounds before
            assert not intake._seen.check(task).passed


def test_what_a_later_round_would_refuse_is_said_before_the_first(tmp_path):
    asked = settings(writer="pae", algorithm="grpo", challenger_model="scripted:challenger")
    asked = overlay(asked, {"gate": "none", "judge_model": "", "model": "default"})
    with pytest.raises(UsageError):
        run_rounds("library", tmp_path, asked, 2, "latest")
    assert not any(tmp_path.iterdir())


def episode(task, attempt, reward, **meta):
    return Episode(
        phase="train",
        task=task,
        attempt=attempt,
        model="m",
        seed=0,
        turns=(),
        stop=StopReason.ANSWER,
        reward=reward,
        passed=bool(reward),
        meta=meta,
    )


def test_pass_rates_leave_hinted_attempts_out():
    episodes = [episode("a", 0, 1.0), episode("a", 1, 0.0), episode("a", 2, 1.0, hinted=True)]
    assert pass_rates(episodes) == {"a": 0.5}
    broken = episode("a", 3, 0.0).model_copy(update={"stop": StopReason.SANDBOX})
    assert pass_rates([*episodes, broken]) == {"a": 0.5}


def test_tasks_outside_the_band_are_not_learnt_from(tmp_path):
    asked = settings(quality={"hardest": 0.2, "easiest": 0.8})
    with open_loop("library", tmp_path, asked) as loop:
        learning = loop._learning
        mixed = [episode("a", n, float(n)) for n in range(2)]
        easy = [episode("b", n, 1.0) for n in range(2)]
        hard = [episode("c", n, 0.0) for n in range(2)]
        assert learning._within_band([*mixed, *easy, *hard]) == mixed
        with pytest.raises(StageError, match="no task that was solved has a pass rate") as error:
            learning._within_band([*easy, *hard])
    assert "quality.easiest" in error.value.fix


def test_successes_that_the_band_leaves_out_are_not_said_to_be_missing(tmp_path):
    asked = settings(quality={"hardest": 0.0, "easiest": 0.8})
    with open_loop("library", tmp_path / "run", asked) as loop:
        easy = [episode("b", n, 1.0) for n in range(2)]
        hard = [episode("c", n, 0.0) for n in range(2)]
        with pytest.raises(StageError, match="no task that was solved has a pass rate"):
            loop._learning._within_band([*easy, *hard])
        assert loop._learning._within_band(hard) == hard


def test_what_was_changed_of_one_round_holds_for_it_and_the_others_go_on(tmp_path):
    run_rounds("library", tmp_path, settings(), 1)
    second = round_settings(settings(), tmp_path, 2, "fixed")
    changes = {"quality": {"easiest": 0.9}, "rft": {"epochs": 3}, "batch": 9}
    with open_loop("library", tmp_path / "round-2", second) as loop:
        loop.challenge()
        loop.roll_out()
        amend(loop.run, overlay(second, changes))
    del changes["batch"]  # may differ from command to command
    assert amended(RunFiles(tmp_path / "round-2"), second) == changes
    assert amended(RunFiles(tmp_path / "round-2"), overlay(second, changes)) == {}
    assert amended(RunFiles(tmp_path / "round-1"), second) == {}
    assert amended(RunFiles(tmp_path), second) == {}
    assert len(run_rounds("library", tmp_path, settings(), 3)) == 3
    own = [RunFiles(tmp_path / f"round-{n}").read_json("run.json")["settings"] for n in (1, 2, 3)]
    assert own[1]["rft"]["epochs"] == 3 != own[0]["rft"]["epochs"] == own[2]["rft"]["epochs"]
    # What is asked for on purpose is not passed over.
    assert amended(RunFiles(tmp_path / "round-2"), settings(rft={"epochs": 5})).get("rft") is None
    with pytest.raises(UsageError, match="epochs"):
        run_rounds("library", tmp_path, settings(rft={"epochs": 5}), 3)


@pytest.mark.parametrize("changes", [{"tasks_from": "there"}, {"learn_from": ["there"]}])
def test_tasks_or_attempts_of_other_runs_are_not_those_of_rounds(tmp_path, changes):
    with pytest.raises(UsageError, match="tasks of its own") as error:
        run_rounds("library", tmp_path, settings(**changes), 2)
    assert "--rounds" in error.value.fix
    assert not any(tmp_path.iterdir())


def test_a_teacher_s_rate_is_not_the_student_s(tmp_path):
    """What the teacher always solves is still learnt from, and still written tasks about."""
    asked = settings(algorithm="distill", teacher_model="scripted:oracle")
    summaries = run_rounds("library", tmp_path, asked, 2)
    assert len(summaries) == 2
    assert mastered(RunFiles.view(tmp_path / "round-1")) == ([], [])
    assert (tmp_path / "round-2/model/adapter_model.safetensors").exists()


def test_the_folder_of_a_single_run_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="single run"):
        run_rounds("library", tmp_path, settings(), 2)


def test_the_folder_of_rounds_is_refused_by_a_single_run(tmp_path):
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1/run.json").write_text("{}")
    with pytest.raises(UsageError, match="directory of rounds") as error:
        run_loop("library", tmp_path, settings())
    assert "--rounds" in error.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["round-1"]
