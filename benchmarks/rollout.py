"""What share of a rollout's time the model is at work, and how many tokens a second come of it.

    .venv/bin/python benchmarks/rollout.py [ENV] [--model MODEL] [--attempts N]
        [--elsewhere MS ...] [--json FILE]

Attempts at the held-out tasks of an environment (nothing is trained) with the laptop preset. The
model is at work while `generate` runs; the rest is the sandbox: sessions opened, actions run, and
attempts judged.

`--elsewhere` then plays the same replies back as a GPU or a server would give them: a step takes so
many milliseconds and no processor, whatever the number of replies under way, and gives each of them
a token, while the sandbox works as ever. It does so together (all reply, then the sandbox works for
all) and as they end (`models.base.Conversing`), three times each in turn, and gives the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.episode import Episode
from selfchallenge.evaluation.suite import held_out_tasks, references
from selfchallenge.executor.agent import Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.models.base import Completion, Model, Numbered, Prompt, Sampling, Take, converse
from selfchallenge.models.loading import load_model
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.settings import preset

ROUNDS = 3
HOW = preset("laptop")


class Together:
    """A model whose replies are kept, and whose time at work is added up."""

    def __init__(self, model: Model) -> None:
        self.model, self.name, self.seconds = model, model.name, 0.0
        self.device = getattr(model, "device", None)
        self.replies: dict[int, Completion] = {}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """The model's, with a clock beside it."""
        began = time.perf_counter()
        found = self.model.generate(prompts, sampling)
        self.seconds += time.perf_counter() - began
        return found

    def close(self) -> None:
        """Close the model."""
        self.model.close()


class AsTheyEnd(Together):
    """The same where replies are handed out as they end."""

    def converse(self, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
        """The model's, with a clock beside it that stands while others work or are waited for."""
        asked: list[Prompt] = []
        idle = 0.0

        def timed(waits: bool) -> Sequence[Prompt]:
            nonlocal idle
            began = time.perf_counter()
            prompts = take(waits)
            idle += time.perf_counter() - began
            asked.extend(prompts)
            return prompts

        made, began = converse(self.model, timed, sampling), time.perf_counter()
        for ended in made:
            self.seconds += time.perf_counter() - began - idle
            self.replies |= {asked[number].seed: reply for number, reply in ended}
            yield ended
            began, idle = time.perf_counter(), 0.0


@dataclass
class PlayedBack:
    """A model that computes elsewhere and gives the recorded replies."""

    replies: dict[int, Completion]
    step: float
    name: str = "played back"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """The replies, after the steps that the longest takes."""
        asked = iter([prompts])
        made = self.converse(lambda _: next(asked, ()), sampling)
        return [completion for _, completion in sorted(pair for ended in made for pair in ended)]

    def converse(self, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
        """The replies, each after as many steps as it has tokens."""
        del sampling
        left: dict[int, int] = {}
        seeds: list[int] = []
        while True:
            for prompt in take(not left):
                left[len(seeds)] = self.replies[prompt.seed].completion_tokens
                seeds.append(prompt.seed)
            if not left:
                return
            time.sleep(self.step)
            left = {number: tokens - 1 for number, tokens in left.items()}
            if ended := [number for number, tokens in left.items() if tokens <= 0]:
                yield [(number, self.replies[seeds[number]]) for number in ended]
                left = {number: tokens for number, tokens in left.items() if tokens > 0}

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Course:
    """The attempts that are made again and again."""

    world: type[Environment]
    sandbox: Sandbox
    chosen: Sequence[Assignment]

    def run(self, model: Together) -> tuple[list[Episode], dict[str, float]]:
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
        """The same replies from elsewhere, together and as they end."""
        ways = {"together": Together, "as_they_end": AsTheyEnd}
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, kind in ways.items():
                model = kind(PlayedBack(replies, ms / 1000))
                found[way].append(self.run(model)[1])
        return {"ms_a_step": ms} | {way: _medians(rounds) for way, rounds in found.items()}


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
    model = AsTheyEnd(load_model(asked.model, batch=HOW.batch))
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
