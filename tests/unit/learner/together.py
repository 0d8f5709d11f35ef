"""Trainings in one of several processes that a launcher starts: OUT NAME... [--odd HOW]."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from policy import Sampler
from tiny_learner import TinyModel, make_episode

from selfchallenge.errors import SelfChallengeError
from selfchallenge.learner import parallel, processes, step
from selfchallenge.learner.dpo import train_dpo
from selfchallenge.learner.grpo import train_grpo
from selfchallenge.learner.ppo import train_ppo
from selfchallenge.learner.rft import train_rft
from selfchallenge.learner.settings import DpoSettings, GrpoSettings, PpoSettings, RftSettings

TASKS = ["a", "b", "c"]
COMMON = {"precision": "float32", "warmup": 2, "learning_rate": 1e-3, "micro_tokens": 300}
# Three steps' last batch has fewer samples than there are in the others.
RFT = RftSettings(**COMMON, epochs=2, batch=3, checkpoint=2)
ONLINE = COMMON | {"iterations": 3, "tasks": 3, "updates": 2, "kl": 0.1}
PREFERENCES = DpoSettings(**COMMON, batch=3, epochs=2)


def episodes():
    pairs = [("a0", 0), ("a0", 1), ("a1", 0), ("a1", 1), ("b0", 0), ("b0", 1), ("b1", 0), ("b1", 1)]
    return [make_episode(task, attempt, reward=1.0 - attempt) for task, attempt in pairs]


def trained(name, folder, progress=None):
    """The report of a training, and the weights that came of it."""
    model, successes = TinyModel(), [e.model_copy(update={"reward": 1.0}) for e in episodes()]
    if name == "rft":
        report = train_rft(model, successes, folder, RFT, progress)
    elif name == "full":
        report = train_rft(model, successes, folder, replace(RFT, rank=0), progress)
    elif name == "dpo":
        report = train_dpo(model, episodes(), folder, PREFERENCES, progress)
    elif name == "grpo":
        report = train_grpo(model, TASKS, Sampler(model), folder, GrpoSettings(**ONLINE))
    else:
        report = train_ppo(model, TASKS, Sampler(model), folder, PpoSettings(**ONLINE))
    return report, torch.cat([p.detach().flatten() for p in model.module.parameters()])


def odd(how, out):
    """What happens after the third step, in one of the processes."""
    rank, usual = processes.rank(), step.nll

    def poisoned(*given):
        return usual(*given) * float("nan")

    def progress(record):
        if record.step < 3:
            return
        if how == "nan" and rank == 1:
            step.nll = poisoned
        if how == "die" and rank == 1:
            os._exit(3)
        if how == "wait" and rank == 0:
            (out / "waiting").touch()
            time.sleep(600)

    return progress


def main():
    out, *names = sys.argv[1:]
    out, how = Path(out), ""
    if "--odd" in names:
        how = names[names.index("--odd") + 1]
        names = names[: names.index("--odd")]
    rank = processes.rank()
    (out / f"pid-{rank}").write_text(str(os.getpid()))
    with parallel.joined():
        for name in names:
            try:
                report, weights = trained(name, out / name, odd(how, out) if how else None)
            except SelfChallengeError as error:
                (out / f"error-{rank}").write_text(str(error))
                raise
            found = {"losses": report.losses, "resumed": report.resumed, "weights": weights}
            found["read"] = [record.read for record in report.steps]
            found["figures"] = [dict(record.figures) for record in report.steps]
            torch.save(found, out / f"{name}-{rank}.pt")


if __name__ == "__main__":
    main()
