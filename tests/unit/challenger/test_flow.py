"""Shapes, and which result goes into which parameter."""

import random
from typing import Any

import pytest

from selfchallenge.challenger.draft import Step
from selfchallenge.challenger.flow import belongs, opening_with, own_values, takes_values
from selfchallenge.challenger.shapes import SHAPES
from selfchallenge.challenger.views import combined, labels, unshadowed, views
from selfchallenge.environments.base import Environment, describe_tools, tool


class Trips(Environment):
    """Trips; two tools have names of builtins."""

    @tool
    def find_flights(self, place: str) -> list[dict[str, Any]]:
        """Return the flights to a place."""
        return []

    @tool
    def book_hotel(self, place: str) -> list[dict[str, Any]]:
        """Return the hotels of a place."""
        return []

    @tool
    def budget(self, flight_price: float, hotel_price_per_night: float, nights: int) -> float:
        """Return the cost of a trip."""
        return 0.0

    @tool
    def sorted(self, *values: float) -> float:
        """Return the values in order."""
        return 0.0

    @tool
    def everything(self) -> list[str]:
        """Return all places."""
        return []

    @tool
    def total(self, *values: float) -> float:
        """Return the sum of the values."""
        return 0.0


ALL = describe_tools(Trips)
TOOLS = {spec.name: spec for spec in ALL}
PLAIN = [spec for spec in ALL if spec.name != "sorted"]
USER = {
    "name": {"first": "Ada", "last": "Byron"},
    "orders": ["#W1", "#W2"],
    "cards": {"c_1": {"id": "c_1", "limit": 5}, "c_2": {"id": "c_2", "limit": 7}},
    "items": [{"item_id": "9", "price": 3}, {"item_id": "8", "price": 4}],
    "visits": [],
}
FLIGHTS = [{"price": 80, "to": "A"}, {"price": 60, "to": "B"}]
HOTELS = [{"price_per_night": 30, "rating": 4.5}, {"price_per_night": 25, "rating": 4.0}]


def step(number: int, name: str, arguments: str, value: Any) -> Step:
    return Step(f"r{number}", TOOLS[name], arguments, value)


def test_shares_add_up_and_slots_look_back() -> None:
    assert sum(shape.share for shape in SHAPES.values()) == pytest.approx(1)
    for shape in SHAPES.values():
        for place, slot in enumerate(shape.slots):
            assert all(earlier < place for earlier in slot.after)
            assert slot.like is None or slot.like < place
            if slot.like is not None:
                assert len(slot.after) == len(shape.slots[slot.like].after)


def test_results_go_where_their_name_belongs() -> None:
    steps = [step(1, "book_hotel", "'A'", HOTELS), step(2, "find_flights", "'A'", FLIGHTS)]
    for seed in range(20):
        opening = opening_with(TOOLS["budget"], steps, PLAIN, random.Random(seed))
        assert opening is not None
        flight, hotel, rest = opening.split("], ") if opening.count("]") == 2 else ("", "", "")
        assert rest == "" or "r2" in flight, opening
        assert "r1" in opening
        assert "r2" in opening
        assert opening.endswith(", ")
        del hotel


def test_what_fits_nowhere_opens_nothing() -> None:
    nothing = [step(1, "find_flights", "'A'", True)]
    assert opening_with(TOOLS["find_flights"], nothing, PLAIN, random.Random(0)) is None
    assert opening_with(TOOLS["total"], nothing, PLAIN, random.Random(0)) is None


def test_results_of_one_kind_go_side_by_side() -> None:
    steps = [step(1, "budget", "1, 2, 3", 10.5), step(2, "budget", "1, 2, 4", 12.5)]
    assert opening_with(TOOLS["total"], steps, PLAIN, random.Random(0)) == "r1, r2)"


def test_a_single_parameter_closes_the_call() -> None:
    steps = [step(1, "find_flights", "'A'", "B")]
    assert opening_with(TOOLS["book_hotel"], steps, PLAIN, random.Random(0)) == "r1)"
    assert own_values(TOOLS["book_hotel"]) == "'"
    assert own_values(TOOLS["budget"]) == ""
    assert own_values(TOOLS["everything"]) == ")"
    assert not takes_values(TOOLS["total"])


def test_views_are_true_of_the_value() -> None:
    plain = ({"a": 1, "b": "x"}, "banana", [3, 1, 2], ("G", 4), [])
    for value in (FLIGHTS, HOTELS, USER, USER["cards"], {"c": {}, "d": {}}, *plain):
        for view in views("r1", value):
            assert eval(view.source, {"r1": value}) == view.value


def test_a_record_shows_the_parts_of_its_parts() -> None:
    found = {view.source: view.value for view in views("r1", USER)}
    assert found["r1['name']['last']"] == "Byron"
    assert found["r1['orders'][1]"] == "#W2"
    assert found["len(r1['cards'])"] == 2
    assert found["sorted(r1['cards'].values(), key=lambda x: x['limit'])[-1]['id']"] == "c_2"
    assert found["sorted(r1['items'], key=lambda x: x['price'])[0]['item_id']"] == "9"
    assert not any("['c_1']" in source for source in found), "an identifier is no name of a part"


def test_a_result_belongs_where_the_name_of_a_part_does() -> None:
    flights = step(1, "find_flights", "'A'", FLIGHTS)
    assert belongs(TOOLS["budget"], [flights], PLAIN)
    assert not belongs(TOOLS["book_hotel"], [flights], PLAIN)
    assert not belongs(TOOLS["budget"], [flights, step(2, "total", "1", 3.0)], PLAIN)


def test_combinations_are_true_of_the_values() -> None:
    for name, values in (
        ("budget", (10.5, 12.5)),
        ("book_hotel", (HOTELS, [{"price_per_night": 20, "rating": 3.0}])),
        ("find_flights", ("ab", "cd")),
    ):
        steps = [step(1, name, "'A'", values[0]), step(2, name, "'B'", values[1])]
        found = list(combined(steps, steps))
        assert found
        for view in found:
            known = {"r1": values[0], "r2": values[1]}
            assert eval(view.source, known) == view.value


def test_what_a_task_tells_is_not_put_together_and_asked_for() -> None:
    records = [{"id": "A", "to": "X", "size": 1}, {"id": "B", "to": "Y", "size": 2}]
    steps = [step(1, "find_flights", "'A'", records[0]), step(2, "find_flights", "'B'", records[1])]
    found = {view.source for view in combined(steps, steps)}
    assert "[r1['to'], r2['to']]" in found
    assert not any("['id']" in source for source in found)
    other = [steps[0], step(2, "book_hotel", "'B'", records[1])]
    found = {view.source for view in combined(other, other)}
    assert found
    assert not any("['id']" in source for source in found)


def test_labels_are_the_one_value_that_differs() -> None:
    made = [
        step(1, "find_flights", "'A'", "x"),
        step(2, "book_hotel", "r1", 5),
        step(3, "find_flights", "'B'", "y"),
        step(4, "book_hotel", "r3", 7),
    ]
    assert labels([made[1], made[3]], made) == ["A", "B"]
    assert labels([made[0], made[1]], made) == []
    both = [step(1, "budget", "1, 2, 3", 5), step(2, "budget", "1, 3, 4", 7)]
    assert labels(both, both) == []


def test_a_tool_with_the_name_of_a_builtin_hides_it() -> None:
    found = list(views("r1", FLIGHTS))
    kept = unshadowed(found, ALL)
    assert len(kept) < len(found)
    assert all("sorted" not in view.source for view in kept)
    assert unshadowed(found, PLAIN) == found
