"""What share of a rollout's time the model is at work, and how many tokens a second come of it.

    .venv/bin/python benchmarks/rollout.py [ENV] [--model MODEL] [--attempts N]
        [--elsewhere MS ...] [--json FILE]

Attempts at the held-out tasks of an environment (nothing is trained) with the laptop preset. The
model is at work while `generate` runs; the rest is the sandbox: sessions opened, actions run, and
attempts judged.

`--elsewhere` then plays the same replies back as a GPU or a server would give them: `generate`
sleeps so many milliseconds for each token of its longest reply and takes no processor, while the
sandbox works as ever. It does so with one batch, which waits for the sandbox, and with two that
take turns (`executor/batch.py`), three times each, one after the other, and gives the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.episode import Episode
from selfchallenge.evaluation.suite import held_out_tasks, references
from selfchallenge.executor.agent import Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.models.base import Completion, Model, Prompt, Sampling
from selfchallenge.models.loading import load_model
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.settings import preset

ROUNDS = 3
HOW = preset("laptop")


class Timed:
    """A model whose time at work is added up, and whose replies are kept."""

    def __init__(self, model: Model) -> None:
        self.model, self.name, self.seconds = model, model.name, 0.0
        self.device = getattr(model, "device", None)
        self.replies: dict[int, Completion] = {}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """The model's, with a clock beside it."""
        began = time.perf_counter()
        found = self.model.generate(prompts, sampling)
        self.seconds += time.perf_counter() - began
        self.replies |= {p.seed: reply for p, reply in zip(prompts, found, strict=True)}
        return found

    def close(self) -> None:
        """Close the model."""
        self.model.close()


@dataclass
class PlayedBack:
    """A model that computes elsewhere and gives the recorded replies."""

    replies: dict[int, Completion]
    token: float
    device: torch.device | None
    name: str = "played back"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """The replies, after the time that the longest takes."""
        del sampling
        found = [self.replies[prompt.seed] for prompt in prompts]
        time.sleep(self.token * max(reply.completion_tokens for reply in found))
        return found

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Course:
    """The attempts that are made again and again."""

    world: type[Environment]
    sandbox: Sandbox
    chosen: Sequence[Assignment]

    def run(self, model: Timed) -> tuple[list[Episode], dict[str, float]]:
        """Make them all; seconds, and the share of them in which the model was at work."""
        began = time.perf_counter()
        made = rollout(
            model,
            self.chosen,
            self.world,
            self.sandbox,
            settings=HOW.agent,
            temperature=HOW.temperature,
            batch=HOW.batch,
        )
        episodes = list(made)
        seconds = time.perf_counter() - began
        return episodes, {"seconds": seconds, "model_busy": model.seconds / seconds}

    def elsewhere(self, replies: dict[int, Completion], ms: float) -> dict[str, Any]:
        """The same replies from elsewhere, by one batch and by two that take turns."""
        ways = {"one_batch": torch.device("cpu"), "two_by_turns": None}
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, device in ways.items():
                model = Timed(PlayedBack(replies, ms / 1000, device))
                found[way].append(self.run(model)[1])
        return {"ms_a_token": ms} | {way: _medians(rounds) for way, rounds in found.items()}


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(r[key] for r in rounds), 4) for key in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", nargs="?", default="calculation")
    parser.add_argument("--model", default="default")
    parser.add_argument("--attempts", type=int, default=120)
    parser.add_argument("--elsewhere", type=float, nargs="*", default=[], metavar="MS")
    here = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    parser.add_argument("--machine", default=here, help="what the machine is, in words")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    world = load_environment(asked.environment)
    model = Timed(load_model(asked.model, batch=HOW.batch))
    with Sandbox() as sandbox:
        pairs = references(held_out_tasks(world), world, sandbox)
        chosen = [
            Assignment(task, reference, n // len(pairs), seed=n)
            for n, (task, reference) in enumerate(islice(cycle(pairs), asked.attempts))
        ]
        course = Course(world, sandbox, chosen)
        episodes, times = course.run(model)
        model.close()
        elsewhere = [course.elsewhere(model.replies, ms) for ms in asked.elsewhere]
        isolation = sandbox.isolation
    sampled = sum(episode.completion_tokens for episode in episodes)
    found = {
        "environment": asked.environment,
        "model": asked.model,
        "machine": asked.machine,
        "date": time.strftime("%Y-%m-%d"),
        "isolation": isolation,
        "attempts": len(episodes),
        "batch": HOW.batch,
        "seconds": round(times["seconds"], 1),
        "model_busy": round(times["model_busy"], 4),
        "tokens_sampled": sampled,
        "tokens_sampled_a_second": round(sampled / times["seconds"], 1),
        "elsewhere": elsewhere,
    }
    print(json.dumps(found, indent=1))
    if asked.json:
        asked.json.write_text(f"{json.dumps(found, indent=1)}\n")


if __name__ == "__main__":
    main()
