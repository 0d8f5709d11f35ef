"""What each stage costs: `stages.jsonl`, one record for every few seconds of work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from selfchallenge.runs.store import RunDirectory, RunFiles

EVERY = 5.0
"""Seconds between two records; a kill loses the account of at most as many."""


class Tick(Protocol):
    """Says that work went on, and how many tokens it took."""

    def __call__(self, tokens: int = 0) -> None:
        """Count these tokens as sampled since the last call."""


@contextmanager
def timed(run: RunDirectory, stage: str) -> Iterator[Tick]:
    """Add the time and the tokens of a stage to `stages.jsonl` as they are spent."""
    last, spent = time.perf_counter(), 0

    def record() -> None:
        nonlocal last, spent
        now = time.perf_counter()
        run.append(
            "stages.jsonl", {"stage": stage, "seconds": round(now - last, 3), "tokens": spent}
        )
        last, spent = now, 0

    def tick(tokens: int = 0) -> None:
        nonlocal spent
        spent += tokens
        if time.perf_counter() - last > EVERY:
            record()

    try:
        yield tick
    finally:
        record()


def costs(run: RunFiles) -> dict[str, dict[str, Any]]:
    """Seconds and tokens of each stage so far, in the order in which the stages began."""
    total: dict[str, dict[str, Any]] = {}
    for line in run.scan("stages.jsonl"):
        stage = total.setdefault(line["stage"], {"seconds": 0.0, "tokens": 0})
        stage["seconds"] = round(stage["seconds"] + line["seconds"], 3)
        stage["tokens"] += line["tokens"]
    return total
