"""Plain functions become an environment like any other."""

from __future__ import annotations

import pytest

from selfchallenge.environments.base import describe_tools, environment_name, policy_of, tool
from selfchallenge.environments.functions import environment_from_functions
from selfchallenge.environments.loading import load_origin, origin_of
from selfchallenge.errors import LoadError


def area(width: float, height: float = 1.0) -> float:
    """Return the area of a rectangle."""
    return width * height


def longest(*words: str) -> str:
    """Return the longest word."""
    return max(words, key=len)


@tool(mutates=True)
def note(text: str) -> None:
    """Keep a text."""
    NOTES.append(text)


NOTES: list[str] = []
Sheet = environment_from_functions("Sheet", [area, longest], "You measure sheets.")


def test_tools_are_the_functions_with_their_signatures():
    first, second = describe_tools(Sheet)
    assert first.signature == "area(width: float, height: float = 1.0) -> float"
    assert first.parameters["required"] == ["width"]
    assert (second.name, second.description) == ("longest", "Return the longest word.")
    assert Sheet("any").area(3, height=2) == 6
    assert Sheet().longest("a", "bb") == "bb"


def test_it_is_named_described_and_found_again():
    assert environment_name(Sheet) == "Sheet"
    assert policy_of(Sheet) == "You measure sheets."
    assert load_origin(origin_of(Sheet)) is Sheet


def test_a_function_may_write_and_then_the_state_is_unseen():
    diary = environment_from_functions("Diary", [area, note], "A diary.")
    assert [spec.mutates for spec in describe_tools(diary)] == [False, True]
    assert diary().snapshot() is None
    assert Sheet().snapshot() == {}


def seeds() -> int:
    """A name that Environment has."""
    return 1


def has_self(_: int) -> int:
    """A parameter that a method cannot have twice."""
    return _


def unknown(thing: Nowhere) -> None:  # noqa: F821
    """A hint that names nothing."""


@pytest.mark.parametrize(
    ("name", "functions", "said"),
    [
        ("Empty", [], "has no functions"),
        ("no name", [area], "is no name for a class"),
        ("Twice", [area, area], "area cannot be the name of a tool"),
        ("Unnamed", [lambda: 1], "<lambda> cannot be the name of a tool"),
        ("Taken", [seeds], "seeds cannot be the name of a tool"),
        ("Clash", [has_self], "a signature no tool can have"),
        ("Hint", [unknown], "gives no JSON schema"),
    ],
)
def test_what_cannot_be_an_environment_is_said(name, functions, said):
    with pytest.raises(LoadError, match=said):
        environment_from_functions(name, functions, "A world.")
