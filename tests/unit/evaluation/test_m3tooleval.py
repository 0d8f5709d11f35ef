"""M3ToolEval's answer check with its quirks, the fair one, and how replies are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.errors import LoadError, UsageError
from selfchallenge.evaluation.m3tooleval import (
    BOTH,
    CHECKERS,
    CUT,
    DIFFERENCES,
    INVALID,
    NO_OUTPUT,
    Parsed,
    benchmark_accepts,
    fair_accepts,
    json_action,
    observed,
    parse,
    read_questions,
)

FOLDER = Path(__file__).parents[4] / "shared/benchmarks/m3tooleval"
needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark's files are not beside this checkout"
)
NESTED = {"T": 1, "A": 2}

# What was measured of the benchmark's own check, and what a fair one should say.
CASES = [
    ("161", 161.25, True, False),
    ("161.0", 161.25, True, False),
    ("161.25", 161.25, True, True),
    ("161.2", 161.25, False, False),
    ("$161.25", 161.25, False, True),
    ("8100", 8100.0, True, True),
    ("8,100.0", 8100.0, False, True),
    ("237.94", 237.942, False, True),
    ("237", 237.942, True, False),
    ("380.42", 380.41999999999996, False, True),
    ("380.42", 380.42, True, True),
    ("False", False, True, True),
    ("0", False, True, False),
    ("false", False, False, True),
    ("3.0", 3, True, True),
    ("three", 3, False, False),
    ("UUU", "UUU", True, True),
    ("'UUU'", "UUU", True, True),
    ("uuu", "UUU", False, False),
    ("UUU.", "UUU", False, True),
    ("", "UUU", False, False),
    ("[36380.0, 48150.0]", [36380.0, 48150.0], True, True),
    ("[36380, 48150]", [36380.0, 48150.0], False, True),
    ("36380.0", [36380.0, 48150.0], False, False),
    ("('A', 3)", ("A", 3), True, True),
    ('["A", 3]', ("A", 3), False, True),
    ("{'T': 1, 'A': 2}", NESTED, True, True),
    ("{'A': 2, 'T': 1}", NESTED, False, True),
    ("{'A': 2}", NESTED, False, False),
    ('"UUU".', "UUU", False, True),
    ("€8,100.00", 8100.0, False, True),
    ("+8100", 8100.0, True, True),
    (".5", 0.5, True, True),
    ("1_000", 1000, True, True),
    ("nan", 3, False, False),
    ("[" * 5000, [1], False, False),
]


@pytest.mark.parametrize(("answer", "expected", "benchmark", "fair"), CASES)
def test_both_checks(answer, expected, benchmark, fair):
    assert benchmark_accepts(answer, expected) is benchmark
    assert fair_accepts(answer, expected) is fair


@given(
    st.text(max_size=40),
    st.sampled_from([1, 2.5, True, "x", [1.0], ("A", 3), {"a": 1}]),
    st.sampled_from(sorted(CHECKERS)),
)
def test_no_answer_breaks_a_check(answer, expected, checker):
    assert CHECKERS[checker](answer, expected) in (True, False)


def test_every_difference_has_a_case():
    assert sum(a is not b for _, _, a, b in CASES) >= len(DIFFERENCES)


# -- reading ---------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(("environment", "count"), [("calculation", 48), ("web", 34)])
@pytest.mark.parametrize("checker", sorted(CHECKERS))
def test_every_expected_value_passes_its_own_check(environment, count, checker):
    questions = read_questions(FOLDER, environment)
    assert len(questions) == count
    assert all(CHECKERS[checker](str(q.expected), q.expected) for q in questions)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UsageError, match="no tasks for 'retail'"):
        read_questions(tmp_path, "retail")
    with pytest.raises(LoadError, match="cannot be read"):
        read_questions(tmp_path, "web")
    (tmp_path / "tasks.json").write_text(json.dumps([{"environment": "web", "name": "x"}]))
    with pytest.raises(LoadError, match="KeyError"):
        read_questions(tmp_path, "web")


# -- replies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "meant"),
    [
        ("Thought: hm\nAction:\nprint(1)\nEnd Action", Parsed(action="print(1)\n")),
        ("Action:\nprint(1)", Parsed(action="print(1)\n")),
        ("I try.\n```python\nprint(1)\n```", Parsed(action="print(1)\n")),
        ("Action:\n```python\nprint(1)\n```\nEnd Action", Parsed(action="print(1)\n")),
        ("Action:\nprint(1)\nEnd Action\nAnswer: 3", Parsed(action="print(1)\n")),
        # One marker: nothing is cut off.
        ("Action: print(1) Thought: and then", Parsed(action="print(1) Thought: and then\n")),
        ("Thought: I am done, End Action\nAnswer: 42", Parsed(answer="42")),
        ("  \n Answer: 42\nThought: sure.", Parsed(answer="42\nThought: sure.")),
        # Two: also the thought between them is.
        ("Answer: 42\nThought: I check.\nAnswer: 42", Parsed(answer="42")),
        ("Answer: 42\n\nThought: next.\nAction: f() End Action", Parsed(answer="42")),
        ("Action: f()\nThought: so\nAction: g()", Parsed(action="f()\n")),
        ("Answer: 42 ", Parsed(answer="42")),
        ("Thought: done\nAnswer: 42\nAnswer: 43", Parsed(answer="42")),
        ("I do not know", Parsed(invalid=INVALID)),
        ("", Parsed(invalid=INVALID)),
    ],
)
def test_what_a_reply_means(reply, meant):
    assert parse(reply) == meant


def test_the_sentence_about_both_is_another():
    assert BOTH != INVALID


def test_observations_are_cut_and_silence_is_said():
    assert observed("Out[1]: 3\n") == "3"
    assert observed(" \n") == NO_OUTPUT
    assert observed("x" * (CUT + 1)) == "x" * CUT + "...\n[Output Truncated]"


@pytest.mark.parametrize(
    ("action", "call"),
    [
        ('{"tool": "f", "args": [1, "a"]}', ("f", [1, "a"])),
        ('{"tool": "f", "args": 1}', ("f", [1])),
    ],
)
def test_json_actions(action, call):
    assert json_action(action) == call


@pytest.mark.parametrize("action", ["f(1)", "[]", '{"args": []}', '{"tool": "f"}', "3", "[" * 9000])
def test_other_json_is_complained_about(action):
    assert str(json_action(action)).startswith("Invalid action.")
