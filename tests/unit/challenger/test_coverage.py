"""Coverage evens out what is written, and a run that goes on counts as the one that began."""

import random
from collections import Counter

from selfchallenge.challenger.candidate import Candidate
from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.shapes import SHAPES
from selfchallenge.environments.base import describe_tools
from selfchallenge.environments.library import Library

TOOLS = describe_tools(Library)


def test_shapes_come_in_their_wished_shares() -> None:
    coverage, rng = Coverage(), random.Random(0)
    drawn = Counter(coverage.draw_shape(rng).name for _ in range(400))
    assert drawn == coverage.shapes
    for name, shape in SHAPES.items():
        assert abs(drawn[name] / 400 - shape.share) < 0.03, name


def test_a_tool_that_was_used_often_comes_late() -> None:
    rng, often = random.Random(0), TOOLS[0].name
    coverage = Coverage(tools=Counter({often: 9}))
    first = [coverage.order_tools(TOOLS, rng)[0].name for _ in range(200)]
    assert first.count(often) < 10
    assert set(first) >= {tool.name for tool in TOOLS[1:]}


def test_what_came_to_nothing_counts_as_used() -> None:
    coverage = Coverage()
    coverage.add(
        Candidate(candidate=0, writer="staged", tools=("a",), refused=("b", "b"), shape="pair")
    )
    assert coverage.tools == {"a": 1, "b": 2}
    assert coverage.shapes == {"pair": 1}
    assert not coverage.flows, "a task that changes the state has no flow to even out"


def test_the_seed_whose_tools_were_used_least_is_taken() -> None:
    coverage = Coverage(tools=Counter(a=3, b=1))
    assert coverage.choose_seed(["x", "y"], {"x": ["a"], "y": ["b"]}.__getitem__) == "y"


def candidate(shape: str, *tools: str) -> Candidate:
    return Candidate(candidate=0, writer="staged", tools=tools, shape=shape, flow="last")


def test_what_failed_is_written_again_until_it_is_there() -> None:
    coverage, rng = Coverage(), random.Random(0)
    failed, solved = list(SHAPES)[:2]
    hard, easy = TOOLS[0].name, TOOLS[1].name
    for _ in range(30):
        coverage.owe(candidate(failed, hard))
        coverage.add(candidate(solved, easy))
    before = Coverage()
    drawn = Counter(coverage.draw_shape(rng).name for _ in range(30))
    even = Counter(before.draw_shape(rng).name for _ in range(30))
    assert drawn[failed] > 2 * even[failed]
    assert drawn[solved] == 0
    first = Counter(coverage.order_tools(TOOLS, rng)[0].name for _ in range(200))
    assert first[hard] > 150
    assert first[easy] < 10
    assert coverage.choose_seed(["x", "y"], {"x": [easy], "y": [hard]}.__getitem__) == "y"
    for _ in range(600):
        coverage.draw_shape(rng)
    shares = {name: coverage.shapes[name] / sum(coverage.shapes.values()) for name in SHAPES}
    assert abs(shares[failed] - SHAPES[failed].share) < 0.05, "then it is even again"
