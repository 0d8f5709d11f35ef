"""The gate's own benchmark: how many of each planted defect it catches, and what it loses.

    python benchmarks/gate/measure.py [--out benchmarks/gate/results.json] [--every N]
    python benchmarks/gate/measure.py --set second [--out benchmarks/gate/second.json]

The paper's filter and ours see the same labelled tasks (`tasks.py`, or `second.py`). Writes JSON
and prints the tables of `docs/how-to/read-a-verdict.md`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import second
from tasks import GOOD, Draft, drafts

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.quality.decontaminate import Held
from selfchallenge.quality.duplicates import Seen
from selfchallenge.quality.gate import check
from selfchallenge.sandbox.host import Sandbox

HERE = Path(__file__).parent
GATES = ("paper", "full")
SETS = {"first": drafts, "second": second.drafts}


def worlds() -> dict[str, type[Environment]]:
    own = {"shop": "shop.py:Shop", "clinic": "clinic.py:Clinic"}
    return {name: load_environment(name) for name in ("library", "calculation")} | {
        name: load_environment(f"{HERE}/{spelled}") for name, spelled in own.items()
    }


def judged(draft: Draft, world: type[Environment], sandbox: Sandbox) -> dict[str, Any]:
    """What both gates say of one task."""
    row: dict[str, Any] = {"label": draft.label, "family": draft.family, "said": draft.said}
    held = Held.of([draft.tested]) if draft.tested else None
    for gate in GATES:
        seen = Seen()
        if draft.first is not None:
            seen.add(draft.first.task())
        verdict = check(draft.task(), world, gate, sandbox=sandbox, seen=seen, held=held)
        row[gate] = {"accepted": verdict.accepted, "reason": verdict.reason[:300]}
    return row


def measure(tasks: Iterable[Draft], every: int = 1) -> list[dict[str, Any]]:
    """One row a task, of each `every`-th task of each kind."""
    found = worlds()
    places: dict[str, int] = defaultdict(int)
    rows = []
    with Sandbox() as sandbox:
        for draft in tasks:
            places[draft.label] += 1
            if (places[draft.label] - 1) % every == 0:
                rows.append(judged(draft, found[draft.world], sandbox))
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares by label and gate, and the misses by name."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    table = {}
    for label in labels:
        mine = [row for row in rows if row["label"] == label]
        dropped = {gate: sum(not row[gate]["accepted"] for row in mine) for gate in GATES}
        table[label] = {"tasks": len(mine), **dropped}
    planted = [row for row in rows if row["label"] != GOOD]
    good = [row for row in rows if row["label"] == GOOD]
    return {
        "tasks": len(rows),
        "caught": {g: share(planted, g) for g in GATES},
        "good_lost": {g: share(good, g) for g in GATES},
        "dropped": table,
        "misses": [row for row in planted if row["full"]["accepted"]],
        "lost": [row for row in good if not row["full"]["accepted"]],
    }


def share(rows: list[dict[str, Any]], gate: str) -> float:
    return round(sum(not row[gate]["accepted"] for row in rows) / max(len(rows), 1), 4)


def as_table(found: dict[str, Any]) -> str:
    lines = ["| planted | tasks | dropped by the paper's filter | by ours |", "|---|---|---|---|"]
    for label, row in found["dropped"].items():
        lines.append(f"| {label} | {row['tasks']} | {row['paper']} | {row['full']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--set", choices=[*SETS], default="first")
    asked = parser.parse_args()
    found = summary(measure(SETS[asked.set](), asked.every))
    print(as_table(found))
    print(json.dumps({key: found[key] for key in ("tasks", "caught", "good_lost")}))
    for kind in ("misses", "lost"):
        for row in found[kind]:
            print(f"{kind}: {row['label']}, {row['family']}: {row['full']['reason']}")
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
