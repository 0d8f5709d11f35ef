"""Starting material for exploration: concrete, typed values of a domain, made from the seed.

A writer that is shown an untyped value uses it as anything, so each line says what its values are.
The words, sequences, prices and journeys are our own, and never those of a held-out task (tested).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from selfchallenge.environments.calculation.state import Tables, bare

Line = Callable[[random.Random], str]

_WORDS = """
beacon bridge candle canyon cloud comet copper crystal desert dragon ember emerald engine fabric
falcon feather forest galaxy garden goblin hammer helmet hollow insect island ivory jacket jungle
kettle kitten ladder lantern lemon marble meadow mirror needle nickel ocean orbit oyster parrot
planet ribbon rocket saddle shadow signal silver temple ticket tunnel valley violet wagon window
winter yellow zebra
"""
WORDS = tuple(_WORDS.split())

CODONS = ("AUG", "AUG", "UUU", "UUC", "GCA", "CCG", "GAU", "ACG", "UGG", "CAA")


def material(domain: str, seed: str, tables: Tables | None = None) -> str:
    """One line of values of `domain`; the same one for the same seed.

    Args:
        domain: one of the four.
        seed: what the values are drawn by.
        tables: where journeys are taken from; needed for `travel_planner` only.
    """
    rng = random.Random(f"material/{seed}")
    if tables is not None:
        return _journey(tables, rng)
    return rng.choice(_LINES[domain])(rng)


# -- messages --------------------------------------------------------------------------------------


def _text(rng: random.Random) -> str:
    return " ".join(rng.sample(WORDS, rng.choice((1, 1, 2, 3))))


def _shifted(text: str, shift: int) -> str:
    return "".join(
        chr((ord(letter) - 97 + shift) % 26 + 97) if letter.islower() else letter for letter in text
    )


def _hex(text: str) -> str:
    return text.encode().hex()


def _hex_message(rng: random.Random) -> str:
    return f"hex message '{_hex(_text(rng))}'"


def _hex_cipher(rng: random.Random) -> str:
    shift = rng.randint(2, 24)
    return f"hex message '{_hex(_shifted(_text(rng), shift))}' with Caesar shift {shift}"


def _cipher(rng: random.Random) -> str:
    shift = rng.randint(2, 24)
    return f"message '{_shifted(_text(rng), shift)}' with Caesar shift {shift}"


def _two_ciphers(rng: random.Random) -> str:
    return f"{_cipher(rng)} and {_cipher(rng)}"


def _backwards(rng: random.Random) -> str:
    shift = rng.randint(2, 24)
    return f"backwards message '{_shifted(_text(rng), shift)[::-1]}' with Caesar shift {shift}"


def _hex_messages(rng: random.Random) -> str:
    return f"hex messages {_series([repr(_hex(_text(rng))) for _ in range(rng.randint(2, 3))])}"


def _texts(rng: random.Random) -> str:
    return f"texts {_series([repr(_text(rng)) for _ in range(rng.randint(2, 3))])}"


def _numbers(rng: random.Random) -> str:
    numbers = [str(rng.randint(2, 600)) for _ in range(rng.randint(3, 5))]
    return f"readings {_series(numbers)} and text '{_text(rng)}'"


# -- plant DNA -------------------------------------------------------------------------------------


def _dna(rng: random.Random) -> str:
    return "".join(rng.choices("ACGT", k=rng.randint(6, 16)))


def _mrna(rng: random.Random) -> str:
    return "".join(rng.choices(CODONS, k=rng.randint(2, 5)))


def _coding(rng: random.Random) -> str:
    return _mrna(rng).translate(str.maketrans("UCAG", "AGTC"))


def _one_sequence(rng: random.Random) -> str:
    return f"DNA sequence '{_dna(rng)}'"


def _one_gene(rng: random.Random) -> str:
    return f"DNA sequence '{_coding(rng)}'"


def _two_sequences(rng: random.Random) -> str:
    return f"DNA sequences '{_dna(rng)}' and '{_coding(rng)}'"


def _transcript(rng: random.Random) -> str:
    return f"mRNA sequence '{_mrna(rng)}'"


def _two_transcripts(rng: random.Random) -> str:
    return f"mRNA sequences '{_mrna(rng)}' and '{_mrna(rng)}'"


def _doubtful(rng: random.Random) -> str:
    letters = list(_dna(rng))
    letters[rng.randrange(len(letters))] = rng.choice("BNUXZ")
    return f"possible DNA sequences '{''.join(letters)}' and '{_dna(rng)}'"


# -- trade -----------------------------------------------------------------------------------------


def _price(rng: random.Random) -> str:
    whole = rng.randint(2, 200) * rng.choice((1, 5, 10))
    return f"{whole}" if rng.random() < 0.7 else f"{whole + rng.choice((0.25, 0.5, 0.75))}"


def _rate(rng: random.Random) -> str:
    return f"{rng.randint(5, 60) / 20:g}"


def _tariff_rate(rng: random.Random) -> str:
    return f"{rng.randint(2, 40) / 2:g}"


def _import(rng: random.Random) -> str:
    rates = f"conversion rate {_rate(rng)}, tariff rate {_tariff_rate(rng)} percent"
    return f"price {_price(rng)}, {rates}"


def _bulk(rng: random.Random) -> str:
    return f"{rng.randint(3, 90)} units at unit price {_price(rng)}, conversion rate {_rate(rng)}"


def _two_goods(rng: random.Random) -> str:
    first, second = (f"price {_price(rng)} with tariff rate {_tariff_rate(rng)}" for _ in range(2))
    return f"{first} percent and {second} percent"


def _two_markets(rng: random.Random) -> str:
    return f"price {_price(rng)}, conversion rates {_rate(rng)} and {_rate(rng)}"


def _quotes(rng: random.Random) -> str:
    prices = [_price(rng) for _ in range(rng.randint(3, 5))]
    return f"prices {_series(prices)}, tariff rate {_tariff_rate(rng)} percent"


def _invoice(rng: random.Random) -> str:
    return (
        f"price {_price(rng)} with tariff amount {rng.randint(3, 90)}, conversion rate {_rate(rng)}"
    )


def _ledger(rng: random.Random) -> str:
    parts = [f"{rng.randint(2, 60)} * {_price(rng)}" for _ in range(2)]
    sign = rng.choice("+-")
    return f"expression '{parts[0]} {sign} {parts[1]}', conversion rate {_rate(rng)}"


# -- travel ----------------------------------------------------------------------------------------


def _journey(tables: Tables, rng: random.Random) -> str:
    """A flight that exists and, after it, a stay, an onward flight, or another date."""
    flight = rng.choice(tables.flights)
    start, end = bare(flight["from_location"]), bare(flight["to_location"])
    leg = f"from '{start}' to '{end}' on {flight['date']}"
    stay = _stay(tables, end, rng)
    onward = [f for f in tables.flights if _follows(f, flight)]
    kind = rng.choice(("stay", "stay", "onward", "budget", "hotels"))
    if kind == "onward" and onward:
        after = rng.choice(onward)
        return f"{leg}, then from '{end}' to '{bare(after['to_location'])}' on {after['date']}"
    if kind == "budget":
        costs = f"flight price {rng.randint(60, 800)}, hotel price per night {rng.randint(40, 260)}"
        return f"{costs}, {rng.randint(2, 10)} nights, other costs {rng.randint(5, 90)}; {leg}"
    if kind == "hotels":
        places = sorted({start, end})
        return f"hotels in {' and in '.join(map(repr, places))}, {stay}"
    return f"{leg}, {stay}"


def _stay(tables: Tables, place: str, rng: random.Random) -> str:
    hotels = [hotel for hotel in tables.hotels if bare(hotel["location"]) == place]
    nights = f"{rng.randint(2, 9)} nights"
    if not hotels:
        return nights
    offered: list[str] = rng.choice(hotels)["preferences"]
    wishes = rng.sample(offered, min(len(offered), rng.choice((1, 1, 2))))
    return f"hotel with {' and '.join(map(repr, wishes))}, {nights}"


def _follows(flight: dict[str, Any], before: dict[str, Any]) -> bool:
    same_place = flight["from_location"] == before["to_location"]
    return bool(same_place and flight["date"] > before["date"])


def _series(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"


_LINES: dict[str, tuple[Line, ...]] = {
    "message_decoder": (
        _hex_message,
        _hex_cipher,
        _cipher,
        _two_ciphers,
        _backwards,
        _hex_messages,
        _texts,
        _numbers,
    ),
    "dna_sequencer": (
        _one_sequence,
        _one_gene,
        _two_sequences,
        _transcript,
        _two_transcripts,
        _doubtful,
    ),
    "trade_calculator": (
        _import,
        _bulk,
        _two_goods,
        _two_markets,
        _quotes,
        _invoice,
        _ledger,
    ),
}
