"""What each gate keeps of the same candidates, and what it costs to ask it.

    python benchmarks/yield.py RUN --env calculation [--out benchmarks/yield.json]

RUN is a run directory: its `candidates.jsonl` was written once by one model and serves every gate.
The cost of writing is that of the run; the cost of a gate is measured here.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import time
from pathlib import Path
from typing import Any, get_args

from selfchallenge.challenger.candidate import Candidate
from selfchallenge.environments.base import Environment, describe_tools
from selfchallenge.environments.loading import load_environment
from selfchallenge.evaluation.metrics import wilson
from selfchallenge.evaluation.tested import held_of
from selfchallenge.quality.duplicates import Seen, normalise
from selfchallenge.quality.gate import Gate, check
from selfchallenge.runs.store import RunFiles
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask


def calls(task: CodeAsTask, tools: set[str]) -> int:
    """Tool calls written in the solution."""
    named = (node.func for node in ast.walk(ast.parse(task.solution)) if isinstance(node, ast.Call))
    return sum(isinstance(name, ast.Name) and name.id in tools for name in named)


def spread(tasks: list[CodeAsTask], world: type[Environment]) -> dict[str, Any]:
    """How many distinct solutions, and how long they are."""
    counts = [calls(one, {tool.name for tool in describe_tools(world, one.seed)}) for one in tasks]
    lengths = [len(one.solution.splitlines()) for one in tasks]
    return {
        "distinct_solutions": len({normalise(one.solution) for one in tasks}),
        "calls": {str(n): counts.count(n) for n in sorted(set(counts))},
        "mean_calls": round(statistics.fmean(counts), 2) if counts else None,
        "mean_lines": round(statistics.fmean(lengths), 2) if lengths else None,
    }


def judged(
    candidates: list[Candidate], world: type[Environment], gate: Gate, sandbox: Sandbox
) -> dict[str, Any]:
    """What one gate says of all candidates."""
    seen, held, started = Seen(), held_of(world), time.perf_counter()
    tasks = [one.task for one in candidates if one.task is not None]
    kept = [
        task
        for task in tasks
        if check(task, world, gate, sandbox=sandbox, seen=seen, held=held).accepted
    ]
    seconds = time.perf_counter() - started
    low, high = wilson(len(kept), len(candidates))
    return {
        "accepted": len(kept),
        "share": round(len(kept) / len(candidates), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "seconds_per_checked_task": round(seconds / max(1, len(tasks)), 3),
        **spread(kept, world),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--env", required=True)
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    world, run = load_environment(asked.env), RunFiles.view(asked.run)
    candidates = run.read("candidates.jsonl", Candidate)
    written = [one.task for one in candidates if one.task is not None]
    with Sandbox() as sandbox:
        found = {
            "environment": asked.env,
            "writer": candidates[0].writer,
            "model": (run.read_json("run.json") or {}).get("settings", {}).get("model"),
            "isolation": sandbox.isolation,
            "candidates": len(candidates),
            "with_a_task": len(written),
            "tokens": sum(one.tokens for one in candidates),
            "seconds": round(sum(one.seconds for one in candidates), 1),
            "written": spread(written, world),
            "gates": {gate: judged(candidates, world, gate, sandbox) for gate in get_args(Gate)},
        }
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
