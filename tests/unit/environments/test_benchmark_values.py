"""The tools give the expected values of the benchmark's own tasks, whose text stays outside."""

from __future__ import annotations

import ast
import json
import re
from itertools import chain
from pathlib import Path

import pytest

from selfchallenge.environments.calculation import Calculation
from selfchallenge.environments.loading import load_environment

FOLDER = Path(__file__).parents[4] / "shared/benchmarks/m3tooleval"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark's files are not beside this checkout"
)


@pytest.fixture(scope="module")
def tasks():
    found = json.loads((FOLDER / "tasks.json").read_text("utf-8"))
    return {task["name"].split("/")[1]: task for task in found}


@pytest.fixture(scope="module")
def world():
    return load_environment(Calculation, FOLDER)(None)


def given(task):
    """Single-quoted values, and the figures outside of them."""
    text = task["instruction"]
    quoted = re.findall(r"'([^']*)'", text)
    return quoted, [float(n) for n in re.findall(r"\d+(?:\.\d+)?", re.sub("'[^']*'", "", text))]


def expected(task):
    return ast.literal_eval(task["expected"])


def decoded(world, text, shift):
    return world.caesar_decode(world.reverse_string(world.convert_hex_to_ascii(text)), shift)


@pytest.mark.parametrize("name", ["full_alien_message_decoding", "specific_decoded_character"])
def test_one_message_decoded(world, tasks, name):
    quoted, (shift, *_) = given(tasks[name])
    text = next(found for found in quoted if re.fullmatch("[0-9a-f]+", found))
    assert decoded(world, text, shift) == expected(tasks[name])


def test_the_shortest_of_several_messages(world, tasks):
    task = tasks["shortest_caesar_decoded_message"]
    texts, (shift,) = given(task)
    lengths = [world.string_length(decoded(world, text, shift)) for text in texts]
    assert world.minimum_value(*lengths) == expected(task)


def test_the_largest_decoded_number(world, tasks):
    task = tasks["maximum_value_decoding"]
    texts, (shift,) = given(task)
    assert world.maximum_value(*(int(decoded(world, t, shift)) for t in texts)) == expected(task)


def test_counts_and_their_maximum(world, tasks):
    task = tasks["find_most_common_nucleotide_combined_sequence"]
    counts = world.count_nucleotides("".join(given(task)[0]))
    assert world.find_max_nucleotide(*chain(*counts.items())) == expected(task)


def test_reverse_transcription(world, tasks):
    task = tasks["reverse_transcribe_palindrome_check"]
    counts = world.count_nucleotides(world.reverse_transcribe_mrna_to_dna(given(task)[0][0]))
    assert world.show(counts) == world.show(expected(task))


def test_the_length_of_a_chain(world, tasks):
    task = tasks["transcribe_translate_amino_acid_length"]
    chain_ = world.translate_mrna_to_amino_acid(world.transcribe_dna_to_mrna(given(task)[0][0]))
    assert len(chain_.split("-")) == expected(task)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("interstellar_trade_transaction", (0, 1, 2, 3)),
        ("taxed_commodity_export", (0, 1, 2, 3)),
    ],
)
def test_a_final_trade_value(world, tasks, name, order):
    figures = given(tasks[name])[1]
    units, price, rate, tariff_rate = (figures[i] for i in order)
    local = world.convert_currency(world.calculator(f"{units} * {price}"), rate)
    tariff = world.calculate_tariff(local, tariff_rate)
    assert world.estimate_final_value(local, tariff) == expected(tasks[name])


def test_the_best_of_several_trades(world, tasks):
    task = tasks["variable_tariff_profit_maximization"]
    price, *figures = given(task)[1]
    *offers, rate = figures
    values = [
        world.estimate_final_value(local, world.calculate_tariff(local, tariff))
        for units, tariff in zip(offers[::2], offers[1::2], strict=True)
        for local in [world.convert_currency(units * price, rate)]
    ]
    assert world.find_maximum(*values) == expected(task)


@pytest.mark.parametrize(
    ("name", "wishes"),
    [
        ("cheapest_new_york_trip", ()),
        ("budget_trip_to_paris", ()),
        ("london_business_trip", ("wifi",)),
        ("new_york_holiday_season", ("gym", "pool")),
    ],
)
def test_the_budget_of_a_journey(world, tasks, name, wishes):
    text = tasks[name]["instruction"]
    start, end = re.findall(r'"\w"', text)
    date, nights = re.search(r"(\d{4}-\d\d-\d\d).*?(\d) nights", text).groups()
    flight = world.min(*[f["price"] for f in [*world.find_flights(start, end, date), BIG]])
    night = world.min(*[h["price_per_night"] for h in [*world.book_hotel(end, *wishes), BIG]])
    assert world.budget_calculator(flight, night, int(nights)) == expected(tasks[name])


BIG = {"price": 10**6, "price_per_night": 10**6}
