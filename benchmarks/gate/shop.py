"""A shop with what makes gates err: generated ids, tools that count, lists that shift, a choice."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import ToolError

ORDERS, CARDS, ITEMS = 30, 2, ("lamp", "kettle", "chair", "mirror", "clock", "vase")


class Shop(Environment):
    """You keep the orders of a small shop. Customers have ids such as c3, orders such as o12."""

    label = "shop"
    volatile: ClassVar[tuple[str, ...]] = ("tickets.*.number", "lookups")

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self.orders = {f"o{n}": self._order(n) for n in range(1, ORDERS + 1)}
        self.cards = {
            f"c{c}": {f"k{c}{k}": 0 for k in range(1, CARDS + 1)} for c in range(1, ORDERS + 1)
        }
        self.queue = [f"o{n}" for n in range(1, ORDERS + 1, 3)]
        self.tickets: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self.lookups = 0

    @staticmethod
    def _order(n: int) -> dict[str, Any]:
        item = ITEMS[n * 7 % len(ITEMS)]
        return {
            "customer": f"c{n}",
            "status": "open",
            "item": item,
            "price": 10 + n * 3,
            "count": 1,
        }

    @tool
    def get_order(self, order_id: str) -> dict[str, Any]:
        """Look an order up."""
        self.lookups += 1
        return self._of(order_id)

    @tool
    def get_cards(self, customer_id: str) -> dict[str, int]:
        """The cards of a customer and what was paid back to each."""
        if customer_id not in self.cards:
            raise ToolError(f"no customer {customer_id}")
        return self.cards[customer_id]

    @tool
    def waiting(self) -> list[str]:
        """Ids of the orders that wait to be packed, first one first."""
        return self.queue

    @tool
    def read_notes(self) -> list[str]:
        """All notes."""
        return self.notes

    @tool
    def ticket_of(self, order_id: str) -> dict[str, Any]:
        """The ticket of an order."""
        if order_id not in self.tickets:
            raise ToolError("no ticket")
        return self.tickets[order_id]

    @tool(mutates=True)
    def cancel(self, order_id: str, reason: Literal["mistake", "late"]) -> str:
        """Cancel an order."""
        self._of(order_id)["status"] = f"cancelled: {reason}"
        return "done"

    @tool(mutates=True)
    def set_count(self, order_id: str, count: int) -> dict[str, Any]:
        """Change how many of the item are ordered."""
        self._of(order_id)["count"] = count
        return self._of(order_id)

    @tool(mutates=True)
    def refund(self, card_id: str, amount: int) -> int:
        """Pay an amount back to a card."""
        for cards in self.cards.values():
            if card_id in cards:
                cards[card_id] += amount
                return cards[card_id]
        raise ToolError(f"no card {card_id}")

    @tool(mutates=True)
    def pack_next(self) -> str:
        """Pack the order that waits first."""
        return self.queue.pop(0)

    @tool(mutates=True)
    def open_ticket(self, order_id: str) -> int:
        """Open a ticket about an order; returns its number."""
        self._of(order_id)
        number = 1000 + len(self.tickets) * 7 + self.lookups
        self.tickets[order_id] = {"number": number, "state": "new"}
        return number

    @tool(mutates=True)
    def note(self, text: str) -> int:
        """Write a note; returns how many there are."""
        self.notes.append(text)
        return len(self.notes)

    def _of(self, order_id: str) -> dict[str, Any]:
        if order_id not in self.orders:
            raise ToolError(f"no order {order_id}")
        return self.orders[order_id]
