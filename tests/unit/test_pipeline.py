"""What a resumed run tells of how far it is."""

import pytest

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
