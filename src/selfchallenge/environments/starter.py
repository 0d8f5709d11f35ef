"""A small shop: your own environment to start from.

`selfchallenge env new NAME` copies this file. An environment is a class: what an instance holds is
the state, and the methods marked with @tool are what agents can do. What there is to change: the
state, the tools, the docstring of the class, the seeds and the worked example.

Tasks that you write by hand into starter.tasks.jsonl beside this file, one a line, measure a model
before and after it has learnt; nothing is ever trained on them. Their "environment" is "Starter".
"""

from __future__ import annotations

from typing import Any, Literal

from selfchallenge import Environment, ToolError, tool
from selfchallenge.environments.base import Demonstration

ORDERS: dict[str, dict[str, Any]] = {
    "#1": {"customer": "ada", "item": "lamp", "price": 30.0, "status": "pending"},
    "#2": {"customer": "ada", "item": "desk", "price": 120.0, "status": "delivered"},
    "#3": {"customer": "ben", "item": "chair", "price": 45.0, "status": "pending"},
    "#4": {"customer": "cleo", "item": "rug", "price": 80.0, "status": "pending"},
}


class Starter(Environment):
    """You work for a small shop. Orders have ids such as #1; only pending ones can be cancelled."""

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        # A new instance is a fresh state: copy what tools may change.
        self.orders = {order_id: dict(order) for order_id, order in ORDERS.items()}

    @classmethod
    def seeds(cls) -> list[str]:
        """What tasks can be about; tasks for training and for testing never share one."""
        return sorted({order["customer"] for order in ORDERS.values()})

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        """What the writer of a task is shown: names and ids as they are, that it can ask about."""
        orders = {key: order["item"] for key, order in ORDERS.items() if order["customer"] == seed}
        return f"customer {seed!r} with the orders {orders}"

    @classmethod
    def demonstration(cls, seed: str | None) -> Demonstration:
        """A worked example before every task: without one a small model answers from its head.

        It is of no task that measures anything.
        """
        del seed
        return Demonstration(
            instruction="I am cleo. What does the first thing that I ordered cost?",
            thought="I list her orders and look the first one up.",
            code="orders = list_orders('cleo')\nprint(get_order(orders[0])['price'])",
            output="80.0",
            answer="80.0",
        )

    @tool
    def list_orders(self, customer: str) -> list[str]:
        """List the ids of a customer's orders."""
        return [key for key, order in self.orders.items() if order["customer"] == customer]

    @tool
    def get_order(self, order_id: str) -> dict[str, Any]:
        """Look an order up: customer, item, price and status."""
        if order_id not in self.orders:
            # What the agent reads instead of a result. Never evaluate an argument as code.
            raise ToolError(f"there is no order {order_id}")
        return self.orders[order_id]

    @tool(mutates=True)  # it changes the state: verifiers cannot call it
    def cancel_order(self, order_id: str, reason: Literal["mistake", "late"]) -> dict[str, Any]:
        """Cancel a pending order."""
        order = self.get_order(order_id)
        if order["status"] != "pending":
            raise ToolError(f"{order_id} is {order['status']}")
        order.update(status="cancelled", reason=reason)
        return order
