"""Labelled tasks for the gate: good ones, and the same ones with one planted defect each.

Every task comes from a template and a number: the set is the same on every machine. A good task is
good by construction (its verifier compares what the request is about, and nothing else); a defect
changes one thing of a good task. Environments: library, calculation, and the shop of `shop.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from selfchallenge.task import CodeAsTask

GOOD = "good"
FREE = ("b03", "b07", "b08", "b09", "b13", "b16", "b17", "b21", "b22", "b32", "b37", "b38")
CLEAR = ("m03", "m05", "m09", "m10", "m11", "m12", "m13", "m15", "m17", "m20", "m22", "m23")
LENT = ("b02", "b06", "b11", "b18", "b19", "b20", "b24", "b26", "b27", "b29", "b30", "b31")
WORDS = ("harbor", "candle", "window", "anchor", "marble", "saddle", "timber", "ribbon", "garnet")
GENES = ("ATGGCCTAA", "GATTACAGG", "CCGTATTGA", "TTGACCGTA", "ACGTACGTT", "GGCATCATG")


@dataclass(frozen=True)
class Draft:
    """A task in parts.

    Attributes:
        world, seed, said, verifier, solution, failures: as in `CodeAsTask`.
        label: `good`, or the planted defect.
        family: the template.
        first: the task that was accepted before, of which this is a duplicate.
        tested: instruction of a test task, of which this is a copy.
    """

    world: str
    said: str
    verifier: str
    solution: str
    failures: tuple[str, ...]
    seed: str | None = None
    label: str = GOOD
    family: str = ""
    first: Draft | None = None
    tested: str = ""

    def task(self) -> CodeAsTask:
        """The record."""
        return CodeAsTask(
            environment=self.world,
            seed=self.seed,
            instruction=self.said,
            verifier=self.verifier,
            solution=self.solution,
            failures=self.failures,
        )


def judge(expression: str) -> str:
    return f"def evaluate(answer):\n    return {expression}\n"


# -- good tasks ------------------------------------------------------------------------------------


def cancel_two(n: int) -> Draft:
    a, b = f"o{n}", f"o{n + 11}"
    return Draft(
        "shop",
        f"Cancel the orders {a} and {b}; both were ordered by mistake.",
        judge(f"all(get_order(o)['status'] == 'cancelled: mistake' for o in ({a!r}, {b!r}))"),
        f"cancel({a!r}, 'mistake')\ncancel({b!r}, 'mistake')",
        (f"cancel({a!r}, 'mistake')", f"cancel({b!r}, 'late')", f"get_order({a!r})"),
    )


def count_of(n: int) -> Draft:
    order, count = f"o{n}", n % 5 + 3
    return Draft(
        "shop",
        f"Customer c{n} wants {count} pieces in order {order} instead of one.",
        judge(f"get_order({order!r})['count'] == {count}"),
        f"set_count({order!r}, {count})",
        (f"set_count({order!r}, {count + 1})", f"set_count('o{n + 1}', {count})", "answer = 'ok'"),
    )


def refund_to(n: int) -> Draft:
    card, amount = f"k{n}1", 20 + n
    return Draft(
        "shop",
        f"Pay {amount} back to the card {card} of customer c{n}.",
        judge(f"get_cards('c{n}')[{card!r}] == {amount}"),
        f"refund({card!r}, {amount})",
        (f"refund('k{n}2', {amount})", f"refund({card!r}, {amount - 1})", f"get_cards('c{n}')"),
    )


def refund_any(n: int) -> Draft:
    amount = 30 + n
    return Draft(
        "shop",
        f"Pay {amount} back to any one of the cards of customer c{n}.",
        judge(f"sorted(get_cards('c{n}').values()) == [0, {amount}]"),
        f"card = list(get_cards('c{n}'))[0]\nrefund(card, {amount})",
        (
            f"for card in get_cards('c{n}'): refund(card, {amount})",
            f"refund('k{n}1', {amount + 1})",
            f"refund('k{n + 1}1', {amount})",
        ),
    )


def ticket_for(n: int) -> Draft:
    order = f"o{n}"
    return Draft(
        "shop",
        f"Open a ticket about order {order} and say what number it has.",
        judge(f"answer == ticket_of({order!r})['number']"),
        f"answer = open_ticket({order!r})",
        (
            f"answer = open_ticket('o{n + 1}')",
            f"open_ticket({order!r})\nanswer = 0",
            "answer = 1000",
        ),
    )


def price_of(n: int) -> Draft:
    order, price = f"o{n}", 10 + n * 3
    return Draft(
        "shop",
        f"What does order {order} cost?",
        judge(f"type(answer) in (int, float) and answer == {price}"),
        f"answer = get_order({order!r})['price']",
        (f"answer = get_order('o{n + 1}')['price']", f"answer = {price - 1}", "answer = 'much'"),
    )


def pack(n: int) -> Draft:
    left = [f"o{k}" for k in range(1, 31, 3)][2:]
    return Draft(
        "shop",
        "Pack the two orders that wait first and name them, first one first."
        + (f" This is request {n}." if n > 1 else ""),
        judge(f"answer == ['o1', 'o4'] and waiting() == {left!r}"),
        "answer = [pack_next(), pack_next()]",
        ("answer = [pack_next()]", "answer = waiting()[:2]", "pack_next()\npack_next()"),
    )


def lend(n: int) -> Draft:
    book, member = FREE[n % 12], CLEAR[n % 12]
    return Draft(
        "library",
        f"Member {member} would like to borrow book {book}.",
        judge(f"(get_book({book!r})['loan'] or {{}}).get('member_id') == {member!r}"),
        f"lend_book({book!r}, {member!r})",
        (
            f"lend_book({FREE[(n + 1) % 12]!r}, {member!r})",
            f"lend_book({book!r}, {CLEAR[(n + 1) % 12]!r})",
            f"get_book({book!r})",
        ),
    )


def bring_back(n: int) -> Draft:
    a, b = LENT[n % 12], LENT[(n + 5) % 12]
    return Draft(
        "library",
        f"The books {a} and {b} were brought back.",
        judge(f"get_book({a!r})['loan'] is None and get_book({b!r})['loan'] is None"),
        f"return_book({a!r})\nreturn_book({b!r})",
        (f"return_book({a!r})", f"return_book({b!r})", f"renew_loan({a!r})"),
    )


def move_email(n: int) -> Draft:
    member, email = CLEAR[n % 12], f"reader{n}@example.org"
    return Draft(
        "library",
        f"Change the email address of member {member} to {email}.",
        judge(f"get_member({member!r})['email'] == {email!r}"),
        f"change_email({member!r}, {email!r})",
        (
            f"change_email({CLEAR[(n + 1) % 12]!r}, {email!r})",
            f"change_email({member!r}, 'reader{n}@example.com')",
            f"get_member({member!r})",
        ),
    )


def decode(n: int) -> Draft:
    word, shift = WORDS[n % 9], n % 7 + 2
    coded = "".join(chr((ord(c) - 97 + shift) % 26 + 97) for c in word)
    return Draft(
        "calculation",
        f"Every letter of '{coded}' was moved {shift} places forward. What was the word?",
        judge(f"answer == {word!r}"),
        f"answer = caesar_decode({coded!r}, {shift})",
        (
            f"answer = caesar_decode({coded!r}, {shift + 1})",
            f"answer = reverse_string({coded!r})",
            f"answer = {coded!r}",
        ),
        seed=f"message_decoder-{n:04}",
    )


def transcribe(n: int) -> Draft:
    gene = GENES[n % 6] * (1 + n // 6)
    right = gene.translate(str.maketrans("ACGT", "UGCA"))
    return Draft(
        "calculation",
        f"Transcribe the DNA sequence {gene} to mRNA.",
        judge(f"answer == {right!r}"),
        f"answer = transcribe_dna_to_mrna({gene!r})",
        (f"answer = {gene!r}", f"answer = {right[1:]!r}", f"answer = {right[::-1]!r}"),
        seed=f"dna_sequencer-{n:04}",
    )


TEMPLATES: dict[Callable[[int], Draft], range] = {
    cancel_two: range(1, 9),
    count_of: range(1, 9),
    refund_to: range(1, 9),
    refund_any: range(1, 5),
    ticket_for: range(1, 6),
    price_of: range(1, 9),
    pack: range(1, 3),
    lend: range(8),
    bring_back: range(7),
    move_email: range(6),
    decode: range(8),
    transcribe: range(6),
}


# -- defects ---------------------------------------------------------------------------------------


def vacuous(good: Draft) -> Draft:
    return replace(good, verifier=judge("True"))


def keyword_only(good: Draft) -> Draft:
    return replace(
        good,
        said=f"{good.said} Say 'all done' at the end.",
        solution=f"{good.solution}\nanswer = 'all done'",
        verifier=judge("'done' in str(answer)"),
        failures=("answer = 'failed'", "answer = None", "answer = 'no'"),
    )


def over_strict(good: Draft) -> Draft:
    """It wants the generated number that comes when nothing else was looked up."""
    order = good.solution.split("'")[1]
    return replace(
        good,
        said=f"Open a ticket about order {order}.",
        solution=f"open_ticket({order!r})",
        verifier=judge(f"ticket_of({order!r})['number'] == 1000"),
        failures=(f"get_order({order!r})", "open_ticket('o29')", "answer = 1000"),
    )


def order_dependent(good: Draft) -> Draft:
    first = good.solution.split("'")[1]
    return replace(
        good,
        verifier=judge(f"read_notes()[0] == {first!r} and read_notes()[-1] == 'end'"),
        said=f"{good.said} Leave a note '{first}' and a note 'end'.",
        solution=f"{good.solution}\nnote({first!r})\nnote('end')",
        failures=(good.solution, f"note({first!r})", "note('end')"),
    )


def wrong_constant(good: Draft) -> Draft:
    changed = good.verifier
    for one, other in (
        ("mistake", "late"),
        ("is None", "is False"),
        ("example.org", "example.net"),
    ):
        if one in changed:
            return replace(good, verifier=changed.replace(one, other))
    return replace(good, verifier=changed.replace("== ", "!= ", 1))


def nondeterministic(good: Draft) -> Draft:
    return replace(
        good,
        solution=f"{good.solution}\nimport random\nanswer = random.random()",
        verifier=good.verifier.replace("return ", "return answer > 0 and "),
    )


def reads_clock(good: Draft) -> Draft:
    text = good.verifier.replace("    return ", "    return time.time() > 0 and ")
    return replace(good, verifier=f"import time\n{text}")


def hash_order(good: Draft) -> Draft:
    return replace(
        good,
        solution=f"{good.solution}\nanswer = list({{'red', 'green', 'blue', 'grey', 'pink'}})[0]",
        verifier=good.verifier.replace("return ", "return isinstance(answer, str) and "),
    )


def first_of_several(good: Draft) -> Draft:
    a, b = good.solution.split("'")[1], good.solution.splitlines()[1].split("'")[1]
    kept = {
        "shop": judge(f"get_order({a!r})['status'] == 'cancelled: mistake'"),
        "library": judge(f"get_book({a!r})['loan'] is None"),
    }[good.world]
    verb = {"shop": f"cancel({b!r}, 'late')", "library": f"return_book({b!r})"}[good.world]
    return replace(good, verifier=kept, failures=(verb, "answer = 1", "answer = 'done'"))


def other_choice(good: Draft) -> Draft:
    if "refund" in good.solution:
        customer = good.said.rsplit("customer ", 1)[1].rstrip(".")
        amount = good.solution.split(", ")[1].rstrip(")")
        text = judge(f"{amount} in get_cards({customer!r}).values()")
        return replace(
            good, verifier=text, failures=("refund('k91', 1)", "answer = 1", "answer = 2")
        )
    count = good.solution.split(", ")[1].rstrip(")")
    text = judge(f"any(get_order(f'o{{n}}')['count'] == {count} for n in range(1, 31))")
    return replace(good, verifier=text, failures=("answer = 1", "answer = 2", "get_order('o1')"))


def first_call_only(good: Draft) -> Draft:
    text = "calls = []\ndef evaluate(answer):\n    calls.append(1)\n    return len(calls) == 1\n"
    return replace(good, verifier=text)


def missing_identifier(good: Draft) -> Draft:
    said = {
        "Cancel": "Cancel two orders; both were ordered by mistake.",
        "Custo": "A customer wants more pieces in an order.",
        "Pay": "Pay some money back to a customer's card.",
        "Membe": "A member would like to borrow a book.",
        "The b": "Two books were brought back.",
        "Chang": "Change the email address of a member.",
        "Every": "Every letter of a word was moved forward. What was the word?",
        "Trans": "Transcribe the DNA sequence to mRNA.",
        "What": "What does the order cost?",
        "Open": "Open a ticket about an order and say what number it has.",
    }
    return replace(
        good, said=next(text for start, text in said.items() if good.said.startswith(start))
    )


def ambiguous_reference(good: Draft) -> Draft:
    customer = good.said.rsplit("customer ", 1)[1].rstrip(".")
    amount = good.solution.split(", ")[1].rstrip(")")
    return replace(good, said=f"Pay {amount} back to the card of customer {customer}.")


def contradicting(good: Draft) -> Draft:
    if good.world == "shop":
        order = good.solution.split("'")[1]
        other = f"o{int(order[1:]) + 3}"
        return replace(good, said=good.said.replace(order, other))
    count = {"email": (".org.", ".net."), "borrow": ("book b", "book b0")}
    for word, (one, two) in count.items():
        if word in good.said:
            return replace(good, said=good.said.replace(one, two))
    shift = int(good.solution.split(", ")[1].rstrip(")"))
    return replace(good, said=good.said.replace(f" {shift} places", f" {shift + 1} places"))


def unreachable_literal(good: Draft) -> Draft:
    return replace(
        good,
        said=f"{good.said} Write the usual remark down, too.",
        solution=f"{good.solution}\nnote('ring twice, ask for Ada')",
        verifier=good.verifier.replace(
            "return ", "return read_notes() == ['ring twice, ask for Ada'] and "
        ),
    )


def failure_is_solution(good: Draft) -> Draft:
    return replace(good, failures=(*good.failures[:2], f"pass\n{good.solution}"))


def failure_never_runs(good: Draft) -> Draft:
    return replace(good, failures=(*good.failures[:2], f"raise ValueError\n{good.solution}"))


def duplicate(good: Draft) -> Draft:
    return replace(good, said=f"Please help: {good.said}", failures=good.failures[::-1], first=good)


def contaminated(good: Draft) -> Draft:
    """The instruction of a test task, in other letters."""
    return replace(good, said=good.said.replace(". ", " .  "), tested=good.said)


TWO = (cancel_two, bring_back)
SHOP = (cancel_two, count_of, refund_to)
ACTS = (*SHOP, lend, bring_back, move_email)
ALL = (*ACTS, price_of, decode, transcribe)
DEFECTS: dict[Callable[[Draft], Draft], tuple[Callable[[int], Draft], ...]] = {
    vacuous: ALL,
    keyword_only: ACTS,
    over_strict: (ticket_for,),
    wrong_constant: (*TWO, move_email, decode, transcribe, lend),
    nondeterministic: ACTS,
    order_dependent: SHOP,
    first_of_several: TWO,
    other_choice: (refund_to, count_of),
    first_call_only: ALL,
    missing_identifier: (*ALL, ticket_for),
    ambiguous_reference: (refund_to,),
    contradicting: (cancel_two, count_of, move_email, decode),
    unreachable_literal: SHOP,
    failure_is_solution: ALL,
    failure_never_runs: ALL,
    duplicate: ALL,
    contaminated: ALL,
    reads_clock: ALL,
    hash_order: ACTS,
}
EACH = 8
"""Tasks with each defect."""


def drafts() -> Iterator[Draft]:
    """All tasks, good ones first, in an order that never changes."""
    for template, numbers in TEMPLATES.items():
        for n in numbers:
            yield replace(template(n), family=template.__name__)
    for defect, templates in DEFECTS.items():
        for number in range(EACH):
            template = templates[number % len(templates)]
            n = number // len(templates) + 1
            good = replace(template(n), family=template.__name__)
            yield replace(defect(good), label=defect.__name__.replace("_", " "))
