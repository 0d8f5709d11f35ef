"""The smoke loop end to end through the command line: complete, deterministic, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "selfchallenge", "run", "library", "--preset", "smoke", "--out"]
FILES = ("candidates", "verdicts", "tasks", "episodes", "scores")


def lines(run: Path, name: str) -> list[dict]:
    file = run / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keys(run: Path) -> dict[str, list[str]]:
    """The key of every record of a run, in the order of the files."""
    key: dict[str, Callable[[dict], str]] = {
        "candidates": lambda r: str(r["candidate"]),
        "verdicts": lambda r: str(r["candidate"]),
        "tasks": lambda r: r["id"],
        "episodes": lambda r: f"{r['phase']}/{r['task']}/{r['attempt']}",
        "scores": lambda r: f"{r['phase']}/{r['task']}/{r['attempt']}",
    }
    return {name: [key[name](record) for record in lines(run, name)] for name in FILES}


def finish(run: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, str(run)], capture_output=True, text=True, timeout=240, check=False
    )


def kill_when(run: Path, ready: Callable[[], bool]) -> bool:
    """Start the loop and kill it with -9 as soon as `ready`; False when it ended before."""
    with subprocess.Popen(
        [*COMMAND, str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if ready():
                os.kill(process.pid, signal.SIGKILL)
                return True
            time.sleep(0.005)
        process.kill()
    return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = finish(run)
    assert done.returncode == 0, done.stderr
    return run


def test_the_loop_runs_every_stage(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["tasks"]["accepted"] >= 1
    assert summary["episodes"]["count"] == 2 * summary["tasks"]["accepted"]
    assert summary["episodes"]["successes"] == summary["episodes"]["count"]
    assert summary["before"]["pass@1"] == 1.0
    assert summary["after"]["n"] == summary["before"]["n"]
    assert summary["noop_floor"] == 0.0
    assert (whole / "model" / "adapter_model.safetensors").exists()
    assert (whole / "report.html").read_text().startswith("<!doctype html>")


def test_every_written_task_was_accepted_by_running_it(whole: Path) -> None:
    accepted = [line["verdict"] for line in lines(whole, "verdicts") if line["verdict"]["accepted"]]
    assert [verdict["id"] for verdict in accepted] == keys(whole)["tasks"]
    assert all(verdict["isolation"] in ("A", "B") for verdict in accepted)


def test_the_same_command_again_repeats_no_work(whole: Path) -> None:
    before = {name: (whole / f"{name}.jsonl").read_bytes() for name in FILES}
    assert finish(whole).returncode == 0
    assert {name: (whole / f"{name}.jsonl").read_bytes() for name in FILES} == before


def test_the_loop_is_deterministic(whole: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert finish(again).returncode == 0
    assert {name: sorted(found) for name, found in keys(again).items()} == {
        name: sorted(found) for name, found in keys(whole).items()
    }


def test_killed_at_every_stage_it_goes_on_without_a_lost_or_doubled_record(
    whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def scored(phase: str) -> int:
        file = run / "scores.jsonl"
        return file.read_bytes().count(f'"phase":"{phase}"'.encode()) if file.exists() else 0

    moments: list[Callable[[], bool]] = [
        (run / "run.json").exists,
        (run / "candidates.jsonl").exists,
        (run / "tasks.jsonl").exists,
        lambda: scored("noop") >= 3,
        lambda: scored("before") >= 2,
        (run / "episodes.jsonl").exists,
        lambda: (run / "model.partial").exists() or (run / "model").exists(),
        lambda: scored("after") >= 2,
    ]
    killed = [kill_when(run, moment) for moment in moments]
    assert all(killed)
    assert finish(run).returncode == 0
    found, expected = keys(run), keys(whole)
    for name in FILES:
        assert len(found[name]) == len(set(found[name])), name
    assert set(found["scores"]) == set(expected["scores"])
    assert len(found["episodes"]) == 2 * len(found["tasks"])
    assert (run / "report.html").exists()


def test_another_run_in_the_same_directory_is_refused(whole: Path) -> None:
    command = [*COMMAND, str(whole), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "seed" in done.stderr
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr
