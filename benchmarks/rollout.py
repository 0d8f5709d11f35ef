"""What share of a rollout's time the model is at work, and how many tokens a second come of it.

    .venv/bin/python benchmarks/rollout.py [ENV] [--model MODEL] [--attempts N] [--json FILE]

Attempts at the held-out tasks of an environment (nothing is trained) with the laptop preset. The
model is at work while `generate` runs; the rest is the sandbox: sessions opened, actions run, and
attempts judged.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from selfchallenge.environments.loading import load_environment
from selfchallenge.evaluation.suite import held_out_tasks, references
from selfchallenge.executor.agent import Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.models.base import Completion, Model, Prompt, Sampling
from selfchallenge.models.loading import load_model
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.settings import preset


class Timed:
    """A model whose time at work is added up."""

    def __init__(self, model: Model) -> None:
        self.model, self.name, self.seconds = model, model.name, 0.0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """The model's, with a clock beside it."""
        began = time.perf_counter()
        try:
            return self.model.generate(prompts, sampling)
        finally:
            self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Close the model."""
        self.model.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", nargs="?", default="calculation")
    parser.add_argument("--model", default="default")
    parser.add_argument("--attempts", type=int, default=120)
    here = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    parser.add_argument("--machine", default=here, help="what the machine is, in words")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    world = load_environment(asked.environment)
    how = preset("laptop")
    model = Timed(load_model(asked.model, batch=how.batch))
    with Sandbox() as sandbox:
        pairs = references(held_out_tasks(world), world, sandbox)
        chosen = [
            Assignment(task, reference, n // len(pairs), seed=n)
            for n, (task, reference) in enumerate(islice(cycle(pairs), asked.attempts))
        ]
        began = time.perf_counter()
        made = rollout(
            model,
            chosen,
            world,
            sandbox,
            settings=how.agent,
            temperature=how.temperature,
            batch=how.batch,
        )
        episodes = list(made)
        seconds = time.perf_counter() - began
        isolation = sandbox.isolation
    model.close()
    sampled = sum(episode.completion_tokens for episode in episodes)
    found = {
        "environment": asked.environment,
        "model": asked.model,
        "machine": asked.machine,
        "date": time.strftime("%Y-%m-%d"),
        "isolation": isolation,
        "attempts": len(episodes),
        "batch": how.batch,
        "seconds": round(seconds, 1),
        "model_busy": round(model.seconds / seconds, 4),
        "tokens_sampled": sampled,
        "tokens_sampled_a_second": round(sampled / seconds, 1),
    }
    print(json.dumps(found, indent=1))
    if asked.json:
        asked.json.write_text(f"{json.dumps(found, indent=1)}\n")


if __name__ == "__main__":
    main()
