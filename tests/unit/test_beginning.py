import pytest

from selfchallenge.beginning import look_up_models, with_absolute_models
from selfchallenge.errors import ModelError, RecordError, UsageError
from selfchallenge.manifest import RunSettings
from selfchallenge.pipeline import open_loop
from selfchallenge.progress import Silent
from selfchallenge.settings import preset


class Told(Silent):
    """Remembers what it was told."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A hub that cannot be reached, and nothing in its cache."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("model", "challenger"),
    [
        ("nowhere", "scripted:challenger"),
        ("scripted:nobody", "scripted:challenger"),
        ("scripted:oracle", "nowhere"),
        ("scripted:oracle", "scripted:oracle"),
        ("scripted:oracle", ""),
        ("openai:qwen", "scripted:challenger"),
    ],
)
def test_a_wrong_model_is_found_before_anything_is_written(tmp_path, model, challenger):
    out = tmp_path / "run"
    settings = RunSettings(model=model, challenger_model=challenger)
    with pytest.raises(UsageError) as caught, open_loop("library", out, settings):
        pass
    assert caught.value.fix
    assert not out.exists()


@pytest.mark.usefixtures("no_hub")
def test_a_model_that_the_hub_cannot_give_is_found_too(tmp_path):
    settings = RunSettings(model="no/such", challenger_model="scripted:challenger")
    with pytest.raises(ModelError, match="cannot get model no/such from the hub"):
        look_up_models(settings, tmp_path)


@pytest.mark.parametrize("model", ["default", "default-1.5b", "scripted:oracle", "scripted:silent"])
def test_known_models_are_found_without_loading_them(monkeypatch, tmp_path, model):
    monkeypatch.setattr("selfchallenge.models.loading.default_weights", None)
    settings = RunSettings(model=model, challenger_model="scripted:challenger")
    look_up_models(settings, tmp_path / "run")
    assert not any(tmp_path.iterdir())


def test_a_folder_is_found(tmp_path):
    settings = RunSettings(
        model=str(tmp_path), challenger_model="openai:qwen@http://localhost:1/v1"
    )
    look_up_models(settings, tmp_path / "run")
    assert not any(tmp_path.iterdir())


def test_a_run_that_was_begun_needs_no_hub(tmp_path):
    settings = RunSettings(model="./nowhere")
    with pytest.raises(UsageError):
        look_up_models(settings, tmp_path)
    (tmp_path / "run.json").write_text("{}")
    look_up_models(settings, tmp_path)
    assert (tmp_path / "run.json").read_text() == "{}"


def test_the_isolation_level_is_said_once(tmp_path):
    told = Told()
    with open_loop("library", tmp_path / "run", preset("smoke"), watch=told) as loop:
        level = loop.sandbox.isolation
    assert told.lines == [f"generated code runs at isolation level {level}"]


def test_records_that_nobody_knows_are_not_taken_for_those_of_a_new_run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "episodes.jsonl").write_text("")
    with (
        pytest.raises(UsageError, match=r"holds episodes\.jsonl, and no run\.json") as error,
        open_loop("library", folder, preset("smoke"), watch=Silent()),
    ):
        pass
    assert "--out" in error.value.fix
    assert not (folder / "run.json").exists()


def test_a_damaged_manifest_is_not_to_be_deleted(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with (
        pytest.raises(RecordError, match="not JSON") as error,
        open_loop("library", tmp_path, preset("smoke"), watch=Silent()),
    ):
        pass
    assert "copy of run.json back" in error.value.fix


def test_a_folder_of_a_model_is_the_same_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    found = with_absolute_models(
        RunSettings(model="mine", teacher_model="./mine", challenger_model="default")
    )
    assert found.model == found.teacher_model == str(tmp_path / "mine")
    assert (found.challenger_model, found.judge_model) == ("default", "")
