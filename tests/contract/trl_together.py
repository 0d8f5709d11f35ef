"""TRL's trainings in one of several processes that a launcher starts: OUT NAME..."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from test_trl_adapter import DPO, GRPO, RFT, SomeAlike, Tiny, episodes

from selfchallenge.learner import parallel, processes
from selfchallenge.learner.dpo import train_dpo
from selfchallenge.learner.grpo import train_grpo
from selfchallenge.learner.rft import train_rft

torch.set_num_threads(1)


def trained(name, folder):
    """The report of a training, and the attempts that this process asked for."""
    attempts = SomeAlike()
    if name == "rft":
        report = train_rft(Tiny(), episodes(1.0), folder, RFT, engine="trl")
    elif name == "full":
        whole = replace(RFT, rank=0, epochs=2)
        report = train_rft(Tiny(), episodes(1.0), folder, whole, engine="trl")
    elif name == "dpo":
        report = train_dpo(Tiny(), episodes(1.0, 0.0), folder, DPO, engine="trl")
    else:
        report = train_grpo(Tiny(), list("abc"), attempts, folder, GRPO, engine="trl")
    return report, attempts.asked


def main():
    out, *names = sys.argv[1:]
    with parallel.joined():
        for name in names:
            report, asked = trained(name, Path(out) / name)
            figures = [dict(step.figures) for step in report.steps]
            found = {"losses": report.losses, "asked": asked, "figures": figures}
            Path(out, f"{name}-{processes.rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
