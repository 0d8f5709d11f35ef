"""The travel tables: flights and hotels of six places, generated or read from a data folder.

The generator's tables have the schema and the place names of `travel.json` (names are stored with
double quotes around them) and nothing else of it: other dates, prices, ratings and amenities. Each
name gives a world of its own, the same one on every machine.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from selfchallenge.errors import LoadError, boundary

PLACES = ("A", "B", "C", "D", "E", "F")
AMENITIES = ("wifi", "pool", "gym", "breakfast", "parking")
FILE = "travel.json"

DAYS = 14
FLY_DAILY = 0.7


@dataclass(frozen=True)
class Tables:
    """One world of travel.

    Attributes:
        flights: dicts with from_location, to_location, date (ISO) and price.
        hotels: dicts with location, preferences (amenities), price_per_night and rating.
    """

    flights: tuple[dict[str, Any], ...]
    hotels: tuple[dict[str, Any], ...]


@lru_cache(maxsize=64)
def generate(name: str) -> Tables:
    """The world called `name`: a fortnight of flights between all places, and their hotels."""
    rng = random.Random(f"travel/{name}")
    first = dt.date(2024, 2, 1) + dt.timedelta(days=rng.randrange(600))
    dates = [(first + dt.timedelta(days=day)).isoformat() for day in range(DAYS)]
    flights = [
        {"from_location": quoted(start), "to_location": quoted(end), "date": date, "price": price}
        for start in PLACES
        for end in PLACES
        if start != end
        for date in dates
        for price in _fares(rng)
    ]
    hotels = [hotel for place in PLACES for hotel in _hotels(place, rng)]
    return Tables(tuple(flights), tuple(hotels))


def _fares(rng: random.Random) -> list[int]:
    count = rng.randint(1, 3) if rng.random() < FLY_DAILY else 0
    return [rng.randrange(80, 700) for _ in range(count)]


def _hotels(place: str, rng: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "location": quoted(place),
            "preferences": rng.sample(AMENITIES, rng.randint(1, 4)),
            "price_per_night": rng.randrange(45, 260),
            "rating": rng.randint(2, 5),
        }
        for _ in range(rng.randint(4, 6))
    ]


@lru_cache(maxsize=4)
def load(folder: Path) -> Tables:
    """The world in `travel.json` of a data folder.

    Raises:
        LoadError: there is no such file, or it is no table of flights and hotels.
    """
    file = folder / FILE
    fix = f"give a folder that holds {FILE}, or leave the folder out to use generated tables"
    with boundary(LoadError, "the travel tables cannot be read", where=str(file), fix=fix):
        found = json.loads(file.read_text("utf-8"))
        return Tables(tuple(found["flights"]), tuple(found["hotels"]))


def quoted(place: str) -> str:
    """A place as the tables store it."""
    return f'"{bare(place)}"'


def bare(place: str) -> str:
    """A place without its double quotes."""
    return place.replace('"', "")
