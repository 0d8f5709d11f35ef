"""Whether an instruction says enough: told, listed, reachable, or left open on purpose."""

from collections.abc import Iterator

import pytest

from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import ToolError
from selfchallenge.quality.gate import check
from selfchallenge.quality.sufficiency import Reach, sufficient
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import Check, CodeAsTask


class Bank(Environment):
    """A bank. Today is 2024-05-15. Customers have ids such as c9."""

    def __init__(self, seed: str | None = None) -> None:
        self.names = {"c1": "Ada Lovelace", "c2": "Max Planck"}
        self.cards = {"c1": {"k11": 0, "k12": 0}, "c2": {"k21": 0}}
        self.booked: dict[str, list[str]] = {}
        self.messages = 0
        self.looked = 0

    @tool
    def find(self, name: str) -> str:
        """Id of a customer."""
        self.looked += 1
        for number, known in self.names.items():
            if known == name:
                return number
        raise ToolError("nobody")

    @tool
    def cards_of(self, customer: str) -> dict[str, int]:
        """Cards of a customer, and what was paid to them."""
        if customer not in self.cards:
            raise ToolError("nobody")
        return self.cards[customer]

    @tool
    def bookings(self, day: str) -> list[str]:
        """Who comes on a day."""
        return self.booked.get(day, [])

    @tool(mutates=True)
    def pay(self, card: str, amount: int) -> int:
        """Pay to a card."""
        for cards in self.cards.values():
            if card in cards:
                cards[card] += amount
                return cards[card]
        raise ToolError("no such card")

    @tool(mutates=True)
    def book(self, day: str, customer: str) -> list[str]:
        """Book a day."""
        self.booked.setdefault(day, []).append(customer)
        return self.booked[day]

    @tool
    def tell(self, message: str) -> str:
        """Tell a colleague."""
        return "told"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as found:
        yield found


def task(said: str, solution: str, verifier: str, *failures: str) -> CodeAsTask:
    return CodeAsTask(
        environment="Bank",
        instruction=said,
        verifier=f"def evaluate(answer):\n    return {verifier}\n",
        solution=solution,
        failures=failures or ("answer = 1", "answer = 2", "answer = 3"),
    )


def paying(said: str, card: str = "k11") -> CodeAsTask:
    return task(
        said, f"pay({card!r}, 20)", f"any(cards_of(c).get({card!r}) == 20 for c in ('c1', 'c2'))"
    )


def failed(sandbox: Sandbox, one: CodeAsTask) -> Check | None:
    verdict = check(one, Bank, sandbox=sandbox)
    return next((result for result in verdict.checks if not result.passed), None)


@pytest.mark.parametrize(
    "good",
    [
        paying("Pay 20 to k11."),
        paying("Pay twenty to the card of Max Planck.", "k21"),
        task(
            "Pay 20 to any card of Ada Lovelace.",
            "pay(list(cards_of(find('Ada Lovelace')))[0], 20)",
            "sorted(cards_of('c1').values()) == [0, 20]",
        ),
        task("Book May 20 for c1.", "book('2024-05-20', 'c1')", "bookings('2024-05-20') == ['c1']"),
        task(
            "How many cards has c1? Tell a colleague how it went, too.",
            "tell('c1 asked, and it all went very well')\nanswer = len(cards_of('c1'))",
            "answer == 2 and type(answer) is int",
            "answer = 1",
            "answer = 3",
            "answer = 'two'",
        ),
    ],
)
def test_what_is_told_or_can_be_found_is_enough(sandbox, good):
    assert failed(sandbox, good) is None


@pytest.mark.parametrize(
    ("bad", "name", "literal"),
    [
        (paying("Pay 20 to a customer's card."), "sufficient", "k11"),
        (paying("Pay 20 to the card of Ada Lovelace."), "sufficient", "k12"),
        (paying("Pay something to k11."), "sufficient", "20"),
        (paying("Pay 20 to k11, and k12 gets nothing."), "agrees", "k12"),
        (
            task(
                "Book a day for c1.", "book('2024-05-20', 'c1')", "bookings('2024-05-20') == ['c1']"
            ),
            "sufficient",
            "2024-05-20",
        ),
        (
            task(
                "Book May 21 for c1.",
                "book('2024-05-20', 'c1')",
                "bookings('2024-05-20') == ['c1']",
            ),
            "sufficient",
            "2024-05-20",
        ),
    ],
)
def test_the_literal_that_is_missing_is_named(sandbox, bad, name, literal):
    found = failed(sandbox, bad)
    assert found is not None
    assert found.name == name
    assert literal in found.evidence


def test_what_reading_counts_is_no_frame_by_itself(sandbox):
    one = task(
        "Pay 20 to the card of Max Planck.",
        "pay(list(cards_of(find('Max Planck')))[0], 20)",
        "cards_of('c2') == {'k21': 20}",
    )
    verdict = check(one, Bank, sandbox=sandbox)
    assert verdict.accepted, verdict.reason
    assert verdict.frame == (("cards", "c2", "k21"), ("looked",))
    asked = task("How many cards has Max Planck?", "answer = len(cards_of(find('Max Planck')))", "")
    assert check(asked, Bank, sandbox=sandbox, gate="none").frame == ()


def test_a_number_that_reading_shows_by_chance_is_not_the_one_that_was_named():
    shown = Reach()
    shown.add({"aspirin": 40, "insulin": 6})
    assert sufficient("Hand out all the insulin.", [6, "insulin"], (), shown).passed
    found = sufficient("Hand out 8 aspirin.", [6, "aspirin"], (), shown)
    assert not found.passed
    assert found.evidence == "the instruction says 8, the solution 6"
