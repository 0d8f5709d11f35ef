"""Who plays which role in a run: challenger, executor, teacher, user, and who is trained."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from selfchallenge.challenger.double import scripted_challenger
from selfchallenge.errors import StageError
from selfchallenge.executor.batch import Ways
from selfchallenge.executor.judge import scripted_judge
from selfchallenge.executor.oracle import listening_oracle, oracle
from selfchallenge.executor.talk import told_by
from selfchallenge.executor.user import ScriptedUser, played_by
from selfchallenge.manifest import RunSettings
from selfchallenge.models.base import Model
from selfchallenge.models.loading import load_model
from selfchallenge.progress import Watch
from selfchallenge.task import CodeAsTask

if TYPE_CHECKING:
    from selfchallenge.learner.training import Trainable

SKILLS = {"scripted:oracle": 1.0, "scripted:half": 0.5}
"""Scripted executors that know the tasks, by the share of attempts that they solve."""

DOUBLES = {"scripted:challenger": scripted_challenger, "scripted:judge": scripted_judge}
"""Scripted models of the other roles."""


@dataclass
class Roles:
    """The models of a run, loaded when they are first needed and kept.

    Attributes:
        settings: of the run.
        folder: where the trained model lies, once there is one.
        watch: who is told.
    """

    settings: RunSettings
    folder: Path
    watch: Watch
    _models: dict[str, Model] = field(default_factory=dict)
    _user: Model | None = None
    _trained: bool = False

    def challenger(self) -> Model:
        """Who writes the tasks."""
        return self._load(self.settings.challenger_model or self.settings.model)

    def judge(self) -> Model:
        """Who rewards the attempts where no verifier can."""
        return self._load(self.settings.judging)

    def executor(self, tasks: Sequence[CodeAsTask]) -> Model:
        """Who attempts the tasks; a scripted one knows these."""
        return self._agent(self.settings.model, tasks)

    def attempting(self, tasks: Sequence[CodeAsTask]) -> Model:
        """Who makes the attempts to be learnt from: the teacher if there is one."""
        return self._agent(self.settings.teacher_model or self.settings.model, tasks)

    def ways(self) -> Ways:
        """How attempts are made: told by the user where the run has one."""
        user = played_by(self.settings.user_model, self._load_user)
        return Ways() if user is None else told_by(user)

    def idle_ways(self) -> Ways:
        """The same for doing nothing, which needs no model to talk to."""
        return told_by(ScriptedUser()) if self.settings.user_model else Ways()

    def trainable(self) -> Trainable:
        """The executor as the learner needs it; a scripted one is stood in for by a tiny model.

        Raises:
            StageError: the model is served elsewhere.
        """
        teacher = self._models.pop(self.settings.teacher_model, None)
        if teacher is not None:
            teacher.close()
            del teacher
            gc.collect()  # its memory is needed now, and its cache knows it
        if self.settings.model.startswith("scripted:"):
            from selfchallenge.learner.tiny import tiny_model  # noqa: PLC0415 - loads torch

            self.watch.say("a scripted executor has no weights: a tiny random model is trained")
            return tiny_model()
        model = self._load(self.settings.model)
        if not hasattr(model, "module"):
            raise StageError(
                f"model {model.name} is served elsewhere and cannot be trained here",
                fix="give a local --model, or train from episodes.jsonl with your own trainer",
            )
        return cast("Trainable", model)

    def trained(self) -> None:
        """The model in memory is the trained one from now on."""
        self._trained = True

    def after(self, tasks: Sequence[CodeAsTask]) -> Model:
        """The trained executor: the one in memory, or the adapter that an earlier process left."""
        if self._trained or self.settings.model.startswith("scripted:"):
            return self.executor(tasks)
        untrained = self._models.pop(self.settings.model, None)
        if untrained is not None:
            untrained.close()
            del untrained
            gc.collect()
        return self._load(str(self.folder))

    def close(self) -> None:
        """Give the models back."""
        for model in (*self._models.values(), *filter(None, [self._user])):
            model.close()

    def _agent(self, spec: str, tasks: Sequence[CodeAsTask]) -> Model:
        if spec in SKILLS:
            double = listening_oracle if self.settings.user_model else oracle
            return double(tasks, name=spec, skill=SKILLS[spec])
        return self._load(spec)

    def _load_user(self, spec: str) -> Model:
        """Weights of the user's own, also where the executor's are the same: those are trained."""
        if self._user is None:
            self.watch.say(f"loading model {spec} for the user")
            self._user = load_model(spec, batch=self.settings.batch, say=self.watch.say)
        return self._user

    def _load(self, spec: str) -> Model:
        if spec in DOUBLES:
            return DOUBLES[spec]()
        if spec not in self._models:
            self.watch.say(f"loading model {spec}")
            self._models[spec] = load_model(spec, batch=self.settings.batch, say=self.watch.say)
        return self._models[spec]
