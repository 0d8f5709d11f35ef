"""The ledger finds what comparing whole states value by value finds, and nothing else."""

from __future__ import annotations

import array
import copy
import dataclasses
import enum
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.sandbox import wire
from selfchallenge.sandbox.ledger import Ledger
from selfchallenge.sandbox.state import NotPlainError, changed_paths, digest, plain

KEYS = st.text(max_size=2) | st.sampled_from(["$a", "é", 1, 2, True, (1, "a")])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats()
    | st.text(max_size=2)
    | st.binary(max_size=2)
    | st.frozensets(st.integers(0, 2)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)
TABLES = st.dictionaries(st.text(max_size=1), st.dictionaries(st.text(max_size=1), VALUES))
STATES = TABLES | VALUES | st.dictionaries(KEYS, VALUES)


def check(before, after, like=None):
    ledger = Ledger(before, like)
    now = ledger.compare(after)
    plain_before, plain_after = plain(before, objects=True), plain(after, objects=True)
    assert now.changed() == changed_paths(plain_before, plain_after)
    assert ledger.digest == digest(plain_before)
    assert now.digest() == digest(plain_after)
    assert now.encoded() == wire.encode(plain_after)


@given(STATES, STATES)
@settings(max_examples=400, deadline=None)
def test_it_agrees_with_the_whole_comparison(before, after):
    check(before, after)
    check(before, after, Ledger(after))


@given(STATES)
@settings(deadline=None)
def test_a_copy_has_not_changed(state):
    assert Ledger(state).compare(copy.deepcopy(state)).changed() == ()


@given(TABLES, st.data())
@settings(deadline=None)
def test_one_change_is_found_where_it_was_made(state, data):
    records = [(table, key) for table, found in state.items() for key in found]
    if records:
        table, key = data.draw(st.sampled_from(records))
        ledger = Ledger(state)
        state[table][key] = "something else"
        assert ledger.compare(state).changed() == ((table, key),)
        assert ledger.digest != ledger.compare(state).digest()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, 1.0), (1, True), (0.0, -0.0), ("1", 1), ([1], (1,)), (None, "None"), (b"a", "a"),
        (b"a", array.array("b", b"a").tobytes()), ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: 2}, {"1": 2}), ({1, 2}, {2, 1}), ({"a": [{"b": 1}]}, {"a": [{"b": 1.0}]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_types_count_at_every_depth(before, after, depth):
    for _ in range(depth):
        before, after = {"k": before, "other": 1}, {"k": after, "other": 1}
    check(before, after)


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Item:
    name: str


def test_objects_are_compared_by_what_they_stand_for():
    check({"t": {"a": Item("x")}}, {"t": {"a": Item("y")}})
    check({"t": {"a": Item("x")}}, {"t": {"a": {"name": "x"}}})
    check({"t": {"a": 1}}, {"t": {"a": Colour.RED}})
    check({"t": OrderedDict(a=1)}, {"t": {"a": 1}})
    check({"t": {"a": 1}}, OrderedDict(t={"a": 2}))


@pytest.mark.parametrize("path", [(), ("t",), ("t", "r"), ("t", "r", "k"), ("t", "new")])
def test_what_is_no_data_is_found_at_its_place(path):
    state = {"t": {"r": {"k": 1}}}
    after = copy.deepcopy(state)
    if path:
        target = after
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = print
    else:
        after = print
    with pytest.raises(NotPlainError) as raised:
        Ledger(state).compare(after).changed()
    assert raised.value.path == path
    with pytest.raises(NotPlainError):
        Ledger(after)


def test_what_is_equal_is_shared_with_another_ledger():
    one = Ledger({"t": {"a": [1], "b": {1, 2}}})
    other = Ledger({"t": {"a": [1], "b": {1, 2}, "c": 3}}, one)
    mine, theirs = (ledger.root.parts["t"].parts for ledger in (other, one))
    assert mine["a"] is theirs["a"]
    assert mine["b"] is not theirs["b"]
    same = Ledger({"t": {"a": [1]}}, one)
    assert Ledger({"t": {"a": [1]}}, same).root is same.root is not one.root


@given(TABLES, st.data())
@settings(deadline=None)
def test_records_that_came_went_and_changed_places_are_told_apart(before, data):
    """The bytes of a table stand in a row: what is found there must be under its own key."""
    after = {}
    for table, found in before.items():
        keys = data.draw(st.permutations(sorted(found)))
        given = data.draw(st.permutations(sorted(found)))
        after[table] = {
            key: found[other]
            for key, other in zip(keys, given, strict=True)
            if data.draw(st.booleans())
        }
    check(before, after)
