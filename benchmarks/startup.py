"""How long `selfchallenge --help` takes, against importing typer, pydantic and rich.

    .venv/bin/python benchmarks/startup.py [--json FILE]

Both run in fresh interpreters, by turns, so that a busy machine slows both alike; the medians and
their ratio are printed. The ratio should be at most 3.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 21
COMMANDS = {
    "import typer, pydantic, rich": ["-c", "import typer, pydantic, rich"],
    "import selfchallenge": ["-c", "import selfchallenge"],
    "selfchallenge --help": ["-m", "selfchallenge", "--help"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the result into this file")
    chosen = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    # The first round fills the file cache.
    medians = {name: round(statistics.median(all_[1:]), 4) for name, all_ in times.items()}
    base, _, shown = medians.values()
    result = {
        "median_seconds": medians,
        "rounds": ROUNDS,
        "ratio": round(shown / base, 2),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
