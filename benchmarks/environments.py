"""How long a fresh database, its hash and what changed in it take, for retail and airline.

    .venv/bin/python benchmarks/environments.py --data FOLDER [--machine TEXT] [--json FILE]

FOLDER holds tau-bench's `retail` and `airline`; without it the generated databases are measured and
no ground truth is replayed. Times are medians in milliseconds. "By value" is what the ledger
replaces: a plain copy of the whole state, compared value by value; the naive hash converts and
writes the whole database. The library, a toy, shows what opening costs without a database.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfchallenge.environments.airline import Airline
from selfchallenge.environments.base import Environment
from selfchallenge.environments.desk.desk import Desk
from selfchallenge.environments.desk.tables import state_hash
from selfchallenge.environments.library import Library
from selfchallenge.environments.loading import load_environment
from selfchallenge.environments.retail import Retail
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.sandbox.ledger import Ledger
from selfchallenge.sandbox.state import changed_paths, plain

ROUNDS = 21


def median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median time of some work in milliseconds, after one call that warms up."""
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1e3, 4)


def converted(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, converted(value[key])) for key in sorted(value))
    return tuple(map(converted, value)) if isinstance(value, list) else value


def naive_hash(state: Any) -> str:
    return hashlib.sha256(str(converted(state)).encode("utf-8")).hexdigest()


def write(desk: Any) -> None:
    """A small change, as a task makes it."""
    user = next(iter(desk.users))
    desk.own("users", user)["email"] = f"{time.perf_counter_ns()}@example.org"


def measure_hash(desk: Any) -> dict[str, float]:
    def after_writing(work: Callable[[], object]) -> Callable[[], object]:
        def both() -> object:
            write(desk)
            return work()

        return both

    state = desk.snapshot()
    assert naive_hash(state) == state_hash(state) == desk.state_hash()
    naive = median(lambda: naive_hash(state), 5)
    whole = median(after_writing(lambda: state_hash(state)))
    incremental = median(after_writing(desk.state_hash))
    return {
        "hash naive": naive,
        "hash of a state": whole,
        "hash incremental": incremental,
        "hash of a state, times faster": round(naive / whole, 1),
        "hash incremental, times faster": round(naive / incremental, 1),
    }


def measure_changes(desk: Any) -> dict[str, float]:
    before, ledger = plain(desk.snapshot(), objects=True), Ledger(desk.snapshot())
    write(desk)
    by_value = median(lambda: changed_paths(before, plain(desk.snapshot(), objects=True)), 5)
    by_record = median(lambda: ledger.compare(desk.snapshot()).changed())
    return {"changed by value": by_value, "changed by ledger": by_record}


def median_opening(world: type[Environment], sandbox: Sandbox, rounds: int = 100) -> float:
    """The same for opening a session, which is closed outside of the time."""
    sandbox.session(world).close()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        session = sandbox.session(world)
        times.append(time.perf_counter() - started)
        session.close()
    return round(statistics.median(times) * 1e3, 4)


def measure_sessions(world: type[Desk], sandbox: Sandbox) -> dict[str, float]:
    found = {"session open": median_opening(world, sandbox)}
    user = next(iter(world.world(None)["users"]))
    tool = {
        "retail": ("modify_user_address", [user, "1 Road", "", "Reno", "NV", "USA", "89501"]),
        "airline": ("send_certificate", [user, 50]),
    }[world.label]
    with sandbox.session(world) as session:
        found["session call"] = median(lambda: session.call("calculate", ["1 + 1"]))
        for name in ("changed", "digest", "state"):
            asked: Callable[[], object] = getattr(session, name)

            def after_a_call(asked: Callable[[], object] = asked) -> object:
                session.call(*tool)
                return asked()

            found[f"session {name} after a call"] = median(after_a_call, 11)
    return found


def measure(world: type[Desk], data: Path | None, sandbox: Sandbox) -> dict[str, float]:
    found: dict[str, float] = {}
    if data is not None:
        files = [data / world.label / f"{table}.json" for table in world.tables]
        found["load the JSON"] = median(
            lambda: [json.loads(file.read_text("utf-8")) for file in files]
        )
    found["fresh instance"] = median(world)
    if data is not None:
        times = found["load the JSON"] / found["fresh instance"]
        found["fresh instance, times faster"] = round(times)
    desk = world()
    found |= measure_hash(desk) | measure_changes(desk)
    return found | measure_sessions(world, sandbox)


def fresh_generation(world: type[Desk]) -> object:
    return world.generate(f"benchmark {time.perf_counter_ns()}")


def replay(worlds: list[type[Desk]], data: Path) -> dict[str, float]:
    """Every ground-truth sequence with its final hash, one after the other."""
    started, count = time.perf_counter(), 0
    for world in worlds:
        for file in sorted((data / world.label).glob("tasks_*.json")):
            for task in json.loads(file.read_text("utf-8")):
                desk = world()
                for action in task["actions"]:
                    call(desk, action["name"], action["kwargs"])
                desk.state_hash()
                count += 1
    return {"sequences": count, "seconds": round(time.perf_counter() - started, 2)}


def call(desk: Desk, name: str, arguments: dict[str, Any]) -> str:
    try:
        return desk.show(getattr(desk, name)(**arguments))
    except Exception as error:  # noqa: BLE001 - refusals are observations
        return desk.show_error(name, error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of tau-bench's databases")
    parser.add_argument("--machine", default=platform.processor(), help="what it ran on, in words")
    parser.add_argument("--json", type=Path, help="write the result into this file")
    chosen = parser.parse_args()
    worlds = [load_environment(world, chosen.data) for world in (Retail, Airline)]
    result: dict[str, Any] = {
        "machine": chosen.machine,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "database": "generated" if chosen.data is None else "tau-bench",
        "milliseconds": {},
    }
    with Sandbox() as sandbox:
        result["isolation"] = sandbox.isolation
        result["milliseconds"]["library"] = {"session open": median_opening(Library, sandbox)}
        for world in worlds:
            result["milliseconds"][world.label] = measure(world, chosen.data, sandbox)
    result["generate"] = {
        "retail": median(lambda: fresh_generation(Retail), 5),
        "airline": median(lambda: fresh_generation(Airline), 5),
    }
    if chosen.data is not None:
        result["ground truth"] = replay(worlds, chosen.data)
    print(json.dumps(result, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
