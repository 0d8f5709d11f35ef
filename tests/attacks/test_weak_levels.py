"""Every attack at the levels that are no isolation, D and X: what gets through is stated by name.

They run where they can do no harm (`contained.py`). What holds also here is that no attack makes
its verdict: who is judged, who judges and what is judged are still different processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from arsenal import ATTACKS, THROUGH
from contained import UNAVAILABLE
from pieces import Attack

HERE = Path(__file__).parent
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=("D", "X"))
def level(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def seen(level: str) -> Rows:
    """What came of each attack, by its name, one row a role."""
    command = [sys.executable, str(HERE / "contained.py"), level]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode == UNAVAILABLE:
        pytest.skip(f"no namespaces to run the attacks in: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    rows: Rows = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        rows.setdefault(row["name"], []).append(row)
    return rows


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
def test_what_gets_through_is_stated(attack: Attack, level: str, seen: Rows) -> None:
    rows = seen[attack.name]
    assert [row["role"] for row in rows] == ["solution", "action", "verifier"][: 2 + attack.judges]
    for row in rows:
        assert row["level"] == level
        assert row["through"] == (attack.name in THROUGH[level]), row
        assert not row["passed"]
        assert row["balance"] == 0
        assert row["next"]


def test_a_weaker_level_stops_no_more() -> None:
    sets = [THROUGH[level] for level in "ABCDX"]
    assert all(one <= other for one, other in pairwise(sets))
    assert not THROUGH["A"]
    assert not THROUGH["B"]
    assert THROUGH["X"] <= {attack.name for attack in ATTACKS}
