"""The four tool domains of the benchmark M3ToolEval as one environment (paper, section 5.1).

The semantics are those of `xingyaowww/code-act`, scripts/eval/m3tooleval (MIT licence), written
anew from a description; its one unsafe tool, a calculator by `eval`, parses arithmetic here.
"""

from __future__ import annotations

import builtins
import re
from importlib.resources import files
from typing import Any

from selfchallenge.environments.base import Demonstration, Environment, tool
from selfchallenge.environments.calculation.arithmetic import compute
from selfchallenge.environments.calculation.demonstrations import DEMONSTRATIONS
from selfchallenge.environments.calculation.material import material
from selfchallenge.environments.calculation.state import PLACES, Tables, bare, generate, load
from selfchallenge.errors import UsageError

DOMAINS: dict[str, tuple[str, ...]] = {
    "message_decoder": (
        "convert_hex_to_ascii",
        "reverse_string",
        "caesar_decode",
        "string_length",
        "minimum_value",
        "maximum_value",
    ),
    "dna_sequencer": (
        "count_nucleotides",
        "transcribe_dna_to_mrna",
        "translate_mrna_to_amino_acid",
        "find_max_nucleotide",
        "is_valid_dna_sequence",
        "reverse_transcribe_mrna_to_dna",
    ),
    "trade_calculator": (
        "convert_currency",
        "calculate_tariff",
        "estimate_final_value",
        "calculator",
        "find_minimum",
        "find_maximum",
    ),
    "travel_planner": ("find_flights", "book_hotel", "budget_calculator", "max", "min", "sum"),
}
"""Tools of each domain, in the order in which they are shown."""

SEEDS_A_DOMAIN = 250
HELD_OUT = "-heldout-"

Number = int | float


class Calculation(Environment):  # noqa: D101 - its text lies beside this file
    __doc__ = files(__package__).joinpath("policy.md").read_text("utf-8")

    label = "calculation"

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        if seed is None or domain_of(seed) == "travel_planner":
            self.tables(seed)  # a wrong data folder is an error at once

    @classmethod
    def seeds(cls) -> list[str]:
        """The domains in turn, so that any beginning of the list is balanced."""
        return [f"{domain}-{n:04}" for n in range(SEEDS_A_DOMAIN) for domain in DOMAINS]

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        """Values of the seed's domain to start from, for instance `DNA sequence 'GATTCA'`."""
        domain = domain_of(seed)
        tables = cls.tables(seed) if domain == "travel_planner" else None
        return material(domain, seed, tables)

    @classmethod
    def demonstration(cls, seed: str | None) -> Demonstration | None:
        """The worked example of the seed's domain."""
        return None if seed is None else DEMONSTRATIONS[domain_of(seed)]

    @classmethod
    def offered(cls, seed: str | None) -> list[str]:
        """The six tools of the seed's domain; without a seed, those of all four."""
        if seed is not None:
            return list(DOMAINS[domain_of(seed)])
        return [name for names in DOMAINS.values() for name in names]

    @classmethod
    def tables(cls, seed: str | None) -> Tables:
        """Flights and hotels that a session with this seed sees.

        They come from the data folder when there is one. A held-out seed always sees the generated
        world of its name, so that the held-out tasks mean the same with and without data.
        """
        if seed is not None and HELD_OUT in seed:
            return generate("heldout")
        return load(cls.data) if cls.data is not None else generate(seed or "travel_planner")

    def snapshot(self) -> Any:
        """Nothing here can change."""
        return {}

    def show(self, value: Any) -> str:
        """Results are shown as Python's `str` writes them."""
        return str(value)

    def show_error(self, name: str, error: Exception) -> str:
        """A failed call is shown as the text of its exception."""
        del name
        return str(error) or type(error).__name__

    # -- message_decoder ---------------------------------------------------------------------------

    @tool
    def convert_hex_to_ascii(self, hex_string: str) -> str:
        """Return the text that a string of hexadecimal digits stands for."""
        return bytes.fromhex(str(hex_string)).decode("utf-8")

    @tool
    def reverse_string(self, string: str) -> str:
        """Return the text written backwards."""
        return string[::-1]

    @tool
    def caesar_decode(self, message: str, shift: int) -> str:
        """Return the message with each letter moved back in the alphabet by shift places."""
        return "".join(_moved_back(letter, int(shift)) for letter in message)

    @tool
    def string_length(self, string: str) -> int:
        """Return the number of characters of the text."""
        return len(string)

    @tool
    def minimum_value(self, *args: float | str) -> float | str:
        """Return the smallest of the given values (numbers, or texts in alphabetical order)."""
        return builtins.min(args)

    @tool
    def maximum_value(self, *args: float | str) -> float | str:
        """Return the largest of the given values (numbers, or texts in alphabetical order)."""
        return builtins.max(args)

    # -- dna_sequencer -----------------------------------------------------------------------------

    @tool
    def count_nucleotides(self, dna_sequence: str) -> dict[str, int]:
        """Return how often each letter occurs in the sequence, in the order of first occurrence."""
        return {letter: dna_sequence.count(letter) for letter in dict.fromkeys(dna_sequence)}

    @tool
    def transcribe_dna_to_mrna(self, dna_sequence: str) -> str:
        """Return the complementary mRNA of a DNA sequence (A to U, C to G, G to C, T to A)."""
        return dna_sequence.translate(str.maketrans("ACGT", "UGCA"))

    @tool
    def translate_mrna_to_amino_acid(self, mrna_sequence: str) -> str:
        """Return an amino acid for each three letters, joined by "-".

        AUG is Methionine, UUU and UUC are Phenylalanine, and all others are X.
        """
        starts = range(0, len(mrna_sequence), 3)
        return "-".join(_AMINO_ACIDS.get(mrna_sequence[i : i + 3], "X") for i in starts)

    @tool
    def find_max_nucleotide(self, *args: str | int) -> tuple[str, int]:
        """Return the letter with the highest count and its count, given as 'G', 2, 'T', 5, ..."""
        counts: dict[Any, Any] = dict(zip(args[::2], args[1::2], strict=False))
        letter = builtins.max(counts, key=lambda one: counts[one])
        return letter, counts[letter]

    @tool
    def is_valid_dna_sequence(self, dna_sequence: str) -> bool:
        """Return whether the sequence has no other letters than A, C, G and T."""
        return set(dna_sequence) <= set("ACGT")

    @tool
    def reverse_transcribe_mrna_to_dna(self, mrna_sequence: str) -> str:
        """Return the complementary DNA of an mRNA sequence (U to A, C to G, A to T, G to C)."""
        return mrna_sequence.translate(str.maketrans("UCAG", "AGTC"))

    # -- trade_calculator --------------------------------------------------------------------------

    @tool
    def convert_currency(self, base_price: float, conversion_rate: float) -> float:
        """Return the price in the other currency: base price times conversion rate."""
        return _number(base_price) * _number(conversion_rate)

    @tool
    def calculate_tariff(self, price: float, tariff_rate: float) -> float:
        """Return the tariff alone on a price, with the tariff rate in percent."""
        return _number(price) * _number(tariff_rate) / 100

    @tool
    def estimate_final_value(self, price: float, tariff: float) -> float:
        """Return the price with the amount of its tariff added."""
        return _number(price) + _number(tariff)

    @tool
    def calculator(self, expression: str) -> float | str:
        """Return the value of an arithmetic expression given as text."""
        try:
            return compute(expression)
        except (ValueError, ArithmeticError):
            return f"Failed to evaluate expression: {expression}"

    @tool
    def find_minimum(self, *args: float) -> float:
        """Return the smallest of the given numbers."""
        return builtins.min(map(_number, args))

    @tool
    def find_maximum(self, *args: float) -> float:
        """Return the largest of the given numbers."""
        return builtins.max(map(_number, args))

    # -- travel_planner ----------------------------------------------------------------------------

    @tool
    def find_flights(self, from_location: str, to_location: str, date: str) -> list[dict[str, Any]]:
        """Return the flights between two places on a date, each a dict with its price."""
        start, end = _known(from_location), _known(to_location)
        return [
            dict(flight)
            for flight in self.tables(self.seed).flights
            if (bare(flight["from_location"]), bare(flight["to_location"])) == (start, end)
            and flight["date"] == date
        ]

    @tool
    def book_hotel(self, location: str, *preferences: str) -> list[dict[str, Any]]:
        """Return the hotels that have all preferences, dicts with price_per_night and rating."""
        place = _known(location)
        return [
            dict(hotel)
            for hotel in self.tables(self.seed).hotels
            if bare(hotel["location"]) == place
            and all(wish in hotel["preferences"] for wish in preferences)
        ]

    @tool
    def budget_calculator(
        self, flight_price: float, hotel_price_per_night: float, num_nights: int
    ) -> float:
        """Return the cost of a flight and of a hotel for a number of nights together."""
        return _number(flight_price) + _number(hotel_price_per_night) * _number(num_nights)

    @tool
    def max(self, *args: float) -> float:
        """Return the largest of the given values."""
        return builtins.max(*args)

    @tool
    def min(self, *args: float) -> float:
        """Return the smallest of the given values."""
        return builtins.min(*args)

    @tool
    def sum(self, *args: float) -> float:
        """Return the sum of the given numbers."""
        return builtins.sum(args)


def domain_of(seed: str) -> str:
    """The domain that a seed begins with.

    Raises:
        UsageError: it begins with none of the four.
    """
    domain = re.split(r"-", seed, maxsplit=1)[0]
    if domain not in DOMAINS:
        raise UsageError(
            f"seed {seed!r} begins with no domain",
            fix=f"begin it with one of {', '.join(DOMAINS)}",
        )
    return domain


_AMINO_ACIDS = {"AUG": "Methionine", "UUU": "Phenylalanine", "UUC": "Phenylalanine"}


def _moved_back(letter: str, shift: int) -> str:
    if letter.isupper():
        return chr((ord(letter) - ord("A") - shift) % 26 + ord("A"))
    if letter.islower():
        return chr((ord(letter) - ord("a") - shift) % 26 + ord("a"))
    return letter


def _known(location: str) -> str:
    place = bare(location)
    if place not in PLACES:
        raise ValueError(f"{place} is no place: the places are {', '.join(PLACES)}")
    return place


def _number(value: Number) -> Number:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value
