"""Retail and airline against recordings of the benchmark, whose files stay outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfchallenge.environments import airline, retail
from selfchallenge.environments.airline import Airline
from selfchallenge.environments.base import policy_of
from selfchallenge.environments.loading import load_environment
from selfchallenge.environments.retail import Retail

FOLDER = Path(__file__).parents[4] / "shared/benchmarks/tau-bench"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark's files are not beside this checkout"
)
WORLDS = {"retail": Retail, "airline": Airline}
INITIAL = {
    "retail": "5a4b2cb59f4d12dea7e4adff24a7f8fada510ead49372ea4a729a82bbb5f49b5",
    "airline": "4587e6b48ad2b2c4f3e1fecb40aabec7bb2286513273b8f8cec3f5865222f290",
}
SPLITS = {
    "retail": {"test": 115, "dev": 20, "train": 500},
    "airline": {"test": 50},
}


@pytest.fixture(scope="module")
def worlds():
    return {name: load_environment(world, data=FOLDER) for name, world in WORLDS.items()}


@pytest.fixture(scope="module")
def recordings():
    return [json.loads(line) for line in (FOLDER / "replays.jsonl").read_text().splitlines()]


def observe(desk, name, arguments):
    """What a session would show; here without a process for each recording."""
    if name not in desk.offered(None):
        return desk.show_error(name, TypeError(name))
    try:
        return desk.show(getattr(desk, name)(**arguments))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        return desk.show_error(name, error)


def test_every_recorded_observation_and_final_hash(worlds, recordings):
    wrong = []
    for number, recording in enumerate(recordings):
        desk = worlds[recording["domain"]]()
        for action, expected in zip(recording["actions"], recording["observations"], strict=True):
            if observe(desk, action["name"], action["kwargs"]) != expected:
                wrong.append((number, action["name"]))
        if desk.state_hash() != recording["final_data_hash"]:
            wrong.append((number, "hash"))
    assert wrong == []
    assert len(recordings) >= 83


@pytest.mark.parametrize("domain", WORLDS)
def test_sessions_show_the_same(worlds, recordings, domain):
    chosen = [recording for recording in recordings if recording["domain"] == domain]
    for recording in chosen[:4]:
        with worlds[domain].open() as session:
            shown = [session.call(a["name"], a["kwargs"]) for a in recording["actions"]]
            assert shown == recording["observations"]
            state = session.state()
        assert {"retail": retail, "airline": airline}[domain].state_hash(state) == recording[
            "final_data_hash"
        ]


@pytest.mark.parametrize("domain", WORLDS)
def test_the_databases_are_read_as_they_are(worlds, domain):
    desk = worlds[domain]()
    assert desk.state_hash() == INITIAL[domain]
    assert {table: len(records) for table, records in desk.snapshot().items()} == {
        "retail": {"orders": 1000, "products": 50, "users": 500},
        "airline": {"flights": 300, "reservations": 2000, "users": 500},
    }[domain]


@pytest.mark.parametrize("domain", WORLDS)
def test_every_ground_truth_sequence_replays_and_none_touches_what_is_shared(worlds, domain):
    unknown, idle = [], {}
    for split, count in SPLITS[domain].items():
        tasks = json.loads((FOLDER / domain / f"tasks_{split}.json").read_text("utf-8"))
        assert len(tasks) == count
        idle[split] = 0
        for task in tasks:
            desk = worlds[domain]()
            for action in task["actions"]:
                shown = observe(desk, action["name"], action["kwargs"])
                unknown += [shown] if shown.startswith("Unknown action") else []
            idle[split] += desk.state_hash() == INITIAL[domain] and not task["outputs"]
    assert unknown == []
    # What an agent scores that does nothing.
    assert idle["test"] == {"retail": 7, "airline": 19}[domain]
    assert worlds[domain]().state_hash() == INITIAL[domain]


@pytest.mark.parametrize("domain", WORLDS)
def test_the_policy_is_the_benchmarks_where_its_data_is_used(worlds, domain):
    theirs = (FOLDER / domain / "policy.md").read_text("utf-8")
    assert policy_of(worlds[domain]) == theirs.strip()
    own = policy_of(WORLDS[domain])
    lines = {" ".join(line.split()) for line in theirs.split(".")}
    ours = " ".join(own.split())
    assert [line for line in lines if len(line) > 40 and line in ours] == []


@pytest.mark.parametrize("domain", WORLDS)
def test_seeds_are_users_of_the_data(worlds, domain):
    seeds = worlds[domain].seeds()
    assert set(seeds) <= set(worlds[domain]().users)
    assert all(f"{seed!r}" in worlds[domain].describe_seed(seed) for seed in seeds[:50])


@pytest.mark.parametrize("domain", WORLDS)
def test_generated_worlds_use_none_of_its_names_and_ids(worlds, domain):
    theirs, ours = worlds[domain]().snapshot(), WORLDS[domain]().snapshot()
    assert not set(theirs["users"]) & set(ours["users"])
    if domain == "retail":
        names = [{p["name"] for p in db["products"].values()} for db in (theirs, ours)]
        assert not names[0] & names[1]
    else:
        assert not set(theirs["flights"]) & set(ours["flights"])
        assert not set(theirs["reservations"]) & set(ours["reservations"])
