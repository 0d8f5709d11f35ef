"""The loss that GRPO and PPO minimise, against their formulas written out token by token.

The policy has moved away from the one that made the attempts, so that clipping, divergence and the
correction for the sampler all count.
"""

from dataclasses import replace
from statistics import fmean, pstdev, stdev

import pytest
import torch
from policy import Sampler
from tiny_learner import TinyModel

from selfchallenge.learner import adapters
from selfchallenge.learner.attempts import Said
from selfchallenge.learner.grpo import Grpo
from selfchallenge.learner.ppo import Ppo
from selfchallenge.learner.settings import GrpoSettings, PpoSettings
from selfchallenge.learner.step import training, update

TASKS = ["a", "b", "c", "d"]
TEMPERATURE = 0.7
COMMON = {"tasks": 3, "group": 4, "kl": 0.05, "precision": "float32", "mismatch": 1.5}


class Uneven(Sampler):
    """Says more in some attempts than in others."""

    def sample(self, context, draw):
        ids, logprobs = super().sample(context, draw)
        count = 2 + ids[0] % 4
        return ids[:count], logprobs[:count]


def sampled_of(one):
    """The ids that the policy said in an attempt."""
    return [i for i, said in zip(one.sample.ids, one.sample.mask, strict=True) if said]


def moved(kind, settings):
    """An algorithm with a batch of attempts, whose policy was moved afterwards."""
    model = TinyModel()
    algorithm = kind(model, TASKS, Uneven(model), settings, TEMPERATURE)
    adapted = adapters.attach(model.module, "tiny", settings.rank, settings.alpha, 0)
    beside = algorithm.begin(adapted, torch.float32)
    (batch,) = algorithm.batches([])
    found_loss(model, algorithm, batch)  # the first update, of a policy that has not moved
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in (adapters.trained_parameters(adapted) | beside).items():
            if "lora_B" in name or "value_head" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model, algorithm, batch


def found_loss(model, algorithm, batch):
    with training(model.module, torch.float32):
        return algorithm.gradients(batch).loss


def plain(model, sample):
    """Log-probability of each sampled token and the hidden state before it, one plain pass."""
    with torch.no_grad():
        said = model.module(torch.tensor([sample.ids]), output_hidden_states=True)
    logprobs = (said.logits[0] / TEMPERATURE).log_softmax(1)
    places = [place for place, sampled in enumerate(sample.mask) if sampled]
    now = [float(logprobs[place - 1, sample.ids[place]]) for place in places]
    return now, said.hidden_states[-1][0][[place - 1 for place in places]]


def surrogate(ratio, advantage, low, high):
    return -min(ratio * advantage, max(1 - low, min(1 + high, ratio)) * advantage)


def correction(old, sampled):
    return min(COMMON["mismatch"], float(torch.tensor(old - sampled).exp()))


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo"])
def test_grpo_is_its_formula(loss):
    settings = GrpoSettings(**COMMON, loss=loss, clip_low=0.1, clip_high=0.3, max_length=100)
    model, algorithm, batch = moved(Grpo, settings)
    groups = {}
    for one in batch:  # the sampler's own rule says what was rewarded
        reward = Sampler(model).reward(sampled_of(one))
        groups.setdefault(one.sample.task, []).append(reward)
    rewards = [reward for group in groups.values() for reward in group]
    means = {task: fmean(group) for task, group in groups.items()}
    scales = {task: 1.0 if loss == "dr_grpo" else stdev(group) for task, group in groups.items()}
    ratios, sequences = [], []
    for one, reward in zip(batch, rewards, strict=True):
        task = one.sample.task
        advantage = (reward - means[task]) / scales[task]
        terms = []
        now, _ = plain(model, one.sample)
        for new, old, was, sampled in zip(
            now, one.old.tolist(), one.reference.tolist(), one.sample.logprobs, strict=True
        ):
            ratios.append(float(torch.tensor(new - old).exp()))
            apart = torch.tensor(was - new)
            term = surrogate(ratios[-1], advantage, 0.1, 0.3)
            term += settings.kl * float(apart.exp() - apart - 1)
            terms.append(correction(old, sampled) * term)
        sequences.append(terms)
    assert min(ratios) < 0.9
    assert max(ratios) > 1.3
    tokens = sum(map(len, sequences))
    expected = {
        "grpo": fmean(map(fmean, sequences)),
        "dr_grpo": sum(map(sum, sequences)) / (100 * len(sequences)),
        "dapo": sum(map(sum, sequences)) / tokens,
    }
    assert found_loss(model, algorithm, batch) == pytest.approx(expected[loss], abs=2e-4)
    others = {value for how, value in expected.items() if how != loss}
    assert all(abs(expected[loss] - other) > 1e-3 for other in others)


def test_rewards_that_are_alike_are_not_whitened():
    """What would be scaled to deviation 1 there is what the value head errs by."""
    _, algorithm, batch = moved(Ppo, PpoSettings(**COMMON))

    def advantages(rewards, *, whiten):
        algorithm.settings = replace(algorithm.settings, whiten=whiten)
        said = [
            [Said(one.sample, reward, one.old, one.reference, one.values + 0.01 * place)]
            for place, (one, reward) in enumerate(zip(batch, rewards, strict=True))
        ]
        return torch.cat([one.advantages for one in algorithm.credit(said)])

    alike, mixed = [0.0] * len(batch), [1.0] + [0.0] * (len(batch) - 1)
    assert torch.equal(advantages(alike, whiten=True), advantages(alike, whiten=False))
    found = advantages(mixed, whiten=True)
    assert float(found.mean()) == pytest.approx(0, abs=1e-5)
    assert float(found.std(correction=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("whiten", [True, False])
def test_ppo_is_its_formula(whiten):
    settings = PpoSettings(
        **COMMON, clip_ratio=0.15, clip_value=0.05, value=0.3, discount=0.9, trace=0.8,
        whiten=whiten,
    )  # fmt: skip
    model, algorithm, batch = moved(Ppo, settings)
    advantages, returns = [], []
    for one in batch:
        earned = [
            -settings.kl * (old - was)
            for old, was in zip(one.old.tolist(), one.reference.tolist(), strict=True)
        ]
        earned[-1] += Sampler(model).reward(sampled_of(one))
        values = [*one.values.tolist(), 0.0]
        gained = 0.0
        mine = []
        for step in reversed(range(len(earned))):
            error = earned[step] + 0.9 * values[step + 1] - values[step]
            gained = error + 0.9 * 0.8 * gained
            mine.append(gained)
        advantages += mine[::-1]
        returns += [gain + value for gain, value in zip(mine[::-1], values, strict=False)]
    if whiten:
        middle, spread = fmean(advantages), pstdev(advantages)
        advantages = [(gain - middle) / spread for gain in advantages]
    terms, ratios, steps = [], [], []
    each = iter(zip(advantages, returns, strict=True))
    for one in batch:
        now, states = plain(model, one.sample)
        with torch.no_grad():
            values = algorithm._head(states).tolist()
        for new, old, value, before, sampled in zip(
            now, one.old.tolist(), values, one.values.tolist(), one.sample.logprobs, strict=True
        ):
            gain, came = next(each)
            ratios.append(float(torch.tensor(new - old).exp()))
            steps.append(value - before)
            clipped = before + max(-0.05, min(0.05, value - before))
            error = max((value - came) ** 2, (clipped - came) ** 2) / 2
            term = surrogate(ratios[-1], gain, 0.15, 0.15) + 0.3 * error
            terms.append(correction(old, sampled) * term)
    assert min(ratios) < 0.85
    assert max(ratios) > 1.15
    assert max(map(abs, steps)) > 0.05
    assert found_loss(model, algorithm, batch) == pytest.approx(fmean(terms), abs=2e-4)


def test_the_second_update_of_a_round_still_clips_against_the_policy_that_sampled():
    settings = replace(GrpoSettings(**COMMON), updates=2)
    model = TinyModel()
    algorithm = Grpo(model, TASKS, Sampler(model), settings, TEMPERATURE)
    adapted = adapters.attach(model.module, "tiny", settings.rank, settings.alpha, 0)
    parameters = adapters.trained_parameters(adapted)
    optimizer = torch.optim.AdamW(parameters.values(), weight_decay=0.0)
    found, batches = [], algorithm.batches([])
    with training(model.module, torch.float32):
        for batch in batches:
            found.append(algorithm.gradients(batch))
            update(optimizer, 0.02, 1.0, found[-1].loss)
    # In the first update the policy is the one that sampled; by the second it has moved away.
    assert found[0].figures["moved"] == pytest.approx(0, abs=1e-6)
    assert found[1].figures["moved"] > 1e-3
    assert found[0].figures["clipped"] == 0 < found[1].figures["clipped"]
