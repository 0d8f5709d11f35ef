"""One worked example: how acting looks, in the environment's own tools, of no task set."""

from __future__ import annotations

from selfchallenge.environments.base import Demonstration

_PAGE = """[Opened page: /visit]
----------
[Web Page Name: /visit]
[Viewing page 1 of 1]

Visit us
Open daily from 9 to 17.
Parking: 40 places [Clickable '/visit/parking']
----------"""

DEMONSTRATION = Demonstration(
    instruction="How many parking places do visitors have, by the page '/visit'?",
    thought="I open the page and read it.",
    code="print(click_url('/visit'))",
    output=_PAGE,
    answer="40",
)
