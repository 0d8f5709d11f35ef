import io

import pytest
from rich.console import Console
from rich.progress import Progress

from selfchallenge import progress
from selfchallenge.progress import Bars, Lines, Silent, counted


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_the_time_left(clock, capsys):
    stage = Lines().stage("rollouts", 100)
    clock[0] += 60
    stage.update(25, "5 successes")
    assert capsys.readouterr().err == (
        "rollouts: 25/100 (5 successes), 1 min 00 s, about 3 min 00 s left\n"
    )


def test_what_an_earlier_process_did_took_no_time_now(clock, capsys):
    stage = Lines().stage("rollouts", 100, 90)
    clock[0] += 60
    stage.update(95)
    assert capsys.readouterr().err == "rollouts: 95/100, 1 min 00 s, about 1 min 00 s left\n"


def test_nothing_done_now_gives_no_estimate(clock, capsys):
    stage = Lines().stage("rollouts", 100, 90)
    clock[0] += 60
    stage.update(90)
    assert capsys.readouterr().err == "rollouts: 90/100, 1 min 00 s\n"


def test_the_first_of_a_batch_to_end_gives_no_estimate(clock, capsys):
    stage = Lines().stage("rollouts", 600, 320)
    clock[0] += 123
    stage.update(321)
    assert capsys.readouterr().err == "rollouts: 321/600, 2 min 03 s\n"


def test_lines_are_seconds_apart_but_the_last_always_comes(clock, capsys):
    stage = Lines().stage("rollouts", 3)
    for done in (1, 2, 3):
        clock[0] += 1
        stage.update(done)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["1/3,", "3/3,"]


def test_bars_tell_the_time_left_from_what_was_done_now():
    now = [0.0]
    shown = Progress(console=Console(file=io.StringIO()), get_time=lambda: now[0])
    bar = Bars(shown).stage("score", 100, 90)
    assert shown.tasks[0].completed == 90
    for done in (91, 92, 93):
        now[0] += 10
        bar.update(done)
    assert shown.tasks[0].time_remaining == 70


def test_silence():
    assert Silent().stage("score", 3, 1).update(2) is None


def test_one_is_not_many():
    assert [counted(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
