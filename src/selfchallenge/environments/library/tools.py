"""A small lending library: the environment of the README, the tutorial and many tests."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from selfchallenge.environments.base import Environment, tool
from selfchallenge.environments.library.state import (
    LOAN,
    MEMBERS,
    TODAY,
    Book,
    Loan,
    Member,
    open_library,
)
from selfchallenge.errors import ToolError

MOST_LOANS = 3
MOST_RENEWALS = 1
MOST_FINE = 5.0
HELD_OUT = 8
"""So many members, the last ones, are the subjects of held-out tasks and not of exploration."""


class Library(Environment):
    """You run the desk of a small lending library; today is 2025-06-02.

    Members have ids such as m07, books such as b12. A loan lasts 21 days. A member may have three
    books at a time, and none is lent to a member who owes a fine of more than 5.00. A loan can be
    renewed once, by 21 days from the day on which it is due. Do what you are asked for and nothing
    else.
    """

    label = "library"

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        shelves = open_library()
        self.members, self.books, self.loans = shelves.members, shelves.books, shelves.loans

    @classmethod
    def seeds(cls) -> list[str]:
        """Ids of the members that tasks can be about."""
        return [f"m{number:02}" for number in range(1, MEMBERS - HELD_OUT + 1)]

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        """The member, what they have borrowed, and two books that can be borrowed."""
        world = cls(seed)
        borrowed = [book for book, loan in world.loans.items() if loan.member_id == seed]
        free = [book for book in world.books if book not in world.loans]
        start = int(seed[1:]) % (len(free) - 1)
        has = f"has borrowed {' and '.join(map(repr, borrowed))}" if borrowed else "has no books"
        return f"member {seed!r} {has}; books {free[start]!r} and {free[start + 1]!r} are available"

    @tool
    def get_member(self, member_id: str) -> dict[str, Any]:
        """Look up a member: name, email, fine and the ids of the borrowed books."""
        member = self._member(member_id)
        return {**vars(member), "borrowed": self._borrowed(member_id)}

    @tool
    def get_book(self, book_id: str) -> dict[str, Any]:
        """Look up a book: title, author, topic, year, and its loan (None when it is available)."""
        loan = self.loans.get(book_id)
        return {**vars(self._book(book_id)), "loan": dict(vars(loan)) if loan else None}

    @tool
    def find_books(
        self, topic: Literal["travel", "history", "crime", "science", "poetry"]
    ) -> list[str]:
        """List the ids of the books on a topic that are available."""
        return [
            book_id
            for book_id, book in self.books.items()
            if book.topic == topic and book_id not in self.loans
        ]

    @tool
    def find_member(self, name: str) -> str:
        """Find the id of a member by the full name."""
        for member_id, member in self.members.items():
            if member.name.lower() == name.strip().lower():
                return member_id
        raise ToolError(f"no member is called {name}")

    @tool(mutates=True)
    def lend_book(self, book_id: str, member_id: str) -> dict[str, Any]:
        """Lend an available book to a member for 21 days."""
        self._book(book_id)
        if book_id in self.loans:
            raise ToolError(f"{book_id} is on loan until {self.loans[book_id].due}")
        if self._member(member_id).fine > MOST_FINE:
            raise ToolError(f"{member_id} owes more than {MOST_FINE:.2f}")
        if len(self._borrowed(member_id)) >= MOST_LOANS:
            raise ToolError(f"{member_id} has {MOST_LOANS} books already")
        self.loans[book_id] = Loan(member_id, (TODAY + LOAN).isoformat(), 0)
        return vars(self.loans[book_id])

    @tool(mutates=True)
    def return_book(self, book_id: str) -> str:
        """Take a borrowed book back."""
        loan = self._loan(book_id)
        del self.loans[book_id]
        return f"{book_id} returned by {loan.member_id}"

    @tool(mutates=True)
    def renew_loan(self, book_id: str) -> dict[str, Any]:
        """Renew the loan of a book by 21 days from its due date; possible once."""
        loan = self._loan(book_id)
        if loan.renewals >= MOST_RENEWALS:
            raise ToolError(f"the loan of {book_id} was renewed already")
        loan.due = (dt.date.fromisoformat(loan.due) + LOAN).isoformat()
        loan.renewals += 1
        return vars(loan)

    @tool(mutates=True)
    def pay_fine(self, member_id: str, amount: float) -> dict[str, Any]:
        """Book a payment of a member towards the fine."""
        member = self._member(member_id)
        if not 0 < amount <= member.fine:
            raise ToolError(f"{member_id} owes {member.fine:.2f}")
        member.fine = round(member.fine - amount, 2)
        return vars(member)

    @tool(mutates=True)
    def change_email(self, member_id: str, email: str) -> dict[str, Any]:
        """Change the email address of a member."""
        if "@" not in email:
            raise ToolError(f"{email} is no email address")
        self._member(member_id).email = email
        return vars(self._member(member_id))

    def _member(self, member_id: str) -> Member:
        if member_id not in self.members:
            raise ToolError(f"there is no member {member_id}")
        return self.members[member_id]

    def _book(self, book_id: str) -> Book:
        if book_id not in self.books:
            raise ToolError(f"there is no book {book_id}")
        return self.books[book_id]

    def _loan(self, book_id: str) -> Loan:
        self._book(book_id)
        if book_id not in self.loans:
            raise ToolError(f"{book_id} is not on loan")
        return self.loans[book_id]

    def _borrowed(self, member_id: str) -> list[str]:
        return [book_id for book_id, loan in self.loans.items() if loan.member_id == member_id]
