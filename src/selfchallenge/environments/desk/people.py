"""Made-up customers: names, addresses, ids and means of payment, drawn by a given chance."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

_FIRST = """
Alma Anton Bennet Bruna Carys Cosmo Dario Delia Edda Emeric Felix Flora Gideon Greta Hedda Hugo Ilya
Iris Jonas Juno Kaia Kasper Leif Lotte Maren Milo Nadia Nestor Orla Otis Pavel Petra Quinn Rosa
Rufus Silas Tamsin Thea Ursula Viktor Wanda Xenia Yorick Zelda
"""
_LAST = """
Abara Ashdown Barlow Brightwell Castellan Corwin Dunmore Eastwick Everhart Farrow Fenwick Galloway
Grimaldi Hartnell Hollis Ibsen Ingram Jorvik Kettering Kowal Lindqvist Lovell Merriman Norwood
Okafor Oxley Penhallow Quimby Ravenel Rowntree Sorrell Thackery Underhill Varga Whitlock Yarrow
Zimmer
"""
FIRST, LAST = tuple(_FIRST.split()), tuple(_LAST.split())

STREETS = (
    "Alder Row", "Beacon Way", "Canal Walk", "Dovecote Lane", "Elder Close", "Foundry Street",
    "Granary Road", "Harbour View", "Ivy Court", "Juniper Hill", "Kiln Lane", "Linden Avenue",
    "Mill Race", "Nettle Path", "Orchard Rise", "Pinewood Drive", "Quarry Road", "Rookery Lane",
    "Station Road", "Tanner Street", "Vineyard Terrace", "Weaver Street", "Yew Tree Lane",
)  # fmt: skip
CITIES = (
    ("Akron", "OH", "443"), ("Boise", "ID", "837"), ("Burlington", "VT", "054"),
    ("Dayton", "OH", "454"), ("Duluth", "MN", "558"), ("Eugene", "OR", "974"),
    ("Fresno", "CA", "937"), ("Lansing", "MI", "489"), ("Madison", "WI", "537"),
    ("Mobile", "AL", "366"), ("Omaha", "NE", "681"), ("Provo", "UT", "846"),
    ("Raleigh", "NC", "276"), ("Reno", "NV", "895"), ("Savannah", "GA", "314"),
    ("Spokane", "WA", "992"), ("Toledo", "OH", "436"), ("Tucson", "AZ", "857"),
    ("Tulsa", "OK", "741"),
)  # fmt: skip
BRANDS = ("visa", "mastercard")


class Numbers:
    """Random numbers of so many digits, none of them twice."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def draw(self, digits: int) -> str:
        """Digits that were not drawn before, the first of them no zero."""
        while True:
            found = str(self._rng.randrange(10 ** (digits - 1), 10**digits))
            if found not in self._used:
                self._used.add(found)
                return found


def draw_names(count: int, rng: random.Random) -> list[tuple[str, str]]:
    """So many names, the same one only when all were used."""
    everybody = list(product(FIRST, LAST))
    rounds = -(-count // len(everybody))
    return [name for _ in range(rounds) for name in rng.sample(everybody, len(everybody))][:count]


def make_address(rng: random.Random) -> dict[str, Any]:
    """An address."""
    city, state, area = rng.choice(CITIES)
    return {
        "address1": f"{rng.randint(2, 989)} {rng.choice(STREETS)}",
        "address2": f"{rng.choice(('Flat', 'Unit', 'Floor'))} {rng.randint(1, 89)}",
        "city": city,
        "country": "USA",
        "state": state,
        "zip": f"{area}{rng.randint(1, 99):02}",
    }


def make_credit_card(numbers: Numbers, rng: random.Random) -> dict[str, Any]:
    """A credit card."""
    return {
        "source": "credit_card",
        "brand": rng.choice(BRANDS),
        "last_four": f"{rng.randint(0, 9999):04}",
        "id": f"credit_card_{numbers.draw(7)}",
    }


def make_birthday(rng: random.Random) -> str:
    """A date of birth of somebody grown up."""
    return f"{rng.randint(1948, 2003)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
