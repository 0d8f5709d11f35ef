"""Instructions drafted from executed calls: every value in them, nothing else."""

import random

import pytest
from test_draft import step

from selfchallenge.challenger.book import Phrase, PhraseBook
from selfchallenge.challenger.draft import Draft
from selfchallenge.challenger.wording import word_draft

RECORDS = [{"price": 9, "shop": "Oak"}, {"price": 4, "shop": "Elm"}]


def book() -> PhraseBook:
    found = PhraseBook()
    for tool, text in (
        ("reverse", "the mirror image of {text}"),
        ("shift", "the letters of {text} moved by {by}"),
        ("shift", "the moved letters of {text}"),
        ("largest", "the largest of {numbers}"),
    ):
        # The documentation has its turn too, so the phrase is made the likelier.
        found.phrases.setdefault(tool, []).extend([Phrase(tool, text)] * 40)
    return found


def said(draft: Draft, words: PhraseBook) -> list[str]:
    texts = [word_draft(draft, words, random.Random(seed)) for seed in range(60)]
    return [text for text in texts if text is not None]


def test_every_literal_of_the_solution_is_said_and_no_result_is() -> None:
    steps = (
        step(1, "reverse", "'abc'", "cba"),
        step(2, "shift", "r1, by=7", "jih"),
        step(3, "largest", "len(r2), 12.5", 12.5),
    )
    for words in (PhraseBook(), book()):
        texts = said(Draft(0, None, steps, answer="r3"), words)
        assert len(texts) == 60
        for text in texts:
            assert all(literal in text for literal in ("'abc'", "7", "12.5"))
            assert "cba" not in text
            assert "jih" not in text


def test_a_result_that_flows_on_is_named_where_it_is_used() -> None:
    steps = (step(1, "reverse", "'abc'", "cba"), step(2, "shift", "r1, by=7", "jih"))
    texts = said(Draft(0, None, steps, answer="r2"), book())
    assert "What is the letters of the mirror image of 'abc' moved by 7?" in texts
    assert any("the result" in text for text in texts), "now and then step by step"


def test_an_article_before_a_result_is_not_said_twice() -> None:
    steps = (step(1, "reverse", "'the the'", "cba"), step(2, "reverse", "r1['size']", "jih"))
    words = PhraseBook({"reverse": [Phrase("reverse", "the age of the {text} thing")] * 40})
    texts = said(Draft(0, None, steps, answer="r2"), words)
    assert "What is the age of the size of the age of the 'the the' thing thing?" in texts


def test_a_result_used_twice_is_told_once_and_referred_to() -> None:
    steps = (
        step(1, "reverse", "'abc'", "cba"),
        step(2, "reverse", "'xyz'", "zyx"),
        step(3, "shift", "r1, by=1", "dcb"),
    )
    texts = said(Draft(0, None, steps, answer="[r1, r3]"), book())
    assert texts
    for text in texts:
        assert text.count("'abc'") == 1


@pytest.mark.parametrize(
    ("answer", "value", "words"),
    [
        ("sorted((x['price'] for x in r1))[0]", RECORDS, ("est price among the mirror",)),
        (
            "sorted(r1, key=lambda x: x['price'])[-1]['shop']",
            RECORDS,
            ("the shop of the one with the ", "est price among the mirror"),
        ),
        (
            "[x['shop'] for x in r1]",
            RECORDS,
            ("the shop of each of the mirror image", ", in their order, as a Python list."),
        ),
        ("len(r1)", RECORDS, ("the number of mirror image",)),
        ("len(r1)", "cba", ("the number of characters in the mirror",)),
        ("r1.count('a')", "aba", ("the number of times 'a' occurs in",)),
        ("r1['C']", {"C": 3}, ("the 'C' entry of",)),
        ("r1['price']", {"price": 3}, ("the price of",)),
        ("r1[0]", ["a", "b"], ("the first entry of",)),
        ("r1['who']['last']", {"who": {"last": "B"}}, ("the last of the who of the mirror",)),
        ("len(r1['bills'])", {"bills": [1]}, ("the number of bills of the mirror",)),
        ("len(r1['who'])", {"who": "Ada"}, ("the number of characters in the who of the",)),
        ("len(r1['cards'])", {"cards": {"c1": {"a": 1}}}, ("the number of cards of the",)),
        (
            "sorted(r1['cards'].values(), key=lambda x: x['limit'])[0]['owner']",
            {"cards": {"c1": {"limit": 1, "owner": "x"}}},
            ("the owner of the one with the ", "est limit among the cards of the mirror"),
        ),
        ("100 - len(r1)", "cba", ("What is left of 100 after taking off",)),
        ("len(r1) * 3", "cba", ("What is three times",)),
    ],
)
def test_every_view_has_words(answer: str, value: object, words: tuple[str, ...]) -> None:
    texts = said(Draft(0, None, (step(1, "reverse", "'abc'", value),), answer=answer), book())
    nested = [text for text in texts if not text.startswith(("Find the mirror", "Find what"))]
    assert any(all(word in text for word in words) for text in nested), texts[:3]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("'abc' if r1 < r2 else 'xyz'", "Answer 'abc' or 'xyz'."),
        ("r1 - r2", "the mirror image of 'xyz'"),
        ("r1 + r2", "add up to?"),
        ("[r1, r2]", "as a Python list in this order."),
        ("{'abc': r1, 'xyz': r2}", "as the values of a dict whose keys are 'abc' and 'xyz'."),
        ("' '.join([r1, r2])", "joined by a space"),
        ("sorted([r1, r2])[-1]", "of the mirror image of 'abc' and the mirror image of 'xyz'"),
    ],
)
def test_every_combination_has_words(answer: str, words: str) -> None:
    steps = (step(1, "reverse", "'abc'", 2), step(2, "reverse", "'xyz'", 1))
    texts = said(Draft(0, None, steps, answer=answer), book())
    assert any(words in text for text in texts), texts[:3]


def test_a_change_is_asked_for_and_no_answer_with_it() -> None:
    steps = (step(1, "reverse", "'abc'", "cba"), step(2, "keep", "r1", None))
    texts = said(Draft(0, None, steps), book())
    assert all(text.endswith(".") and "?" not in text for text in texts)


def test_an_expression_without_words_gives_no_instruction() -> None:
    draft = Draft(0, None, (step(1, "reverse", "'a'.upper()"),), answer="r1")
    assert word_draft(draft, PhraseBook(), random.Random(0)) is None
