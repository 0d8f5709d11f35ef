"""What every built-in environment keeps to, whatever it is about."""

from __future__ import annotations

import json

import pytest

import selfchallenge.sandbox  # noqa: F401 - registers what opens sessions
from selfchallenge.environments.base import describe_tools, environment_name, policy_of
from selfchallenge.environments.loading import BUILTIN, load_environment
from selfchallenge.evaluation.suite import held_out_tasks


@pytest.fixture(params=BUILTIN)
def world(request):
    return load_environment(request.param)


def test_it_says_what_it_is(world):
    assert BUILTIN[environment_name(world)].endswith(f":{world.__name__}")
    assert len(policy_of(world)) > 100
    assert len(world.seeds()) == len(set(world.seeds())) >= 20
    for seed in world.seeds()[:5]:
        assert world.describe_seed(seed) == world.describe_seed(seed) != ""
        assert "\n" not in world.describe_seed(seed)


def test_its_tools_are_described(world):
    for spec in describe_tools(world):
        assert spec.description.endswith("."), spec.name
        assert spec.signature.startswith(f"{spec.name}(")
        assert spec.parameters["type"] == "object"
        json.dumps(spec.parameters)


def test_a_session_offers_what_is_offered_and_begins_the_same_each_time(world):
    seed = world.seeds()[0]
    with world.open(seed) as one, world.open(seed) as other:
        assert list(one.tools) == world.offered(seed)
        assert one.state() == other.state()
        assert one.digest() == other.digest()
        assert one.changed() == ()


def test_wrong_calls_change_nothing(world):
    seed = world.seeds()[0]
    with world.open(seed) as session:
        before = session.digest()
        for name in (*world.offered(seed), "no_such_tool"):
            session.call(name, {"no_such_argument": 1})
        assert session.digest() == before


def test_it_ships_held_out_tasks_of_its_own(world):
    tasks = held_out_tasks(world)
    assert len(tasks) >= 8
    assert {task.environment for task in tasks} == {environment_name(world)}
