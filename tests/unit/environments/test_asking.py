import pytest

from selfchallenge import cli
from selfchallenge.environments.asking import seeds_of, subject_of
from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import LoadError, UsageError
from selfchallenge.pipeline import run_loop
from selfchallenge.settings import preset

WORLD = """import json
from selfchallenge import Environment, tool
from selfchallenge.errors import UsageError
class World(Environment):
    "A world."
    @classmethod
    def seeds(cls):
        {seeds}
    @classmethod
    def describe_seed(cls, seed):
        {subject}
    @tool
    def look(self) -> str:
        "Look around."
        return "a wall"
"""


@pytest.fixture
def world(tmp_path):
    """A file whose class gives these seeds and this subject."""
    file = tmp_path / "world.py"

    def make(seeds="return ['a', 'b']", subject="return f'part {seed}'"):
        file.write_text(WORLD.format(seeds=seeds, subject=subject))
        return load_environment(f"{file}:World")

    return make


def test_what_a_class_says_is_passed_on(world):
    assert seeds_of(world()) == ["a", "b"]
    assert (subject_of(world(), "a"), subject_of(world(), None)) == ("part a", "anything")
    assert seeds_of(load_environment("library")) == load_environment("library").seeds()


@pytest.mark.parametrize(
    ("seeds", "what", "line"),
    [
        ("return {}['a']", "World.seeds raises KeyError: 'a'", 8),
        ("return json.loads('{')", "World.seeds raises JSONDecodeError", 8),
        ("return None", "World.seeds raises TypeError", 6),
        ("return [1, 2]", "World.seeds returns a seed that is no text: 1", 6),
    ],
)
def test_wrong_seeds_are_the_users_mistake_with_its_line(world, tmp_path, seeds, what, line):
    with pytest.raises(LoadError) as caught:
        seeds_of(world(seeds))
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{tmp_path / 'world.py'}, line {line}"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("subject", "what", "line"),
    [
        ("return 1 / 0", "World.describe_seed raises ZeroDivisionError", 11),
        ("return 3", "World.describe_seed returns something that is no text: 3", 9),
    ],
)
def test_a_wrong_subject_too(world, tmp_path, subject, what, line):
    with pytest.raises(LoadError) as caught:
        subject_of(world(subject=subject), "a")
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{tmp_path / 'world.py'}, line {line}"


def test_an_error_that_says_enough_is_left_alone(world):
    with pytest.raises(UsageError, match="no data"):
        seeds_of(world("raise UsageError('no data')"))


def test_data_binds_the_same_methods(world, tmp_path):
    bound = load_environment(world("return [1]"), tmp_path)
    with pytest.raises(LoadError, match="no text"):
        seeds_of(bound)


@pytest.mark.parametrize("wrong", [{"seeds": "return [1, 2]"}, {"subject": "return 1 / 0"}])
def test_the_loop_stops_at_it(world, tmp_path, wrong):
    with pytest.raises(LoadError, match="World"):
        run_loop(world(**wrong), tmp_path / "run", preset("smoke"))


def test_so_does_the_command_line(world, tmp_path, capsys):
    world("return [1, 2]")
    with pytest.raises(SystemExit) as end:
        cli.main(["env", "show", f"{tmp_path / 'world.py'}:World"])
    shown = capsys.readouterr().err
    assert end.value.code == 1
    assert "line 6" in shown
    assert "bug of selfchallenge" not in shown
