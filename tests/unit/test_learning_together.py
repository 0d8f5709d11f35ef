"""The command that learns, started by a launcher in two processes."""

import json
import os
import subprocess
import sys

import pytest

from selfchallenge.pipeline import open_loop
from selfchallenge.settings import overlay, preset

pytest.importorskip("torch")

LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("accelerate.commands.launch", "--cpu", "--num_processes", "2"),
}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.timeout(900)  # three processes of the whole program, maybe on few cores
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_attempt_and_learn_what_one_does(tmp_path, launcher):
    # A scripted model's tokens are bytes, and there are thousands in each attempt.
    few = {"iterations": 1, "tasks": 2, "group": 2}
    small = {
        "tasks": 2,
        "candidates": 8,
        "algorithm": "grpo",
        "grpo": few,
        "model": "scripted:half",
    }
    asked = overlay(preset("smoke"), small)
    for name in ("alone", "both"):
        with open_loop("library", tmp_path / name, asked) as loop:
            loop.challenge()
            if name == "alone":
                loop.train()
    done = subprocess.run(
        [
            *(sys.executable, "-m", *LAUNCHERS[launcher]),
            *("-m", "selfchallenge", "train", str(tmp_path / "both")),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: ") == 1
    alone, both = (
        json.loads((tmp_path / name / "model" / "training.json").read_text())
        for name in ("alone", "both")
    )
    for name in ("samples", "tasks", "dropped", "parameters", "ended"):
        assert both[name] == alone[name]
    losses = [[step["loss"] for step in found["steps"]] for found in (both, alone)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    keys = [
        sorted((e["task"], e["attempt"]) for e in lines(tmp_path / name / "episodes.jsonl"))
        for name in ("alone", "both")
    ]
    assert keys[0] == keys[1]
    assert len(set(keys[1])) == len(keys[1])
    assert not (tmp_path / "both" / "model.partial").exists()
