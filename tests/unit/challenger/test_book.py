"""Phrases: which lines of a model are kept, and what stands in for a missing one."""

import random

import pytest
from test_draft import TOOLS

from selfchallenge.challenger.book import Phrase, PhraseBook, documented, valid_phrase


def test_a_reading_tool_without_phrases_is_named_by_its_documentation() -> None:
    assert documented(TOOLS["largest"], ["numbers"]).text == "the largest number, for {numbers}"
    shift = documented(TOOLS["shift"], ["text", "by"])
    assert (
        shift.text == "what you get if you shift the letters of a text, for text {text} and by {by}"
    )
    assert not shift.nests


def test_a_changing_tool_is_asked_for() -> None:
    assert documented(TOOLS["keep"], ["text"]).text == "keep a text, for {text}"


@pytest.mark.parametrize(
    "text", ["the letters of {text} moved by {by}", '"The letters of {text} moved by {by}."']
)
def test_noun_phrases_are_kept_for_reading_tools(text: str) -> None:
    phrase = valid_phrase(text, TOOLS["shift"], ["text", "by"])
    assert phrase == Phrase("shift", "the letters of {text} moved by {by}")
    assert phrase.nests


@pytest.mark.parametrize(
    "text",
    [
        "the letters moved by {by}",  # the required text is missing
        "the letters of {text} moved by 3",  # a figure of its own
        "the letters of {text} and {other}",  # no such parameter
        "the letters of {text} and again {text}",  # twice
        "the shift of {text} by {by}",  # names the function
        "the letters of 'abc' {text} by {by}",  # a value of its own
        "{text}{by}",  # says nothing
        "the letters of {text",  # broken
        "the {text} by {by} " + "very " * 30 + "far",
        "move the letters of {text} by {by}",  # a request, not a name
        "the letters: {text} by {by}",  # a form to fill in
    ],
)
def test_lines_of_another_form_are_not(text: str) -> None:
    assert valid_phrase(text, TOOLS["shift"], ["text", "by"]) is None


def test_a_request_is_kept_for_a_changing_tool_only() -> None:
    assert valid_phrase("hold on to {text}", TOOLS["keep"], ["text"]) is not None
    assert valid_phrase("turn {text} around", TOOLS["reverse"], ["text"]) is None


def test_an_indirect_question_is_a_name_that_does_not_nest() -> None:
    phrase = valid_phrase("how {text} reads backwards", TOOLS["reverse"], ["text"])
    assert phrase is not None
    assert not phrase.nests


def test_the_book_survives_storage_and_its_phrases_are_chosen() -> None:
    book = PhraseBook()
    book.add(Phrase("reverse", "the mirror image of {text}"))
    book.tried.add("reverse(text)")
    book = PhraseBook.from_json(book.to_json())
    chosen = {book.choose(TOOLS["reverse"], ["text"], random.Random(n)).text for n in range(30)}
    assert "the mirror image of {text}" in chosen
    assert len(chosen) == 2
    assert book.tried == {"reverse(text)"}
