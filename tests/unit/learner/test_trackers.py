"""Curves in trackers: real TensorBoard and MLflow, doubles of the others."""

import json
import sys
from importlib.util import find_spec

import pytest

from selfchallenge.errors import StageError, UsageError
from selfchallenge.learner.means import Means
from selfchallenge.learner.trackers import check_trackers, tracking
from selfchallenge.learner.training import StepRecord
from selfchallenge.pipeline import open_loop, run_loop
from selfchallenge.runs.store import RunDirectory
from selfchallenge.settings import overlay, preset

DOUBLE = '''
"""Stands for a tracker whose runs have a name and go on: W&B and Trackio are called alike."""
import json, os


class Run:
    def __init__(self, **given):
        self.note(given)

    def note(self, what):
        with open(os.environ["DOUBLE_LOG"], "a") as file:
            file.write(json.dumps(what) + "\\n")

    def log(self, values, step):
        self.note({"step": step, **values})

    def finish(self):
        self.note("finished")


def init(**given):
    if "BROKEN" in os.environ:
        raise PermissionError("not logged in")
    return Run(**given)
'''


@pytest.fixture(params=["wandb", "trackio"])
def double(request, tmp_path, monkeypatch):
    """The name of a tracker that a double stands for, and the lines it was told."""
    (tmp_path / f"{request.param}.py").write_text(DOUBLE)
    monkeypatch.syspath_prepend(tmp_path)
    real = sys.modules.pop(request.param, None)
    monkeypatch.setenv("DOUBLE_LOG", str(tmp_path / "log"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    log = tmp_path / "log"
    yield request.param, lambda: list(map(json.loads, log.read_text().splitlines()))
    sys.modules.pop(request.param, None)
    if real is not None:
        sys.modules[request.param] = real


def record(step, **figures):
    return StepRecord(step, 9, 1.0 / step, 10 * step, 99, 0.5, 1e-3, 0.1, figures)


def told(run, names, steps, training="t"):
    with tracking(names, run, training) as tell:
        for step in steps:
            tell(record(step, reward=0.25))


@pytest.fixture
def run(tmp_path):
    with RunDirectory.open(tmp_path / "shop", create=True) as held:
        yield held


def points(folder):
    """Step and value of every point of every curve of TensorBoard's."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_each_step_once_after_a_training_that_was_stopped(run):
    told(run, ["tensorboard"], range(1, 5))
    told(run, ["tensorboard"], range(3, 7))  # from the checkpoint of step 2
    (folder,) = (run.path / "tensorboard").iterdir()
    curves = points(folder)
    assert [step for step, _ in curves["loss"]] == [1, 2, 3, 4, 5, 6]
    assert curves["loss"][1][1] == 0.5
    assert curves["tokens"][-1] == (6, 60.0)
    assert curves["reward"][0] == (1, 0.25)
    assert set(curves) == {"loss", "tokens", "read", "norm", "learning_rate", "seconds", "reward"}


def test_mlflow_has_each_step_once_after_a_training_that_was_stopped(run, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/mlruns")
    told(run, ["mlflow"], range(1, 5))
    told(run, ["mlflow"], range(3, 7))
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'selfchallenge'")
    (found,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(n, 1 / n) for n in range(1, 7)]


def test_a_resumed_training_goes_on_in_the_same_run_of_the_tracker(run, double):
    name, lines = double
    told(run, [name], range(1, 5))
    told(run, [name], range(3, 7))
    first, again = (line for line in lines() if "project" in line)
    assert first == again
    assert first["project"] == "selfchallenge"
    assert first["name"].startswith("shop-")
    assert first["resume"] == "allow"
    assert [line["step"] for line in lines() if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert lines().count("finished") == 2


def test_another_training_has_curves_of_its_own(run, double):
    name, lines = double
    told(run, [name], range(1, 3))
    told(run, [name], range(1, 3), training="other episodes")
    first, second = (line["name"] for line in lines() if "project" in line)
    assert first != second
    assert [line["step"] for line in lines() if "loss" in line] == [1, 2, 1, 2]


def test_a_tracker_that_does_not_start_is_named(run, double, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(StageError, match=r"cannot be started.*not logged in") as error:
        told(run, [double[0]], [1])
    assert "--report-to" in error.value.where
    assert "leave it out" in error.value.fix


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_missing_package_is_named_before_anything_runs(tmp_path, monkeypatch, name):
    def without(wanted, *rest):
        return None if wanted == name else find_spec(wanted, *rest)

    monkeypatch.setattr("selfchallenge.learner.trackers.find_spec", without)
    with pytest.raises(UsageError, match=f"{name} is not installed") as error:
        run_loop("library", tmp_path / "run", preset("smoke"), means=Means(report_to=(name,)))
    assert error.value.fix == f"pip install {name}"
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_named():
    with pytest.raises(UsageError, match="no tracker 'comet'") as error:
        check_trackers(["comet"])
    assert "tensorboard, wandb, trackio, mlflow" in error.value.fix


def test_the_steps_of_a_run_are_told_under_the_names_of_training_json(tmp_path, double):
    name, lines = double
    few = {"iterations": 2, "tasks": 1, "group": 1}
    asked = overlay(preset("smoke"), {"algorithm": "ppo", "ppo": few, "tasks": 1})
    means = Means(report_to=(name,))
    with open_loop("library", tmp_path / "run", asked, means=means) as loop:
        loop.challenge()
        loop.train()
    steps = json.loads((tmp_path / "run" / "model" / "training.json").read_text())["steps"]
    seen = [line for line in lines() if "loss" in line]
    assert len(seen) == len(steps) > 0
    for step, line in zip(steps, seen, strict=True):
        assert line.pop("step") == step["step"]
        plain = ("loss", "tokens", "read", "norm", "learning_rate", "seconds")
        assert line == {key: step[key] for key in plain} | step["figures"]
