"""What a task asks for, chosen among what the calls gave."""

import random

from test_draft import step

from selfchallenge.challenger.answer import finish
from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.draft import Draft
from selfchallenge.challenger.explore import Exploration
from selfchallenge.challenger.shapes import SHAPES


def test_a_text_that_the_call_was_given_is_not_asked_for() -> None:
    record = {"text": "abc", "more": {"of": "abc", "by": "xyz"}}
    asked = set()
    for seed in range(40):
        draft = Draft(0, None, (step(1, "reverse", "'abc'", record),))
        e = Exploration(draft, SHAPES["single"], False, random.Random(seed), "anything")
        chosen = finish(e, Coverage())
        assert chosen is not None
        asked.add(chosen.answer)
    assert asked == {"r1", "r1['more']['by']"}


def test_a_text_given_back_as_it_is_is_not_asked_for() -> None:
    draft = Draft(0, None, (step(1, "reverse", "'abc'", "abc"),))
    for seed in range(40):
        e = Exploration(draft, SHAPES["single"], False, random.Random(seed), "anything")
        chosen = finish(e, Coverage())
        assert chosen is not None
        assert chosen.value != "abc"
