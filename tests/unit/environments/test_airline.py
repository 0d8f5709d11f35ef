"""The airline desk on generated data: refusals in their order, effects, sound tables."""

from __future__ import annotations

import datetime as dt
import itertools
import json

import pytest

from selfchallenge.environments.airline import Airline, state_hash
from selfchallenge.environments.airline.state import BAG, INSURANCE, free_bags, generate
from selfchallenge.errors import ToolError

ME = {"first_name": "Ada", "last_name": "Byron", "dob": "1990-12-10"}


@pytest.fixture
def desk():
    return Airline()


def user_with(desk, *sources):
    return next(
        (user_id, {m["source"]: m for m in user["payment_methods"].values()})
        for user_id, user in desk.users.items()
        if set(sources) <= {m["source"] for m in user["payment_methods"].values()}
    )


def reservation_of(desk, user_id):
    return desk.reservations[desk.users[user_id]["reservations"][0]]


def flight_on(desk, date, cabin="economy", seats=4):
    return next(
        (flight, flight["dates"][date]["prices"][cabin])
        for flight in desk.flights.values()
        if flight["dates"][date]["status"] == "available"
        and flight["dates"][date]["available_seats"][cabin] >= seats
    )


def refused(desk, text, name, *arguments):
    before = desk.state_hash()
    with pytest.raises(ToolError) as raised:
        getattr(desk, name)(*arguments)
    assert str(raised.value) == text
    assert desk.state_hash() == before


def book(desk, user_id, legs, payments, **changes):
    wanted = {
        "user_id": user_id,
        "origin": "SFO",
        "destination": "JFK",
        "flight_type": "one_way",
        "cabin": "economy",
        "flights": legs,
        "passengers": [ME],
        "payment_methods": payments,
        "total_baggages": 0,
        "nonfree_baggages": 0,
        "insurance": "no",
    }
    return desk.book_reservation(**{**wanted, **changes})


# -- searching -------------------------------------------------------------------------------------


def test_direct_flights_are_those_of_the_table(desk):
    flight, _ = flight_on(desk, "2024-05-20")
    found = desk.search_direct_flight(flight["origin"], flight["destination"], "2024-05-20")
    shown = next(f for f in found if f["flight_number"] == flight["flight_number"])
    assert "dates" not in shown
    assert list(shown)[-3:] == ["status", "available_seats", "prices"]
    assert desk.search_direct_flight(flight["origin"], flight["destination"], "someday") == []
    assert desk.search_direct_flight("XXX", ["y"], ["z"]) == []


def connecting(arrival="10:00:00"):
    """A desk with two flights that connect, the first one arriving at `arrival`."""
    desk = Airline()

    def day(price):
        seats = {"basic_economy": 9, "economy": 9, "business": 9}
        return {
            "status": "available",
            "available_seats": seats,
            "prices": dict.fromkeys(seats, price),
        }

    base = {"scheduled_departure_time_est": "11:00:00", "scheduled_arrival_time_est": arrival}
    days = {f"2024-05-{n}": day(n) for n in (20, 21, 30, 31)}
    desk.flights.clear()
    for number, start, end in (("A1", "AAA", "BBB"), ("B1", "BBB", "CCC")):
        ends = {"flight_number": number, "origin": start, "destination": end}
        desk.add("flights", number, {**ends, **base, "dates": dict(days)})
    return desk


def test_a_connection_on_one_day():
    ((first, second),) = connecting().search_onestop_flight("AAA", "CCC", "2024-05-20")
    assert (first["date"], second["date"]) == ("2024-05-20", "2024-05-20")
    assert list(first)[-1] == "date"
    assert connecting("11:00:01").search_onestop_flight("AAA", "CCC", "2024-05-20") == []
    assert connecting("11:00:00").search_onestop_flight("AAA", "CCC", "2024-05-20") != []


def test_a_connection_over_midnight_shows_the_first_days_prices():
    desk = connecting("01:00:00+1")
    ((_, second),) = desk.search_onestop_flight("AAA", "CCC", "2024-05-20")
    assert second["date"] == "2024-05-21"
    assert second["prices"]["economy"] == 20
    del desk.flights["B1"]["dates"]["2024-05-20"]
    with pytest.raises(KeyError, match="2024-05-20"):
        desk.search_onestop_flight("AAA", "CCC", "2024-05-20")


def test_a_date_that_is_none_raises_only_over_midnight():
    assert connecting().search_onestop_flight("AAA", "CCC", "soon") == []
    for arrival in ("01:00:00+1", "23:00:00+1"):
        with pytest.raises(ValueError, match="invalid literal for int"):
            connecting(arrival).search_onestop_flight("AAA", "CCC", "soon")
    with pytest.raises(TypeError, match="'int' object is not subscriptable"):
        connecting("01:00:00+1").search_onestop_flight("AAA", "CCC", 20)


# -- booking ---------------------------------------------------------------------------------------


def test_booking_checks_in_order(desk):
    user_id, methods = user_with(desk, "gift_card", "certificate")
    flight, price = flight_on(desk, "2024-05-20")
    number = flight["flight_number"]
    leg, card = {"flight_number": number, "date": "2024-05-20"}, methods["credit_card"]["id"]
    pay = [{"payment_id": card, "amount": price}]

    def fails(text, *arguments, **changes):
        before = desk.state_hash()
        with pytest.raises(ToolError) as raised:
            book(desk, *arguments, **changes)
        assert str(raised.value) == text
        assert desk.state_hash() == before

    fails("user not found", "nobody", [{}], pay)
    fails("flight X not found", user_id, [{"flight_number": "X", "date": "x"}], pay)
    fails(f"flight {number} not found on date x", user_id, [{**leg, "date": "x"}], pay)
    text = f"flight {number} not available on date 2024-05-01"
    fails(text, user_id, [{**leg, "date": "2024-05-01"}], pay)
    fails(f"not enough seats on flight {number}", user_id, [leg], pay, passengers=[ME] * 30)
    fails("payment method x not found", user_id, [leg], [{"payment_id": "x", "amount": price}])
    gift = methods["gift_card"]
    much = [{"payment_id": gift["id"], "amount": gift["amount"] + 1}]
    fails(f"not enough balance in payment method {gift['id']}", user_id, [leg], much)
    total = price + INSURANCE + 2 * BAG
    text = f"payment amount does not add up, total price is {total}, but paid {price}"
    fails(text, user_id, [leg], pay, insurance="yes", nonfree_baggages=2)
    with pytest.raises(KeyError, match="first"):
        book(desk, user_id, [leg], pay, cabin="first")
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+=: 'int' and 'str'"):
        book(desk, user_id, [leg], pay, nonfree_baggages="1")


def test_what_a_booking_does(desk):
    user_id, methods = user_with(desk, "gift_card", "certificate")
    flight, price = flight_on(desk, "2024-05-20", "business")
    leg = {"flight_number": flight["flight_number"], "date": "2024-05-20", "note": "window"}
    gift, worth = methods["gift_card"], methods["certificate"]["amount"]
    from_gift = min(1, gift["amount"])
    paid = [
        {"payment_id": methods["certificate"]["id"], "amount": worth - 1},
        {"payment_id": gift["id"], "amount": from_gift},
        {"payment_id": methods["credit_card"]["id"], "amount": price - worth + 1 - from_gift},
    ]
    found = book(desk, user_id, [leg], paid, cabin="business")
    assert found["reservation_id"] == "HATHAT"
    assert list(found["flights"][0])[-4:] == ["note", "price", "origin", "destination"]
    user = desk.users[user_id]
    assert methods["certificate"]["id"] not in user["payment_methods"], "used up whole"
    assert user["payment_methods"][gift["id"]]["amount"] == gift["amount"] - from_gift
    assert user["reservations"][-1] == "HATHAT"
    numbers = [book(desk, user_id, [], [])["reservation_id"] for _ in range(3)]
    assert numbers == ["HATHAU", "HATHAV", "HATHAV"]
    assert leg == {"flight_number": flight["flight_number"], "date": "2024-05-20", "note": "window"}


def test_one_certificate_used_twice_raises_midway(desk):
    user_id, methods = user_with(desk, "certificate")
    number = methods["certificate"]["id"]
    twice = [{"payment_id": number, "amount": 0}] * 2
    with pytest.raises(KeyError, match=number):
        book(desk, user_id, [], twice)
    assert number not in desk.users[user_id]["payment_methods"]
    assert "HATHAT" not in desk.reservations


# -- changing --------------------------------------------------------------------------------------


def test_cancelling_twice_doubles_the_history(desk):
    number, booked = next(iter(desk.reservations.items()))
    paid = booked["payment_history"]
    refused(desk, "reservation not found", "cancel_reservation", "NO")
    refused(desk, "user not found", "get_reservation_details", "NO")
    found = desk.cancel_reservation(number)
    assert list(found)[-1] == "status"
    assert found["payment_history"] == [*paid, {**paid[0], "amount": -paid[0]["amount"]}]
    assert len(desk.cancel_reservation(number)["payment_history"]) == 4


def test_bags(desk):
    user_id, methods = user_with(desk, "gift_card", "certificate")
    gift = methods["gift_card"]
    booked = reservation_of(desk, user_id)
    number, before = booked["reservation_id"], booked["nonfree_baggages"]
    name = "update_reservation_baggages"
    refused(desk, "reservation not found", name, "NO", 1, 1, gift["id"])
    refused(desk, "payment method not found", name, number, 1, 1, "x")
    text = "certificate cannot be used to update reservation"
    refused(desk, text, name, number, 1, 1, methods["certificate"]["id"])
    refused(desk, "gift card balance is not enough", name, number, 99, 99, gift["id"])
    found = desk.update_reservation_baggages(number, 9, before + 2, methods["credit_card"]["id"])
    assert found["payment_history"][-1]["amount"] == 2 * BAG
    fewer = desk.update_reservation_baggages(number, 0, 0, gift["id"])
    assert (fewer["total_baggages"], fewer["nonfree_baggages"]) == (0, 0)
    assert len(fewer["payment_history"]) == len(found["payment_history"])
    assert desk.users[user_id]["payment_methods"][gift["id"]]["amount"] == gift["amount"]


def test_flights_that_stay_keep_their_price_and_the_cabin_is_not_changed(desk):
    booked = next(
        r
        for r in desk.reservations.values()
        if r["cabin"] == "economy"
        and len(r["flights"]) == 1
        and r["flights"][0]["date"] > "2024-05-15"
        and len(r["passengers"]) == 2
    )
    number, flown = booked["reservation_id"], booked["flights"][0]
    card = next(
        m["id"]
        for m in desk.users[booked["user_id"]]["payment_methods"].values()
        if m["source"] == "credit_card"
    )
    leg = {"flight_number": flown["flight_number"], "date": flown["date"]}
    same = desk.update_reservation_flights(number, "economy", [leg], card)
    assert same["flights"][0]["price"] == flown["price"]
    assert list(same["flights"][0]) == ["flight_number", "date", "price", "origin", "destination"]
    assert same["payment_history"] == booked["payment_history"]
    flight, price = flight_on(desk, "2024-05-27", "business")
    other = {"flight_number": flight["flight_number"], "date": "2024-05-27"}
    found = desk.update_reservation_flights(number, "business", [other], card)
    assert found["cabin"] == "economy"
    assert found["payment_history"][-1] == {
        "payment_id": card,
        "amount": 2 * (price - flown["price"]),
    }
    name = "update_reservation_flights"
    refused(desk, "payment method not found", name, number, "business", [other], "x")
    refused(
        desk, "flight X not found", name, number, "business", [{**other, "flight_number": "X"}], "x"
    )
    with pytest.raises(KeyError, match="first"):
        desk.update_reservation_flights(number, "first", [other], card)


def test_passengers_and_certificates(desk):
    number, booked = next(iter(desk.reservations.items()))
    people = [ME] * len(booked["passengers"])
    name = "update_reservation_passengers"
    refused(desk, "number of passengers does not match", name, number, [*people, ME])
    assert desk.update_reservation_passengers(number, people)["passengers"] == people
    user_id = booked["user_id"]
    refused(desk, "user not found", "send_certificate", "nobody", 50)
    text = f"Certificate certificate_3221322 added to user {user_id} with amount 50."
    assert desk.send_certificate(user_id, 50) == text
    assert desk.send_certificate(user_id, 1.5).endswith("with amount 1.5.")
    desk.send_certificate(user_id, 1)
    text = "no more certificates can be sent to this user"
    refused(desk, text, "send_certificate", user_id, 50)


# -- generated airlines ----------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["open", "heldout"])
def test_a_generated_airline_is_sound(world):
    airline = generate(world)
    users, flights, reservations = airline["users"], airline["flights"], airline["reservations"]
    assert (len(users), len(flights), len(reservations)) == (500, 300, 2000)
    for number, booked in reservations.items():
        user = users[booked["user_id"]]
        count = len(booked["passengers"])
        assert number in user["reservations"]
        total = sum(leg["price"] for leg in booked["flights"]) * count
        total += INSURANCE * count * (booked["insurance"] == "yes")
        total += BAG * booked["nonfree_baggages"]
        assert [p["amount"] for p in booked["payment_history"]] == [total]
        assert booked["payment_history"][0]["payment_id"] in user["payment_methods"]
        free = free_bags(user["membership"], booked["cabin"], count)
        assert booked["nonfree_baggages"] == max(0, booked["total_baggages"] - free)
        assert booked["created_at"] < min("2024-05-15T15:00:00", booked["flights"][0]["date"])
        check_legs(booked, flights)
    assert sum(len(user["reservations"]) for user in users.values()) == len(reservations)


def check_legs(booked, flights):
    legs = booked["flights"]
    for leg in legs:
        flight = flights[leg["flight_number"]]
        assert (leg["origin"], leg["destination"]) == (flight["origin"], flight["destination"])
        assert leg["date"] in flight["dates"]
    assert legs[0]["origin"] == booked["origin"]
    for one, other in itertools.pairwise(legs):
        assert one["destination"] == other["origin"]
        assert one["date"] <= other["date"]
    ends = booked["origin"] if booked["flight_type"] == "round_trip" else booked["destination"]
    assert legs[-1]["destination"] == ends


def test_every_day_of_a_flight_is_as_it_can_be_at_three_in_the_afternoon():
    for flight in generate("open")["flights"].values():
        assert len(flight["dates"]) == 30
        for date, day in flight["dates"].items():
            past = {"landed", "cancelled"}
            today = {"landed", "flying", "delayed", "on time"}
            allowed = past if date < "2024-05-15" else today
            assert day["status"] in (allowed if date <= "2024-05-15" else {"available"})
            times = [
                dt.datetime.fromisoformat(v) for v in day.values() if str(v).startswith("2024")
            ]
            assert times == sorted(times)


def test_worlds_are_repeatable_and_different():
    first = state_hash(generate("open"))
    generate.cache_clear()
    assert state_hash(generate("open")) == first != state_hash(generate("heldout"))
    assert len(generate("open", users=10)["reservations"]) == 40


def test_a_seed_is_described_by_what_exists(desk):
    for seed in Airline.seeds()[:60]:
        line = Airline.describe_seed(seed)
        assert line.startswith(f"user {seed!r} ")
        assert any(repr(number) in line for number in desk.users[seed]["reservations"])


def test_results_are_shown_as_json_in_the_order_of_their_keys(desk):
    number, booked = next(iter(desk.reservations.items()))
    assert desk.show(desk.get_reservation_details(number)) == json.dumps(booked)
    assert list(desk.list_all_airports())[:3] == ["SFO", "JFK", "LAX"]
    assert len(desk.list_all_airports()) == 20
