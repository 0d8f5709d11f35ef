"""The environment of `checks.py`: orders of as many bytes as the seed says."""

from __future__ import annotations

import json
from typing import Any

from selfchallenge.environments.base import Environment, tool

MEGABYTE = 1 << 20


def orders(size: int) -> dict[str, dict[str, Any]]:
    """Orders that are about `size` bytes as JSON."""
    one = {"status": "open", "count": 1, "items": [f"item number {k}" for k in range(20)]}
    count = max(10, size // (len(json.dumps(one)) + 8))
    return {f"W{n}": json.loads(json.dumps(one)) for n in range(count)}


class Shop(Environment):
    """A shop of as many bytes as its seed says."""

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self.orders = orders(int(seed or MEGABYTE))

    @tool
    def get(self, order: str) -> dict[str, Any]:
        """Look an order up."""
        return self.orders[order]

    @tool(mutates=True)
    def cancel(self, order: str) -> str:
        """Cancel an order."""
        self.orders[order]["status"] = "cancelled"
        return "done"

    @tool(mutates=True)
    def set_count(self, order: str, count: int) -> int:
        """Change how many."""
        self.orders[order]["count"] = count
        return count
