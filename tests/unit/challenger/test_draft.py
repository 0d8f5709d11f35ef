"""Drafts: calls as data, cut out of sampled text, bound to signatures, pruned."""

import ast

import pytest

from selfchallenge.challenger.draft import Draft, Step, bind, cut_arguments, variadic
from selfchallenge.environments.base import Environment, ToolSpec, describe_tools, tool


class Words(Environment):
    """Words."""

    @tool
    def reverse(self, text: str) -> str:
        """Reverse a text."""
        return text[::-1]

    @tool
    def shift(self, text: str, by: int = 1) -> str:
        """Shift the letters of a text."""
        return text

    @tool
    def largest(self, *numbers: float) -> float:
        """Return the largest number."""
        return max(numbers)

    @tool(mutates=True)
    def keep(self, text: str) -> None:
        """Keep a text."""


TOOLS: dict[str, ToolSpec] = {spec.name: spec for spec in describe_tools(Words)}


def step(number: int, name: str, arguments: str, value: object = "x") -> Step:
    return Step(f"r{number}", TOOLS[name], arguments, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'abc')", "'abc'"),
        ("'a)b', 3)  # done", "'a)b', 3"),
        ("r1, by=(2 + 1))\nmore", "r1, by=2 + 1"),
        (")", ""),
        ("'abc'", None),
        ("'abc\n')", None),
        ("1 +)", None),
    ],
)
def test_arguments_end_at_the_parenthesis_that_closes_the_call(
    text: str, expected: str | None
) -> None:
    cut = cut_arguments(text)
    if expected is None or cut is None:
        assert cut == expected
    else:
        assert ast.dump(ast.parse(f"f({cut})")) == ast.dump(ast.parse(f"f({expected})"))


def test_arguments_are_bound_by_the_signature() -> None:
    bound = bind(TOOLS["shift"], "'abc', by=3")
    assert bound is not None
    assert {name: [ast.unparse(n) for n in nodes] for name, nodes in bound.items()} == {
        "text": ["'abc'"],
        "by": ["3"],
    }
    assert bind(TOOLS["shift"], "by=3") is None
    assert bind(TOOLS["shift"], "'a', 1, 2") is None
    assert bind(TOOLS["shift"], "'a', text='b'") is None
    assert bind(TOOLS["shift"], "'a', who=1") is None


def test_variadic_parameters_take_every_positional_argument() -> None:
    assert variadic(TOOLS["largest"]) == "numbers"
    assert variadic(TOOLS["shift"]) is None
    bound = bind(TOOLS["largest"], "1, 2, r1")
    assert bound is not None
    assert len(bound["numbers"]) == 3


def test_pruning_keeps_what_the_answer_needs_and_every_change() -> None:
    draft = Draft(
        0,
        None,
        (
            step(1, "reverse", "'abc'"),
            step(2, "shift", "'unused'"),
            step(3, "keep", "'kept'"),
            step(4, "shift", "r1, 2"),
        ),
        answer="r4",
    )
    assert [s.variable for s in draft.pruned().steps] == ["r1", "r3", "r4"]


def test_the_solution_runs_top_to_bottom() -> None:
    draft = Draft(0, None, (step(1, "reverse", "'abc'"),), answer="r1")
    assert draft.solution == "r1 = reverse('abc')\nanswer = r1\n"
