import copy
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import random
import uuid
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.sandbox import wire
from selfchallenge.sandbox.state import (
    ADDED,
    NotPlainError,
    changed_paths,
    digest,
    plain,
)

WHEN = dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC)
KEYS = st.text(max_size=3) | st.integers(0, 3) | st.booleans()
STATES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(KEYS, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(STATES, STATES)
@settings(max_examples=300, deadline=None)
def test_digests_agree_exactly_when_nothing_changed(before, after):
    assert (digest(before) == digest(after)) == (changed_paths(before, after) == ())


@given(STATES)
@settings(deadline=None)
def test_a_copy_has_not_changed(state):
    assert changed_paths(state, plain(state)) == ()
    assert digest(plain(state)) == digest(state)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            found += places(inner, (*path, i))
    return found


TREES = st.recursive(
    st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
).filter(lambda tree: isinstance(tree, dict | list))


@given(TREES, st.data())
@settings(deadline=None)
def test_one_change_is_found_where_it_was_made(state, data):
    path = data.draw(st.sampled_from(places(state)))
    changed = copy.deepcopy({"root": state})
    target = changed
    for key in ("root", *path)[:-1]:
        target = target[key]
    target[("root", *path)[-1]] = "something else"
    assert changed_paths({"root": state}, changed) == (("root", *path),)


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, [("b",)]),
        ({"a": 1, "b": {"c": 2}}, {"a": 1}, [("b",)]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a", 1)]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, [("a", ADDED, 0)]),
        ({"a": [1, 2]}, {"a": [1, 2, 2, 2]}, [("a", ADDED, 0), ("a", ADDED, 1)]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, [("a", 1)]),
        ({"a": [1, 2, 3]}, {"a": [2, 3, 4]}, [("a", 0), ("a", ADDED, 0)]),
        ({"a": [0, 0, 1, 0]}, {"a": [0, 1, 0, 0]}, [("a", 1), ("a", 2)]),
        ({"a": [{"x": 1}, {"y": 2}, 3]}, {"a": [{"x": 5}, 3]}, [("a", 0, "x"), ("a", 1)]),
        ({"a": [{"x": 1}, 2]}, {"a": [{"x": 5}, 2, 2]}, [("a", 0, "x"), ("a", ADDED, 0)]),
        ({"a": [{1, 2}, 3]}, {"a": [{2, 1}]}, [("a", 1)]),
        ({"a": [1, 1.0]}, {"a": [1.0]}, [("a", 0)]),
        ({"a": (1, 2)}, {"a": (1, 2, 3)}, [("a",)]),
        ({"a": list(range(600))}, {"a": list(range(1, 600))}, [("a", 0)]),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 5}, {"x": 6}]}, [("a", 0, "x"), ("a", 1, "x")]),
        ({"a": (1, 2)}, {"a": (1, 3)}, [("a", 1)]),
        ({"a": (1, 2)}, {"a": [1, 2]}, [("a",)]),
        ({"a": {1, 2}}, {"a": {2, 1}}, []),
        ({"a": {1}}, {"a": {2}}, [("a",)]),
        ({"a": 1}, {"a": 1.0}, [("a",)]),
        ({"a": 1}, {"a": True}, [("a",)]),
        ({1: "x"}, {1: "y"}, [(1,)]),
        ({(1, 2): "x"}, {(1, 2): "y"}, [("(1, 2)",)]),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ([], {}, [()]),
        ({"b": 1, "a": 1}, {"a": 1, "b": 1}, []),
    ],
)
def test_changes(before, after, paths):
    assert changed_paths(before, after) == tuple(paths)
    assert (digest(before) == digest(after)) == (paths == [])


@given(st.lists(st.integers(0, 20), max_size=8, unique=True), st.data())
@settings(deadline=None)
def test_no_more_is_said_of_a_list_than_what_was_done_to_it(before, data):
    gone = data.draw(st.sets(st.sampled_from(range(len(before))))) if before else set()
    came = data.draw(st.integers(0, 3))
    after = [item for i, item in enumerate(before) if i not in gone] + [-1] * came
    paths = changed_paths(before, after)
    assert len(paths) <= len(gone) + came
    if came == 0 or not gone:
        assert set(paths) == {(i,) for i in gone} | {(ADDED, count) for count in range(came)}


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
@settings(deadline=None)
def test_whatever_is_done_to_a_list_is_seen(before, after):
    paths = changed_paths(before, after)
    assert (paths == ()) == (before == after)
    gone = {path[0] for path in paths if path[0] != ADDED}
    came = {path[1] for path in paths if path[0] == ADDED}
    assert gone <= set(range(len(before)))
    assert came == set(range(len(came)))
    # Nothing came that the lengths do not tell of, unless as much went.
    assert len(before) - len(gone) + len(came) <= len(after) <= len(before) + len(came)


def test_a_long_list_that_shifts_says_so_and_no_more():
    queue = [{"id": n, "state": "waits"} for n in range(3000)]
    after = [*queue[1:2000], {"id": 2000, "state": "called"}, *queue[2001:], {"id": 3000}]
    assert changed_paths(queue, after) == ((2000, "state"), (0,), (ADDED, 0))


def test_a_list_written_to_be_slow_is_compared_all_the_same():
    """What a solution puts into lists decides how long `difflib` takes: minutes for these."""
    grid = [[0] * 500 for _ in range(40)]
    after = [[x for i in range(250) for x in (0, i + 1)] for _ in grid]
    assert len(changed_paths(grid, after)) == 40 * 250


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Item:
    name: str
    when: dt.datetime


class Model(pydantic.BaseModel):
    items: list[str]
    colour: Colour


class Plainly:
    def __init__(self) -> None:
        self.inner = [Item("x", WHEN)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Item("x", WHEN), {"name": "x", "when": "2024-01-02T03:00:00+00:00"}),
        (Model(items=["a"], colour=Colour.RED), {"items": ["a"], "colour": "red"}),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (decimal.Decimal("1.50"), "1.50"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5))),
        ((n for n in range(3)), [0, 1, 2]),
        (range(2), [0, 1]),
        ({"a": 1}.keys(), ["a"]),
        (bytearray(b"x"), b"x"),
        ({Colour.RED: {Colour.RED}}, {"red": {"red"}}),
        ({dt.date(2024, 1, 2): 1}, {"2024-01-02": 1}),
    ],
)
def test_what_becomes_plain(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert wire.decode(wire.encode(found)) == expected


def test_plain_is_a_copy_all_the_way_down():
    value = {"a": [{"b": [1]}]}
    found = plain(value)
    value["a"][0]["b"].append(2)
    assert found == {"a": [{"b": [1]}]}


def test_objects_are_plain_in_states_only():
    assert plain(Plainly(), objects=True) == {
        "inner": [{"name": "x", "when": "2024-01-02T03:00:00+00:00"}]
    }
    with pytest.raises(NotPlainError, match="type Plainly is not plain data"):
        plain(Plainly())


def test_a_generator_of_chance_is_part_of_a_state():
    generator = random.Random(1)
    before = plain({"chance": generator}, objects=True)
    assert changed_paths(before, plain({"chance": random.Random(1)}, objects=True)) == ()
    generator.random()
    assert changed_paths(before, plain({"chance": generator}, objects=True)) != ()


@pytest.mark.parametrize("value", [object(), print, int, open, 1j])
def test_what_never_is_plain(value):
    with pytest.raises(NotPlainError, match=r"at \['a'\]\[1\]"):
        plain({"a": [0, value]}, objects=True)


def test_a_cycle_is_an_error_and_no_crash():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotPlainError, match="nested"):
        plain(value)


def test_the_unseen_state_has_a_digest_of_its_own():
    assert digest(None) == digest(None)
    assert digest(None) not in (digest({}), digest("unseen"))
