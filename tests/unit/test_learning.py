"""The stages that learn, through the whole loop on the toy and scripted models."""

import json

import pytest

from selfchallenge.errors import ModelError, UsageError
from selfchallenge.pipeline import open_loop, run_loop
from selfchallenge.settings import overlay, preset

pytest.importorskip("torch")


def settings(**changes):
    small = {"tasks": 3, "candidates": 12}
    return overlay(preset("smoke"), small | changes)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_teacher_makes_the_attempts_and_the_student_is_measured(tmp_path):
    asked = settings(algorithm="distill", teacher_model="scripted:half", rollouts=4)
    summary = run_loop("library", tmp_path, asked)
    episodes = lines(tmp_path / "episodes.jsonl")
    assert {e["model"] for e in episodes} == {"scripted:half"}
    assert {e["reward"] for e in episodes} == {0.0, 1.0}
    assert {e["model"] for e in lines(tmp_path / "scores.jsonl")} == {
        "scripted:oracle",
        "scripted:idle",
    }
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    assert 0 < trained["samples"] <= len(episodes)
    assert summary["algorithm"] == "distill"


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"algorithm": "distill"}, "--teacher-model"),
        ({"teacher_model": "scripted:half"}, "--algorithm distill"),
    ],
)
def test_a_teacher_and_distillation_go_together(tmp_path, changes, fix):
    with pytest.raises(UsageError) as error:
        run_loop("library", tmp_path / "run", settings(**changes))
    assert fix in error.value.fix
    assert not (tmp_path / "run").exists()


def test_an_unreachable_teacher_is_named_and_the_tasks_are_kept(tmp_path, monkeypatch):
    from selfchallenge import roles
    from selfchallenge.models.openai import OpenAIModel

    def load(spec, **_):
        if spec.startswith("openai:"):
            return OpenAIModel("big", "http://127.0.0.1:9/v1", retries=0)
        raise AssertionError(spec)

    monkeypatch.setattr(roles, "load_model", load)
    asked = settings(algorithm="distill", teacher_model="openai:big@http://127.0.0.1:9/v1")
    with open_loop("library", tmp_path, asked) as loop:
        loop.challenge()
        with pytest.raises(ModelError, match="cannot reach the server") as error:
            loop.roll_out()
    assert "start the server" in error.value.fix
    assert len(lines(tmp_path / "tasks.jsonl")) == 3
    assert not (tmp_path / "episodes.jsonl").exists()
