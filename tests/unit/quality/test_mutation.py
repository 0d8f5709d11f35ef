"""Mutants and equivalents: what is written, one change each."""

import ast
import re

from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.episode import Call
from selfchallenge.quality.mutation import (
    MOST,
    World,
    equivalents,
    generated,
    is_identifier,
    mutants,
    settled,
    shape,
    stands_in,
    texts,
    unordered,
)

WORLD = World(
    mutating=frozenset({"cancel", "pay"}),
    reading=frozenset({"look"}),
    values=("W1", "W2", "W17", "late", "c1"),
    enums={"cancel": {"order": (), "reason": ("late", "mistake")}},
    calls=(Call(tool="cancel", arguments=["W9", "late"], result="done", ok=True),),
)
SOLUTION = "look('W1')\ncancel('W1', 'late')\npay('W1', 3)"


def changes(source: str = SOLUTION, answer: object = None, told: str = "") -> dict[str, str]:
    return {one.change: one.code for one in mutants(source, answer, told, WORLD)}


def test_every_operator_has_its_turn():
    found = changes()
    assert "None\npay('W1', 3)" in found["without cancel('W1', 'late')"]
    assert any(change.startswith("'W2' instead of 'W1'") for change in found)
    assert "cancel('W1', 'mistake')" in found["'mistake' instead of 'late'"]
    assert "pay('W1', 4)" in found["4 instead of 3"]
    assert found["pay('W1', 3) twice"].count("pay(") == 2
    assert "cancel('W9', 'late')" in found["cancel('W9', 'late') as well"]


def test_only_what_is_run_is_written():
    long = "\n".join(f"cancel('W1', {i})" for i in range(1000))
    assert len(mutants(long, None, "", WORLD)) == MOST
    assert len(equivalents(long, "", (), WORLD)) == MOST


def test_every_like_answer_is_given_unless_the_choice_is_free():
    names = World(frozenset(), frozenset(), values=("Dr. Amal", "Dr. Birch", "Dr. Chen", "Mr. X1"))
    asked = {one.change for one in mutants("answer = 0", "Dr. Amal", "Who is cheapest?", names)}
    assert {"answer 'Dr. Birch'", "answer 'Dr. Chen'"} <= asked
    free = {one.change for one in mutants("answer = 0", "Dr. Amal", "Name any of them.", names)}
    assert len(free & asked) < len(asked)


@given(st.text(alphabet="aW19#._@:- !", max_size=12))
def test_an_identifier_is_a_word_with_a_digit(text):
    word = re.fullmatch(r"#?[\w.@:-]*\d[\w.@:-]*", text)
    assert is_identifier(text) == (word is not None and not text.isdecimal())


def test_a_number_beyond_floats_is_looked_up_too():
    assert not stands_in(10**400, "Pay 3.")


def test_an_answer_is_spoilt():
    assert any(code.endswith("answer = 8") for code in changes("answer = 7", 7).values())
    assert any("or 7 or" in code for code in changes("answer = 7", 7).values())
    assert any(
        code.endswith("answer = [1]") for code in changes("answer = [1, 2]", [1, 2]).values()
    )


def test_only_what_is_named_in_a_changing_call_is_for_the_verifier_alone():
    found = mutants(SOLUTION, None, "Cancel W1, it is late", WORLD)
    stated = {one.code: one.stated for one in found}
    assert stated[SOLUTION.replace("late", "mistake")]
    assert not stated[SOLUTION.replace("3", "4")]
    assert stated[SOLUTION.replace("cancel('W1'", "cancel('W2'")]
    assert not stated[SOLUTION.replace("look('W1'", "look('W2'")]


def test_siblings_are_of_the_same_kind_and_near():
    world = World(frozenset(), frozenset(), values=("c11", "k11", "k12", "k99", "k1", "x"))
    assert world.siblings("k11")[:2] == ["k12", "k99"]
    assert shape("W12") == shape("W7") != shape("w7")


def test_equivalents_reorder_and_read_more_unless_there_is_an_order():
    calls = [Call(tool="look", arguments=["W1"], result={}, ok=True)]
    found = [one.change for one in equivalents(SOLUTION, "Cancel W1", calls, WORLD)]
    assert "statements 2 and 3 exchanged" in found
    assert "looking once more after" in found
    ordered = [one.change for one in equivalents(SOLUTION, "First cancel W1", calls, WORLD)]
    assert not any("exchanged" in change for change in ordered)


def test_what_is_volatile_is_left_out_of_a_state():
    state = {"orders": {"W1": {"made": 5, "open": True}}, "count": 3}
    assert settled(state, ["orders.*.made", "count"]) == {"orders": {"W1": {"open": True}}}
    assert generated(state, ["orders.*.made", "count"]) == [5, 3]


def test_numbers_and_words_stand_in_a_text():
    assert stands_in(3, "give me three of them")
    assert stands_in(1200, "pay 1,200 back")
    assert not stands_in(12, "pay 120 back")
    assert stands_in("W1", "cancel W1.")
    assert not stands_in("W1", "cancel W12.")


@given(st.recursive(st.integers() | st.text(max_size=4), lambda s: st.lists(s, max_size=4)))
def test_order_does_not_count(state):
    turned = state[::-1] if isinstance(state, list) else state
    assert unordered(turned) == unordered(state)
    assert set(texts(turned)) == set(texts(state))


def test_every_mutant_parses():
    found = changes("for o in ['W1', 'W2']:\n    cancel(o, 'late')\nanswer = 'W1'", "W1")
    assert len(found) > 3
    for code in found.values():
        assert ast.parse(code).body
