"""How fast attempts are made, and for what share of the time the model is at work.

    .venv/bin/python benchmarks/rollout.py [ENV] [--model MODEL] [--attempts N] [--rounds N]
        [--elsewhere MS ...] [--json FILE]

Attempts at the held-out tasks of an environment (nothing is trained) with the laptop preset, made
in two ways in turn: together (all reply, then the sandbox works for all, as with a model that
has `generate` alone) and as they end (`models.base.Conversing`). The model is at work while it
replies; the rest is the sandbox: sessions opened, actions run, and attempts judged. Medians of the
rounds. The two ways draw other tokens where rounding differs, so tokens a second are what compares.

`--elsewhere` then plays the replies back as a GPU or a server would give them: a step takes so many
milliseconds and no processor, whatever the number of replies under way, and gives each of them a
token, while the sandbox works as ever.
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

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.evaluation.suite import held_out_tasks, references
from selfchallenge.executor.agent import Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.models.base import (
    Completion,
    Model,
    Numbered,
    Prompt,
    Sampling,
    Take,
    all_replies,
    converse,
)
from selfchallenge.models.loading import load_model
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.settings import preset

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

    def forget(self) -> None:
        """Let nothing be left of the attempts before."""
        getattr(self.model, "forget", lambda: None)()

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
        return all_replies(self, prompts, sampling)

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
    rounds: int

    def compare(self, model: Model, replies: dict[int, Completion]) -> dict[str, dict[str, float]]:
        """Make them together and as they end, in turn; medians. `replies` takes what was said."""
        found: dict[str, list[dict[str, float]]] = {"together": [], "as_they_end": []}
        for _ in range(self.rounds):
            for kind, way in ((Together, "together"), (AsTheyEnd, "as_they_end")):
                timed = kind(model)
                found[way].append(self.run(timed))
                replies |= timed.replies
        return {way: _medians(rounds) for way, rounds in found.items()}

    def run(self, model: Together) -> dict[str, float]:
        """Make them all once."""
        model.forget()
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
        sampled = sum(episode.completion_tokens for episode in made)
        seconds = time.perf_counter() - began
        return {
            "seconds": seconds,
            "model_busy": model.seconds / seconds,
            "tokens_sampled": sampled,
            "tokens_sampled_a_second": sampled / seconds,
        }


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(r[key] for r in rounds), 3) for key in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", nargs="?", default="calculation")
    parser.add_argument("--model", default="default")
    parser.add_argument("--attempts", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--elsewhere", type=float, nargs="*", default=[], metavar="MS")
    here = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    parser.add_argument("--machine", default=here, help="what the machine is, in words")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    world = load_environment(asked.environment)
    model = load_model(asked.model, batch=HOW.batch)
    with Sandbox() as sandbox:
        pairs = references(held_out_tasks(world), world, sandbox)
        chosen = [
            Assignment(task, reference, n // len(pairs), seed=n)
            for n, (task, reference) in enumerate(islice(cycle(pairs), asked.attempts))
        ]
        course = Course(world, sandbox, chosen, asked.rounds)
        replies: dict[int, Completion] = {}
        measured = course.compare(model, replies)
        model.close()
        elsewhere = [
            {"ms_a_step": ms, **course.compare(PlayedBack(replies, ms / 1000), {})}
            for ms in asked.elsewhere
        ]
        isolation = sandbox.isolation
    found = {
        "environment": asked.environment,
        "model": asked.model,
        "machine": asked.machine,
        "date": time.strftime("%Y-%m-%d"),
        "isolation": isolation,
        "attempts": asked.attempts,
        "batch": HOW.batch,
        "rounds": asked.rounds,
        **measured,
        "elsewhere": elsewhere,
    }
    print(json.dumps(found, indent=1))
    if asked.json:
        asked.json.write_text(f"{json.dumps(found, indent=1)}\n")


if __name__ == "__main__":
    main()
