"""The stages that learn: attempts at the accepted tasks, and the algorithm that learns from them.

Offline algorithms (`rft`, `distill`, `dpo`) learn from attempts made beforehand; online ones
(`grpo`, `ppo`) make their attempts as they go, with the policy as it is by then. Every attempt is a
line of `episodes.jsonl`, and what is owed is found by comparing keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfchallenge.challenger.candidate import Candidate
from selfchallenge.environments.base import Environment
from selfchallenge.episode import ENGINE, HINTED, Episode, StopReason
from selfchallenge.errors import SpoiltError, StageError, UsageError
from selfchallenge.executor.agent import Assignment, attempt_seed
from selfchallenge.executor.batch import rollout
from selfchallenge.executor.judge import JUDGED, judged
from selfchallenge.learner import processes
from selfchallenge.learner.means import Means
from selfchallenge.learner.samples import fault_of_others
from selfchallenge.learner.trackers import tracking
from selfchallenge.manifest import ONLINE, RunSettings, completed, decisive
from selfchallenge.models.base import Model
from selfchallenge.progress import Stage, Watch, counted
from selfchallenge.quality.difficulty import in_band, latest, pass_rates
from selfchallenge.roles import Roles
from selfchallenge.runs.cost import Tick, timed
from selfchallenge.runs.store import RunDirectory, RunFiles
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict, content_hash

if TYPE_CHECKING:
    from selfchallenge.learner.attempts import Draw
    from selfchallenge.learner.training import StepRecord, TrainingReport

Pairs = Sequence[tuple[CodeAsTask, Verdict]]
"""Accepted tasks with their verdicts."""

MASTERED = 0.5
"""Pass rate from which on a task counts as covered when the next round's tasks are aimed."""


@dataclass
class Learning:
    """Rolls out and learns in a run directory."""

    run: RunDirectory
    environment: type[Environment]
    sandbox: Sandbox
    settings: RunSettings
    watch: Watch
    roles: Roles
    pairs: Callable[[], Pairs]
    means: Means = field(default_factory=Means)

    def roll_out(self) -> None:
        """Attempt every task several times; episodes are what the learner reads.

        Tasks that no attempt solved are then attempted with their example solution in view, when
        the settings ask for it and nobody tells the tasks. An online algorithm makes its attempts
        itself.
        """
        if self.settings.algorithm in ONLINE:
            self.watch.say(f"{self.settings.algorithm} makes its attempts as it learns")
            return
        if self.settings.learn_from:
            self.watch.say(f"learns from the attempts in {', '.join(self.settings.learn_from)}")
            return
        pairs = self._tasks()
        plain, hinted = self.settings.rollouts, self.settings.hinted
        if hinted and self.settings.user_model:
            self.watch.say("no attempt sees its solution: a user tells the tasks")
            hinted = 0
        self._stage("rollouts", [self._assign(pair, n) for n in range(plain) for pair in pairs])
        solved = {e.task for e in self._episodes() if e.reward == 1.0 and not e.meta.get(HINTED)}
        unsolved = [pair for pair in pairs if pair[0].id not in solved]
        again = range(plain, plain + hinted)
        self._stage(
            "hinted rollouts",
            [self._assign(pair, n, hinted=True) for n in again for pair in unsolved],
        )

    def train(self) -> None:
        """Learn from the attempts; `model/` appears when it is complete."""
        directory = self.run.path / "model"
        if (directory / "training.json").exists():
            return
        from selfchallenge.learner import parallel  # noqa: PLC0415 - torch

        self._require_attempts()
        if self.means.engine == "own":
            processes.require_plain("our own training step")
        stage: Stage | None = None
        with (
            parallel.joined(),
            timed(self.run, "train") as tick,
            tracking(self.means.report_to, self.run, self._identity()) as tell,
        ):

            def progress(record: StepRecord) -> None:
                nonlocal stage
                # The first step was taken before anybody looked at the clock.
                stage = stage or self.watch.stage("training", record.steps, record.step)
                tick()
                stage.update(record.step, f"loss {record.loss:.3f}")
                tell(record)

            report = self._learn(directory, progress, tick)
        if self.means.engine == "own":  # TRL leaves its own wrappers on the model
            self.roles.trained()
        left_out = "".join(f"; left out: {n} {why}" for why, n in report.dropped.items())
        steps = counted(len(report.steps), "step")
        self.watch.say(f"trained on {report.samples} attempts in {steps}{left_out}")
        if report.ended:
            self.watch.say(f"training ended early: {report.ended}")

    def _learn(
        self, directory: Path, progress: Callable[[StepRecord], None], tick: Tick
    ) -> TrainingReport:
        from selfchallenge.learner import dpo, grpo, ppo, rft, teaching  # noqa: PLC0415 - torch

        model, algorithm = self.roles.trainable(), self.settings.algorithm
        engine = self.means.engine
        if algorithm in ONLINE:
            pairs = self._tasks()
            tasks = [task.id for task, _ in pairs]
            online: Callable[..., TrainingReport] = ppo.train_ppo
            if algorithm == "grpo":
                online = partial(grpo.train_grpo, engine=engine)
            quality = self.settings.quality
            return online(
                model,
                tasks,
                self._maker(pairs, tick),
                directory,
                self._seeded(),
                temperature=self.settings.temperature,
                band=(quality.hardest, quality.easiest),
                progress=progress,
            )
        episodes = self._learnt_from()
        if algorithm == "distill":  # how often a teacher succeeds is no measure of the student
            taught = teaching.in_tokens_of(model.tokenizer, episodes)
            own = self._seeded()
            return rft.train_distill(model, taught, directory, own, progress, engine=engine)
        episodes = self._within_band(episodes)
        if algorithm == "dpo":
            own = self._seeded()
            return dpo.train_dpo(model, episodes, directory, own, progress, engine=engine)
        own = self._seeded()
        return rft.train_rft(model, episodes, directory, own, progress, engine=engine)

    def _maker(self, pairs: Pairs, tick: Tick) -> Callable[[Sequence[Draw]], list[list[Episode]]]:
        """Makes the attempts that an online algorithm asks for, with the model as it is by then.

        Each of several processes makes its share of them.
        """
        from selfchallenge.learner import parallel  # noqa: PLC0415 - torch

        known = {task.id: (task, verdict) for task, verdict in pairs}
        engine = self.means.engine
        # Another engine's policy is not this one, and what others spoilt is made again.
        recorded = {
            episode.key: episode
            for episode in self._episodes()
            if not fault_of_others(episode) and engine == episode.meta.get(ENGINE, "own")
        }
        executor = self.roles.attempting([task for task, _ in pairs])

        def make(draws: Sequence[Draw]) -> list[list[Episode]]:
            groups = [
                [self._assign(known[d.task], n) for n in range(d.first, d.first + d.count)]
                for d in draws
            ]
            wanted = [a for share in parallel.gathered(groups) for group in share for a in group]
            owed = list({_key(a): a for a in wanted if _key(a) not in recorded}.values())
            mine = owed[processes.rank() :: processes.count()]
            own = list(self._attempts(executor, mine, tick))
            for number, made in enumerate(parallel.gathered(own)):
                for episode in made:
                    recorded[episode.key] = episode
                    if number != processes.rank():
                        self.run.append("episodes.jsonl", episode)
                        tick(episode.completion_tokens)
            return [[recorded[_key(a)] for a in group] for group in groups]

        return make

    def _within_band(self, episodes: list[Episode]) -> list[Episode]:
        """The episodes of tasks that are neither too hard nor too easy for who attempted them."""
        hardest, easiest = self.settings.quality.hardest, self.settings.quality.easiest
        within = in_band(episodes, hardest, easiest)
        solved = [sum(e.reward == 1.0 for e in some) for some in (episodes, within)]
        if episodes and (not within or (solved[0] and not solved[1])):
            which = "no task that was solved has" if solved[0] else "no task has"
            raise StageError(
                f"{which} a pass rate between {hardest} and {easiest}",
                where="train",
                fix=f"selfchallenge train {self.run.path} --set quality.hardest=RATE, or "
                "quality.easiest alike; or begin a run with other tasks",
            )
        return within

    def _identity(self) -> str:
        """What the training depends on; an online one makes its episodes itself."""
        online = self.settings.algorithm in ONLINE
        made = [] if online else [episode.key for episode in self._learnt_from()]
        tasks = [task.id for task, _ in self.pairs()]
        settings = decisive(dataclasses.asdict(self.settings))
        return content_hash([settings, self.means.engine, tasks, made])

    def _learnt_from(self) -> list[Episode]:
        """The attempts that an offline algorithm learns from: own ones, or those of other runs."""
        sources = [RunFiles.view(folder) for folder in self.settings.learn_from]
        for source in sources:
            self._check_source(source)
        return [one for run in sources or [self.run] for one in run.read("episodes.jsonl", Episode)]

    def _check_source(self, source: RunFiles) -> None:
        """Refuse attempts in the tokens of another model; a teacher's are put into ours."""
        theirs = completed(source.read_json("run.json")["settings"])
        who = theirs["teacher_model"] or theirs["model"]
        if self.settings.algorithm != "distill" and who != self.settings.model:
            raise UsageError(
                f"its attempts were made by {who}, and {self.settings.model} is to be trained",
                where=str(source.path),
                fix="give runs of the same --model, or use --algorithm distill",
            )

    def _seeded(self) -> Any:
        """The algorithm's settings, with the seed of the run in theirs."""
        own = getattr(self.settings, self.settings.learner)
        return dataclasses.replace(own, seed=own.seed + self.settings.seed)

    def _tasks(self) -> Pairs:
        """The accepted tasks.

        Raises:
            StageError: there are none.
        """
        pairs = self.pairs()
        if not pairs:
            raise StageError(
                "this run has no accepted tasks yet",
                where=str(self.run.path),
                fix=f"selfchallenge challenge ENV --out {self.run.path}",
            )
        return pairs

    def _require_attempts(self) -> None:
        """Make sure that there is something to learn from, before a model is loaded."""
        if self.settings.learn_from:
            return
        self._tasks()
        if self.settings.algorithm not in ONLINE and not self._episodes():
            raise StageError(
                "no attempts have been made in this run yet",
                where=str(self.run.path),
                fix=f"selfchallenge rollout {self.run.path}",
            )

    def _episodes(self) -> list[Episode]:
        return self.run.read("episodes.jsonl", Episode)

    def _assign(
        self, pair: tuple[CodeAsTask, Verdict], attempt: int, *, hinted: bool = False
    ) -> Assignment:
        task, verdict = pair
        seed = attempt_seed(self.settings.seed, "rollout", task.id, attempt)
        return Assignment(task, verdict, attempt, seed, hinted=hinted)

    def _stage(self, name: str, assignments: Sequence[Assignment]) -> None:
        """Make the attempts that are owed: until there is a model, also those the sandbox ended."""
        trained = (self.run.path / "model").exists()
        episodes = {
            e.key: e for e in self._episodes() if trained or e.stop is not StopReason.SANDBOX
        }
        done = [episodes[key] for a in assignments if (key := _key(a)) in episodes]
        owed = [a for a in assignments if _key(a) not in episodes]
        if not owed:
            return
        stage = self.watch.stage(name, len(assignments), len(done))
        count, successes = len(done), sum(e.reward == 1.0 for e in done)
        model = self.roles.attempting([a.task for a in assignments])
        with timed(self.run, "rollout") as tick:
            for episode in self._attempts(model, owed, tick):
                done.append(episode)
                count, successes = count + 1, successes + (episode.reward == 1.0)
                stage.update(count, f"{successes} successes")
        if all(episode.stop is StopReason.SANDBOX for episode in done):
            raise SpoiltError(f"all {len(done)} attempts were ended by the sandbox", where=name)

    def _attempts(self, model: Model, owed: Iterable[Assignment], tick: Tick) -> Iterable[Episode]:
        """Make attempts, write each down with its reward, and hand it on."""
        owed = list(owed)
        made: Iterable[Episode] = rollout(
            model,
            owed,
            self.environment,
            self.sandbox,
            settings=self.settings.agent,
            temperature=self.settings.temperature,
            batch=self.settings.batch,
            ways=self.roles.ways(),
        )
        if self.settings.judged:
            told = {one.task.id: one.task.instruction for one in owed}
            how, batch = self.settings.judge, self.settings.batch
            made = judged(made, told, self.roles.judge(), how, batch=batch)
        engine = self.means.engine
        foreign = engine != "own" and self.settings.algorithm in ONLINE
        for one in made:
            meta = {**one.meta, ENGINE: engine}
            episode = one.model_copy(update={"meta": meta}) if foreign else one
            self.run.append("episodes.jsonl", episode)
            spent = episode.meta.get(JUDGED, {}).get("tokens", 0)
            tick(episode.completion_tokens + spent)
            yield episode


def mastered(run: RunFiles) -> tuple[list[Candidate], list[Candidate]]:
    """Candidates of a run by whether its executor solved them at least every other time, or seldom.

    None of either when a teacher made the attempts: they say nothing of the executor. Of an online
    training the last group of each task counts.
    """
    found: tuple[list[Candidate], list[Candidate]] = ([], [])
    settings = completed(run.read_json("run.json")["settings"])
    if settings["teacher_model"]:
        return found
    episodes, algorithm = run.read("episodes.jsonl", Episode), settings["algorithm"]
    if algorithm in ONLINE:
        episodes = latest(episodes, settings[algorithm]["group"])
    rates = pass_rates(episodes)
    for candidate in run.read("candidates.jsonl", Candidate):
        if candidate.task and candidate.task.id in rates:
            found[rates[candidate.task.id] < MASTERED].append(candidate)
    return found


def _key(assignment: Assignment) -> str:
    return f"train/{assignment.task.id}/{assignment.attempt}"
