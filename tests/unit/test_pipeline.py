"""What a resumed run tells of how far it is."""

import pytest

from selfchallenge.environments.loading import load_environment
from selfchallenge.episode import StopReason
from selfchallenge.errors import SpoiltError
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.executor.agent import Attempt
from selfchallenge.pipeline import open_loop
from selfchallenge.progress import Silent
from selfchallenge.settings import overlay, preset


class KilledError(Exception):
    """Stands for the end of the process."""


class Counting(Silent):
    """Remembers each stage and what it was told of it; ends the process at `end`."""

    def __init__(self, end=None):
        self.stages, self.end = {}, end

    def stage(self, name, total, done=0):
        self.name = name
        self.stages[name] = [(done, total)]
        return self

    def update(self, done, note=""):
        self.stages[self.name].append((done, note))
        if self.end == (self.name, done):
            raise KilledError


@pytest.fixture
def settings():
    # One attempt at a time, so that some are left at any point.
    return overlay(preset("smoke"), {"batch": 1, "tasks": 2})


def test_a_resumed_score_goes_on_counting(tmp_path, settings):
    first = Counting(end=("score before", 5))
    with (
        pytest.raises(KilledError),
        open_loop("library", tmp_path / "run", settings, watch=first) as loop,
    ):
        loop.measure("before")
    again = Counting()
    with open_loop("library", tmp_path / "run", settings, watch=again) as loop:
        loop.measure("before")
    assert again.stages["score before"][0] == (5, 12)
    assert again.stages["score before"][1] == (6, "6 passed")
    assert again.stages["score before"][-1] == (12, "12 passed")
    assert again.stages["score noop"] == [(12, 12)]


@pytest.fixture
def spoiling(monkeypatch):
    """Lets the sandbox end the attempts at these tasks; the model is not to blame."""
    spoilt = set()
    finish = Attempt.finish

    def ended(self):
        episode = finish(self)
        change = {"stop": StopReason.SANDBOX, "passed": False, "reward": 0.0}
        return episode.model_copy(update=change) if spoilt & {episode.task, "all"} else episode

    monkeypatch.setattr(Attempt, "finish", ended)
    return spoilt


def test_test_attempts_that_the_sandbox_ended_are_named_and_made_again(
    tmp_path, settings, spoiling
):
    tasks = [task.id for task in held_out_tasks(load_environment("library"))]
    spoiling.update(tasks[:2])
    with open_loop("library", tmp_path / "run", settings, watch=Counting()) as loop:
        loop.measure("before")
        found = loop.report()["before"]
    assert (found["pass@1"], found["sandbox_faults"]) == (pytest.approx(10 / 12), 2)
    spoiling.clear()
    again = Counting()
    with open_loop("library", tmp_path / "run", settings, watch=again) as loop:
        loop.measure("before")
        found = loop.report()["before"]
    assert again.stages["score before"][0] == (10, 12)
    assert (found["pass@1"], found["n"], found["sandbox_faults"]) == (1.0, 12, 0)


def test_attempts_to_learn_from_that_the_sandbox_ended_are_owed(tmp_path, settings, spoiling):
    folder = tmp_path / "run"
    with open_loop("library", folder, settings) as loop:
        loop.challenge()
        spoiling.add("all")
        with pytest.raises(SpoiltError, match="all 4 attempts were ended by the sandbox") as error:
            loop.roll_out()
    assert "doctor" in error.value.fix
    spoiling.clear()
    again = Counting()
    with open_loop("library", folder, settings, watch=again) as loop:
        loop.roll_out()
        assert again.stages["rollouts"][0] == (0, 4)
        assert loop.report()["episodes"]["count"] == 4


def test_a_score_of_nothing_but_a_dead_sandbox_is_none(tmp_path, settings, spoiling):
    spoiling.add("all")
    with (
        open_loop("library", tmp_path / "run", settings) as loop,
        pytest.raises(SpoiltError, match="all 12 attempts were ended by the sandbox"),
    ):
        loop.measure("before")
