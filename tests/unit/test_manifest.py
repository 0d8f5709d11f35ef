import json
from dataclasses import asdict, replace

import pytest

from selfchallenge.environments.loading import load_environment, spelling_of
from selfchallenge.errors import UsageError
from selfchallenge.learner.settings import PpoSettings, RftSettings
from selfchallenge.manifest import RunSettings, agree, amend, decisive
from selfchallenge.runs.store import RunDirectory

MEMO = """
from selfchallenge import Environment, tool
class Memo(Environment):
    @tool
    def read(self) -> str:
        "Read."
        return "memo"
"""


@pytest.fixture
def begin(tmp_path):
    """Begin or resume one run."""
    with RunDirectory.open(tmp_path / "run", create=True) as run:

        def begin(world, isolation="B", **settings):
            agree(run, spelling_of(world), world, RunSettings(**settings), isolation)

        yield begin


@pytest.fixture
def memos(tmp_path):
    """Two files with a class of the same name."""
    files = [tmp_path / "memo.py", tmp_path / "other" / "memo.py"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(MEMO)
    return [load_environment(f"{file}:Memo") for file in files]


def test_the_same_again_goes_on(begin, memos, tmp_path):
    begin(memos[0])
    written = (tmp_path / "run" / "run.json").read_bytes()
    begin(memos[0])
    assert (tmp_path / "run" / "run.json").read_bytes() == written


def test_a_class_of_the_same_name_in_another_file_is_refused(begin, memos, tmp_path):
    begin(memos[0])
    with pytest.raises(UsageError, match="holds a run with environment") as caught:
        begin(memos[1])
    assert str(tmp_path / "other" / "memo.py") in caught.value.what
    assert "--out" in caught.value.fix


def test_other_data_is_refused(begin, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    begin(load_environment("library", folders[0]))
    begin(load_environment("library", folders[0]))
    for data in (folders[1], None):
        with pytest.raises(UsageError, match="holds a run with data = "):
            begin(load_environment("library", data))


def test_a_weaker_isolation_level_is_refused_and_a_stronger_one_is_not(begin):
    world = load_environment("library")
    begin(world, "B")
    begin(world, "A")
    with pytest.raises(UsageError, match="began at isolation level B and only C holds now"):
        begin(world, "C")


def test_other_settings_are_refused(begin):
    world = load_environment("library")
    begin(world)
    with pytest.raises(UsageError, match="seed = 0, not 7"):
        begin(world, seed=7)
    with pytest.raises(UsageError, match=r"rft\.epochs = 2, not 5"):
        begin(world, rft=RftSettings(epochs=5))


def test_a_setting_that_a_run_did_not_know_yet_has_its_default(begin, tmp_path):
    world = load_environment("library")
    begin(world, ppo=PpoSettings(group=6))
    file = tmp_path / "run" / "run.json"
    manifest = json.loads(file.read_text())
    del manifest["settings"]["aimed_at"]
    del manifest["settings"]["ppo"]["keep"]
    file.write_text(json.dumps(manifest))
    begin(world, ppo=PpoSettings(group=6))
    with RunDirectory.open(tmp_path / "elsewhere", create=True) as other:
        other.write_json("run.json", manifest)
        amend(other, RunSettings(ppo=PpoSettings(group=6), rft=RftSettings(epochs=5)))
        with pytest.raises(UsageError, match="only-success"):
            amend(other, RunSettings(ppo=PpoSettings(group=6), rft=RftSettings(only_success=True)))
        assert not other.read_json("run.json")["settings"]["rft"]["only_success"]
    with pytest.raises(UsageError, match="aimed_at = '', not 'x'"):
        begin(world, ppo=PpoSettings(group=6), aimed_at="x")


def test_a_run_that_ran_out_of_memory_goes_on_with_less(begin, tmp_path):
    world, file = load_environment("library"), tmp_path / "run" / "run.json"
    begin(world, algorithm="ppo", temperature=1.0)
    less = PpoSettings(micro_tokens=300, gradient_checkpointing=True)
    begin(world, algorithm="ppo", temperature=1.0, batch=8, ppo=less)
    written = json.loads(file.read_text())["settings"]
    assert written["batch"] == 8
    assert written["ppo"]["micro_tokens"] == 300
    with pytest.raises(UsageError, match=r"ppo\.group = 4, not 6"):
        begin(world, algorithm="ppo", temperature=1.0, batch=8, ppo=replace(less, group=6))


def test_less_memory_is_no_other_training_of_an_online_algorithm(tmp_path):
    begun = RunSettings(algorithm="ppo", temperature=1.0)
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        agree(run, "library", load_environment("library"), begun, "B")
        amend(run, replace(begun, batch=8, ppo=PpoSettings(micro_tokens=300)))
        settings = run.read_json("run.json")["settings"]
        assert (settings["batch"], settings["ppo"]["micro_tokens"]) == (8, 300)
        with pytest.raises(UsageError, match="made by the policy of other settings") as error:
            amend(run, replace(begun, ppo=PpoSettings(micro_tokens=300, group=6)))
        assert "ppo.micro_tokens and ppo.gradient_checkpointing" in error.value.fix


def test_what_decides_a_run_has_nothing_of_memory():
    one = RunSettings(batch=3, rft=RftSettings(micro_tokens=1, gradient_checkpointing=True))
    assert decisive(asdict(one)) == decisive(asdict(RunSettings()))
    assert decisive(asdict(one))["rft.batch"] == 8
    assert decisive(asdict(replace(one, seed=1))) != decisive(asdict(one))


def test_a_spelling_finds_the_class_from_any_folder(memos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = load_environment("memo.py:Memo", tmp_path)
    assert spelling_of(relative) == f"{tmp_path / 'memo.py'}:Memo"
    monkeypatch.chdir("/")
    assert load_environment(spelling_of(relative)) is memos[0]


@pytest.mark.parametrize(
    "env", ["library", "selfchallenge.environments.library:Library"]
)  # fmt: skip
def test_a_built_in_environment_has_one_spelling(env):
    assert spelling_of(load_environment(env)) == "library"


def test_a_class_of_a_module_is_spelled_by_it():
    spelled = "selfchallenge.environments.starter:Starter"
    assert spelling_of(load_environment(spelled)) == spelled
