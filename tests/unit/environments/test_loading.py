import json
import sys
import types
from dataclasses import asdict

import pytest

from selfchallenge.environments import loading
from selfchallenge.environments.base import (
    Environment,
    describe_tools,
    environment_name,
    policy_of,
    tool,
)
from selfchallenge.environments.loading import Origin, load_environment, load_origin, origin_of
from selfchallenge.errors import LoadError, UsageError

SOURCE = '''
from selfchallenge.environments.base import Environment, tool

class World(Environment):
    """A world."""

    label = "the world"

    @tool
    def look(self) -> str:
        """Look."""
        return "stones"

    class Inner(Environment):
        @tool
        def look(self) -> str:
            """Look."""
            return "inside"

number = 5
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "world.py"
    path.write_text(SOURCE)
    return path


class Here(Environment):
    """Defined in a test module."""

    @tool
    def look(self) -> str:
        """Look."""
        return "here"


def test_a_file_and_a_class(file):
    cls = load_environment(f"{file}:World")
    assert environment_name(cls) == "the world"
    assert load_environment(f"{file}:World") is cls
    assert load_environment(cls) is cls
    assert load_environment(f"{file}:World.Inner").__name__ == "Inner"


def test_a_relative_path(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert load_environment("world.py:World") is load_environment(f"{file}:World")


def test_two_files_of_one_name_are_two_modules(file, tmp_path):
    other = tmp_path / "other" / "world.py"
    other.parent.mkdir()
    other.write_text(SOURCE.replace("the world", "the other"))
    assert load_environment(f"{other}:World").label == "the other"
    assert load_environment(f"{file}:World").label == "the world"


def test_a_module_and_a_class(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    monkeypatch.delitem(sys.modules, "world", raising=False)
    assert load_environment("world:World").label == "the world"


def test_built_in_names_are_in_a_table(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    monkeypatch.delitem(sys.modules, "world", raising=False)
    monkeypatch.setitem(loading.BUILTIN, "globe", "world:World")
    assert load_environment("globe").label == "the world"


@pytest.mark.parametrize("name", ["nonsense", "", ":", ":X", "x.py:", "shop.py"])
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(UsageError) as caught:
        load_environment(name)
    assert repr(name) in str(caught.value)
    assert all(
        text in str(caught.value) for text in ("calculation", "library", "file.py:Class", "module")
    )


def test_mcp_is_not_there_yet():
    with pytest.raises(UsageError, match="not available yet"):
        load_environment("mcp:python server.py")


def test_a_missing_file_and_a_missing_module():
    with pytest.raises(UsageError, match=r"there is no file absent\.py"):
        load_environment("absent.py:World")
    with pytest.raises(UsageError, match="there is no module 'absent_package'"):
        load_environment("absent_package.tools:World")


def test_a_missing_class_lists_those_that_are_there(file):
    with pytest.raises(LoadError, match=r"has no class Wrold(.|\n)*its environments: World"):
        load_environment(f"{file}:Wrold")


@pytest.mark.parametrize("value", [dict, 5, "x", None, Here("a seed")])
def test_what_is_no_environment(value, file, monkeypatch):
    monkeypatch.setattr(load_environment(f"{file}:World"), "thing", value, raising=False)
    with pytest.raises(LoadError):
        load_environment(f"{file}:World.thing")
    if not isinstance(value, str):
        with pytest.raises(LoadError, match="is not an environment"):
            load_environment(value)


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("def f():\n    raise OSError('gone')\n\nf()\n", 2, "OSError: gone"),
        ("x = 1\n\nclass World(:\n", 3, "SyntaxError"),
        ("import absent_dependency\n", 1, "No module named 'absent_dependency'"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
    ],
)
def test_a_file_that_does_not_import_names_the_line(tmp_path, source, line, text, monkeypatch):
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(LoadError) as caught:
        load_environment(f"{path}:World")
    assert text in caught.value.what
    assert caught.value.where == f"{path}, line {line}"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(LoadError) as caught:
        load_environment("broken:World")
    assert caught.value.where == f"{path}, line {line}"


def test_a_corrected_file_loads(tmp_path):
    path = tmp_path / "later.py"
    path.write_text("1 / 0")
    with pytest.raises(LoadError):
        load_environment(f"{path}:World")
    path.write_text(SOURCE + "\n")
    assert load_environment(f"{path}:World").label == "the world"


# -- data ------------------------------------------------------------------------------------------


def test_data_binds_a_subclass_to_the_folder(file, tmp_path):
    plain = load_environment(f"{file}:World")
    bound = load_environment(f"{file}:World", data=tmp_path)
    assert issubclass(bound, plain)
    assert (bound.data, plain.data) == (tmp_path, None)
    for describe in (environment_name, policy_of, describe_tools):
        assert describe(bound) == describe(plain)
    assert bound.__name__ == plain.__name__
    assert environment_name(load_environment(Here, data=tmp_path)) == "Here"


def test_a_missing_folder_is_a_usage_error(file, tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        load_environment(f"{file}:World", data=tmp_path / "absent")
    with pytest.raises(UsageError, match="there is no folder"):
        load_environment(f"{file}:World", data=file)


# -- origins ---------------------------------------------------------------------------------------


def local_class() -> type[Environment]:
    space = vars(types.ModuleType("__main__"))
    exec(SOURCE, space)
    return space["World"]


def test_kinds_of_origins(file, tmp_path):
    assert origin_of(Here).kind == "module"
    assert origin_of(load_environment(f"{file}:World")).kind == "file"
    assert origin_of(load_environment(f"{file}:World.Inner")).name == "World.Inner"
    assert origin_of(local_class()).kind == "pickle"
    bound = load_environment(f"{file}:World", data=tmp_path)
    assert (origin_of(bound).kind, origin_of(bound).data) == ("file", str(tmp_path))
    assert origin_of(load_environment(bound, data=file.parent)) == origin_of(bound)


@pytest.mark.parametrize("kind", ["module", "file", "pickle", "data"])
def test_an_origin_leads_back_to_the_class(kind, file, tmp_path):
    cls = {
        "module": lambda: Here,
        "file": lambda: load_environment(f"{file}:World"),
        "pickle": local_class,
        "data": lambda: load_environment(f"{file}:World", data=tmp_path),
    }[kind]()
    origin = origin_of(cls)
    again = load_origin(Origin(**json.loads(json.dumps(asdict(origin)))))
    assert environment_name(again) == environment_name(cls)
    assert again.data == cls.data
    assert describe_tools(again) == describe_tools(cls)
    if kind in ("module", "file"):
        assert again is cls
    assert hash(origin) == hash(origin_of(cls))


def test_a_class_that_cannot_be_sent_says_what_to_do():
    import threading

    class Locked(Environment):
        lock = threading.Lock()

    with pytest.raises(LoadError, match=r"Locked cannot be sent(.|\n)*file\.py:Class"):
        origin_of(Locked)


def test_a_module_that_hides_behind_another_file_is_sent_by_value(file, monkeypatch):
    """Its name means something else in another process."""
    monkeypatch.syspath_prepend(str(file.parent))
    monkeypatch.delitem(sys.modules, "world", raising=False)
    cls = load_environment("world:World")
    assert origin_of(cls).kind == "module"
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(file.parent)])
    assert origin_of(cls).kind == "pickle"
