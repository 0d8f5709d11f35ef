"""Two processes train as one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from together import trained

from selfchallenge.errors import UsageError
from selfchallenge.learner import processes

HERE = Path(__file__).parent
ALGORITHMS = ["rft", "full", "dpo", "grpo", "ppo"]


def launched(*arguments, count=2):
    """A launcher with `count` processes of `arguments`."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count))
    command = [sys.executable, *launcher, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(launcher):
    """Exit status and what was printed; nothing of it is left running."""
    try:
        said, _ = launcher.communicate(timeout=240)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
    return launcher.returncode, said


def assert_gone(out):
    for rank in (0, 1):
        with pytest.raises(ProcessLookupError):
            os.kill(int((out / f"pid-{rank}").read_text()), 0)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes says of every algorithm, and where."""
    out = tmp_path_factory.mktemp("both")
    status, said = ended(launched(HERE / "together.py", out, *ALGORITHMS))
    assert status == 0, said
    return out


@pytest.mark.parametrize("name", ALGORITHMS)
def test_two_processes_end_with_the_losses_and_the_weights_of_one(both, tmp_path, name):
    alone, weights = trained(name, tmp_path / name)
    found = [torch.load(both / f"{name}-{rank}.pt") for rank in (0, 1)]
    assert torch.equal(found[0]["weights"], found[1]["weights"])
    assert found[0]["losses"] == found[1]["losses"]
    assert found[0]["losses"] == pytest.approx(alone.losses, abs=1e-5)
    assert (found[0]["weights"] - weights).abs().max() < 1e-5
    for one, other in zip(found[0]["figures"], alone.steps, strict=True):
        assert one == pytest.approx(dict(other.figures), abs=1e-5)
    names = {path.name for path in (both / name).iterdir()}
    assert names == {path.name for path in (tmp_path / name).iterdir()}


def test_each_process_reads_a_share_only(both, tmp_path):
    alone, _ = trained("rft", tmp_path / "rft")
    read = torch.load(both / "rft-0.pt")["read"]
    # Beginnings that the shares have in common are read by both.
    assert all(n <= m < 2 * n for n, m in zip([r.read for r in alone.steps], read, strict=True))


def test_a_training_that_is_interrupted_goes_on(tmp_path):
    launcher = launched(HERE / "together.py", tmp_path, "rft", "--odd", "wait")
    while not (tmp_path / "waiting").exists():
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.1)
    launcher.send_signal(signal.SIGINT)
    status, _ = ended(launcher)
    assert status != 0
    assert_gone(tmp_path)
    assert not (tmp_path / "rft").exists()
    status, said = ended(launched(HERE / "together.py", tmp_path, "rft"))
    assert status == 0, said
    alone, weights = trained("rft", tmp_path / "alone")
    found = torch.load(tmp_path / "rft-1.pt")
    assert found["resumed"] == 2
    assert found["losses"] == pytest.approx(alone.losses, abs=1e-5)
    assert (found["weights"] - weights).abs().max() < 1e-5


def test_a_loss_of_nan_in_one_process_ends_all_and_keeps_the_checkpoint(tmp_path):
    status, _ = ended(launched(HERE / "together.py", tmp_path, "rft", "--odd", "nan"))
    assert status != 0
    assert_gone(tmp_path)
    for rank in (0, 1):
        assert "training diverged" in (tmp_path / f"error-{rank}").read_text()
    assert (tmp_path / "rft.partial" / "state.pt").exists()
    assert not (tmp_path / "rft").exists()


def test_a_process_that_dies_ends_all(tmp_path):
    status, _ = ended(launched(HERE / "together.py", tmp_path, "rft", "--odd", "die"))
    assert status != 0
    assert_gone(tmp_path)
    assert (tmp_path / "rft.partial" / "state.pt").exists()


def test_whose_turn_it_is_without_a_launcher(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # as schedulers do, for a whole job
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)
    processes.require_one("anything")


def test_only_the_training_is_done_by_several(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    assert not processes.is_main()
    with pytest.raises(UsageError, match="4 were launched") as error:
        processes.require_one("making attempts")
    assert "accelerate launch -m selfchallenge train" in error.value.fix


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_sharded_weights_are_refused(monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UsageError, match="does not go with our own step") as error:
        processes.require_plain("our own step")
    assert "data-parallel" in error.value.fix
