"""Send a million hostile frames to the host's side of the protocol.

    python tests/fuzz/million.py [--frames 1000000] [--seed 1] [--out benchmarks/fuzz.json]

A frame that makes the host raise is written to the corpus and ends the run with code 1. What was
seen of each kind, the time and the growth of memory are printed as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from frames import CORPUS, Calls, as_reply, mutate, seeds, small


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    rng, pool, calls = random.Random(asked.seed), small(seeds()), Calls()
    seen: Counter[str] = Counter()
    started, slowest, before = time.perf_counter(), 0.0, 0
    for number in range(asked.frames):
        data = mutate(rng, pool)
        begun = time.perf_counter()
        kind = number % 3
        try:
            said = calls.take(data) if kind == 2 else as_reply(data, ("run", "evaluate")[kind])
        except Exception as error:  # noqa: BLE001 - any is a finding
            name = hashlib.sha256(data).hexdigest()[:16]
            (CORPUS / f"crash-{name}.bin").write_bytes(data)
            print(f"frame {number} ({('run', 'evaluate', 'call')[kind]}): {error!r}")
            return 1
        slowest = max(slowest, time.perf_counter() - begun)
        seen[f"{('reply', 'reply', 'call')[kind]} {said}"] += 1
        if number == asked.frames // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    found = {
        "frames": asked.frames,
        "seed": asked.seed,
        "crashes": 0,
        "seconds": round(time.perf_counter() - started, 1),
        "slowest_ms": round(slowest * 1000, 2),
        "memory_grown_kib_after_a_tenth": grown,
        "seen": dict(sorted(seen.items())),
    }
    print(json.dumps(found, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
