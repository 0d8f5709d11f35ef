"""The state of the library: members, books and loans, made up from a fixed seed."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from itertools import product

TODAY = dt.date(2025, 6, 2)
LOAN = dt.timedelta(days=21)
MEMBERS, BOOKS, LOANS = 40, 60, 36

FIRST = ("Ada", "Bruno", "Chidi", "Dora", "Emil", "Farah", "Goran", "Hana")
LAST = ("Abara", "Brandt", "Castro", "Dubois", "Eriksen", "Fontana", "Greene", "Hoang")
KINDS = ("Quiet", "Broken", "Hidden", "Last", "Golden", "Winter", "Distant", "Paper")
THINGS = ("River", "Garden", "Clock", "Island", "Letter", "Bridge", "Orchard", "Mirror")
TOPICS = ("travel", "history", "crime", "science", "poetry")
FINES = (0.0, 0.0, 0.0, 1.5, 2.0, 6.5)


@dataclass
class Member:
    """Somebody who may borrow books; `fine` is what they owe."""

    name: str
    email: str
    fine: float


@dataclass
class Book:
    """A book of the library."""

    title: str
    author: str
    topic: str
    year: int


@dataclass
class Loan:
    """A book that is out: who has it, until when (an ISO date), and how often it was renewed."""

    member_id: str
    due: str
    renewals: int


@dataclass
class Shelves:
    """The whole state, each part by id; a loan has the id of its book."""

    members: dict[str, Member]
    books: dict[str, Book]
    loans: dict[str, Loan]


def open_library() -> Shelves:
    """The library as it is every morning."""
    rng = random.Random("library")
    names = rng.sample(list(product(FIRST, LAST)), MEMBERS)
    titles = rng.sample(list(product(KINDS, THINGS)), BOOKS)
    members = {f"m{i:02}": _member(*name, rng) for i, name in enumerate(names, 1)}
    books = {f"b{i:02}": _book(*title, rng) for i, title in enumerate(titles, 1)}
    return Shelves(members, books, _loans(list(members), list(books), rng))


def _member(first: str, last: str, rng: random.Random) -> Member:
    email = f"{first}.{last}@example.org".lower()
    return Member(f"{first} {last}", email, rng.choice(FINES))


def _book(kind: str, thing: str, rng: random.Random) -> Book:
    author = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
    return Book(f"The {kind} {thing}", author, rng.choice(TOPICS), rng.randint(1950, 2024))


def _loans(members: list[str], books: list[str], rng: random.Random) -> dict[str, Loan]:
    lent = sorted(rng.sample(books, LOANS))
    holders = rng.sample(members * 2, LOANS)
    return {book: _loan(holder, rng) for book, holder in zip(lent, holders, strict=True)}


def _loan(holder: str, rng: random.Random) -> Loan:
    due = TODAY + dt.timedelta(days=rng.randint(1, 21))
    return Loan(holder, due.isoformat(), renewals=rng.choice((0, 0, 1)))
