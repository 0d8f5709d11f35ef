"""The whole loop on one screen: challenge, measure, roll out, learn, measure again, report.

Data flows one way and every arrow is a file in the run directory, so each stage can run alone, be
killed, and goes on where it was: what a stage owes is found by comparing keys, never by a counter.
The loop is the paper's self-improvement setting (section 3): challenger and executor start as the
same model, and the executor learns from its own verified attempts (eq. 2); or, with a teacher, its
distillation setting (eq. 3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from selfchallenge.beginning import begin, look_up_models, look_up_sources, require_weights
from selfchallenge.challenger.book import PhraseBook
from selfchallenge.challenger.candidate import Candidate
from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.given import given
from selfchallenge.challenger.propose import Proposer
from selfchallenge.challenger.revise import PaperWriter
from selfchallenge.challenger.write import StagedWriter
from selfchallenge.environments.asking import seeds_of
from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.episode import Episode, StopReason, latest
from selfchallenge.errors import SpoiltError, StageError, UsageError
from selfchallenge.evaluation.suite import evaluate, held_out_file, held_out_tasks, references
from selfchallenge.evaluation.summary import summarise
from selfchallenge.evaluation.tested import held_of
from selfchallenge.executor.batch import Ways
from selfchallenge.executor.oracle import idle
from selfchallenge.intake import Intake, Writer
from selfchallenge.learner import processes
from selfchallenge.learner.means import Means
from selfchallenge.learning import Learning, mastered
from selfchallenge.manifest import RunSettings
from selfchallenge.models.base import Model
from selfchallenge.progress import Silent, Watch, counted
from selfchallenge.quality.blind import Blind
from selfchallenge.report.page import write_report
from selfchallenge.roles import Roles
from selfchallenge.runs.cost import timed
from selfchallenge.runs.store import Onlooker, RunDirectory, RunFiles
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict


def run_loop(
    environment: str | type[Environment],
    out: Path,
    settings: RunSettings,
    *,
    data: Path | None = None,
    watch: Watch | None = None,
    means: Means | None = None,
) -> dict[str, Any]:
    """Run every stage that `out` still owes and return its summary.

    Raises:
        UsageError: `out` belongs to a run with other settings or holds rounds, several processes
            were launched, or the model cannot be trained here.
        StageError: a stage ended without what the next one needs.
    """
    processes.require_one("a whole run")
    require_weights(settings)
    with open_loop(environment, out, settings, data=data, watch=watch, means=means) as loop:
        loop.challenge()
        loop.measure("before")
        loop.roll_out()
        loop.train()
        loop.measure("after")
        return loop.report()


@contextmanager
def open_loop(
    environment: str | type[Environment],
    out: Path,
    settings: RunSettings,
    *,
    data: Path | None = None,
    watch: Watch | None = None,
    means: Means | None = None,
) -> Iterator[Loop]:
    """The loop of a run directory, new or resumed; its processes and lock end with the block."""
    settings.check()
    means = means or Means()
    means.check(settings.algorithm, getattr(settings, settings.learner))
    world, watch = load_environment(environment, data), watch or Silent()
    if (out / "round-1" / "run.json").exists():
        fix = "give its --rounds again, or another --out"
        raise UsageError("this is a directory of rounds", where=str(out), fix=fix)
    look_up_models(settings, out)
    look_up_sources(settings, out)
    held = RunDirectory if processes.is_main() else Onlooker
    with Sandbox(**settings.sandbox()) as sandbox, held.open(out, create=True) as run:
        begin(run, world, settings, sandbox, watch)
        loop = Loop(run, world, sandbox, settings, watch, means)
        try:
            yield loop
        finally:
            loop.close()


@dataclass
class Loop:
    """One run: its directory, its environment, its models, and the stages over them."""

    run: RunDirectory
    environment: type[Environment]
    sandbox: Sandbox
    settings: RunSettings
    watch: Watch
    means: Means = field(default_factory=Means)
    _roles: Roles = field(init=False)
    _learning: Learning = field(init=False)

    def __post_init__(self) -> None:
        parts = (self.run, self.environment, self.sandbox, self.settings, self.watch)
        self._roles = Roles(self.settings, self.run.path / "model", self.watch)
        self._learning = Learning(*parts, self._roles, self.accepted, self.means)

    def challenge(self) -> None:
        """Write and check candidates until enough tasks are accepted (paper, section 3)."""
        if self.settings.learn_from:
            return
        candidates = self.run.read("candidates.jsonl", Candidate)
        intake = Intake(self.run, self.environment, self.sandbox, self.settings, self._blind())
        intake.resume(candidates)
        accepted = intake.accepted
        wanted, most = self.settings.tasks, self.settings.candidates
        if len(accepted) >= wanted or len(candidates) >= most:
            self._require_tasks(accepted)
            return
        stage = self.watch.stage("tasks", wanted, len(accepted))
        done = {c.candidate for c in candidates}
        writer = self._writer(candidates)
        with timed(self.run, "challenge") as tick:
            for candidate in writer.write([n for n in range(most) if n not in done], self._seeds()):
                written = intake.take(candidate, writer)
                done.add(written.candidate)
                self._keep_book(writer)
                tick(written.tokens)
                stage.update(min(len(accepted), wanted), f"{len(done)} written")
                if len(accepted) >= wanted:
                    break
        self.watch.say(f"{len(accepted)} of {len(done)} written tasks were accepted")
        self._require_tasks(accepted)

    def roll_out(self) -> None:
        """Attempt every accepted task several times; episodes are what the learner reads."""
        self._learning.roll_out()

    def train(self) -> None:
        """Learn from the attempts; `model/` appears when it is complete."""
        self._learning.train()

    def measure(self, phase: str) -> None:
        """Score the executor on the held-out tasks, and once what doing nothing scores."""
        tasks = held_out_tasks(self.environment)
        if not tasks:
            self.watch.say(f"no score: no held-out tasks in {held_out_file(self.environment)}")
            return
        done = {episode.key for episode in self._scores() if episode.stop is not StopReason.SANDBOX}
        total = len(tasks) * self.settings.trials
        if sum(key.startswith(f"{phase}/") for key in done) >= total:
            return
        pairs = self._held_out
        self._measure(idle(), self._roles.idle_ways(), pairs, "noop", done, trials=1)
        model = self._roles.after(tasks) if phase == "after" else self._roles.executor(tasks)
        self._measure(model, self._roles.ways(), pairs, phase, done, trials=self.settings.trials)

    @cached_property
    def _held_out(self) -> Sequence[tuple[CodeAsTask, Verdict]]:
        """The held-out tasks with what attempts at them are judged by, found out once."""
        return references(held_out_tasks(self.environment), self.environment, self.sandbox)

    def report(self) -> dict[str, Any]:
        """Write `summary.json` and `report.html`."""
        summary = summarise(self.run)
        self.run.write_json("summary.json", summary)
        write_report(self.run, heldout={t.id: t for t in held_out_tasks(self.environment)})
        return summary

    def accepted(self) -> list[tuple[CodeAsTask, Verdict]]:
        """Accepted tasks with their verdicts, in the order of acceptance."""
        verdicts = {
            line["verdict"]["id"]: Verdict.model_validate(line["verdict"])
            for line in self.run.read("verdicts.jsonl")
            if line["verdict"]["accepted"]
        }
        tasks = self.run.read("tasks.jsonl", CodeAsTask)
        return [(task, verdicts[task.id]) for task in tasks if task.id in verdicts]

    def close(self) -> None:
        """Give the models back."""
        self._roles.close()

    def _measure(
        self,
        model: Model,
        ways: Ways,
        pairs: Sequence[tuple[CodeAsTask, Verdict]],
        phase: str,
        done: set[str],
        *,
        trials: int,
    ) -> None:
        before = [e.passed for e in self._scores() if e.phase == phase and e.key in done]
        stage = self.watch.stage(f"score {phase}", len(pairs) * trials, len(before))
        count, passed = len(before), sum(before)
        with timed(self.run, f"evaluate {phase}") as tick:
            for episode in evaluate(
                model,
                pairs,
                self.environment,
                self.sandbox,
                phase=phase,
                trials=trials,
                settings=self.settings.agent,
                temperature=self.settings.evaluation_temperature,
                seed=self.settings.seed,
                batch=self.settings.batch,
                done=done,
                ways=ways,
            ):
                self.run.append("scores.jsonl", episode)
                done.add(episode.key)
                tick(episode.completion_tokens)
                count, passed = count + 1, passed + episode.passed
                stage.update(count, f"{passed} passed")
        made = [e for e in self._scores() if e.phase == phase]
        ended = [e for e in made if e.stop is StopReason.SANDBOX]
        if ended and len(ended) == len(made):
            raise SpoiltError(f"all {len(made)} attempts were ended by the sandbox", where=phase)
        if ended:
            self.watch.say(
                f"{counted(len(ended), 'attempt')} ended by the sandbox count as failures "
                "until this stage is run again"
            )

    def _scores(self) -> list[Episode]:
        return latest(self.run.read("scores.jsonl", Episode))

    def _writer(self, candidates: Sequence[Candidate]) -> Writer:
        if self.settings.tasks_from:
            return given(Path(self.settings.tasks_from), held_of(self.environment))
        model = self._roles.challenger()
        if self.settings.writer == "paper":
            how, seed = self.settings.paper, self.settings.seed
            return PaperWriter(model, self.environment, self.sandbox, how, seed)
        if self.settings.writer == "pae":
            return Proposer(model, self.environment, self.settings.pae, self.settings.seed)
        coverage = Coverage()
        if self.settings.aimed_at:
            solved, failed = mastered(RunFiles.view(self.settings.aimed_at))
            for candidate in solved:
                coverage.add(candidate)
            for candidate in failed:
                coverage.owe(candidate)
        for candidate in candidates:
            coverage.add(candidate)
        book = PhraseBook.from_json(self.run.read_json("phrases.json") or {})
        return StagedWriter(
            model,
            self.environment,
            self.sandbox,
            self.settings.write,
            coverage,
            book,
            self.settings.seed,
        )

    def _keep_book(self, writer: Writer) -> None:
        if isinstance(writer, StagedWriter):
            book = writer.book.to_json()
            if book != self.run.read_json("phrases.json"):
                self.run.write_json("phrases.json", book)

    def _blind(self) -> Blind | None:
        """Who tries instructions before they are trusted; nobody unless the settings ask."""
        asked = self.settings.quality
        if not asked.blind:
            return None
        model, heat = self._roles.executor([]), self.settings.temperature
        return Blind(model, asked.blind, asked.succeeding, heat, self.settings.agent)

    def _seeds(self) -> list[str | None]:
        """Training seeds in a random order; `[None]` for an environment without seeds."""
        seeds = list(filter(held_of(self.environment).spares, seeds_of(self.environment)))
        random.Random(self.settings.seed).shuffle(seeds)
        return list(seeds) or [None]

    def _require_tasks(self, accepted: set[str]) -> None:
        if not accepted:
            raise StageError(
                "no candidate was accepted, so there is nothing to attempt",
                where=str(self.run.path / "verdicts.jsonl"),
                fix=f"selfchallenge report {self.run.path} shows why; try a larger model",
            )
