"""The library: its rules hold, and a new instance is a fresh library."""

from __future__ import annotations

import pytest

from selfchallenge.environments.base import describe_tools
from selfchallenge.environments.library import Library
from selfchallenge.errors import ToolError


@pytest.fixture
def library():
    return Library()


def free_books(library):
    return [book for book in library.books if book not in library.loans]


def member_with(library, *, loans, fine):
    return next(
        member_id
        for member_id, member in library.members.items()
        if len(library.get_member(member_id)["borrowed"]) == loans and fine(member.fine)
    )


def test_the_same_library_every_morning_and_none_shared(library):
    library.return_book(next(iter(library.loans)))
    library.change_email("m01", "new@example.org")
    assert Library().loans != library.loans
    assert Library().members == Library("m05").members != library.members


def test_what_can_be_looked_up(library):
    book_id, loan = next(iter(library.loans.items()))
    assert library.get_book(book_id)["loan"] == vars(loan)
    assert book_id in library.get_member(loan.member_id)["borrowed"]
    assert library.find_member(library.members["m07"].name.upper()) == "m07"
    for book_id in library.find_books("crime"):
        assert library.get_book(book_id)["topic"] == "crime"
        assert library.get_book(book_id)["loan"] is None


def test_a_loan_and_its_end(library):
    member_id = member_with(library, loans=0, fine=lambda owed: owed == 0)
    book_id = free_books(library)[0]
    assert library.lend_book(book_id, member_id)["due"] == "2025-06-23"
    with pytest.raises(ToolError, match="is on loan until 2025-06-23"):
        library.lend_book(book_id, "m02")
    library.return_book(book_id)
    assert book_id in free_books(library)
    with pytest.raises(ToolError, match="is not on loan"):
        library.return_book(book_id)


def test_three_books_are_the_most(library):
    member_id = member_with(library, loans=1, fine=lambda owed: owed < 5)
    first, second, third = free_books(library)[:3]
    library.lend_book(first, member_id)
    library.lend_book(second, member_id)
    with pytest.raises(ToolError, match="has 3 books already"):
        library.lend_book(third, member_id)


def test_a_high_fine_stops_lending_until_it_is_paid(library):
    member_id = member_with(library, loans=0, fine=lambda owed: owed > 5)
    book_id = free_books(library)[0]
    with pytest.raises(ToolError, match=r"owes more than 5\.00"):
        library.lend_book(book_id, member_id)
    with pytest.raises(ToolError, match=r"owes 6\.50"):
        library.pay_fine(member_id, 7)
    assert library.pay_fine(member_id, 6.5)["fine"] == 0
    library.lend_book(book_id, member_id)


def test_a_loan_is_renewed_once(library):
    book_id = next(book for book, loan in library.loans.items() if not loan.renewals)
    before = library.loans[book_id].due
    assert library.renew_loan(book_id)["due"] > before
    with pytest.raises(ToolError, match="was renewed already"):
        library.renew_loan(book_id)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_member", ("m99",)),
        ("get_book", ("b99",)),
        ("lend_book", ("b99", "m01")),
        ("renew_loan", ("b99",)),
        ("find_member", ("Nobody",)),
        ("change_email", ("m01", "nowhere")),
        ("change_email", ("m99", "a@b")),
        ("pay_fine", ("m01", -1)),
    ],
)
def test_what_is_refused_changes_nothing(library, tool, arguments):
    with pytest.raises(ToolError):
        getattr(library, tool)(*arguments)
    assert library.snapshot() == Library().snapshot()


def test_reading_tools_change_nothing_and_the_others_say_so(library):
    writing = {tool.name for tool in describe_tools(Library) if tool.mutates}
    assert writing == {"lend_book", "return_book", "renew_loan", "pay_fine", "change_email"}


def test_seeds_are_members_and_are_described():
    for seed in Library.seeds():
        line = Library.describe_seed(seed)
        borrowed = Library().get_member(seed)["borrowed"]
        assert line.startswith(f"member '{seed}' ")
        assert all(f"'{book}'" in line for book in borrowed)
        assert "are available" in line
