"""The whole loop on one screen: challenge, measure, roll out, learn, measure again, report.

Data flows one way and every arrow is a file in the run directory, so each stage can run alone, be
killed, and goes on where it was: what a stage owes is found by comparing keys, never by a counter.
The loop is the paper's self-improvement setting (section 3): challenger and executor start as the
same model, and the executor learns from its own verified successes (eq. 2).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfchallenge.beginning import begin, look_up_models
from selfchallenge.challenger.book import PhraseBook
from selfchallenge.challenger.candidate import Candidate
from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.double import scripted_challenger
from selfchallenge.challenger.revise import PaperWriter
from selfchallenge.challenger.write import StagedWriter
from selfchallenge.environments.asking import seeds_of
from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.episode import HINTED, Episode
from selfchallenge.errors import StageError
from selfchallenge.evaluation.suite import evaluate, held_out_file, held_out_tasks, references
from selfchallenge.evaluation.summary import summarise
from selfchallenge.executor.agent import Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.executor.oracle import idle, oracle
from selfchallenge.manifest import RunSettings
from selfchallenge.models.base import Model
from selfchallenge.models.loading import load_model
from selfchallenge.progress import Silent, Watch, counted
from selfchallenge.quality.duplicates import Seen
from selfchallenge.quality.gate import check
from selfchallenge.report.page import write_report
from selfchallenge.runs.cost import timed
from selfchallenge.runs.store import RunDirectory
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict

if TYPE_CHECKING:
    from selfchallenge.learner.rft import StepRecord, Trainable

TRAIN_SHARE = 0.9
"""Share of the seeds that tasks are written about; the rest is kept for tests."""


def run_loop(
    environment: str | type[Environment],
    out: Path,
    settings: RunSettings,
    *,
    data: Path | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run every stage that `out` still owes and return its summary.

    Raises:
        UsageError: `out` belongs to a run with other settings.
        StageError: a stage ended without what the next one needs.
    """
    with open_loop(environment, out, settings, data=data, watch=watch) as loop:
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
) -> Iterator[Loop]:
    """The loop of a run directory, new or resumed; its processes and lock end with the block."""
    world, watch = load_environment(environment, data), watch or Silent()
    look_up_models(settings, out)
    with Sandbox(**settings.sandbox()) as sandbox, RunDirectory.open(out, create=True) as run:
        begin(run, world, settings, sandbox, watch)
        loop = Loop(run, world, sandbox, settings, watch)
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
    _models: dict[str, Model] = field(default_factory=dict)
    _trained: bool = False

    def challenge(self) -> None:
        """Write and check candidates until enough tasks are accepted (paper, section 3)."""
        candidates = self.run.read("candidates.jsonl", Candidate)
        judged = {line["candidate"]: line["verdict"] for line in self.run.read("verdicts.jsonl")}
        accepted = {line.id for line in self.run.read("tasks.jsonl", CodeAsTask)}
        self._check([c for c in candidates if c.candidate not in judged], accepted)
        wanted, most = self.settings.tasks, self.settings.candidates
        if len(accepted) >= wanted or len(candidates) >= most:
            return self._require_tasks(accepted)
        stage = self.watch.stage("tasks", wanted, len(accepted))
        done = {c.candidate for c in candidates}
        writer = self._writer(candidates)
        with timed(self.run, "challenge") as tick:
            for candidate in writer.write([n for n in range(most) if n not in done], self._seeds()):
                self.run.append("candidates.jsonl", candidate)
                done.add(candidate.candidate)
                self._check([candidate], accepted)
                self._keep_book(writer)
                tick(candidate.tokens)
                stage.update(min(len(accepted), wanted), f"{len(done)} written")
                if len(accepted) >= wanted:
                    break
        self.watch.say(f"{len(accepted)} of {len(done)} written tasks were accepted")
        return self._require_tasks(accepted)

    def roll_out(self) -> None:
        """Attempt every accepted task several times; episodes are what the learner reads.

        Tasks that no attempt solved are then attempted with their example solution in view, when
        the settings ask for it.
        """
        pairs = self.accepted()
        plain, hinted = self.settings.rollouts, self.settings.hinted
        self._roll_out("rollouts", pairs, range(plain), hinted=False)
        solved = {
            e.task
            for e in self.run.read("episodes.jsonl", Episode)
            if e.reward == 1.0 and not e.meta.get(HINTED)
        }
        unsolved = [pair for pair in pairs if pair[0].id not in solved]
        self._roll_out("hinted rollouts", unsolved, range(plain, plain + hinted), hinted=True)

    def _roll_out(
        self,
        name: str,
        pairs: Sequence[tuple[CodeAsTask, Verdict]],
        attempts: range,
        *,
        hinted: bool,
    ) -> None:
        episodes = {e.key: e.reward for e in self.run.read("episodes.jsonl", Episode)}
        assignments = [
            Assignment(task, verdict, n, self._seed("rollout", task.id, n), hinted=hinted)
            for n in attempts
            for task, verdict in pairs
        ]
        done = [
            episodes[key]
            for a in assignments
            if (key := f"train/{a.task.id}/{a.attempt}") in episodes
        ]
        owed = [a for a in assignments if f"train/{a.task.id}/{a.attempt}" not in episodes]
        if not owed:
            return
        stage = self.watch.stage(name, len(assignments), len(done))
        count, successes = len(done), sum(reward == 1.0 for reward in done)
        model = self._executor([task for task, _ in pairs])
        with timed(self.run, "rollout") as tick:
            for episode in rollout(
                model,
                owed,
                self.environment,
                self.sandbox,
                settings=self.settings.agent,
                temperature=self.settings.temperature,
                batch=self.settings.batch,
            ):
                self.run.append("episodes.jsonl", episode)
                tick(episode.completion_tokens)
                count, successes = count + 1, successes + (episode.reward == 1.0)
                stage.update(count, f"{successes} successes")

    def train(self) -> None:
        """Learn from the verified successes; `model/` appears when it is complete."""
        folder = self.run.path / "model"
        if folder.exists():
            return
        from selfchallenge.learner.rft import train_rft  # noqa: PLC0415 - loads torch

        episodes = self.run.read("episodes.jsonl", Episode)
        model = self._trainable()
        stage = None
        with timed(self.run, "train") as tick:

            def progress(record: StepRecord) -> None:
                nonlocal stage
                stage = stage or self.watch.stage("training", record.steps, record.step - 1)
                tick()
                stage.update(record.step, f"loss {record.loss:.3f}")

            report = train_rft(model, episodes, folder, self.settings.rft, progress)
        self._trained = True
        steps = counted(len(report.steps), "step")
        self.watch.say(f"trained on {report.samples} successes in {steps}")

    def measure(self, phase: str) -> None:
        """Score the executor on the held-out tasks, and once what doing nothing scores."""
        tasks = held_out_tasks(self.environment)
        if not tasks:
            self.watch.say(f"no score: no held-out tasks in {held_out_file(self.environment)}")
            return
        done = {episode.key for episode in self.run.read("scores.jsonl", Episode)}
        total = len(tasks) * self.settings.trials
        if sum(key.startswith(f"{phase}/") for key in done) >= total:
            return
        pairs = references(tasks, self.environment, self.sandbox)
        self._measure(idle(), pairs, "noop", done, trials=1)
        model = self._after() if phase == "after" else self._executor(tasks)
        self._measure(model, pairs, phase, done, trials=self.settings.trials)

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
        for model in self._models.values():
            model.close()

    def _check(self, candidates: Sequence[Candidate], accepted: set[str]) -> None:
        """One verdict for each candidate that holds a task; the accepted ones become tasks."""
        for candidate in candidates:
            task = candidate.task
            if task is None:
                continue
            verdict = check(
                task,
                self.environment,
                self.settings.gate,
                sandbox=self.sandbox,
                seen=self._seen,
            )
            # The task goes first: a kill between the two lines leaves a verdict that is owed
            # again, and `accepted` keeps the task from being written twice.
            if verdict.accepted and task.id not in accepted:
                self.run.append("tasks.jsonl", task)
                accepted.add(task.id)
            self.run.append(
                "verdicts.jsonl",
                {"candidate": candidate.candidate, "verdict": verdict.model_dump(mode="json")},
            )

    def _measure(
        self,
        model: Model,
        pairs: Sequence[tuple[CodeAsTask, Verdict]],
        phase: str,
        done: set[str],
        *,
        trials: int,
    ) -> None:
        before = [e.passed for e in self.run.read("scores.jsonl", Episode) if e.phase == phase]
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
            ):
                self.run.append("scores.jsonl", episode)
                done.add(episode.key)
                tick(episode.completion_tokens)
                count, passed = count + 1, passed + episode.passed
                stage.update(count, f"{passed} passed")

    def _writer(self, candidates: Sequence[Candidate]) -> StagedWriter | PaperWriter:
        model = self._load(self.settings.challenger_model or self.settings.model)
        if self.settings.writer == "paper":
            return PaperWriter(model, self.environment, self.sandbox, self.settings.paper)
        coverage = Coverage()
        for candidate in candidates:
            coverage.add(candidate.shape, candidate.tools, candidate.flow)
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

    def _keep_book(self, writer: StagedWriter | PaperWriter) -> None:
        if isinstance(writer, StagedWriter):
            book = writer.book.to_json()
            if book != self.run.read_json("phrases.json"):
                self.run.write_json("phrases.json", book)

    @cached_property
    def _seen(self) -> Seen:
        """Accepted tasks, and the held-out ones so that no candidate repeats one of them."""
        seen = Seen()
        for task in (*held_out_tasks(self.environment), *(t for t, _ in self.accepted())):
            seen.add(task)
        return seen

    def _seeds(self) -> list[str | None]:
        """Training seeds in a random order; `[None]` for an environment without seeds."""
        seeds = [s for s in seeds_of(self.environment) if is_training_seed(s)]
        random.Random(self.settings.seed).shuffle(seeds)
        return list(seeds) or [None]

    def _seed(self, *parts: object) -> int:
        text = "/".join(map(str, (self.settings.seed, *parts)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3])

    def _load(self, spec: str) -> Model:
        if spec == "scripted:challenger":
            return scripted_challenger()
        if spec not in self._models:
            self.watch.say(f"loading model {spec}")
            self._models[spec] = load_model(spec, say=self.watch.say)
        return self._models[spec]

    def _executor(self, tasks: Sequence[CodeAsTask]) -> Model:
        if self.settings.model == "scripted:oracle":
            return oracle(tasks)
        return self._load(self.settings.model)

    def _trainable(self) -> Trainable:
        """The executor as the learner needs it; a scripted one is stood in for by a tiny model."""
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

    def _after(self) -> Model:
        """The trained executor: the one in memory, or the adapter that an earlier process left."""
        if self.settings.model.startswith("scripted:"):
            return self._executor(held_out_tasks(self.environment))
        if self._trained:
            return self._load(self.settings.model)
        self._models.pop(self.settings.model, None)
        return self._load(str(self.run.path / "model"))

    def _require_tasks(self, accepted: set[str]) -> None:
        if not accepted:
            raise StageError(
                "no candidate was accepted, so there is nothing to attempt",
                where=str(self.run.path / "verdicts.jsonl"),
                fix=f"selfchallenge report {self.run.path} shows why; try a larger model",
            )


def is_training_seed(seed: str) -> bool:
    """Whether tasks may be written about this seed: a split by hash, the same everywhere."""
    bucket = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) / 2**32
    return bucket < TRAIN_SHARE
