"""The smoke loop over each of the four environments, through the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HELD_OUT = {"calculation": 110, "web": 48, "retail": 43, "airline": 42}
COMMAND = [sys.executable, "-m", "selfchallenge", "run"]


@pytest.mark.timeout(900)  # of a machine that is busy with other work
@pytest.mark.parametrize("environment", HELD_OUT)
def test_every_stage_runs_and_ends(environment: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = [environment, "--preset", "smoke", "--out", str(run), "--json"]
    done = subprocess.run(
        [*COMMAND, *given], capture_output=True, text=True, timeout=880, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    accepted = summary["tasks"]["accepted"]
    assert accepted == 4
    assert summary["episodes"] == {"count": 2 * accepted, "successes": 2 * accepted}
    for phase in ("before", "after"):
        assert (summary[phase]["n"], summary[phase]["pass@1"]) == (HELD_OUT[environment], 1.0)
        assert summary[phase]["grounded"]["pass@1"] == 1.0
    assert summary["noop_floor"] == 0.0
    trained = json.loads((run / "model" / "training.json").read_text())
    assert trained["samples"] == accepted
    assert (run / "model" / "adapter_model.safetensors").exists()
    assert (run / "report.html").exists()
