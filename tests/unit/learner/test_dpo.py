from dataclasses import replace

import pytest
import torch
from tiny_learner import TinyModel, make_episode

from selfchallenge.episode import StopReason
from selfchallenge.errors import StageError
from selfchallenge.learner.dpo import train_dpo
from selfchallenge.learner.packing import pack
from selfchallenge.learner.samples import pairs_from
from selfchallenge.learner.settings import DpoSettings
from selfchallenge.learner.step import sequence_logprobs, training

SETTINGS = DpoSettings(epochs=4, batch=4, learning_rate=1e-2, precision="float32", checkpoint=2)


def mixed(letters="ab", tasks=3, attempts=4):
    """Half of the attempts at each task succeed; what is said differs from attempt to attempt."""
    episodes = []
    for letter in letters:
        for number in range(tasks):
            for attempt in range(attempts):
                good = attempt % 2
                episode = make_episode(f"{letter if good else 'z'}{number}", attempt, float(good))
                episodes.append(episode.model_copy(update={"task": f"{letter}{number}"}))
    return episodes


def margins(module, pairs):
    with torch.no_grad(), training(module, torch.float32):
        sums = []
        for pair in pairs:
            said = sequence_logprobs(module, pack(pair.samples))
            good, bad = torch.split(said, [s.trained for s in pair.samples])
            sums.append(float(good.sum() - bad.sum()))
    return sums


def test_successes_gain_on_failures(tmp_path):
    model, episodes = TinyModel(), mixed()
    pairs = pairs_from(episodes, 1000, 4).pairs
    before = margins(model.module, pairs)
    report = train_dpo(model, episodes, tmp_path / "model", SETTINGS)
    after = margins(model.module, pairs)
    assert len(pairs) == 12
    assert all(b > a for a, b in zip(before, after, strict=True))
    assert report.losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert report.losses[-1] < 0.5
    assert report.steps[-1].figures["preferred"] == 1.0
    assert (report.samples, report.tasks) == (24, 6)


def test_each_task_pairs_its_successes_with_its_failures_in_order():
    found = pairs_from(mixed("a", 2, 6), 1000, 2)
    assert len(found.pairs) == 4
    assert {p.chosen.task == p.rejected.task for p in found.pairs} == {True}
    assert found.one_sided == 0


def test_attempts_that_the_sandbox_ended_are_no_failures():
    good, bad = make_episode("a", 1), make_episode("a", 0, 0.0)
    broken = bad.model_copy(update={"stop": StopReason.SANDBOX})
    assert len(pairs_from([good, bad], 1000, 4).pairs) == 1
    found = pairs_from([good, broken], 1000, 4)
    assert (found.pairs, found.one_sided) == ((), 1)


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_without_a_pair_it_says_what_to_change(tmp_path, reward):
    alike = [make_episode(f"a{n}", a, reward) for n in range(2) for a in range(3)]
    with pytest.raises(StageError, match="all attempts at 2 tasks came out alike") as error:
        train_dpo(TinyModel(), alike, tmp_path / "model", SETTINGS)
    assert "rollouts" in error.value.fix
    assert not (tmp_path / "model").exists()


def test_pairs_that_are_too_long_are_counted(tmp_path):
    with pytest.raises(StageError, match="24 episodes longer than 10 tokens") as error:
        train_dpo(TinyModel(), mixed(), tmp_path / "m", replace(SETTINGS, max_length=10))
    assert "dpo.max_length" in error.value.fix


@pytest.mark.parametrize("rank", [16, 0])
def test_stopped_it_goes_on_and_ends_with_the_same_bits(tmp_path, rank):
    settings = replace(SETTINGS, rank=rank, epochs=2)
    whole = train_dpo(one := TinyModel(), mixed(), tmp_path / "whole", settings)

    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(TinyModel(), mixed(), tmp_path / "cut", settings, stop)
    again = train_dpo(two := TinyModel(), mixed(), tmp_path / "cut", settings)
    assert again.resumed == 2
    assert again.losses == whole.losses
    for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_micro_batches_of_one_pair_give_the_same_losses(tmp_path):
    together = train_dpo(TinyModel(), mixed(), tmp_path / "a", SETTINGS)
    apart = train_dpo(TinyModel(), mixed(), tmp_path / "b", replace(SETTINGS, micro_tokens=2))
    assert together.losses == pytest.approx(apart.losses, abs=1e-4)
