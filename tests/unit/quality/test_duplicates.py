"""Duplicates: the same solution under other names, nearly the same instruction."""

from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.quality.duplicates import Seen, minhash, normalise, similarity
from selfchallenge.task import CodeAsTask


def make(instruction: str, solution: str) -> CodeAsTask:
    return CodeAsTask(
        environment="e",
        instruction=instruction,
        verifier="def evaluate(answer):\n    return answer == 1",
        solution=solution,
        failures=("answer = 2", "answer = 3", "answer = 4"),
    )


def test_names_layout_and_comments_do_not_matter() -> None:
    one = "a = find('x')  # look\nb = a + 1\nanswer = b\n"
    other = "found = find( 'x' )\n\ntotal = found+1\nanswer = total"
    assert normalise(one) == normalise(other)
    assert normalise(one) != normalise(one.replace("'x'", "'y'"))


def test_code_that_does_not_parse_is_compared_as_text() -> None:
    assert normalise(" def (: ") == "def (:"


def test_the_first_task_stays() -> None:
    seen = Seen()
    first = make("Find the book about whales in the list", "a = find(1)\nanswer = a")
    seen.add(first)
    same = seen.check(make("Something else entirely, if you please", "b = find(1)\nanswer = b"))
    assert not same.passed
    assert first.id in same.evidence
    near = seen.check(make("Find the book about whales in the list.", "answer = find(2)"))
    assert not near.passed
    assert seen.check(make("Who wrote the oldest one on our shelves?", "answer = find(3)")).passed


@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=30))
def test_similarity_is_one_for_equal_texts_and_never_more(words: list[str]) -> None:
    text = " ".join(words)
    assert similarity(minhash(text), minhash(text)) == 1.0
    assert 0.0 <= similarity(minhash(text), minhash(text + " z z z")) <= 1.0
