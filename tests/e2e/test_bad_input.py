"""What goes wrong outside of the package ends in a clear error or a recorded rejection."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORLD = '''
"""Tools of which some are broken."""
import os
from selfchallenge import Environment, tool


class Workshop(Environment):
    """You work in a workshop."""

    def __init__(self, seed=None):
        self.parts = {"bolt": 4, "nut": 7, "washer": 12}

    @classmethod
    def seeds(cls):
        return ["one", "two", "three", "four", "five"]

    @tool
    def stock(self, part: str) -> int:
        """How many there are of a part: bolt, nut or washer."""
        return self.parts[part]

    @tool
    def sum_of(self, first: int, second: int) -> int:
        """The sum of two numbers."""
        return first + second

    @tool
    def raising(self, part: str) -> int:
        """Fails always."""
        raise ZeroDivisionError("it is broken")

    @tool
    def odd(self, part: str) -> object:
        """Returns what is no data."""
        return object()

    @tool
    def leaving(self, part: str) -> int:
        """Ends its own process."""
        os._exit(7)
'''


def selfchallenge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfchallenge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_broken_tools_cost_tasks_and_not_the_run(tmp_path: Path) -> None:
    file = tmp_path / "workshop.py"
    file.write_text(WORLD)
    run = tmp_path / "run"
    done = selfchallenge(
        *("run", f"{file}:Workshop", "--preset", "smoke", "--out", str(run)),
        *("--set", "tasks=4", "--set", "candidates=16"),
    )
    assert "Traceback" not in done.stderr
    assert "bug of selfchallenge" not in done.stderr
    assert done.returncode == 0, done.stderr
    candidates = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    tasks = [json.loads(line) for line in (run / "tasks.jsonl").read_text().splitlines()]
    assert len(tasks) == 4
    used = {tool for candidate in candidates if candidate["task"] for tool in candidate["tools"]}
    assert used <= {"stock", "sum_of"}
    assert all(candidate["evidence"] for candidate in candidates if candidate["failed"])


def test_a_tool_that_ends_its_process_costs_a_verdict_and_not_the_check(tmp_path: Path) -> None:
    file = tmp_path / "workshop.py"
    file.write_text(WORLD)
    good = {
        "environment": "Workshop",
        "instruction": "How many parts of the kind 'bolt' are there?",
        "verifier": "def evaluate(answer):\n    return answer == stock('bolt')",
        "solution": "answer = stock('bolt')",
        "failures": ["answer = stock('nut')", "answer = 5", "answer = 'many'"],
    }
    tasks = tmp_path / "tasks.jsonl"
    bad = [
        good | {"solution": f"answer = {name}('bolt')"} for name in ("leaving", "odd", "raising")
    ]
    tasks.write_text("".join(json.dumps(task) + "\n" for task in (*bad, good)))
    done = selfchallenge("check", str(tasks), "--env", f"{file}:Workshop", "--json")
    assert 'Traceback (most recent call last):\n  File "/' not in done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["accepted"] for verdict in verdicts] == [False, False, False, True]
    assert "the process of Workshop" in verdicts[0]["checks"][-1]["evidence"]


@pytest.mark.parametrize("out", ["/sys/selfchallenge-run", "/dev/null/run"])
def test_a_folder_that_cannot_be_written_is_named(out: str) -> None:
    done = selfchallenge("run", "library", "--preset", "smoke", "--out", out)
    assert done.returncode != 0
    assert out in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_keeps_what_was_written_and_the_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(run)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        command = ("run", "library", "--preset", "smoke", "--out", str(run))
        full = selfchallenge(*command)
        assert full.returncode != 0
        assert "the disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        before = (run / "candidates.jsonl").read_bytes()
        subprocess.run(["mount", "-o", "remount,size=64m", str(run)], check=True)
        again = selfchallenge(*command)
        assert again.returncode == 0, again.stderr
        whole = before[: before.rfind(b"\n") + 1]
        assert (run / "candidates.jsonl").read_bytes().startswith(whole)
        assert "accepted" in again.stdout
    finally:
        subprocess.run(["umount", str(run)], check=True)
