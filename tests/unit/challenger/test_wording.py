"""Instructions drafted from executed calls: every value in them, nothing else."""

import random

import pytest
from test_draft import TOOLS, step

from selfchallenge.challenger.draft import Draft
from selfchallenge.challenger.wording import (
    Phrase,
    PhraseBook,
    documented,
    valid_phrase,
    word_draft,
)


def test_a_tool_without_phrases_is_asked_for_by_its_documentation() -> None:
    phrase = documented(TOOLS["shift"], ["text", "by"])
    assert phrase.text == "Shift the letters of a text: text {text}, by {by}"


@pytest.mark.parametrize(
    "text",
    [
        "Move the letters of {text} by {by}",
        '"Move the letters of {text} by {by}."',
    ],
)
def test_phrases_of_the_right_form_are_kept(text: str) -> None:
    phrase = valid_phrase(text, TOOLS["shift"], ["text", "by"])
    assert phrase is not None
    assert phrase.text[-1] not in '."'


@pytest.mark.parametrize(
    "text",
    [
        "Move the letters by {by}",  # the required text is missing
        "Move the letters of {text} by 3",  # a figure of its own
        "Move the letters of {text} and {other}",  # no such parameter
        "Move {text} and again {text}",  # twice
        "Please shift {text} by {by}",  # names the function
        "Move the letters of 'abc' {text}",  # a value of its own
        "{text}",  # says nothing
        "Move {text",  # broken
        "Move {text} " + "very " * 30 + "far",
    ],
)
def test_phrases_of_another_form_are_not(text: str) -> None:
    assert valid_phrase(text, TOOLS["shift"], ["text", "by"]) is None


def test_every_literal_of_the_solution_is_said() -> None:
    draft = Draft(
        0,
        None,
        (
            step(1, "reverse", "'abc'", "cba"),
            step(2, "shift", "r1, by=7", "jih"),
            step(3, "largest", "len(r2), 12.5", 12.5),
        ),
        answer="r3",
    )
    for seed in range(30):
        said = word_draft(draft, PhraseBook(), random.Random(seed))
        assert said is not None
        for literal in ("'abc'", "7", "12.5", "the result"):
            assert literal in said
        assert "cba" not in said
        assert "jih" not in said


def test_results_are_never_leaked_and_references_name_their_step() -> None:
    draft = Draft(
        0,
        None,
        (
            step(1, "reverse", "'abc'", "cba"),
            step(2, "reverse", "'xyz'", "zyx"),
            step(3, "shift", "r1", "dcb"),
        ),
        answer="r3 == r2",
    )
    said = word_draft(draft, PhraseBook(), random.Random(1))
    assert said is not None
    assert "the first result" in said
    assert said.endswith("Is the last result equal to the second result? Answer True or False.")


def test_an_expression_without_words_gives_no_instruction() -> None:
    draft = Draft(0, None, (step(1, "reverse", "'a'.upper()"),), answer="r1")
    assert word_draft(draft, PhraseBook(), random.Random(0)) is None


def test_phrases_of_the_book_are_used_and_survive_storage() -> None:
    book = PhraseBook()
    book.add(Phrase("reverse", "write {text} backwards"))
    book.tried.add("reverse(text)")
    book = PhraseBook.from_json(book.to_json())
    draft = Draft(0, None, (step(1, "reverse", "'abc'", "cba"),), answer="r1")
    said = {word_draft(draft, book, random.Random(seed)) for seed in range(40)}
    assert any(text is not None and text.startswith("Write 'abc' backwards") for text in said)
    assert book.tried == {"reverse(text)"}
