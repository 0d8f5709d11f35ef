"""What a reply means."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.executor.actions import (
    STOP_AFTER_BLOCK,
    parse_action,
    read_answer,
    show_observation,
)


def test_the_first_block_is_the_action() -> None:
    reply = "I look.\n```python\nx = 1\nprint(x)\n```\nand\n```python\nboom\n```"
    assert parse_action(reply) == "x = 1\nprint(x)\n"


def test_lines_may_end_as_on_windows() -> None:
    reply = "I look.\r\n```python\r\nprint(1)\r\n```\r\nmore"
    assert parse_action(reply) == "print(1)\n"
    found = re.search(STOP_AFTER_BLOCK, reply, re.DOTALL)
    assert found is not None
    assert reply[: found.end()].endswith("```")


def test_a_block_that_was_cut_off_is_still_an_action() -> None:
    assert parse_action("```python\nprint(1)") == "print(1)\n"


def test_a_reply_without_a_block_is_an_answer() -> None:
    assert parse_action("42") is None
    assert parse_action("use `x` here") is None


def test_sampling_stops_when_the_first_block_is_closed() -> None:
    text = "Thought.\n```python\nprint('a')\n```\nmore"
    found = re.search(STOP_AFTER_BLOCK, text, re.DOTALL)
    assert found is not None
    assert text[: found.end()].endswith("print('a')\n```")
    assert re.search(STOP_AFTER_BLOCK, "Thought.\n```python\nprint(1)", re.DOTALL) is None


@pytest.mark.parametrize(
    ("reply", "kind", "answer"),
    [
        ("42", "int", 42),
        (" 42 \n", "str", "42"),
        ("'42'", "str", "42"),
        ("161.25", "float", 161.25),
        ("True", "bool", True),
        ("[1, 2]", "list", [1, 2]),
        ("The answer is 42", "int", "The answer is 42"),
        ("", "int", ""),
        ("(" * 900, "int", "(" * 900),
        ("9" * 1999, "float", int("9" * 1999)),
        ("9" * 5000, "int", "9" * 5000),
        ("__import__('os').getcwd()", "int", "__import__('os').getcwd()"),
    ],
)
def test_an_answer_is_read_by_the_type_of_the_reference(
    reply: str, kind: str, answer: object
) -> None:
    assert read_answer(reply, kind) == answer


@given(st.text(max_size=300), st.sampled_from(["str", "int", "float", "list", "NoneType"]))
def test_reading_an_answer_never_raises(reply: str, kind: str) -> None:
    read_answer(reply, kind)
    assert kind != "str" or isinstance(read_answer(reply, kind), str)


@given(st.text(max_size=5000), st.integers(60, 500))
def test_observations_are_bounded(text: str, limit: int) -> None:
    assert 0 < len(show_observation(text, limit)) <= max(limit + 60, 60)
