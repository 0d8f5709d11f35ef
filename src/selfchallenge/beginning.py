"""How a run begins: its models are known, it agrees with its directory, and it says how it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from selfchallenge import manifest
from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import spelling_of
from selfchallenge.errors import UsageError
from selfchallenge.executor.user import ScriptedUser
from selfchallenge.manifest import RunSettings
from selfchallenge.models.loading import absolute, look_up
from selfchallenge.models.openai import answers
from selfchallenge.progress import Watch
from selfchallenge.roles import DOUBLES, SKILLS
from selfchallenge.runs.store import WITHOUT_MANIFEST, RunDirectory, RunFiles
from selfchallenge.sandbox.host import Sandbox

RECORDS = ("candidates.jsonl", "tasks.jsonl", "episodes.jsonl", "scores.jsonl")


def with_absolute_models(settings: RunSettings) -> RunSettings:
    """The settings with folders of models as any working directory finds them."""
    return replace(
        settings,
        model=absolute(settings.model),
        challenger_model=absolute(settings.challenger_model),
        teacher_model=absolute(settings.teacher_model),
        user_model=absolute(settings.user_model),
        judge_model=absolute(settings.judge_model),
    )


def look_up_models(settings: RunSettings, out: Path) -> None:
    """Make sure that the models of a new run exist, without loading any.

    Before anything is written: a wrong name in `run.json` could not be corrected there.

    Raises:
        UsageError: a name of no known form, or of nothing.
        ModelError: the hub does not know a model, or cannot be asked.
    """
    if (out / "run.json").exists():
        return
    made_here = {"", ScriptedUser.name, *SKILLS}
    for spec in {settings.model, settings.teacher_model, settings.user_model} - made_here:
        look_up(spec)
    others = {settings.challenger_model or settings.model}
    if settings.judged:
        others.add(settings.judging)
    for spec in others - {*DOUBLES}:
        look_up(spec)


def require_weights(settings: RunSettings) -> None:
    """Make sure that the model to be trained is no served one, before anything is written for it.

    Raises:
        UsageError: it is served: its weights are elsewhere.
    """
    if settings.model.startswith("openai:"):
        raise UsageError(
            "a model that is served elsewhere cannot be trained here",
            where=f"--model {settings.model}",
            fix="give a local --model (a served one can write the tasks, --challenger-model, or "
            "teach, --teacher-model); or run the stages challenge and rollout alone, and train "
            "from episodes.jsonl with your own trainer",
        )


def look_up_sources(settings: RunSettings, out: Path) -> None:
    """Make sure that the runs and files that a new run takes its tasks or attempts from exist.

    Raises:
        UsageError: one does not, is no run directory, or holds no attempts to learn from.
    """
    if (out / "run.json").exists():
        return
    for folder in settings.learn_from:
        if next(RunFiles.view(folder).scan("episodes.jsonl"), None) is None:
            raise UsageError(
                "no attempts have been made in this run, so there is nothing to learn from it",
                where=folder,
                fix=f"selfchallenge rollout {folder}",
            )
    if settings.tasks_from and not Path(settings.tasks_from).is_file():
        RunFiles.view(settings.tasks_from)


def begin(
    run: RunDirectory,
    environment: type[Environment],
    settings: RunSettings,
    sandbox: Sandbox,
    watch: Watch,
) -> None:
    """Write `run.json`, or compare it with what is asked for now, and say what is to be known.

    What isolates code, and which servers do not answer: they may be started later, for a stage.

    Raises:
        UsageError: the directory holds another run, or records of one without its `run.json`.
    """
    _require_known(run)
    manifest.agree(run, spelling_of(environment), environment, settings, sandbox.isolation)
    watch.say(f"generated code runs at isolation level {sandbox.isolation}")
    for spec in sorted(servers(settings)):
        if not answers(spec):
            watch.say(f"{spec} does not answer yet: start the server before its stage begins")


def _require_known(run: RunDirectory) -> None:
    """Refuse to take the records of a run that nobody knows any more for those of a new one."""
    found = next((name for name in RECORDS if (run.path / name).exists()), "")
    if found and not (run.path / "run.json").exists():
        raise UsageError(
            f"this directory holds {found}, and no run.json that says what made it",
            where=str(run.path),
            fix=WITHOUT_MANIFEST,
        )


def servers(settings: RunSettings) -> set[str]:
    """The models of a run that a server has."""
    models = {
        settings.model,
        settings.challenger_model,
        settings.teacher_model,
        settings.user_model,
        settings.judging if settings.judged else "",
    }
    return {spec for spec in models if spec.startswith("openai:")}
