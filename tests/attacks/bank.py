"""The world that the attacks are about: a balance that a tool changes, and a secret."""

from __future__ import annotations

from typing import Any

from selfchallenge.environments.base import Environment, tool


class Bank(Environment):
    """You keep an account."""

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self.balance = 0
        self.secret = "needle-of-the-environment"
        self.history: list[list[Any]] = [["open", 0]]
        self.held: list[int] = [0]

    @tool(mutates=True)
    def pay(self, amount: int) -> int:
        """Pay in; returns the new balance."""
        self.balance += amount
        return self.balance

    @tool
    def read_balance(self) -> int:
        """The balance."""
        return self.balance

    @tool
    def echo(self, value: Any) -> Any:
        """Returns what it is given."""
        return value

    @tool
    def read_history(self) -> list[list[Any]]:
        """What happened; the very list that the account keeps."""
        return self.history

    @tool(mutates=True)
    def keep(self, numbers: list[int]) -> list[int]:
        """Keep a list; returns the very list that was given."""
        self.held = numbers
        return numbers

    @tool
    def kept(self) -> list[int]:
        """The list that was kept."""
        return self.held
