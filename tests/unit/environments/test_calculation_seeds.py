"""Seeds of calculation: balanced, typed material, worlds that stay what they are."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from selfchallenge.environments.calculation import Calculation
from selfchallenge.environments.calculation.state import AMENITIES, PLACES, generate
from selfchallenge.environments.calculation.tools import DOMAINS, domain_of
from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import LoadError

SEEDS = Calculation.seeds()


def test_many_balanced_seeds_and_none_of_a_held_out_task():
    assert len(set(SEEDS)) == len(SEEDS)
    assert min(Counter(map(domain_of, SEEDS)).values()) >= 200
    assert Counter(map(domain_of, SEEDS[:8])) == dict.fromkeys(DOMAINS, 2)
    assert not any("heldout" in seed for seed in SEEDS)


def test_material_is_typed_varied_and_the_same_every_time():
    lines = [Calculation.describe_seed(seed) for seed in SEEDS]
    assert lines == [Calculation.describe_seed(seed) for seed in SEEDS]
    assert len(set(lines)) > 0.95 * len(lines)
    assert not any("\n" in line or len(line) > 200 for line in lines)
    for seed, line in zip(SEEDS, lines, strict=True):
        assert re.match(KINDS[domain_of(seed)], line), line


KINDS = {
    "message_decoder": r"(hex messages?|message|backwards message|texts|readings) ",
    "dna_sequencer": r"(possible )?(DNA|mRNA) sequences? '[A-Z]+'",
    "trade_calculator": r"(price|prices|\d+ units|expression) ",
    "travel_planner": r"(from '[A-F]' to '[A-F]' on \d{4}-\d\d-\d\d|hotels in|flight price)",
}


def test_material_leads_somewhere():
    """Messages decode, journeys have flights, wished hotels exist."""
    for seed in SEEDS[:400]:
        line, world = Calculation.describe_seed(seed), Calculation(seed)
        for text in re.findall(r"hex messages?.*?'([0-9a-f]+)'", line):
            assert world.convert_hex_to_ascii(text)
        for start, end, date in re.findall(r"from '(\w)' to '(\w)' on (\S{10})", line):
            assert world.find_flights(start, end, date)
        stay = re.search(r"to '(\w)' on \S{10}, hotel with '(\w+)'(?: and '(\w+)')?", line)
        if stay:
            place, *wishes = [found for found in stay.groups() if found]
            assert world.book_hotel(place, *wishes)


def test_generated_worlds_differ_and_have_the_schema_of_the_data():
    one, other = generate("one"), generate("other")
    assert one != other
    for flight in one.flights:
        assert set(flight) == {"from_location", "to_location", "date", "price"}
        assert flight["from_location"] != flight["to_location"]
        assert flight["from_location"].strip('"') in PLACES
    for hotel in one.hotels:
        assert set(hotel) == {"location", "preferences", "price_per_night", "rating"}
        assert set(hotel["preferences"]) <= set(AMENITIES)
    offers = Counter((f["from_location"], f["to_location"], f["date"]) for f in one.flights)
    assert len(offers) > 200
    assert sum(count > 1 for count in offers.values()) > 100


def test_the_world_of_the_held_out_tasks_never_changes():
    text = json.dumps([generate("heldout").flights, generate("heldout").hotels], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "6ff248fab772ccd8"


def test_travel_tables_come_from_the_data_folder_but_not_for_held_out_tasks(tmp_path):
    flight = {"from_location": '"A"', "to_location": '"B"', "date": "2030-01-01", "price": 77}
    hotel = {"location": '"B"', "preferences": ["wifi"], "price_per_night": 9, "rating": 3}
    (tmp_path / "travel.json").write_text(json.dumps({"flights": [flight], "hotels": [hotel]}))
    bound = load_environment(Calculation, tmp_path)
    assert bound("travel_planner-0001").find_flights("A", "B", "2030-01-01") == [flight]
    assert bound(None).book_hotel("B", "wifi") == [hotel]
    assert "2030-01-01" in bound.describe_seed("travel_planner-0003") or "hotels in" in (
        bound.describe_seed("travel_planner-0003")
    )
    assert bound("travel_planner-heldout-01").find_flights("A", "B", "2030-01-01") == []
    assert bound.tables("travel_planner-heldout-01") is generate("heldout")


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_data_folder_without_tables_is_a_clear_error(tmp_path, text):
    if text is not None:
        (tmp_path / "travel.json").write_text(text)
    bound = load_environment(Calculation, tmp_path)
    with pytest.raises(LoadError, match="travel tables cannot be read"):
        bound("travel_planner-0001")
    bound("trade_calculator-0001")
