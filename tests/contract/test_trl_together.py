"""Two processes of TRL's end with the losses of one, on the same attempts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="TRL is not installed: pip install 'selfchallenge[train]'")

from test_trl_adapter import weights
from trl_together import trained

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    out = tmp_path_factory.mktemp("both")
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, "-m", *launcher, HERE / "trl_together.py", out, "rft", "dpo", "grpo"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", ["rft", "dpo", "grpo"])
def test_two_processes_end_where_one_does(both, tmp_path, name):
    alone, asked = trained(name, tmp_path / name)
    found = [json.loads((both / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
    for one in found:
        assert one["losses"] == pytest.approx(alone.losses, abs=1e-4)
        # Which groups are replaced all decide alike; who makes an attempt is not the trainer's.
        assert [tuple(key) for key in one["asked"]] == asked
    first, second = weights(both / name), weights(tmp_path / name)
    assert max((first[key] - second[key]).abs().max() for key in first) < 1e-3
    assert found[0]["figures"][0].keys() == dict(alone.steps[0].figures).keys()
