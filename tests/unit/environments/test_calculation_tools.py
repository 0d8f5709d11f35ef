"""The tools of the four domains do what the benchmark's do, and nothing a stranger's text asks."""

from __future__ import annotations

import ast
import math
import operator
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.environments.base import describe_tools, policy_of
from selfchallenge.environments.calculation import Calculation
from selfchallenge.environments.calculation.arithmetic import MAX_BITS, compute
from selfchallenge.environments.calculation.tools import DOMAINS
from selfchallenge.errors import UsageError

WORLD = Calculation("travel_planner-heldout-00")

letters = st.text(string.ascii_letters + " .,!-0123456789é")
dna = st.text("ACGT", max_size=40)
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)


# -- messages --------------------------------------------------------------------------------------


def test_hex_is_read_as_utf8():
    assert WORLD.convert_hex_to_ascii("48 65 78c3a9") == "Hexé"
    assert WORLD.convert_hex_to_ascii(313233) == "123"
    with pytest.raises(ValueError):
        WORLD.convert_hex_to_ascii("xyz")
    with pytest.raises(UnicodeDecodeError):
        WORLD.convert_hex_to_ascii("ff")


@given(st.text())
def test_hex_undoes_encoding(text):
    assert WORLD.convert_hex_to_ascii(text.encode().hex()) == text


def test_caesar_moves_letters_back_and_wraps():
    assert WORLD.caesar_decode("Dbc, abz!", 3) == "Ayz, xyw!"
    assert WORLD.caesar_decode(message="b", shift="1") == "a"


@given(letters, st.integers(-100, 100))
def test_caesar_is_undone_by_the_opposite_shift_and_keeps_other_characters(text, shift):
    ascii_only = text.replace("é", "e")
    moved = WORLD.caesar_decode(ascii_only, shift)
    assert WORLD.caesar_decode(moved, -shift) == ascii_only
    assert [c for c in moved if not c.isalpha()] == [c for c in ascii_only if not c.isalpha()]
    assert [c.isupper() for c in moved] == [c.isupper() for c in ascii_only]


@given(letters)
def test_reversing_twice_changes_nothing(text):
    assert WORLD.reverse_string(WORLD.reverse_string(text)) == text
    assert WORLD.string_length(text) == len(WORLD.reverse_string(text))


def test_extremes_are_those_of_all_that_is_given():
    assert WORLD.minimum_value(3, 1, 2) == 1
    assert WORLD.maximum_value("fig", "apple") == WORLD.maximum_value("fig") == "fig"
    assert WORLD.minimum_value([3, 1, 2]) == [3, 1, 2]  # as in the benchmark: a list is one value
    with pytest.raises(TypeError):
        WORLD.maximum_value(1, "a")


# -- plant DNA -------------------------------------------------------------------------------------


def test_transcription_maps_letter_by_letter():
    assert WORLD.transcribe_dna_to_mrna("ACGTN") == "UGCAN"
    assert WORLD.reverse_transcribe_mrna_to_dna("UCAGN") == "AGTCN"


@given(dna)
def test_reverse_transcription_undoes_transcription(sequence):
    mrna = WORLD.transcribe_dna_to_mrna(sequence)
    assert WORLD.reverse_transcribe_mrna_to_dna(mrna) == sequence


def test_translation_reads_triplets_and_a_short_rest():
    chain = WORLD.translate_mrna_to_amino_acid("AUGUUUUUCGGGA")
    assert chain == "Methionine-Phenylalanine-Phenylalanine-X-X"
    assert WORLD.translate_mrna_to_amino_acid("") == ""


@given(dna)
def test_counts_are_in_order_of_first_occurrence(sequence):
    counts = WORLD.count_nucleotides(sequence)
    assert list(counts) == list(dict.fromkeys(sequence))
    assert sum(counts.values()) == len(sequence)


def test_the_first_maximum_wins():
    assert WORLD.find_max_nucleotide("A", 1, "C", 3, "G", 3) == ("C", 3)
    assert WORLD.find_max_nucleotide("A", 1, "C") == ("A", 1)  # a letter without a count is none
    assert WORLD.find_max_nucleotide("A", 5, "A", 1, "C", 3) == ("C", 3)  # the last count holds


def test_valid_dna_has_four_letters():
    assert WORLD.is_valid_dna_sequence("GATTACA")
    assert not WORLD.is_valid_dna_sequence("GAUUACA")
    assert not WORLD.is_valid_dna_sequence("gattaca")


# -- trade -----------------------------------------------------------------------------------------


def test_trade_by_keyword_and_by_position():
    assert WORLD.convert_currency(base_price=100, conversion_rate=1.5) == 150.0
    assert WORLD.calculate_tariff(200, tariff_rate=7) == 14.0
    assert WORLD.estimate_final_value(price=200, tariff=14.0) == 214.0
    assert WORLD.find_minimum(3, 1.5) == 1.5
    assert WORLD.find_maximum(3, 1.5) == 3


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("convert_currency", ("100", 2)),
        ("calculate_tariff", (100, "5%")),
        ("estimate_final_value", ("a", "b")),
        ("find_minimum", ("a", "b")),
        ("find_maximum", ([1, 2],)),
        ("budget_calculator", (1, "x", 10**12)),
    ],
)
def test_numbers_must_be_numbers(tool, arguments):
    with pytest.raises(TypeError):
        getattr(WORLD, tool)(*arguments)


@pytest.mark.parametrize(
    "expression",
    [
        "1 +",
        "1 / 0",
        "__import__('os').getcwd()",
        "(1).__class__",
        "open('x')",
        "[1, 2]",
        "'a' * 3",
        "9 ** 9 ** 9",
        "round(1, -1000000000)",
        "max(1, key=2)",
        "lambda: 1",
        "1e308 * 10",
        "(-8) ** 0.5",
        "x",
        "",
        "1 + " * 400 + "1",
        "-" * 900 + "1",
        "1,000 + 2",
    ],
)
def test_what_is_no_arithmetic_fails_with_its_text(expression):
    assert WORLD.calculator(expression) == f"Failed to evaluate expression: {expression}"


def test_the_calculator_takes_text_only():
    assert WORLD.calculator(5) == "Failed to evaluate expression: 5"


def test_the_calculator_knows_arithmetic():
    assert WORLD.calculator(" (2 + 3) * -4 ") == -20
    assert WORLD.calculator("7 // 2 + 7 % 4 + 2 ** -1") == 6.5
    assert WORLD.calculator("round(10 / 3, 2) + max(1, 2) - abs(-1)") == 4.33
    assert WORLD.calculator("-2 ** 2") == -4


OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


@given(numbers, st.sampled_from(sorted(OPERATORS)), numbers)
def test_arithmetic_agrees_with_python(left, sign, right):
    try:
        expected = OPERATORS[sign](left, right)
    except ZeroDivisionError:
        return
    source = f"({left!r}) {sign} ({right!r})"
    if math.isfinite(expected):
        assert compute(source) == expected
    else:
        with pytest.raises(ValueError, match="not finite"):
            compute(source)


arithmetic = st.recursive(
    st.integers(0, 10**9).map(str),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["*", "**", "-"]), inner),
    max_leaves=12,
)


@given(arithmetic)
def test_no_whole_number_outgrows_the_bound(expression):
    try:
        value = compute(expression)
    except (ValueError, ArithmeticError):
        return
    assert isinstance(value, float) or value.bit_length() <= MAX_BITS


@given(st.text(max_size=80))
def test_no_text_makes_the_calculator_raise(expression):
    assert isinstance(WORLD.calculator(expression), int | float | str)


# -- travel ----------------------------------------------------------------------------------------


def test_flights_are_found_by_place_and_date():
    flight = WORLD.tables(WORLD.seed).flights[0]
    found = WORLD.find_flights('"A"', "B", date=flight["date"])
    assert flight in found
    assert {f["from_location"] for f in found} == {'"A"'}
    assert {f["date"] for f in found} == {flight["date"]}
    assert WORLD.find_flights("A", "B", "1999-01-01") == []
    with pytest.raises(ValueError, match="Atlantis"):
        WORLD.find_flights("Atlantis", "B", flight["date"])


def test_what_a_tool_returns_is_not_the_table_itself():
    WORLD.book_hotel("A")[0]["rating"] = -1
    assert all(hotel["rating"] > 0 for hotel in WORLD.book_hotel("A"))


def test_hotels_have_every_preference():
    everywhere = [hotel for place in "ABCDEF" for hotel in WORLD.book_hotel(place)]
    assert len(everywhere) == len(WORLD.tables(WORLD.seed).hotels)
    both = [h for h in WORLD.book_hotel('"F"') if {"gym", "wifi"} <= set(h["preferences"])]
    assert WORLD.book_hotel("F", "wifi", "gym") == both != []
    with pytest.raises(ValueError, match="nowhere is no place"):
        WORLD.book_hotel("nowhere")


def test_budget_and_sums():
    assert WORLD.budget_calculator(flight_price=300, hotel_price_per_night=90, num_nights=4) == 660
    assert WORLD.sum(1, 2.5) == 3.5
    assert WORLD.sum() == 0
    assert WORLD.max(1, 2) == WORLD.max([1, 2]) == 2
    assert WORLD.min(1, 2) == WORLD.min([1, 2]) == 1
    with pytest.raises(TypeError):
        WORLD.sum([1, 2])


# -- the environment -------------------------------------------------------------------------------


def test_each_domain_offers_its_six_tools():
    for domain, names in DOMAINS.items():
        assert Calculation.offered(f"{domain}-0001") == list(names)
        assert len(names) == 6
    everything = Calculation.offered(None)
    assert len(set(everything)) == len(everything) == 24
    assert len(describe_tools(Calculation)) == 24
    with pytest.raises(UsageError, match="begins with no domain"):
        Calculation.offered("weather-0001")


def test_tools_only_read_and_are_documented():
    for tool in describe_tools(Calculation):
        assert not tool.mutates
        assert tool.description.startswith("Return ")
        assert "->" in tool.signature


def test_results_are_shown_as_python_text():
    assert WORLD.show(("A", 3)) == "('A', 3)"
    assert WORLD.show("plain") == "plain"
    assert WORLD.show_error("tool", ValueError("no such place")) == "no such place"
    assert WORLD.show_error("tool", ValueError()) == "ValueError"


def test_the_policy_is_about_the_world_and_nothing_changes():
    assert policy_of(Calculation).startswith("You work with small tools")
    assert WORLD.snapshot() == {}


def test_no_tool_evaluates_python():
    import selfchallenge.environments.calculation as package

    for file in package.__path__:
        from pathlib import Path

        for source in Path(file).glob("*.py"):
            called = {
                node.func.id
                for node in ast.walk(ast.parse(source.read_text("utf-8")))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert called.isdisjoint({"eval", "exec", "compile", "__import__"})
