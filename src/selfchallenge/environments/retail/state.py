"""A made-up shop with the schema of tau-bench's: products, customers, orders and their payments.

Every order belongs to a user, holds variants at their prices, and its payments add up. Each world
is the same on every machine; worlds of different names share no id but by accident.
"""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import product
from typing import Any

from selfchallenge.environments.desk.people import (
    Numbers,
    draw_names,
    make_address,
    make_credit_card,
)
from selfchallenge.environments.desk.tables import Database, Record, Table
from selfchallenge.environments.retail.products import Options, catalogue

USERS = 500
ORDERS_A_USER = 2.0
STATUSES = ("pending", "delivered", "processed", "cancelled")
SHARES = (42, 38, 10, 10)
AVAILABLE = 0.65
MOST_VARIANTS = 16
MOST_ORDERS = 5
MOVED = 0.15
"""Share of orders that go to another address than the user's."""


@lru_cache(maxsize=4)
def generate(world: str, users: int = USERS) -> Database:
    """The shop called `world` with so many customers, and twice as many orders."""
    rng = random.Random(f"retail/{world}")
    numbers = Numbers(rng)
    products = {p["product_id"]: p for p in (_product(*line, numbers, rng) for line in catalogue())}
    people = dict(_user(*name, numbers, rng) for name in draw_names(users, rng))
    variants = [
        {"name": p["name"], "product_id": p["product_id"], **variant}
        for p in products.values()
        for variant in p["variants"].values()
    ]
    orders: Table = {}
    while len(orders) < round(users * ORDERS_A_USER):
        user_id = rng.choice(list(people))
        if len(people[user_id]["orders"]) < MOST_ORDERS:
            order = _order(user_id, people[user_id], variants, numbers, rng)
            orders[order["order_id"]] = order
            people[user_id]["orders"].append(order["order_id"])
    return {"orders": orders, "products": products, "users": people}


def _product(
    name: str, price: float, options: Options, numbers: Numbers, rng: random.Random
) -> Record:
    chosen = list(product(*options.values()))
    rng.shuffle(chosen)
    variants = {}
    for values in chosen[: rng.randint(8, MOST_VARIANTS)]:
        item_id = numbers.draw(10)
        variants[item_id] = {
            "item_id": item_id,
            "options": dict(zip(options, values, strict=True)),
            "available": rng.random() < AVAILABLE,
            "price": round(price * rng.uniform(0.85, 1.2), 2),
        }
    return {"name": name, "product_id": numbers.draw(10), "variants": variants}


def _user(first: str, last: str, numbers: Numbers, rng: random.Random) -> tuple[str, Record]:
    methods: dict[str, Any] = {}
    for _ in range(rng.choices((1, 2, 3, 4), (60, 30, 8, 2))[0]):
        method = _method(numbers, rng)
        methods[method["id"]] = method
    number = numbers.draw(4)
    user = {
        "name": {"first_name": first, "last_name": last},
        "address": make_address(rng),
        "email": f"{first}.{last}{rng.randint(10, 9999)}@example.org".lower(),
        "payment_methods": methods,
        "orders": [],
    }
    return f"{first}_{last}_{number}".lower(), user


def _method(numbers: Numbers, rng: random.Random) -> Record:
    kind = rng.choice(("credit_card", "paypal", "gift_card"))
    if kind == "credit_card":
        return make_credit_card(numbers, rng)
    if kind == "paypal":
        return {"source": "paypal", "id": f"paypal_{numbers.draw(7)}"}
    balance = rng.randint(0, 100) if rng.random() < 0.7 else rng.randint(100, 900)
    return {"source": "gift_card", "balance": balance, "id": f"gift_card_{numbers.draw(7)}"}


def _order(
    user_id: str, user: Record, variants: list[Record], numbers: Numbers, rng: random.Random
) -> Record:
    status = rng.choices(STATUSES, SHARES)[0]
    items = [_item(variant) for variant in rng.sample(variants, rng.randint(1, 5))]
    paid = {
        "transaction_type": "payment",
        "amount": round(sum(item["price"] for item in items), 2),
        "payment_method_id": rng.choice(list(user["payment_methods"])),
    }
    returned = {**paid, "transaction_type": "refund"}
    parcel = {
        "tracking_id": [numbers.draw(12)],
        "item_ids": [item["item_id"] for item in items],
    }
    return {
        "order_id": f"#W{numbers.draw(7)}",
        "user_id": user_id,
        "address": make_address(rng) if rng.random() < MOVED else dict(user["address"]),
        "items": items,
        "fulfillments": [parcel] if status in ("delivered", "processed") else [],
        "status": status,
        "payment_history": [paid, returned] if status == "cancelled" else [paid],
    }


def _item(variant: Record) -> Record:
    return {
        "name": variant["name"],
        "product_id": variant["product_id"],
        "item_id": variant["item_id"],
        "price": variant["price"],
        "options": dict(variant["options"]),
    }
