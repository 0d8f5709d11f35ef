"""Our fine-tuning step against TRL's SFTTrainer: tokens a second and peak memory.

    .venv/bin/python benchmarks/train.py [--model MODEL] [--machine TEXT] [--json FILE]

The same model, LoRA adapters, batches and ids for all arms. The samples are what the executor sees:
the opening of a task of `calculation`, then a short action; only the action is trained. Each arm
runs in a process of its own (so its peak memory is its own), the arms by turns, and of each the
median step counts; the first step warms up. On a machine that others use too, the processor time
says more than the wall time, so both are given.

    ours                with what the samples share read once
    ours-checkpointed   the same with gradient checkpointing
    ours-apart          each sample with another first token, so that nothing is shared
    trl                 TRL's defaults: gradient checkpointing, a fused output layer
    trl-unchecked       without the checkpointing
    trl-held            the defaults, with weights held in the precision of the matrices, as a GPU
                        loads them and as ours holds those that are frozen
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from selfchallenge.environments.loading import load_environment
from selfchallenge.executor.agent import opening
from selfchallenge.learner import adapters
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.step import backward, training, update
from selfchallenge.models.base import Prompt
from selfchallenge.models.loading import load_model

ARMS = ("ours", "ours-checkpointed", "ours-apart", "trl", "trl-unchecked", "trl-held")
PRECISIONS = ("bfloat16", "float32")
BATCH, RANK, ALPHA = 4, 16, 32

Clocked = tuple[float, float]
"""Wall and processor seconds."""


def clock() -> Clocked:
    return time.perf_counter(), time.process_time()


def since(began: Clocked) -> Clocked:
    now = clock()
    return now[0] - began[0], now[1] - began[1]


def make_samples(model: Any, count: int) -> list[Sample]:
    """Conversations as the executor has them, with made-up tasks and actions."""
    world = load_environment("calculation")
    seeds = world.seeds()
    samples = []
    for number in range(count):
        # As in training, the samples of a batch come from one part of the world.
        seed = seeds[(number // BATCH) % len(seeds)]
        task = f"Work out entry {number} of the list and name its {number + 2}th part."
        given = model.render(Prompt(tuple(opening(world, seed, task))))
        lines = "\n".join(f"x{i} = {number} * {i} + {i}" for i in range(6))
        reply = f"I compute it.\n```python\n{lines}\nprint(x{number % 6})\n```"
        said = tuple(model.tokenizer(reply, add_special_tokens=False).input_ids)
        mask = (False,) * len(given) + (True,) * len(said)
        samples.append(Sample((*given, *said), mask, (-1.0,) * len(said)))
    return samples


def set_apart(samples: list[Sample]) -> list[Sample]:
    """The samples behind a token of their own each: none begins as another does."""
    return [
        Sample((number, *s.ids), (False, *s.mask), s.logprobs) for number, s in enumerate(samples)
    ]


def ours(
    model: Any, samples: list[Sample], dtype: torch.dtype, *, checkpointing: bool
) -> list[Clocked]:
    adapted = adapters.attach(model.module, model.name, RANK, ALPHA, 0)
    parameters = adapters.trained_parameters(adapted)
    optimizer = torch.optim.AdamW(parameters.values(), weight_decay=0.0)
    seconds = []
    with training(model.module, dtype, gradient_checkpointing=checkpointing):
        for start in range(0, len(samples), BATCH):
            began = clock()
            loss, _ = backward(model.module, samples[start : start + BATCH], 4096, dtype)
            update(optimizer, 1e-5, 1.0, loss)
            seconds.append(since(began))
    return seconds


def theirs(
    model: Any, samples: list[Sample], dtype: torch.dtype, *, checkpointing: bool
) -> list[Clocked]:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        seconds: list[Clocked] = []  # noqa: RUF012 - one clock a process

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(since(self.began))

    rows = [
        {
            "input_ids": list(s.ids),
            "labels": [i if trained else -100 for i, trained in zip(s.ids, s.mask, strict=True)],
        }
        for s in samples
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model.module.requires_grad_(requires_grad=True),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                max_steps=len(samples) // BATCH,
                max_length=None,
                learning_rate=1e-5,
                bf16=dtype == torch.bfloat16,
                use_cpu=not torch.cuda.is_available(),
                gradient_checkpointing=checkpointing,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                train_sampling_strategy="sequential",
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=model.tokenizer,
            peft_config=LoraConfig(
                r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Clock()],
        )
        trainer.train()
    return Clock.seconds


def run_arm(arm: str, precision: str, spec: str, steps: int) -> dict[str, Any]:
    model = load_model(spec, dtype="float32")
    samples = make_samples(model, BATCH * (1 + steps))
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if arm == "ours-apart":
        samples = set_apart(samples)
    if arm == "trl-held":
        model.module.to(dtype)
    if arm.startswith("ours"):
        seconds = ours(model, samples, dtype, checkpointing=arm == "ours-checkpointed")
    else:
        seconds = theirs(model, samples, dtype, checkpointing=arm != "trl-unchecked")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cuda = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {
        "tokens": sum(len(s.ids) for s in samples[:BATCH]),
        "trained": sum(s.trained for s in samples[:BATCH]),
        "seconds": seconds[1:],  # the first step warms up
        "peak_gib": (cuda or peak * 1024) / 2**30,
        "loaded_gib": before * 1024 / 2**30,
    }


def speed(runs: list[dict[str, Any]], kind: int) -> float:
    median = statistics.median([both[kind] for run in runs for both in run["seconds"]])
    return round(runs[0]["tokens"] / median, 1)


def gathered(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        arm: {
            "tokens_per_second": speed(runs, 0),
            "tokens_per_processor_second": speed(runs, 1),
            "peak_gib": round(max(run["peak_gib"] for run in runs), 2),
            "loaded_gib": round(runs[0]["loaded_gib"], 2),
            "seconds_per_step": [
                [round(s, 2) for s in both] for run in runs for both in run["seconds"]
            ],
        }
        for arm, runs in found.items()
    }


def described(found: dict[str, list[dict[str, Any]]], chosen: argparse.Namespace) -> dict[str, Any]:
    """What was measured so far, and on what."""
    done = {arm: runs for arm, runs in found.items() if runs}
    first = next(iter(done.values()))[0]
    return {
        "model": chosen.model,
        "batch": BATCH,
        "tokens_per_batch": first["tokens"],
        "trained_tokens_per_batch": first["trained"],
        "arms": gathered(done),
        "machine": chosen.machine,
        "cores": os.cpu_count(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--machine", default=platform.processor(), help="said in the result")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each arm")
    parser.add_argument("--steps", type=int, default=2, help="timed steps a turn")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="both by default")
    parser.add_argument("--json", type=Path, help="write the result into this file")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.arm:
        arm, _, precision = chosen.arm.rpartition("-")
        print("\n" + json.dumps(run_arm(arm, precision, chosen.model, chosen.steps)))
        return
    names = [
        f"{arm}-{precision}"
        for precision in chosen.precision or PRECISIONS
        for arm in ARMS
        if (arm, precision) != ("trl-held", "float32")  # as it is loaded
    ]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(chosen.rounds):
        for name in names:
            given = ["--model", chosen.model, "--steps", str(chosen.steps), "--arm", name]
            command = [sys.executable, __file__, *given]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(name, found[name][-1], file=sys.stderr, flush=True)
            result = described(found, chosen)
            if chosen.json:  # after each arm: they take minutes, and one may not fit into memory
                chosen.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
