"""How numbers, times and code are written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from selfchallenge.report import shape


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (shape.percent, 0.1824, "18.2\u00a0%"),
        (shape.points, 0.436, "+43.6"),
        (shape.points, -0.02, "\u22122.0"),
        (shape.interval, [0.121, 0.264], "12.1 to 26.4\u00a0%"),
        (shape.p_value, 0.0312, "p = 0.031"),
        (shape.p_value, 1e-9, "p < 0.0001"),
        (shape.count, 12345, "12,345"),
        (shape.duration, 0.21, "0.2 s"),
        (shape.duration, 59.6, "1 min 00 s"),
        (shape.duration, 245, "4 min 05 s"),
        (shape.duration, 7325, "2 h 02 min"),
        (shape.moment, "2026-11-01T14:05:11+0000", "1 Nov 2026, 14:05 UTC"),
        (shape.moment, "2026-11-01T14:05:11+0130", "1 Nov 2026, 14:05 UTC+01:30"),
        (shape.moment, "2026-11-01T14:05:11", "1 Nov 2026, 14:05"),
        (shape.moment, "some day", "some day"),
        (shape.brief, {"a": 1}, "{'a': 1}"),
        (shape.plain, "staged", "staged"),
        (shape.plain, 7, "7"),
    ],
)
def test_how_it_is_written(function, value, text):
    assert function(value) == text


@given(st.text())
def test_code_shows_its_source_and_nothing_but_colour(source):
    shown = shape.code(source)
    # The lexer ends lines its own way and the page has no place for an empty last line.
    plain = source.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    assert isinstance(shown, Markup)
    assert Markup(re.sub(r"</?span[^>]*>", "", shown)).unescape().split() == plain.split()
    assert not re.search(r"<(?!/?span\b)", shown)


@given(st.text(max_size=60), st.integers(2, 30))
def test_clip_keeps_both_ends(text, most):
    shown = shape.clip(text, most)
    assert shown == text if len(text) <= most else shown.startswith(text[: most // 2])
    assert shown.endswith(text[-(most // 2) :])


def test_a_reply_is_split_into_prose_and_code():
    reply = "First I look.\n```python\nprint(1)\n```\nThen I go on.\n```\nprint(2)"
    assert shape.blocks(reply) == [
        (False, "First I look."),
        (True, "print(1)"),
        (False, "Then I go on."),
        (True, "print(2)"),
    ]
    assert shape.blocks("  ") == []


def test_a_conversation_opens_with_what_was_given():
    turns = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user")]
    assert shape.opening(turns) == (["s", "u"], turns[2:])
    assert shape.opening(turns[:2]) == (["s", "u"], [])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(["a", 3], "f('a', 3)"), ({"x": 1}, "f(x=1)"), (None, "f()")],
)
def test_a_call_is_written_as_python(arguments, shown):
    record = {"tool": "f", "arguments": arguments, "ok": True, "result": "ok"}
    assert shape.call(record) == f"{shown} → 'ok'"
    assert "✗" in shape.call(record | {"ok": False})


@pytest.mark.parametrize(
    ("ci95", "said"),
    [((0.1, 0.3), "Better"), ((-0.3, -0.1), "Worse"), ((-0.1, 0.2), "No difference")],
)
def test_the_conclusion_follows_the_interval(ci95, said):
    assert shape.conclusion({"paired": {"n": 9, "ci95": ci95}}).startswith(said)


@pytest.mark.parametrize("summary", [{}, {"paired": None}, {"paired": {"n": 0, "ci95": (-1, 1)}}])
def test_nothing_is_concluded_from_nothing(summary):
    assert shape.conclusion(summary) == ""
