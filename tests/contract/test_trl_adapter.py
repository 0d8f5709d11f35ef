"""`--engine trl`: TRL's own trainers take the steps that ours would, on the same tokens."""

import copy
import json
import random
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from trl_model import VOCABULARY, make_module, make_tokenizer

from selfchallenge.episode import Episode, StopReason, Turn
from selfchallenge.errors import MissingExtraError, StageError, UsageError
from selfchallenge.learner import adapters
from selfchallenge.learner.dpo import train_dpo
from selfchallenge.learner.grpo import train_grpo
from selfchallenge.learner.means import Means
from selfchallenge.learner.rft import train_rft
from selfchallenge.learner.settings import DpoSettings, GrpoSettings, PpoSettings, RftSettings

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'selfchallenge[train]'")
from selfchallenge.learner import trl_training  # noqa: E402 - imports TRL

COMMON = {"precision": "float32", "warmup": 3, "learning_rate": 1e-2, "checkpoint": 2, "rank": 4}
RFT = RftSettings(**COMMON, batch=4, epochs=3)
DPO = DpoSettings(**COMMON, batch=4, epochs=3, beta=0.3)
GRPO = GrpoSettings(**COMMON, iterations=2, tasks=2, group=4, max_length=64, kl=0.05)


class Tiny:
    """A model as the learner needs it, with a tokenizer that TRL takes."""

    name = "tiny"

    def __init__(self):
        self.module = make_module().eval().requires_grad_(False)
        self.tokenizer = make_tokenizer()

    def forget(self):
        """It keeps nothing."""


def drawn(draw, count):
    return tuple(draw.randrange(2, VOCABULARY) for _ in range(count))


def episode(task, attempt, reward, sampled=((3, 0), (4, 2))):
    """Turns of sampled tokens behind observations; attempts at a task begin alike."""
    own, turns = random.Random(f"{task}/{attempt}"), [Turn(role="user", content=task)]
    for number, (count, seen) in enumerate(sampled):
        before = drawn(random.Random(task), 12) if not number else drawn(own, seen)
        ids = before + drawn(own, count + attempt % 3)
        logprobs = (-1.0,) * (count + attempt % 3)
        turns.append(Turn(role="assistant", content="x", token_ids=ids, logprobs=logprobs))
    return Episode(
        phase="train",
        task=task,
        attempt=attempt,
        model="tiny",
        seed=0,
        turns=turns,
        stop=StopReason.ANSWER,
        reward=reward,
        passed=reward == 1.0,
    )


def episodes(*rewards):
    return [episode(task, n, reward) for task in "abcd" for n, reward in enumerate(rewards)]


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def assert_same_training(one, other, folders):
    assert one.losses == pytest.approx(other.losses, abs=1e-5)
    for mine, theirs in zip(one.steps, other.steps, strict=True):
        assert mine.norm == pytest.approx(theirs.norm, abs=1e-4)
        assert mine.learning_rate == pytest.approx(theirs.learning_rate)
        assert (mine.tokens, mine.step, mine.steps) == (theirs.tokens, theirs.step, theirs.steps)
        assert mine.learning_rate == theirs.learning_rate
        assert mine.figures.keys() == theirs.figures.keys()
        if mine.step > 1:  # before the first step nothing is preferred but by rounding
            assert mine.figures == pytest.approx(theirs.figures, abs=1e-5)
    for name in ("samples", "tasks", "parameters"):
        assert getattr(one, name) == getattr(other, name)
    first, second = map(weights, folders)
    assert first.keys() == second.keys()
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-4


def test_sft_steps_are_ours(tmp_path):
    one = train_rft(Tiny(), episodes(1.0), tmp_path / "own", RFT)
    other = train_rft(Tiny(), episodes(1.0), tmp_path / "trl", RFT, engine="trl")
    assert_same_training(one, other, (tmp_path / "own", tmp_path / "trl"))
    assert not (tmp_path / "trl.partial").exists()
    assert {p.name for p in (tmp_path / "own").iterdir()} == {
        p.name for p in (tmp_path / "trl").iterdir()
    }


@pytest.mark.parametrize("rank", [4, 0])
def test_weights_loaded_in_bfloat16_are_trained_in_float32_where_that_is_asked_for(tmp_path, rank):
    """As a GPU loads them; TRL multiplies in what it finds."""
    found = []
    for engine in ("own", "trl"):
        model = Tiny()
        for parameter in model.module.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        settings = replace(RFT, rank=rank)
        report = train_rft(model, episodes(1.0), tmp_path / engine, settings, engine=engine)
        found.append((report.losses, report.precision))
    assert found[0][1] == found[1][1] == "float32"
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)


def test_sft_with_micro_batches_is_the_same(tmp_path):
    one = train_rft(Tiny(), episodes(1.0), tmp_path / "own", RFT)
    cut = RftSettings(**COMMON, batch=4, epochs=3, micro_tokens=50)
    other = train_rft(Tiny(), episodes(1.0), tmp_path / "trl", cut, engine="trl")
    assert one.losses == pytest.approx(other.losses, abs=1e-5)


def test_policies_of_earlier_steps_are_refused_and_not_left_out_in_silence(tmp_path):
    keeping = RftSettings(**COMMON, batch=4, epochs=3, keep=1)
    with pytest.raises(UsageError, match="keep no policies of earlier steps"):
        train_rft(Tiny(), episodes(1.0), tmp_path / "trl", keeping, engine="trl")
    assert not (tmp_path / "trl").exists()


def test_dpo_steps_are_ours_and_observations_count_for_nothing(tmp_path):
    one = train_dpo(Tiny(), episodes(1.0, 0.0), tmp_path / "own", DPO)
    other = train_dpo(Tiny(), episodes(1.0, 0.0), tmp_path / "trl", DPO, engine="trl")
    assert_same_training(one, other, (tmp_path / "own", tmp_path / "trl"))


@pytest.mark.parametrize("train", ["rft", "dpo"])
def test_all_weights_too(tmp_path, train):
    full = {**COMMON, "rank": 0, "batch": 4, "epochs": 2}
    losses = []
    for engine in ("own", "trl"):
        if train == "rft":
            report = train_rft(
                Tiny(), episodes(1.0), tmp_path / engine, RftSettings(**full), engine=engine
            )
        else:
            report = train_dpo(
                Tiny(), episodes(1.0, 0.0), tmp_path / engine, DpoSettings(**full), engine=engine
            )
        losses.append(report.losses)
        assert (tmp_path / engine / "model.safetensors").exists()
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_training_of_trl_that_is_stopped_goes_on(tmp_path):
    whole = train_rft(Tiny(), episodes(1.0), tmp_path / "whole", RFT, engine="trl")

    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_rft(Tiny(), episodes(1.0), tmp_path / "cut", RFT, stop, engine="trl")
    told = []
    again = train_rft(Tiny(), episodes(1.0), tmp_path / "cut", RFT, told.append, engine="trl")
    assert again.resumed == 2
    assert [record.step for record in told] == [3]
    assert again.losses == whole.losses
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert train_rft(Tiny(), episodes(1.0), tmp_path / "cut", RFT, engine="trl").resumed == 3


def test_a_loss_of_nan_ends_the_training_and_keeps_the_checkpoint(tmp_path):
    model = Tiny()

    def poison(record):
        if record.step == 2:
            model.module.get_output_embeddings().weight.data.fill_(float("nan"))

    with pytest.raises(StageError, match="training diverged") as error:
        train_rft(model, episodes(1.0), tmp_path / "model", RFT, poison, engine="trl")
    assert "learning rate" in error.value.fix
    (kept,) = (tmp_path / "model.partial").glob("trl-*/checkpoint-*")
    assert kept.name == "checkpoint-2"
    assert not (tmp_path / "model").exists()


class Attempts:
    """Attempts of which every other one succeeds; remembers what was asked for."""

    def __init__(self, spoilt=()):
        self.asked, self.spoilt = [], spoilt

    def __call__(self, draws):
        return [[self.made(d.task, n) for n in range(d.first, d.first + d.count)] for d in draws]

    def made(self, task, attempt):
        self.asked.append((task, attempt))
        ended = {"stop": StopReason.SANDBOX} if attempt in self.spoilt else {}
        return episode(task, attempt, self.reward(task, attempt)).model_copy(update=ended)

    def reward(self, task, attempt):
        return float(attempt % 2)


class SomeAlike(Attempts):
    """At `a`, and at `b` on the first lap, all attempts come out alike."""

    def reward(self, task, attempt):
        alike = task == "a" or (task == "b" and attempt < GRPO.group)
        return float(task == "a") if alike else super().reward(task, attempt)


def seen_by_the_loss(monkeypatch):
    """The inputs of every loss that TRL computes."""
    import trl

    usual, seen = trl.GRPOTrainer._compute_loss, []

    def compute(self, model, inputs):
        seen.append({k: v.clone() for k, v in inputs.items() if torch.is_tensor(v)})
        return usual(self, model, inputs)

    monkeypatch.setattr(trl.GRPOTrainer, "_compute_loss", compute)
    return seen


def test_grpo_learns_from_our_attempts_with_our_masks(tmp_path, monkeypatch):
    seen, attempts, model = seen_by_the_loss(monkeypatch), Attempts(), Tiny()
    report = train_grpo(model, ["a", "b", "c"], attempts, tmp_path / "model", GRPO, engine="trl")
    # Every attempt of every group is made once, under its own number.
    assert len(attempts.asked) == len(set(attempts.asked)) == 16
    made = [episode(task, n, float(n % 2)) for task, n in attempts.asked]
    expected, found = [], []
    for attempt in made:
        ids = [i for turn in attempt.turns for i in turn.token_ids]
        mask = [int(m) for turn in attempt.turns for m in turn.mask]
        first = mask.index(1)
        expected.append((ids[:first], ids[first:], mask[first:], attempt.reward == 1.0))
    for batch in seen:
        for row in range(len(batch["completion_ids"])):
            within = batch["completion_mask"][row].bool()
            found.append(
                (
                    batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist(),
                    batch["completion_ids"][row][within].tolist(),
                    batch["tool_mask"][row][within].tolist(),
                    bool(batch["advantages"][row] > 0),
                )
            )
    assert sorted(found) == sorted(expected)  # TRL shuffles the rows of a batch
    assert report.samples == 16
    assert [record.figures["reward"] for record in report.steps] == [0.5, 0.5]
    assert [record.figures["groups"] for record in report.steps] == [2, 2]
    tokens = sum(len(turn.logprobs) for e in made for turn in e.turns)
    assert report.tokens == tokens
    assert max(p.abs().max() for n, p in weights(tmp_path / "model").items() if "lora_B" in n) > 0


@pytest.fixture
def uncorrected(monkeypatch):
    """TRL does not weigh tokens by what sampling and training disagree about."""
    alike = "selfchallenge.learner.online.mismatch_weights"
    monkeypatch.setattr(alike, lambda old, *_: torch.ones_like(old))


@pytest.mark.usefixtures("uncorrected")
@pytest.mark.parametrize("kind", [Attempts, SomeAlike])
def test_grpo_steps_are_ours(tmp_path, kind):
    """The same attempts, whatever the model says; groups that came out alike are replaced."""
    twice = GrpoSettings(**COMMON, iterations=2, updates=2, tasks=2, group=4, kl=0.05)
    one, other = kind(), kind()
    own = train_grpo(Tiny(), list("abcd"), one, tmp_path / "own", twice)
    trl = train_grpo(Tiny(), list("abcd"), other, tmp_path / "trl", twice, engine="trl")
    assert one.asked == other.asked
    # Rounding grows from step to step.
    assert own.losses[:2] == pytest.approx(trl.losses[:2], abs=1e-5)
    assert own.losses == pytest.approx(trl.losses, abs=1e-3)
    for mine, theirs in zip(own.steps, trl.steps, strict=True):
        # TRL tells the mean over pieces of the batch, which have more and fewer tokens.
        shared = {name: mine.figures[name] for name in theirs.figures}
        assert shared == pytest.approx(theirs.figures, abs=1e-3, rel=0.1)
        assert mine.figures.keys() - shared.keys() == {"mismatch", "moved"}
        assert (mine.tokens, mine.learning_rate) == (theirs.tokens, theirs.learning_rate)
    assert (own.samples, own.tasks) == (trl.samples, trl.tasks)
    first, second = weights(tmp_path / "own"), weights(tmp_path / "trl")
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-3


@pytest.mark.usefixtures("uncorrected")
def test_groups_outside_the_band_are_not_learnt_from_by_either(tmp_path):
    """Of five groups of four, those with one success are too hard."""

    class Uneven(Attempts):
        def reward(self, task, attempt):
            return float(attempt % 4 < (1 if task in "ab" else 2))

    settings = GrpoSettings(**COMMON, iterations=2, tasks=2, group=4, draws=3, max_length=64)
    found = [
        train_grpo(
            Tiny(), list("abcd"), Uneven(), tmp_path / engine, settings,
            band=(0.3, 1.0), engine=engine,
        )
        for engine in ("own", "trl")
    ]  # fmt: skip
    assert found[0].losses == pytest.approx(found[1].losses, abs=1e-4)
    for report in found:
        assert {record.figures["groups"] for record in report.steps} == {2}
        assert report.steps[-1].figures["place"] > 4


def test_a_training_of_trl_that_finds_nothing_more_ends_with_its_model(tmp_path):
    class Solved(Attempts):
        """All tasks are solved every time from the second lap on."""

        def reward(self, task, attempt):
            return 1.0 if attempt >= GRPO.group else super().reward(task, attempt)

    settings = GrpoSettings(**COMMON, iterations=4, tasks=2, group=4, max_length=64)
    report = train_grpo(Tiny(), ["a", "b"], Solved(), tmp_path / "model", settings, engine="trl")
    assert len(report.steps) == 1
    assert "came out alike" in report.ended
    assert json.loads((tmp_path / "model" / "training.json").read_text())["ended"] == report.ended
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()


def test_a_training_of_trl_on_attempts_that_is_stopped_goes_on(tmp_path):
    """Attempts go on behind those that were made, refilled ones too."""
    settings = GrpoSettings(**COMMON | {"checkpoint": 1}, iterations=3, tasks=2, group=4, kl=0.05)
    whole = SomeAlike()
    alone = train_grpo(Tiny(), list("abcd"), whole, tmp_path / "a", settings, engine="trl")

    def stop(record):
        if record.step == 2:
            raise KeyboardInterrupt

    first, second = SomeAlike(), SomeAlike()
    run = [Tiny(), list("abcd")], {"engine": "trl"}
    with pytest.raises(KeyboardInterrupt):
        train_grpo(*run[0], first, tmp_path / "b", settings, progress=stop, **run[1])
    other = train_grpo(Tiny(), list("abcd"), second, tmp_path / "b", settings, engine="trl")
    assert other.resumed == 1
    assert second.asked == whole.asked[-len(second.asked) :]
    assert alone.losses == pytest.approx(other.losses, abs=1e-5)


def test_an_attempt_that_the_sandbox_ended_counts_for_nothing(tmp_path, monkeypatch):
    seen = seen_by_the_loss(monkeypatch)
    once = GrpoSettings(**COMMON, iterations=1, tasks=1, group=4, max_length=64)
    attempts = Attempts(spoilt=(1,))
    report = train_grpo(Tiny(), ["a"], attempts, tmp_path / "model", once, engine="trl")
    (record,) = report.steps
    assert (record.figures["attempts"], record.figures["untrainable"]) == (3, 1)
    assert report.dropped == {"spoilt, without tokens or too long": 1}
    learnt = [int((batch["tool_mask"] * batch["completion_mask"]).sum()) for batch in seen]
    assert sum(learnt) == record.tokens
    # Of the other three one succeeded; they are compared with each other alone.
    low, same, none, high = sorted(torch.cat([b["advantages"] for b in seen]).tolist())
    assert low == pytest.approx(same)
    assert none == 0
    assert high == pytest.approx(-2 * low)


def test_a_reference_of_all_weights_cannot_be_had(tmp_path):
    full = GrpoSettings(**COMMON | {"rank": 0}, kl=0.1)
    with pytest.raises(UsageError, match="by its name") as error:
        train_grpo(Tiny(), ["a"], Attempts(), tmp_path / "model", full, engine="trl")
    assert "grpo.kl = 0" in error.value.fix


def test_a_tokenizer_that_is_none_of_transformers_is_refused(tmp_path):
    model = Tiny()
    model.tokenizer = object()
    with pytest.raises(StageError, match="tokenizer") as error:
        train_rft(model, episodes(1.0), tmp_path / "model", RFT, engine="trl")
    assert "--engine own" in error.value.fix


def test_what_trl_cannot_do_is_said_before_anything_runs(monkeypatch):
    with pytest.raises(UsageError, match="no PPO"):
        Means(engine="trl").check("ppo", PpoSettings())
    with pytest.raises(UsageError, match="no policies of earlier steps"):
        Means(engine="trl").check("rft", replace(RFT, keep=2))
    with pytest.raises(UsageError, match="by its name"):
        Means(engine="trl").check("grpo", replace(GRPO, rank=0))
    with pytest.raises(UsageError, match="no such engine"):
        Means(engine="verl").check("rft", RFT)
    monkeypatch.setattr("selfchallenge.learner.means.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as error:
        Means(engine="trl").check("rft", RFT)
    assert error.value.fix == 'pip install "selfchallenge[train]"'


def test_training_json_has_the_steps(tmp_path):
    train_dpo(Tiny(), episodes(1.0, 0.0), tmp_path / "model", DPO, engine="trl")
    found = json.loads((tmp_path / "model" / "training.json").read_text())
    assert [step["step"] for step in found["steps"]] == [1, 2, 3]
    assert all(step["seconds"] > 0 for step in found["steps"])


def test_groups_of_one_class_say_what_to_change(tmp_path):
    def alike(draws):
        return [[episode(d.task, d.first + n, 0.0) for n in range(d.count)] for d in draws]

    with pytest.raises(StageError, match="came out alike") as error:
        train_grpo(Tiny(), ["a", "b"], alike, tmp_path / "model", GRPO, engine="trl")
    assert "grpo.group" in error.value.fix


@pytest.mark.parametrize("engine", ["own", "trl"])
@pytest.mark.parametrize("spoiling", ["sandbox", "length"])
def test_attempts_of_which_none_can_be_learnt_from_end_the_training(tmp_path, engine, spoiling):
    """Also later than at first, when a model is there that could be taken for the result.

    Attempts that grew too long are the policy's own doing; there it ends with its model.
    """
    size = {"iterations": 3, "tasks": 2, "group": 4, "draws": 1, "max_length": 64}
    settings = GrpoSettings(**COMMON, **size)
    rounds = []

    def attempts(draws):
        rounds.append(draws)
        spoilt = len(rounds) > 1
        change = {"stop": StopReason.SANDBOX} if spoilt and spoiling == "sandbox" else {}
        longer = spoilt and spoiling == "length"
        sampled = ((60, 0), (60, 2)) if longer else ((3, 0), (4, 2))
        return [
            [
                episode(d.task, n, float(n % 2), sampled).model_copy(update=change)
                for n in range(d.first, d.first + d.count)
            ]
            for d in draws
        ]

    folder = tmp_path / "model"
    train = partial(train_grpo, Tiny(), ["a", "b"], attempts, folder, settings, engine=engine)
    if spoiling == "length":
        report = train()
        assert len(report.steps) == 1
        assert "longer than 64 tokens" in report.ended
        return
    why = "none of 8 attempts .* can be learnt from: 8 ended by the sandbox"
    with pytest.raises(StageError, match=why):
        train()
    assert len(rounds) == 2
    assert not folder.exists()


# -- what only sharded trainings and several GPUs do, as far as it can be had without them ---------


class Plugin:
    """What accelerate knows of DeepSpeed."""

    def __init__(self, **config):
        self.deepspeed_config = config


def test_deepspeed_puts_whole_weights_together():
    plugin = Plugin(zero_optimization={"stage": 3})
    trl_training._configure_deepspeed(plugin)
    gathers = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
    assert plugin.deepspeed_config["zero_optimization"] == gathers
    trl_training._configure_deepspeed(None)  # without DeepSpeed


def test_a_scheduler_of_deepspeed_s_is_refused():
    with pytest.raises(UsageError, match="stand in for the warm-up"):
        trl_training._configure_deepspeed(Plugin(scheduler={"type": "WarmupLR"}))


def test_a_copy_of_the_trainer_makes_a_scheduler_of_its_own():
    """As DeepSpeed asks for it, once the trainer's own is a stand-in."""
    trainer = trl_training.Warmed()
    trainer.warmup = 4
    trainer.lr_scheduler, trainer.optimizer = object(), None
    beside = copy.copy(trainer)
    beside.lr_scheduler = None
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = beside.create_scheduler(num_training_steps=9, optimizer=optimizer)
    rates = []
    for _ in range(6):
        rates += made.get_last_lr()
        optimizer.step()
        made.step()
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert trainer.create_scheduler(9) is trainer.lr_scheduler


def test_one_process_takes_one_of_several_gpus(tmp_path, monkeypatch):
    config = trl.SFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    monkeypatch.setattr(type(config), "n_gpu", property(lambda self: self._n_gpu))
    config._n_gpu = 8
    assert trl_training.on_one_device(config).train_batch_size == config.per_device_train_batch_size


def test_a_model_whose_weights_were_not_put_together_is_not_published(tmp_path, monkeypatch):
    settings = replace(RFT, checkpoint=1)
    with monkeypatch.context() as patch:
        patch.setattr(adapters, "save", lambda _, folder: folder.mkdir())
        with pytest.raises(StageError, match="could not be put together"):
            train_rft(Tiny(), episodes(1.0), tmp_path / "model", settings, engine="trl")
    assert not (tmp_path / "model").exists()
    report = train_rft(Tiny(), episodes(1.0), tmp_path / "model", settings, engine="trl")
    assert report.resumed == len(report.steps)
    assert weights(tmp_path / "model")


def test_an_adapter_finds_its_base_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/tiny").mkdir(parents=True)
    for engine in ("own", "trl"):
        model = Tiny()
        model.name = "models/tiny"
        train_rft(model, episodes(1.0), tmp_path / engine, RFT, engine=engine)
        named = json.loads((tmp_path / engine / "adapter_config.json").read_text())
        assert named["base_model_name_or_path"] == str(tmp_path / "models/tiny")
