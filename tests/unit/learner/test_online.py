import json
import math
from dataclasses import replace

import pytest
import torch
from policy import Sampler, chance_of_success
from tiny_learner import VOCABULARY, TinyModel, make_episode

from selfchallenge.episode import USER_FAULT, StopReason
from selfchallenge.errors import StageError, UsageError
from selfchallenge.learner import adapters, online
from selfchallenge.learner.attempts import Draw, draw, noted
from selfchallenge.learner.grpo import Grpo, train_grpo
from selfchallenge.learner.losses import mismatch_weights, nll, value_loss
from selfchallenge.learner.packing import pack
from selfchallenge.learner.ppo import Ppo, ValueHead, train_ppo
from selfchallenge.learner.settings import GrpoSettings, PpoSettings
from selfchallenge.learner.step import evaluate, sequence_logprobs, training, update
from selfchallenge.settings import preset

TASKS = ["a", "b", "c", "d"]
COMMON = {
    "iterations": 3,
    "tasks": 3,
    "group": 4,
    "learning_rate": 1e-2,
    "warmup": 0,
    "precision": "float32",
}
GRPO, PPO = GrpoSettings(**COMMON), PpoSettings(**COMMON)
BOTH = pytest.mark.parametrize(
    ("train", "settings"), [(train_grpo, GRPO), (train_ppo, PPO)], ids=["grpo", "ppo"]
)


def begun(kind, settings, temperature=1.0, expected=0.0):
    """An algorithm that has begun on a fresh model, and the first batch that it made.

    `expected` is what a value head expects before every token.
    """
    model = TinyModel()
    algorithm = kind(model, TASKS, Sampler(model), settings, temperature)
    adapted = adapters.attach(model.module, "tiny", settings.rank, settings.alpha, 0)
    beside = algorithm.begin(adapted, torch.float32)
    if expected:
        beside["value_head.bias"].data.fill_(expected)
    (batch,) = algorithm.batches([])
    return model, algorithm, batch, adapters.trained_parameters(adapted) | beside


def gradients(model, parameters, compute):
    with training(model.module, torch.float32):
        compute()
    return {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}


def weights(model):
    return [p.clone() for p in model.module.parameters()]


@BOTH
def test_what_is_rewarded_becomes_more_frequent(tmp_path, train, settings):
    model = TinyModel()
    before = chance_of_success(model, TASKS)
    longer = replace(settings, iterations=12, group=6, learning_rate=3e-2)
    report = train(model, TASKS, Sampler(model), tmp_path / "model", longer)
    assert chance_of_success(model, TASKS) > before + 0.15
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    assert report.samples == sum(record.figures["attempts"] for record in report.steps)


@BOTH
@pytest.mark.parametrize("rank", [16, 0])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, train, settings, rank):
    settings = replace(settings, rank=rank, updates=2, checkpoint=2, iterations=4, kl=0.1)
    one = TinyModel()
    whole = train(one, TASKS, Sampler(one), tmp_path / "whole", settings)

    def stop(record):
        if record.step == 7:
            raise KeyboardInterrupt

    two = TinyModel()
    with pytest.raises(KeyboardInterrupt):
        train(two, TASKS, Sampler(two), tmp_path / "cut", settings, progress=stop)
    three = TinyModel()
    again = train(three, TASKS, Sampler(three), tmp_path / "cut", settings)
    assert again.resumed == 4
    assert again.losses == whole.losses
    assert again.samples == whole.samples
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(three), strict=True))


@BOTH
@pytest.mark.parametrize("rank", [16, 0])
def test_policies_kept_on_the_way_are_those_of_shorter_trainings(tmp_path, train, settings, rank):
    settings = replace(settings, rank=rank, updates=2, checkpoint=3, iterations=5, keep=2)

    def stop(record):
        if record.step == 9:  # after both were kept, before the second checkpoint
            raise KeyboardInterrupt

    (tmp_path / "cut.steps/1").mkdir(parents=True)  # of an earlier training
    one, two = TinyModel(), TinyModel()
    with pytest.raises(KeyboardInterrupt):
        train(one, TASKS, Sampler(one), tmp_path / "cut", settings, progress=stop)
    report = train(two, TASKS, Sampler(two), tmp_path / "cut", settings)
    assert report.resumed == 6
    assert sorted(folder.name for folder in (tmp_path / "cut.steps").iterdir()) == ["2", "4"]
    assert (tmp_path / "cut.steps.before/1").is_dir()
    for rounds in (2, 4):
        shorter, kept = TinyModel(), TinyModel()
        alone = replace(settings, iterations=rounds, keep=0)
        train(shorter, TASKS, Sampler(shorter), tmp_path / f"{rounds}", alone)
        adapters.restore(kept.module, tmp_path / f"cut.steps/{rounds}")
        assert all(torch.equal(a, b) for a, b in zip(weights(kept), weights(shorter), strict=True))
        told = json.loads((tmp_path / f"cut.steps/{rounds}/training.json").read_text())
        assert len(told["steps"]) == 2 * rounds


@BOTH
def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path, train, settings):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = TinyModel()
        train(model, TASKS, Sampler(model), tmp_path / name, replace(settings, seed=seed))
        found.append(torch.cat([p.flatten() for p in weights(model)]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(("kind", "settings"), [(Grpo, GRPO), (Ppo, PPO)])
def test_log_probabilities_recomputed_from_the_ids_are_those_that_were_sampled(kind, settings):
    _, _, batch, _ = begun(kind, settings)
    for attempted in batch:
        sampled = torch.tensor(attempted.sample.logprobs)
        assert torch.allclose(attempted.old, sampled, atol=1e-5)
        assert torch.allclose(attempted.reference, sampled, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [*((Grpo, replace(GRPO, loss=loss)) for loss in ("grpo", "dr_grpo", "dapo")), (Ppo, PPO)],
)
def test_micro_batches_of_one_give_the_gradients_of_one_batch(kind, settings):
    settings = replace(settings, kl=0.1)
    found = []
    for micro_tokens in (10_000, 2):
        cut = replace(settings, micro_tokens=micro_tokens)
        model, algorithm, batch, parameters = begun(kind, cut)
        found.append(gradients(model, parameters, lambda a=algorithm, b=batch: a.gradients(b)))
    for name, whole in found[0].items():
        assert (whole - found[1][name]).abs().max() <= 1e-5 * whole.abs().max() + 1e-8


@pytest.mark.parametrize(("kind", "settings"), [(Grpo, GRPO), (Ppo, PPO)])
def test_advantages_of_zero_leave_the_weights_alone(kind, settings):
    settings = replace(settings, kl=0.0)
    if kind is Ppo:
        settings = replace(settings, value=0.0)
    model, algorithm, batch, parameters = begun(kind, settings)
    idle = [replace(a, advantages=torch.zeros_like(a.advantages)) for a in batch]
    before = {name: p.clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), weight_decay=0.0)
    with training(model.module, torch.float32):
        found = algorithm.gradients(idle)
        update(optimizer, 0.1, 1.0, found.loss)
    assert all(torch.equal(before[name], p) for name, p in parameters.items())


@pytest.mark.parametrize("constant", [0.0, 0.25])
def test_ppo_with_lambda_one_and_a_constant_value_is_reinforce(constant):
    settings = replace(PPO, kl=0.0, value=0.0, whiten=False)
    model, algorithm, batch, parameters = begun(Ppo, settings, expected=constant)
    ppo = gradients(model, parameters, lambda: algorithm.gradients(batch))

    # A token's advantage is the reward of its attempt less the baseline.
    rewarded = [replace(a.sample, weight=float(a.returns[-1]) - constant) for a in batch]
    assert {sample.weight for sample in rewarded} == {-constant, 1.0 - constant}
    packed = pack(rewarded)
    count = sum(sample.trained for sample in rewarded)
    for parameter in parameters.values():
        parameter.grad = None

    def reinforce():
        nll(sequence_logprobs(model.module, packed), packed.weights, count).backward()

    expected = gradients(model, parameters, reinforce)
    for name, gradient in expected.items():
        assert torch.allclose(ppo[name], gradient, atol=1e-6)


def test_the_value_head_learns_what_is_to_come():
    settings = replace(PPO, value=1.0, kl=0.0)
    model, algorithm, batch, parameters = begun(Ppo, settings)
    still = [replace(a, advantages=torch.zeros_like(a.advantages)) for a in batch]
    optimizer = torch.optim.AdamW(parameters.values(), weight_decay=0.0)
    losses = []
    with training(model.module, torch.float32):
        for _ in range(8):
            found = algorithm.gradients(still)
            losses.append(found.figures["value_loss"])
            update(optimizer, 0.02, 10.0, found.loss)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", ["laptop", "paper"])
@pytest.mark.parametrize("width", [896, 4096])
def test_the_value_head_gets_to_what_is_usual_within_the_rounds_of_a_preset(name, width):
    """States of a model are alike for the most part; here half of each is."""
    settings = preset(name).ppo
    draw = torch.Generator().manual_seed(0)
    shared = torch.randn(width, generator=draw)
    head = ValueHead(width)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.0)
    for _ in range(settings.iterations * settings.updates):
        states = shared + torch.randn(64, width, generator=draw)
        old = head(states).detach()
        returns = torch.full((64,), 0.4)
        loss = value_loss(head(states), old, returns, settings.clip_value).mean()
        (settings.value * loss).backward()
        update(optimizer, settings.value_learning_rate, settings.clip, loss.item())
    assert float(old.mean()) > 0.3


@pytest.mark.parametrize(("kind", "settings"), [(Grpo, GRPO), (Ppo, PPO)])
def test_figures_are_means_over_tokens_however_the_batch_is_cut(kind, settings):
    settings = replace(settings, kl=0.1)
    found = []
    for micro_tokens in (10_000, 2):
        cut = replace(settings, micro_tokens=micro_tokens, mismatch=0.5)
        model, algorithm, batch, _ = begun(kind, cut)
        apart = [replace(a, reference=a.old - 0.2, old=a.old + 0.1) for a in batch]
        with training(model.module, torch.float32):
            first = algorithm.gradients(apart).figures
            found.append(algorithm.gradients(apart).figures)
        assert first["moved"] == first["clipped"] == 0  # it is the policy that sampled
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    divergence = 0.2 if kind is Ppo else math.exp(-0.2) + 0.2 - 1
    assert found[0]["kl"] == pytest.approx(divergence, abs=1e-4)
    assert found[0]["moved"] == pytest.approx(math.exp(-0.1) + 0.1 - 1, abs=1e-4)
    assert found[0]["mismatch"] == pytest.approx(0, abs=1e-5)
    assert 0 < found[0]["entropy"] <= math.log(VOCABULARY)
    assert 0 <= found[0]["clipped"] <= 1


def test_how_far_sampling_and_training_are_apart_is_told():
    _, algorithm, _, _ = begun(Grpo, GRPO)
    (said, *_) = algorithm._say(algorithm.collect(0).groups)
    assert noted(said)["mismatch"] == pytest.approx(0, abs=1e-5)
    apart = [replace(said[0], old=said[0].old + 0.3), replace(said[1], old=said[1].old - 0.3)]
    assert noted(apart)["mismatch"] == pytest.approx(0.3, abs=1e-5)


def test_each_token_pays_for_its_divergence():
    settings = replace(PPO, kl=0.5, whiten=False)
    _, algorithm, _, _ = begun(Ppo, settings)
    (said,) = algorithm._say(algorithm.collect(0).groups)[:1]
    apart = [replace(one, reference=one.old - 0.2, reward=1.0) for one in said]
    for attempted in algorithm.credit([apart]):
        count = len(attempted.old)
        left = torch.arange(count, 0, -1)
        assert torch.allclose(attempted.returns, 1.0 - 0.5 * 0.2 * left, atol=1e-5)


def test_groups_of_one_class_are_replaced_and_a_fixed_number_is_tried():
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        groups = sampler(draws)
        return [
            [e.model_copy(update={"reward": 0.0}) for e in g] if g[0].task in "ab" else g
            for g in groups
        ]

    algorithm = Grpo(model, TASKS, attempts, replace(GRPO, tasks=2, group=8, draws=6), 1.0)
    found = algorithm.collect(0)
    assert len(found.groups) == 2
    assert found.tried == found.place > 2
    assert {sample.task for group in found.groups for sample, _ in group} <= {"c", "d"}
    assert len(found.rewards) == 8 * found.tried
    assert all(len({reward for _, reward in group}) == 2 for group in found.groups)


@pytest.mark.parametrize(("reward", "fix"), [(0.0, "easier tasks"), (1.0, "harder tasks")])
def test_groups_of_one_class_say_what_to_change(tmp_path, reward, fix):
    model = TinyModel()
    with pytest.raises(StageError, match="36 groups all attempts came out alike") as error:
        train_grpo(model, TASKS, Sampler(model, lambda _: reward), tmp_path / "model", GRPO)
    assert fix in error.value.fix


@BOTH
def test_rounds_without_anything_to_learn_from_are_no_steps(tmp_path, train, settings):
    model = TinyModel()
    sampler = Sampler(model)
    rounds = []

    def attempts(draws):
        rounds.append(len(draws))
        groups = sampler(draws)
        unlucky = len(rounds) in (1, 2, 4, 5)
        longer = [(tuple(range(40)), 4000)]
        return [
            [make_episode(e.task, e.attempt, 0.0, parts=longer) if unlucky else e for e in group]
            for group in groups
        ]

    once = {"draws": 1} if train is train_grpo else {}
    report = train(
        model, TASKS, attempts, tmp_path / "model", replace(settings, iterations=8, **once)
    )
    assert len(rounds) == 8
    assert len(report.steps) == 4
    assert "rounds with nothing to learn from were no steps" in report.ended
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()


@BOTH
def test_a_policy_whose_attempts_grew_too_long_ends_the_training_with_its_model(
    tmp_path, train, settings
):
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        longer = [(tuple(range(40)), 4000)]
        grown = len(sampler.made) >= 2 * 12
        return [
            [make_episode(e.task, e.attempt, e.reward, parts=longer) if grown else e for e in group]
            for group in sampler(draws)
        ]

    report = train(model, TASKS, attempts, tmp_path / "model", replace(settings, iterations=8))
    assert 0 < len(report.steps) < 8
    assert "longer than 512 tokens" in report.ended
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()


def test_a_policy_that_has_learnt_all_ends_the_training_with_its_model(tmp_path):
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        done = len(sampler.made) >= 24
        groups = sampler(draws)
        return (
            [[e.model_copy(update={"reward": 1.0}) for e in g] for g in groups] if done else groups
        )

    report = train_grpo(model, TASKS, attempts, tmp_path / "model", replace(GRPO, iterations=9))
    assert 0 < len(report.steps) < 9
    assert "came out alike" in report.ended
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()


@BOTH
def test_a_checkpoint_of_another_training_is_set_aside(tmp_path, train, settings):
    model, seen = TinyModel(), []

    def stop(record):
        if record.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, TASKS, Sampler(model), tmp_path / "m", settings, progress=stop)

    def look(_):
        seen.append((tmp_path / "m.partial/state.pt.before").exists())

    other = replace(settings, learning_rate=settings.learning_rate / 2)
    report = train(model, TASKS, Sampler(model), tmp_path / "m", other, progress=look)
    assert report.resumed == 0
    assert all(seen)


@BOTH
def test_a_sandbox_that_dies_is_no_end_of_learning(tmp_path, train, settings):
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        dead = len(sampler.made) >= 2 * 12
        spoilt = {"stop": StopReason.SANDBOX, "reward": 0.0} if dead else {}
        return [[e.model_copy(update=spoilt) for e in group] for group in sampler(draws)]

    settings = replace(settings, iterations=6)
    with pytest.raises(StageError, match=r"can be learnt from: .* ended by the sandbox") as error:
        train(model, TASKS, attempts, tmp_path / "model", settings)
    assert "doctor" in error.value.fix
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "model.partial" / "state.pt").exists()


@BOTH
def test_a_sandbox_that_dies_after_an_empty_round_is_none_either(tmp_path, train, settings):
    model = TinyModel()
    sampler, rounds = Sampler(model), []

    def attempts(draws):
        rounds.append(draws)
        longer = [(tuple(range(40)), 4000)]
        dead = {"stop": StopReason.SANDBOX, "reward": 0.0}
        return [
            [
                e.model_copy(update=dead)
                if len(rounds) > 2
                else make_episode(e.task, e.attempt, 0.0, parts=longer)
                if len(rounds) == 2
                else e
                for e in group
            ]
            for group in sampler(draws)
        ]

    once = {"draws": 1} if train is train_grpo else {}
    with pytest.raises(StageError, match="ended by the sandbox"):
        train(model, TASKS, attempts, tmp_path / "model", replace(settings, iterations=6, **once))
    assert len(rounds) == 3


def test_one_attempt_that_others_spoilt_does_not_make_an_empty_round_the_last(tmp_path):
    model = TinyModel()
    sampler, rounds = Sampler(model), []

    def attempts(draws):
        rounds.append(draws)
        groups = [[e.model_copy(update={"reward": 0.0}) for e in g] for g in sampler(draws)]
        groups[0][0] = groups[0][0].model_copy(update={"stop": StopReason.SANDBOX})
        return groups

    with pytest.raises(StageError, match="all attempts came out alike"):
        train_grpo(model, TASKS, attempts, tmp_path / "model", replace(GRPO, draws=1))
    assert len(rounds) == 3


def test_replaced_groups_do_not_go_beyond_the_last_place_of_the_deck(tmp_path):
    model = TinyModel()
    sampler, made = Sampler(model), []

    def attempts(draws):
        made.extend(draws)
        failed = {"reward": 0.0} if len(made) > GRPO.tasks else {}
        return [[e.model_copy(update=failed) for e in group] for group in sampler(draws)]

    settings = replace(GRPO, iterations=3, draws=2)
    report = train_grpo(model, TASKS, attempts, tmp_path / "model", settings)
    assert report.ended
    assert len(made) == settings.iterations * settings.tasks * settings.draws


def test_groups_that_the_band_leaves_out_are_not_said_to_be_alike(tmp_path):
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        return [
            [e.model_copy(update={"reward": float(not e.attempt % 4)}) for e in group]
            for group in sampler(draws)
        ]

    with pytest.raises(
        StageError, match=r"came out both ways, and none .* between 0\.4 and 1"
    ) as e:
        train_grpo(model, TASKS, attempts, tmp_path / "model", GRPO, band=(0.4, 1.0))
    assert "quality.hardest" in e.value.fix


def test_a_group_counts_by_what_can_be_learnt_of_it(tmp_path):
    """Successes that are too long leave failures alone, and those have nothing to compare."""
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        groups = sampler(draws)
        longer = [(tuple(range(40)), 400)]
        return [
            [make_episode(e.task, e.attempt, 1.0, parts=longer) if e.reward else e for e in group]
            for group in groups
        ]

    settings = replace(GRPO, max_length=100)
    with pytest.raises(StageError, match=r"all attempts came out alike \(0 of .*longer than 100"):
        train_grpo(model, TASKS, attempts, tmp_path / "model", settings)


def test_groups_outside_the_band_are_not_learnt_from(tmp_path):
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        rewards = {"a": 0.0, "b": 1.0}
        return [
            [e.model_copy(update={"reward": rewards.get(e.task, e.attempt % 2)}) for e in group]
            for group in sampler(draws)
        ]

    algorithm = Ppo(model, TASKS, attempts, replace(PPO, tasks=4), 1.0, (0.1, 0.9))
    found = algorithm.collect(0)
    assert {sample.task for group in found.groups for sample, _ in group} == {"c", "d"}
    assert (found.tried, len(found.rewards)) == (4, 16)
    with pytest.raises(StageError, match=r"none of 9 tasks has a pass rate between 0\.6 and 0\.9"):
        train_ppo(model, TASKS, attempts, tmp_path / "model", PPO, band=(0.6, 0.9))


@BOTH
def test_attempts_without_tokens_say_what_to_change(tmp_path, train, settings):
    def silent(draws):
        return [
            [make_episode(d.task, n, float(n % 2), parts=[((1, 2), 0)]) for n in range(d.count)]
            for d in draws
        ]

    with pytest.raises(StageError, match=r"\d\d no sampled token") as error:
        train(TinyModel(), TASKS, silent, tmp_path / "model", settings)
    assert "local model" in error.value.fix


@pytest.mark.parametrize("spoilt", [{"stop": StopReason.SANDBOX}, {"meta": {USER_FAULT: "left"}}])
def test_attempts_that_something_else_ended_do_not_count(spoilt):
    model = TinyModel()
    sampler = Sampler(model)

    def attempts(draws):
        return [
            [e.model_copy(update=spoilt) if e.reward else e for e in group]
            for group in sampler(draws)
        ]

    with pytest.raises(StageError, match="came out alike"):
        Grpo(model, TASKS, attempts, GRPO, 1.0).batches([])


def test_the_deck_gives_every_task_once_a_lap_and_numbers_attempts_anew():
    drawn = [draw(TASKS, place, 4, seed=0) for place in range(12)]
    for lap in range(3):
        part = drawn[4 * lap : 4 * lap + 4]
        assert sorted(d.task for d in part) == TASKS
        assert {(d.first, d.count) for d in part} == {(4 * lap, 4)}
    assert len({tuple(d.task for d in drawn[i : i + 4]) for i in (0, 4, 8)}) > 1
    assert draw(TASKS, 5, 4, seed=0) == drawn[5]
    assert isinstance(drawn[0], Draw)


def test_temperature_is_that_of_the_sampling():
    model = TinyModel()
    (group,) = Sampler(model)([Draw("a", 0, 2)])
    samples = [online.trainable(episode, 100) for episode in group]
    with training(model.module, torch.float32):
        found = evaluate(model.module, samples, online._logprobs, tokens=1000, temperature=2.0)
    for sample, (ours,) in zip(samples, found, strict=True):
        logits = model.module(torch.tensor([sample.ids])).logits[0] / 2.0
        said = logits.log_softmax(1)
        theirs = [said[i - 1, sample.ids[i]] for i, trained in enumerate(sample.mask) if trained]
        assert torch.allclose(ours, torch.stack(theirs), atol=1e-5)


def test_tokens_that_only_training_thinks_likely_are_held_down():
    _, algorithm, _, _ = begun(Grpo, GRPO)
    (said,) = algorithm._say(algorithm.collect(0).groups)[0][:1]
    doubted = replace(said, old=said.old + 5)
    assert torch.allclose(algorithm.corrected(torch.ones(10), said), torch.ones(10), atol=1e-4)
    assert algorithm.corrected(torch.ones(10), doubted).tolist() == [2.0] * 10
    assert mismatch_weights(said.old, said.old, 2.0).tolist() == [1.0] * 10


def test_the_untrained_model_is_the_reference_while_another_is_trained():
    for rank in (4, 0):
        model = TinyModel()
        ids = torch.tensor([[1, 2, 3]])
        before = model.module(ids).logits
        adapted = adapters.attach(model.module, "tiny", rank, 8, 0)
        untrained = adapters.Untrained(adapted)
        for parameter in adapters.trained_parameters(adapted).values():
            parameter.data.add_(0.05)
        trained = model.module(ids).logits
        with untrained.in_use():
            assert torch.allclose(model.module(ids).logits, before, atol=1e-6)
        assert torch.equal(model.module(ids).logits, trained)
        assert not torch.allclose(trained, before, atol=1e-3)
        assert all(p.requires_grad for p in adapters.trained_parameters(adapted).values())
        assert adapters.trained_parameters(adapted)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (GrpoSettings, {"group": 1}),
        (GrpoSettings, {"kl": -0.1}),
        (GrpoSettings, {"draws": 0}),
        (PpoSettings, {"trace": 1.5}),
        (PpoSettings, {"value": -1.0}),
        (PpoSettings, {"iterations": 0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind, change):
    with pytest.raises(UsageError):
        kind(**change)


@BOTH
def test_a_loss_that_is_not_a_number_stops_and_keeps_the_checkpoint(
    tmp_path, train, settings, monkeypatch
):
    real, steps = online.accumulate, []

    def diverging(*arguments, **named):
        loss, read = real(*arguments, **named)
        steps.append(loss)
        return (float("nan") if len(steps) == 3 else loss), read

    monkeypatch.setattr(online, "accumulate", diverging)
    model = TinyModel()
    before = weights(model)
    with pytest.raises(StageError, match="diverged") as error:
        train(model, TASKS, Sampler(model), tmp_path / "model", settings)
    assert "learning rate" in error.value.fix
    assert len(torch.load(tmp_path / "model.partial" / "state.pt")["records"]) == 2
    assert not (tmp_path / "model").exists()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
