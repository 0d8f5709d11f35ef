"""Flags that several commands share, and how a command's flags become settings."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfchallenge.errors import UsageError

if TYPE_CHECKING:
    from selfchallenge.learner.means import Means
    from selfchallenge.manifest import RunSettings

ENV = "a built-in name, file.py:Class, or package.module:Class"
MODEL = "default, default-1.5b, a folder, a hub id, openai:NAME@URL, or scripted:NAME"

Env = Annotated[str, typer.Argument(metavar="ENV", help=f"{ENV[0].upper()}{ENV[1:]}.")]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; runs/NAME when not given.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the environment's external data.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Preset = Annotated[str, typer.Option(help="Starting values: laptop, smoke or paper.")]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Settings of your own over the preset's.")
]
ModelName = Annotated[str | None, typer.Option("--model", help=f"{MODEL[0].upper()}{MODEL[1:]}.")]
Challenger = Annotated[
    str | None, typer.Option(help="Who writes the tasks; the same model when not given.")
]
Teacher = Annotated[
    str | None, typer.Option("--teacher-model", help="Whose attempts distill learns from.")
]
OnlySuccess = Annotated[
    bool | None,
    typer.Option(
        "--only-success", help="Of the teacher's attempts, learn from the successes only."
    ),
]
UserModel = Annotated[
    str | None,
    typer.Option(
        help="Who tells the agent its task: scripted:user, or any model (see --model). "
        "When not given, nobody: the agent reads it; in tau-bench scripted:user."
    ),
]
Rounds = Annotated[
    int, typer.Option(min=1, help="Rounds of challenge and learning, each with the new executor.")
]


class Whose(StrEnum):
    """Who writes the tasks of later rounds."""

    fixed = "fixed"
    latest = "latest"


ChallengerOf = Annotated[
    Whose, typer.Option("--challenger", help="Who writes the tasks of later rounds.")
]
Algorithm = Annotated[
    str | None,
    typer.Option(help="How the executor learns: rft, distill, dpo, grpo or ppo."),
]
Writer = Annotated[str | None, typer.Option(help="How tasks are written: staged, paper or pae.")]
Gate = Annotated[
    str | None, typer.Option(help="Which checks: full, paper, solution, verifier or none.")
]
TasksFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Run directory or file whose tasks are checked instead of new ones."
    ),
]
LearnFrom = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR", help="Run directory whose attempts are learnt from instead of own ones."
    ),
]
Actions = Annotated[str | None, typer.Option(help="How agents act: code (json: not yet).")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Unsafe = Annotated[
    bool | None, typer.Option("--allow-unsafe", help="Run code even where nothing isolates it.")
]


class Level(StrEnum):
    """Isolation levels that can be asked for; --allow-unsafe accepts the weaker ones."""

    A = "A"
    B = "B"
    C = "C"


Isolation = Annotated[
    Level | None, typer.Option("--min-isolation", help="Weakest isolation to run code at.")
]
Container = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND", help="Command that runs Python where generated code is to run."
    ),
]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as rft.epochs=3."),
]

Relearn = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="How it learns, such as rft.epochs=3, or its band, quality.easiest=0.9.",
    ),
]

ReportTo = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Where training curves go: tensorboard, wandb, trackio, mlflow; several by commas.",
    ),
]


class Engine(StrEnum):
    """Whose training step is taken."""

    own = "own"
    trl = "trl"


EngineOf = Annotated[
    Engine,
    typer.Option("--engine", help="Whose training step: own, or trl (FSDP, DeepSpeed)."),
]


def means_of(engine: Engine, report_to: str | None) -> Means:
    """By what means to train."""
    from selfchallenge.learner.means import Means

    names = (name.strip() for name in (report_to or "").split(","))
    return Means(engine=engine.value, report_to=tuple(dict.fromkeys(filter(None, names))))


def resolve(
    preset: str, config: Path | None = None, assign: list[str] | None = None, **flags: Any
) -> RunSettings:
    """The preset's values, then those of the file, then `--set`, then the flags that were given."""
    from selfchallenge import settings as values
    from selfchallenge.beginning import with_absolute_models

    found = values.preset(preset)
    if config is not None:
        found = values.overlay(found, values.read_config(config), where=str(config))
    changes = values.assignments(assign or [])
    found = values.overlay(found, changes, where="--set")
    given = {name: value for name, value in flags.items() if value is not None}
    if "min_isolation" in given:
        given["min_isolation"] = given["min_isolation"].value
    if given.pop("only_success", False):
        given["rft"] = {"only_success": True}
    if "tasks_from" in given:
        given["tasks_from"] = str(given["tasks_from"].absolute())
    if "learn_from" in given:
        given["learn_from"] = [str(folder.absolute()) for folder in given["learn_from"]]
    if "actions" in given:
        given["agent"] = {"actions": given.pop("actions")}
    found = values.overlay(found, given, where="command line")
    _require_code(found, changes | given)
    return with_absolute_models(found)


def _require_code(settings: RunSettings, asked: Mapping[str, Any]) -> None:
    """Refuse what only tasks that hold code can have, instead of leaving it out unsaid."""
    vain = {"gate": asked.get("gate", "none") != "none", "hinted": bool(asked.get("hinted"))}
    for name in (name for name, given in vain.items() if given and settings.judged):
        raise UsageError(
            f"tasks of the writer pae hold no code, so {name} has no use",
            where=f"{name} {asked[name]}",
            fix=f"leave {name} out, or use another writer",
        )
