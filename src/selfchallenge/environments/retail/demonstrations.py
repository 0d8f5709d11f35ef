"""One worked example: how acting looks, in the environment's own tools, of no task set."""

from __future__ import annotations

from selfchallenge.environments.base import Demonstration

DEMONSTRATION = Demonstration(
    instruction="I am Ottilie Brandvold, ottilie.b@example.org, and do not need my order "
    "#W0000417 any more, so please cancel it if it has not been sent. Tell me its status then.",
    thought="I find the user, make sure that the order is hers and pending, and cancel it.",
    code="user_id = find_user_id_by_email('ottilie.b@example.org')\n"
    "order = get_order_details('#W0000417')\n"
    "if order['user_id'] == user_id and order['status'] == 'pending':\n"
    "    order = cancel_pending_order('#W0000417', 'no longer needed')\n"
    "print(order['status'])",
    output="cancelled",
    answer="cancelled",
)
