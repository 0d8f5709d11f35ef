import sys

import pytest

from selfchallenge.environments.base import Environment, environment_name
from selfchallenge.environments.loading import BUILTIN, load_environment
from selfchallenge.errors import RecordError
from selfchallenge.evaluation.suite import held_out_file, held_out_tasks
from selfchallenge.task import CodeAsTask

SHOP = """
from selfchallenge import Environment, tool
class Shop(Environment):
    @tool
    def read(self) -> str:
        "Read."
        return "memo"
class Stall(Shop):
    label = "market stall"
"""


def task(environment, instruction="Read."):
    return CodeAsTask(
        environment=environment,
        instruction=instruction,
        verifier="def evaluate(answer):\n    return answer == read()",
        solution="answer = read()",
        failures=("answer = 1", "answer = 2", "answer = 3"),
    )


@pytest.fixture
def shop(tmp_path):
    """A file of one's own with two environments."""
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    return file


def write(file, *tasks):
    file.write_text("\n".join(t.model_dump_json() for t in tasks))


def test_tasks_beside_ones_own_file_are_found_by_its_name(shop):
    write(shop.with_name("shop.tasks.jsonl"), task("Shop"))
    # A run's file, or that of another environment in the same folder.
    write(shop.with_name("tasks.jsonl"), task("Shop", "Not this."))
    assert held_out_tasks(load_environment(f"{shop}:Shop")) == [task("Shop")]


def test_only_tasks_that_name_the_class_count(shop):
    write(shop.with_name("shop.tasks.jsonl"), task("Shop"), task("market stall"), task("Bank"))
    assert held_out_tasks(load_environment(f"{shop}:Shop")) == [task("Shop")]
    assert held_out_tasks(load_environment(f"{shop}:Stall")) == [task("market stall")]


def test_data_changes_nothing(shop, tmp_path):
    write(shop.with_name("shop.tasks.jsonl"), task("Shop"))
    assert held_out_tasks(load_environment(f"{shop}:Shop", tmp_path)) == [task("Shop")]


def test_a_malformed_line_is_named_with_its_field(shop):
    file = shop.with_name("shop.tasks.jsonl")
    file.write_text(task("Shop").model_dump_json() + '\n{"environment": "Shop"}\n')
    with pytest.raises(RecordError) as caught:
        held_out_tasks(load_environment(f"{shop}:Shop"))
    assert str(file) in caught.value.where
    assert "line 2" in caught.value.where
    assert "instruction" in caught.value.where


@pytest.mark.parametrize(
    ("package", "module", "place"),
    [
        ("booth", "booth.tools", "booth/tasks.jsonl"),
        ("kiosk", "kiosk", "kiosk/tasks.jsonl"),
        ("arcade", "arcade.shop", "arcade/shop.tasks.jsonl"),
    ],
)
def test_a_package_has_its_tasks_in_its_folder(tmp_path, monkeypatch, package, module, place):
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(SHOP if module == package else "")
    (folder / f"{module.rpartition('.')[2]}.py").write_text(SHOP)
    write(tmp_path / place, task("Shop"))
    world = load_environment(f"{module}:Shop")
    assert held_out_file(world) == tmp_path / place
    assert held_out_tasks(world) == [task("Shop")]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)


def test_a_class_of_no_file_has_none():
    world = type("Shop", (Environment,), {"__module__": "no_such_module"})
    assert held_out_file(world) is None
    assert held_out_tasks(world) == []


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_what_is_built_in_names_itself(name):
    world = load_environment(name)
    assert {t.environment for t in held_out_tasks(world)} == {environment_name(world)}
    lines = held_out_file(world).read_text("utf-8").splitlines()
    assert len(held_out_tasks(world)) == len([line for line in lines if line.strip()])
