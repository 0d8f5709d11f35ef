"""A made-up airline with the schema of tau-bench's: flights of a month, customers, reservations.

Today is 2024-05-15, 15:00. Flights before that have landed or were cancelled, those of today are
somewhere on their way, later ones can be booked. Every reservation belongs to a user, its legs
connect, and its payment is what fares, bags and insurance come to.
"""

from __future__ import annotations

import random
from collections import defaultdict
from functools import lru_cache
from typing import Any

from selfchallenge.environments.airline.timetable import AIRPORTS, DAYS, TODAY, Flight, timetable
from selfchallenge.environments.desk.people import (
    FIRST,
    LAST,
    Numbers,
    draw_names,
    make_address,
    make_birthday,
    make_credit_card,
)
from selfchallenge.environments.desk.tables import Database, Record, Table

__all__ = ["AIRPORTS", "free_bags", "generate"]

USERS = 500
RESERVATIONS_A_USER = 4.0
MOST_RESERVATIONS = 10
CABINS = ("basic_economy", "economy", "business")
FREE_BAGS = {
    "regular": {"basic_economy": 0, "economy": 1, "business": 2},
    "silver": {"basic_economy": 1, "economy": 2, "business": 3},
    "gold": {"basic_economy": 2, "economy": 3, "business": 3},
}
INSURANCE, BAG = 30, 50
FARES = {"basic_economy": (51, 105), "economy": (100, 205), "business": (230, 520)}
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

Flights = dict[str, Flight]
Routes = dict[tuple[str, str], list[list[Flight]]]


@lru_cache(maxsize=4)
def generate(world: str, users: int = USERS) -> Database:
    """The airline called `world` with so many customers, and four times as many reservations."""
    rng = random.Random(f"airline/{world}")
    numbers = Numbers(rng)
    flights = timetable(rng)
    people = dict(_user(*name, numbers, rng) for name in draw_names(users, rng))
    routes = _routes(flights)
    reservations: Table = {}
    while len(reservations) < round(users * RESERVATIONS_A_USER):
        user_id = rng.choice(list(people))
        user = people[user_id]
        if len(user["reservations"]) < MOST_RESERVATIONS:
            number = "".join(rng.choices(LETTERS, k=6))
            reservations[number] = _reservation(number, user_id, user, routes, rng)
            if number not in user["reservations"]:
                user["reservations"].append(number)
    return {
        "flights": {f["flight_number"]: f for f in flights},
        "reservations": reservations,
        "users": people,
    }


def free_bags(membership: str, cabin: str, passengers: int) -> int:
    """Checked bags that are free for a whole reservation."""
    return FREE_BAGS[membership][cabin] * passengers


def _user(first: str, last: str, numbers: Numbers, rng: random.Random) -> tuple[str, Record]:
    methods: dict[str, Any] = {}
    for _ in range(rng.choices((1, 2, 3, 4, 5), (10, 25, 30, 25, 10))[0]):
        method = _method(numbers, rng) if methods else make_credit_card(numbers, rng)
        methods[method["id"]] = method
    user = {
        "name": {"first_name": first, "last_name": last},
        "address": make_address(rng),
        "email": f"{first}.{last}{rng.randint(10, 9999)}@example.org".lower(),
        "dob": make_birthday(rng),
        "payment_methods": methods,
        "saved_passengers": [_stranger(rng) for _ in range(rng.choice((0, 1, 1, 2)))],
        "membership": rng.choice(("regular", "silver", "gold")),
        "reservations": [],
    }
    return f"{first}_{last}_{numbers.draw(4)}".lower(), user


def _method(numbers: Numbers, rng: random.Random) -> Record:
    kind = rng.choice(("credit_card", "gift_card", "certificate"))
    if kind == "credit_card":
        return make_credit_card(numbers, rng)
    amount = rng.choice((100, 150, 200, 250, 500)) if kind == "certificate" else rng.randint(3, 300)
    return {"source": kind, "amount": amount, "id": f"{kind}_{numbers.draw(7)}"}


def _stranger(rng: random.Random) -> Record:
    return _passenger(rng.choice(FIRST), rng.choice(LAST), make_birthday(rng))


def _passenger(first: str, last: str, dob: str) -> Record:
    return {"first_name": first, "last_name": last, "dob": dob}


# -- reservations ----------------------------------------------------------------------------------


def _routes(flights: list[Flight]) -> Routes:
    """Ways from one airport to another with at most one change, on one day."""
    routes: Routes = defaultdict(list)
    departing = defaultdict(list)
    for flight in flights:
        routes[flight["origin"], flight["destination"]].append([flight])
        departing[flight["origin"]].append(flight)
    for first in flights:
        for second in departing[first["destination"]]:
            ends = first["origin"], second["destination"]
            arrival, departure = (
                first["scheduled_arrival_time_est"],
                second["scheduled_departure_time_est"],
            )
            if ends[0] != ends[1] and "+1" not in arrival and arrival < departure:
                routes[ends].append([first, second])
    return routes


def _reservation(
    number: str, user_id: str, user: Record, routes: Routes, rng: random.Random
) -> Record:
    there = rng.choice(list(routes))
    back = (there[1], there[0])
    round_trip = rng.random() < 0.48 and back in routes
    day = rng.randint(1, DAYS - 4)
    cabin = rng.choice(CABINS)
    legs = _legs(rng.choice(routes[there]), day, cabin, rng)
    if round_trip:
        legs += _legs(rng.choice(routes[back]), rng.randint(day + 1, DAYS), cabin, rng)
    name = user["name"]
    passengers = [_passenger(name["first_name"], name["last_name"], user["dob"])]
    passengers += [_stranger(rng) for _ in range(rng.choices((0, 1, 2, 3), (46, 33, 16, 5))[0])]
    bags = rng.randint(0, 3 * len(passengers))
    paid_bags = max(0, bags - free_bags(user["membership"], cabin, len(passengers)))
    insurance = rng.choice(("yes", "no"))
    total = (
        sum(leg["price"] for leg in legs) * len(passengers)
        + (INSURANCE * len(passengers) if insurance == "yes" else 0)
        + BAG * paid_bags
    )
    methods = [
        m for m, found in user["payment_methods"].items() if found["source"] != "certificate"
    ]
    return {
        "reservation_id": number,
        "user_id": user_id,
        "origin": there[0],
        "destination": there[1],
        "flight_type": "round_trip" if round_trip else "one_way",
        "cabin": cabin,
        "flights": legs,
        "passengers": passengers,
        "payment_history": [{"payment_id": rng.choice(methods), "amount": total}],
        "created_at": _booked(day, rng),
        "total_baggages": bags,
        "nonfree_baggages": paid_bags,
        "insurance": insurance,
    }


def _legs(flights: list[Flight], day: int, cabin: str, rng: random.Random) -> list[Record]:
    return [
        {
            "origin": flight["origin"],
            "destination": flight["destination"],
            "flight_number": flight["flight_number"],
            "date": f"2024-05-{day:02}",
            "price": rng.randint(*FARES[cabin]),
        }
        for flight in flights
    ]


def _booked(day: int, rng: random.Random) -> str:
    """When it was booked: before the first flight, and before now."""
    time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    latest = min(day, TODAY) - 1
    earlier = rng.randint(0, 13)
    if earlier >= latest:
        return f"2024-04-{30 - rng.randint(0, 9):02}T{time}"
    return f"2024-05-{latest - earlier:02}T{time}"
