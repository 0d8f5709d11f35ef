"""One worked example a domain: how acting looks, in the domain's own tools, of no task set."""

from __future__ import annotations

from selfchallenge.environments.base import Demonstration

DEMONSTRATIONS = {
    "message_decoder": Demonstration(
        instruction="Turn the text 'stop' around, then tell me how long the outcome is.",
        thought="I turn the text around and measure it with the functions.",
        code="turned = reverse_string('stop')\nprint(string_length(turned))",
        output="4",
        answer="4",
    ),
    "dna_sequencer": Demonstration(
        instruction="Which DNA belongs to the mRNA 'UUGA', and does it hold only valid letters?",
        thought="I use the functions for the DNA and for the check.",
        code="dna = reverse_transcribe_mrna_to_dna('UUGA')\nprint(is_valid_dna_sequence(dna))",
        output="True",
        answer="True",
    ),
    "trade_calculator": Demonstration(
        instruction="A lamp costs 12 here. What is it over there at a rate of 3, "
        "with a tariff of 2 on top?",
        thought="I convert the price and add the tariff with the functions.",
        code="price = convert_currency(12, 3)\nprint(estimate_final_value(price, 2))",
        output="38",
        answer="38",
    ),
    "travel_planner": Demonstration(
        instruction="A flight costs 70 and a room 30 a night. What is more, "
        "the trip with 2 nights or 150?",
        thought="I add the trip up and compare with the functions.",
        code="total = budget_calculator(70, 30, 2)\nprint(max(total, 150))",
        output="150",
        answer="150",
    ),
}
