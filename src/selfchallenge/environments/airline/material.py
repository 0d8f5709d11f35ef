"""Starting material for exploration: one user, with the ids that requests about them need."""

from __future__ import annotations

import random

from selfchallenge.environments.desk.tables import Database, Record


def material(database: Database, seed: str) -> str:
    """A user, their ways of paying, a reservation and a journey, in one line; the same for a seed.

    A seed that is no user stands for one of them, chosen by the seed.
    """
    rng = random.Random(f"airline/material/{seed}")
    users = database["users"]
    named = seed.removeprefix("heldout-")
    chosen = named if named in users else rng.choice([u for u in users if users[u]["reservations"]])
    user = users[chosen]
    name = f"{user['name']['first_name']} {user['name']['last_name']}"
    parts = [
        f"user {chosen!r} ({name}, {user['membership']} member)",
        f"payment methods {' and '.join(map(repr, user['payment_methods']))}",
    ]
    if user["reservations"]:
        parts.append(_booked(database["reservations"][rng.choice(user["reservations"])]))
    flight = rng.choice(list(database["flights"].values()))
    day = f"2024-05-{rng.randint(16, 30)}"
    parts.append(f"flights from {flight['origin']!r} to {flight['destination']!r} on {day!r}")
    return "; ".join(parts)


def _booked(reservation: Record) -> str:
    legs = [f"{leg['flight_number']!r} on {leg['date']!r}" for leg in reservation["flights"]]
    count = len(reservation["passengers"])
    return (
        f"reservation {reservation['reservation_id']!r} in {reservation['cabin']} for {count} "
        f"passenger{'s' if count > 1 else ''} with flights {' and '.join(legs)}"
    )
