"""What every session keeps to, whatever kind of class its environment is (design, section 2)."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import selfchallenge.sandbox  # noqa: F401 - registers what opens sessions
from selfchallenge.environments.base import Environment, Session, tool
from selfchallenge.environments.loading import load_environment, origin_of
from selfchallenge.errors import LoadError, SandboxError, ToolError, UsageError

SOURCE = '''
from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import ToolError


class Counter(Environment):
    """Counts."""

    def __init__(self, seed=None):
        if seed == "broken":
            raise ValueError("there is no such world")
        self.seed = seed
        self.counts = {"a": 0, "b": [1, 2]}

    @tool
    def read(self, name: str) -> "int | list[int]":
        """Read."""
        if name not in self.counts:
            raise ToolError(f"no counter {name}")
        return self.counts[name]

    @tool(mutates=True)
    def add(self, name: str, by: int = 1) -> int:
        """Add."""
        self.counts[name] += by
        return self.read(name)

    @tool
    def broken(self) -> int:
        """Raise."""
        return 1 // 0
'''


def local_class() -> type[Environment]:
    """A class as a notebook makes it: in no file, known to no import."""
    module = types.ModuleType("__main__")
    space = vars(module)
    exec(SOURCE, space)
    return space["Counter"]


@pytest.fixture(scope="module", params=["file", "module", "notebook", "with data"])
def counter(request, tmp_path_factory) -> Iterator[type[Environment]]:
    kind = request.param
    folder = tmp_path_factory.mktemp("world")
    file = folder / "counters.py"
    file.write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, "counters", raising=False)
        if kind == "notebook":
            cls, expected = local_class(), "pickle"
        elif kind == "module":
            cls, expected = load_environment("counters:Counter"), "module"
        else:
            data = folder if kind == "with data" else None
            cls, expected = load_environment(f"{file}:Counter", data=data), "file"
        assert origin_of(cls).kind == expected
        yield cls


@pytest.fixture
def session(counter: type[Environment]) -> Iterator[Session]:
    with counter.open() as opened:
        yield opened


def test_it_is_a_session(session):
    assert isinstance(session, Session)


def test_arguments_by_keyword_by_position_and_both(session):
    assert session.call("add", {"name": "a", "by": 2}) == "2"
    assert session.call("add", ["a", 3]) == "5"
    assert session.call("add", {"*": ["a"], "by": 4}) == "9"
    assert session.call("add", ("a",)) == "10"


def test_an_error_is_an_observation(session):
    assert session.call("read", ["z"]) == "Error: no counter z"
    assert session.call("broken").startswith("Error: ZeroDivisionError")
    assert "unknown tool 'nothing'" in session.call("nothing")
    assert "missing" in session.call("read")
    assert "unexpected" in session.call("read", {"title": "a"})
    assert session.call("read", ["a"]) == "0"


@pytest.mark.parametrize("name", ["__init__", "snapshot", "counts", "seeds", "show"])
def test_only_tools_can_be_called(session, name):
    assert "unknown tool" in session.call(name)


def test_value_gives_python_values_and_raises(session):
    assert session.value("read", ["b"]) == [1, 2]
    with pytest.raises(ToolError, match=r"^no counter z$"):
        session.value("read", ["z"])
    with pytest.raises(ToolError, match="ZeroDivisionError"):
        session.value("broken")


def test_what_is_returned_is_a_copy(session):
    session.value("read", ["b"]).append(3)
    assert session.value("read", ["b"]) == [1, 2]


def test_state_digest_and_changes_tell_the_same(session):
    before, digest = session.state(), session.digest()
    assert before == {"seed": None, "counts": {"a": 0, "b": [1, 2]}}
    session.call("read", ["a"])
    assert (session.digest(), session.changed()) == (digest, ())
    session.call("add", ["a"])
    assert session.state()["counts"] == {"a": 1, "b": [1, 2]}
    assert session.changed() == (("counts", "a"),)
    assert session.digest() != digest
    session.call("add", ["a", -1])
    assert (session.digest(), session.changed(), session.state()) == (digest, (), before)


def test_sessions_share_nothing(counter):
    with counter.open() as one, counter.open() as other:
        one.call("add", ["a", 5])
        assert other.value("read", ["a"]) == 0
        assert one.value("read", ["a"]) == 5
    with counter.open() as later:
        assert later.value("read", ["a"]) == 0


def test_seeds_reach_the_constructor(counter):
    with counter.open("42") as session:
        assert session.state()["seed"] == "42"
    with pytest.raises(LoadError, match="there is no such world") as caught:
        counter.open("broken")
    assert "seed 'broken'" in str(caught.value)
    with counter.open() as session:
        assert session.call("read", ["a"]) == "0"


def test_the_trace_holds_the_calls_as_they_were_given(session):
    session.call("add", {"name": "a", "by": 2})
    session.call("add", ["a"])
    session.call("add", {"*": ["a"], "by": 4})
    session.call("read", ["z"])
    assert [(c.tool, c.arguments, c.ok, c.result) for c in session.trace()] == [
        ("add", {"name": "a", "by": 2}, True, 2),
        ("add", ["a"], True, 3),
        ("add", {"*": ["a"], "by": 4}, True, 7),
        ("read", ["z"], False, "ToolError: no counter z"),
    ]


def test_a_trace_can_be_played_again(counter, session):
    session.call("add", {"*": ["a"], "by": 4})
    session.call("read", ["z"])
    session.call("add", ["a"])
    with counter.open() as again:
        for call in session.trace():
            again.call(call.tool, call.arguments)
        assert again.digest() == session.digest()
        assert again.trace() == session.trace()


def test_closing_is_final_and_twice_is_fine(counter):
    session = counter.open()
    session.close()
    session.close()
    with pytest.raises(SandboxError, match="it was closed"):
        session.call("read", ["a"])


@pytest.mark.parametrize("arguments", ["a", {1: 2}, [object()], {"name": lambda: 1}])
def test_arguments_that_cannot_be_sent_are_a_usage_error(session, arguments: Any):
    with pytest.raises(UsageError):
        session.call("read", arguments)
    assert session.call("read", ["a"]) == "0"


class Unseen(Environment):
    """Shows no state."""

    def snapshot(self) -> None:
        return None

    @tool(mutates=True)
    def poke(self) -> str:
        """Poke."""
        self.poked = True
        return "ok"


class Dressed(Environment):
    """Shows values in its own way."""

    def show(self, value: Any) -> str:
        return f"<{value}>"

    def show_error(self, name: str, error: Exception) -> str:
        return f"{name}: {type(error).__name__}"

    @tool
    def pair(self) -> tuple[int, str]:
        """A pair."""
        return 1, "a"


class Private(Environment):
    """Holds what is no plain data."""

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self.connection = sys.stdout

    @tool
    def nothing(self) -> None:
        """Nothing."""


def test_an_unseen_state():
    with Unseen.open() as session:
        digest = session.digest()
        assert (session.state(), session.changed()) == (None, None)
        session.call("poke")
        assert (session.state(), session.changed(), session.digest()) == (None, None, digest)


def test_observations_are_written_by_the_environment():
    with Dressed.open() as session:
        assert session.call("pair") == "<(1, 'a')>"
        assert session.call("pair", [1]) == "pair: TypeError"


def test_a_state_that_is_no_data_names_the_place():
    with pytest.raises(LoadError, match=r"type \w+ at \['connection'\] is not plain data"):
        Private.open()
