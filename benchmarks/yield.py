r"""What each gate keeps of the same candidates, and what an accepted task costs.

    python benchmarks/yield.py RUN [RUN ...] --out benchmarks/yield.json \
        --table docs/results/yield.md

Each RUN is a directory of `selfchallenge challenge`: its `candidates.jsonl` was written once, by
one writer and one model, and serves every gate. The cost of writing is that of the run; the cost of
a gate is measured here. What the file holds of other runs (of another environment, writer or
model) stays. The table replaces what stands between the marks in the document.
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

BEGIN, END = "<!-- table of benchmarks/yield.py -->", "<!-- end of table -->"
GATES: tuple[Gate, ...] = ("none", "verifier", "solution", "paper", "full")


def calls(task: CodeAsTask, tools: set[str]) -> int:
    """Tool calls written in the solution; 0 for code that cannot be parsed."""
    try:
        tree = ast.parse(task.solution)
    except SyntaxError:
        return 0
    named = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
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
    kept, why = [], dict[str, int]()
    for task in tasks:
        verdict = check(task, world, gate, sandbox=sandbox, seen=seen, held=held)
        if verdict.accepted:
            kept.append(task)
        else:
            name = next(result.name for result in verdict.checks if not result.passed)
            why[name] = why.get(name, 0) + 1
    seconds = time.perf_counter() - started
    low, high = wilson(len(kept), len(candidates))
    tokens, writing = cost(candidates)
    return {
        "accepted": len(kept),
        "share": round(len(kept) / len(candidates), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "dropped_by": why,
        "tokens_per_accepted": round(tokens / len(kept), 1) if kept else None,
        "seconds_per_accepted": round((writing + seconds) / len(kept), 2) if kept else None,
        "seconds_per_checked_task": round(seconds / max(1, len(tasks)), 3),
        **spread(kept, world),
    }


def cost(candidates: list[Candidate]) -> tuple[int, float]:
    """Tokens sampled and seconds spent on writing all of them."""
    return sum(one.tokens for one in candidates), sum(one.seconds for one in candidates)


def measured(folder: Path, sandbox: Sandbox) -> dict[str, Any]:
    """Everything about one run."""
    run = RunFiles.view(folder)
    facts = run.read_json("run.json") or {}
    world = load_environment(facts["spelled"])
    candidates = run.read("candidates.jsonl", Candidate)
    written = [one.task for one in candidates if one.task is not None]
    tokens, seconds = cost(candidates)
    return {
        "environment": facts["environment"],
        "writer": candidates[0].writer,
        "model": facts["settings"]["model"],
        "isolation": sandbox.isolation,
        "written_on": facts["started"][:10],
        "candidates": len(candidates),
        "with_a_task": len(written),
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "written": spread(written, world),
        "gates": {gate: judged(candidates, world, gate, sandbox) for gate in GATES},
    }


def merged(before: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Earlier measurements in their places, those of the same kind replaced, new ones last."""
    measurements = {kind(one): one for one in before}
    measurements.update((kind(one), one) for one in found)
    return list(measurements.values())


def kind(one: dict[str, Any]) -> tuple[str, str, str]:
    """What a row is about."""
    return one["environment"], one["writer"], one["model"]


# -- telling ---------------------------------------------------------------------------------------


def table(found: list[dict[str, Any]]) -> str:
    """One row for each gate of each run, as Markdown."""
    heads = (
        "environment, writer, model, day | gate | accepted of attempts | 95 % | distinct solutions",
        "tokens each | seconds each | mean calls: written, kept",
    )
    rows = [f"| {' | '.join(heads)} |", f"|{' --- |' * 8}"]
    for one in found:
        name = f"{', '.join(kind(one))}, {one['written_on']}"
        for gate, says in one["gates"].items():
            low, high = (100 * share for share in says["ci95"])
            before, after = one["written"]["mean_calls"], says["mean_calls"]
            cells = (
                name,
                gate,
                f"{says['accepted']} of {one['candidates']} ({100 * says['share']:.1f} %)",
                f"{low:.1f} to {high:.1f} %",
                says["distinct_solutions"],
                says["tokens_per_accepted"] or "-",
                says["seconds_per_accepted"] or "-",
                f"{before}, {'-' if after is None else after}",
            )
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def main() -> None:
    assert set(GATES) == set(get_args(Gate))
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--table", type=Path, default=None, help="document that holds the marks")
    asked = parser.parse_args()
    with Sandbox() as sandbox:
        found = [measured(run, sandbox) for run in asked.runs]
    if asked.out:
        before = json.loads(asked.out.read_text()) if asked.out.exists() else []
        found = merged(before, found)
        asked.out.write_text(f"{json.dumps(found, indent=1)}\n")
    if asked.table:
        head, _, rest = asked.table.read_text().partition(BEGIN)
        tail = rest.partition(END)[2]
        asked.table.write_text(f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{tail}")
    print(table(found))


if __name__ == "__main__":
    main()
