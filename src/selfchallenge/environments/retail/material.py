"""Starting material for exploration: one user, with the ids that requests about them need."""

from __future__ import annotations

import random
from typing import Any

from selfchallenge.environments.desk.tables import Database, Record


def material(database: Database, seed: str) -> str:
    """A user, their ways of paying and one of their orders, in one line; the same for a seed.

    A seed that is no user stands for one of them, chosen by the seed.
    """
    rng = random.Random(f"retail/material/{seed}")
    users, orders = database["users"], database["orders"]
    named = seed.removeprefix("heldout-")
    chosen = named if named in users else rng.choice([u for u in users if users[u]["orders"]])
    user = users[chosen]
    name = f"{user['name']['first_name']} {user['name']['last_name']}"
    parts = [
        f"user {chosen!r} ({name}, zip {user['address']['zip']!r}, {user['email']!r})",
        f"payment methods {' and '.join(map(repr, user['payment_methods']))}",
    ]
    if user["orders"]:
        order = orders[rng.choice(user["orders"])]
        parts.append(f"order {order['order_id']!r} is {order['status']}")
        parts.append(_item(rng.choice(order["items"]), database, rng))
    return "; ".join(parts)


def _item(item: Record, database: Database, rng: random.Random) -> str:
    """An item of an order, and another variant of it that can be had."""
    text = f"its item {item['item_id']!r} is a {item['name']} (product {item['product_id']!r})"
    variants: dict[str, Any] = database["products"][item["product_id"]]["variants"]
    others = [v for v in variants if variants[v]["available"] and v != item["item_id"]]
    return f"{text}, of which {rng.choice(others)!r} is available" if others else text
