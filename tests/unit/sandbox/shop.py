"""The environment of the sandbox tests: a bit of state, and tools that behave in every way."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import os
import time
from typing import Any, Literal

import pydantic

from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import ToolError


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Item:
    name: str
    colour: Colour


class Invoice(pydantic.BaseModel):
    due: dt.date
    items: list[str]


class OddError(Exception):
    pass


class Shop(Environment):
    """You work for a small shop."""

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        if seed == "broken":
            raise ValueError("there is no such world")
        self.orders: dict[str, dict[str, Any]] = {
            "W1": {"status": "open", "items": [1, 2]},
            "W2": {"status": "open", "items": [3]},
        }
        self.views = 0

    @tool
    def get_order(self, order_id: str) -> dict[str, Any]:
        """Look an order up."""
        if order_id not in self.orders:
            raise ToolError(f"no order {order_id}")
        return self.orders[order_id]

    @tool(mutates=True)
    def cancel_order(
        self, order_id: str, reason: Literal["mistake", "late"] = "late"
    ) -> dict[str, Any]:
        """Cancel an order."""
        order = self.get_order(order_id)
        order["status"] = f"cancelled: {reason}"
        return order

    @tool
    def total(self, *numbers: float) -> float:
        """Add up."""
        return sum(numbers)

    @tool
    def max(self, *numbers: float) -> float:
        """The largest."""
        return max(numbers)

    @tool
    def view(self) -> int:
        """A reading tool that leaves a trace in the state."""
        self.views += 1
        return self.views

    @tool
    def give(self, what: str) -> Any:
        """Return something."""
        return {
            "item": Item("cup", Colour.RED),
            "invoice": Invoice(due=dt.date(2024, 5, 1), items=["cup"]),
            "tuple": (1, {2}, b"3", {4: float("inf")}),
            "iterator": (n * n for n in range(3)),
            "object": object(),
            "large": "x" * 300_000,
        }[what]

    @tool
    def fail(self, how: str) -> None:
        """Raise something."""
        if how == "exit":
            os._exit(3)
        raise {
            "value": ValueError("a bad value"),
            "key": KeyError("absent"),
            "odd": OddError("odd"),
            "unicode": UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
            "system": SystemExit("leaving"),
        }[how]

    @tool
    def wait(self, seconds: float) -> str:
        """Take a while."""
        print("this must not reach the host's output")
        time.sleep(seconds)
        return "done"

    @tool
    def echo(self, value: Any) -> Any:
        """Return what was given."""
        return value

    @tool
    def hash_of(self, text: str) -> int:
        """A hash that depends on the hash seed."""
        return hash(text)

    @tool(mutates=True)
    def put(self, key: str, value: Any) -> None:
        """Set an attribute of the state."""
        setattr(self, key, value)
