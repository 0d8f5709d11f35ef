"""The flights of May 2024: who flies where and when, and what became of it each day."""

from __future__ import annotations

import random
from typing import Any

AIRPORTS = {
    "SFO": "San Francisco",
    "JFK": "New York",
    "LAX": "Los Angeles",
    "ORD": "Chicago",
    "DFW": "Dallas",
    "DEN": "Denver",
    "SEA": "Seattle",
    "ATL": "Atlanta",
    "MIA": "Miami",
    "BOS": "Boston",
    "PHX": "Phoenix",
    "IAH": "Houston",
    "LAS": "Las Vegas",
    "MCO": "Orlando",
    "EWR": "Newark",
    "CLT": "Charlotte",
    "MSP": "Minneapolis",
    "DTW": "Detroit",
    "PHL": "Philadelphia",
    "LGA": "LaGuardia",
}
"""City of each airport; also what the tool lists, whatever the database."""

PAIRS = 52
"""Pairs of airports that are served, both ways."""
FLIGHTS = 300
DAYS, TODAY, HOUR = 30, 15, 15
CANCELLED, LATE = 0.07, 0.4

Flight = dict[str, Any]


def timetable(rng: random.Random) -> list[Flight]:
    """Flights between airports, with their dates."""
    codes = list(AIRPORTS)
    everything = [(one, other) for i, one in enumerate(codes) for other in codes[i + 1 :]]
    pairs = rng.sample(everything, PAIRS)
    served = [*pairs, *((other, one) for one, other in pairs)]
    routes = [*served, *(rng.choice(served) for _ in range(FLIGHTS - len(served)))]
    rng.shuffle(routes)
    return [_flight(number, *route, rng) for number, route in enumerate(routes, 1)]


def _flight(number: int, origin: str, destination: str, rng: random.Random) -> Flight:
    departure = rng.randint(12, 46) * 30
    minutes = rng.randint(2, 13) * 30
    dates = {f"2024-05-{day:02}": _day(day, departure, minutes, rng) for day in range(1, DAYS + 1)}
    return {
        "flight_number": f"LRK{number:03}",
        "origin": origin,
        "destination": destination,
        "scheduled_departure_time_est": _clock(departure),
        "scheduled_arrival_time_est": _clock(departure + minutes),
        "dates": dates,
    }


def _day(day: int, departure: int, minutes: int, rng: random.Random) -> dict[str, Any]:
    """One date of a flight, as it stands now."""
    now = HOUR * 60
    if day > TODAY:
        return _on_sale(rng)
    late = rng.randint(61, 180) if rng.random() < LATE else rng.randint(-20, 20)
    leaves = departure + late
    lands = leaves + max(30, minutes + rng.randint(-20, 20))
    if day < TODAY or lands < now:
        if day < TODAY and rng.random() < CANCELLED:
            return {"status": "cancelled"}
        return _times("landed", day, actual_departure=leaves, actual_arrival=lands)
    if leaves <= now:
        return _times("flying", day, actual_departure=leaves, estimated_arrival=lands)
    status = "delayed" if late > 60 else "on time"
    return _times(status, day, estimated_departure=leaves, estimated_arrival=lands)


def _on_sale(rng: random.Random) -> dict[str, Any]:
    return {
        "status": "available",
        "available_seats": {
            "basic_economy": rng.randint(0, 20),
            "economy": rng.randint(0, 20),
            "business": rng.randint(0, 20),
        },
        "prices": {
            "basic_economy": rng.randint(51, 105),
            "economy": rng.randint(106, 205),
            "business": rng.randint(230, 520),
        },
    }


def _times(status: str, day: int, **minutes: int) -> dict[str, Any]:
    shown = {f"{name}_time_est": _moment(day, minute) for name, minute in minutes.items()}
    return {"status": status, **shown}


def _moment(day: int, minute: int) -> str:
    over, within = divmod(minute, 24 * 60)
    return f"2024-05-{day + over:02}T{within // 60:02}:{within % 60:02}:00"


def _clock(minute: int) -> str:
    over, within = divmod(minute, 24 * 60)
    return f"{within // 60:02}:{within % 60:02}:00" + ("+1" if over else "")
