"""A subclass may have a larger or smaller generated world; the held-out tasks keep theirs."""

from __future__ import annotations

import pytest

from selfchallenge.environments.airline import Airline
from selfchallenge.environments.base import policy_of
from selfchallenge.environments.retail import Retail
from selfchallenge.environments.web import Web


@pytest.mark.parametrize("world", [Retail, Airline])
def test_a_desk_has_as_many_customers_as_its_class_says(world):
    class Small(world):
        customers = 40

    assert len(Small.world(None)["users"]) == 40
    assert len(world.world(None)["users"]) == 500
    assert Small.world("heldout-x") == world.world("heldout-x")
    assert policy_of(Small) == policy_of(world) != ""


def test_a_site_is_as_large_as_its_class_says():
    class Small(Web):
        size = (3, 2, 1)

    assert len(Small.site("site-0000")) < len(Web.site("site-0000")) / 2
    assert Small.site("heldout-x") == Web.site("heldout-x")
    assert policy_of(Small) == policy_of(Web) != ""
