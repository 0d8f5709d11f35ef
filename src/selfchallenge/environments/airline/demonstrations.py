"""One worked example: how acting looks, in the environment's own tools, of no task set."""

from __future__ import annotations

from selfchallenge.environments.base import Demonstration

DEMONSTRATION = Demonstration(
    instruction="Please take one more suitcase into reservation QQ0417, which I pay for with "
    "credit_card_1000417. How many bags are there then?",
    thought="I look the reservation up, raise both counts by one, and read the number of bags.",
    code="booked = get_reservation_details('QQ0417')\n"
    "booked = update_reservation_baggages(\n"
    "    'QQ0417', booked['total_baggages'] + 1, booked['nonfree_baggages'] + 1,\n"
    "    'credit_card_1000417')\n"
    "print(booked['total_baggages'])",
    output="3",
    answer="3",
)
