"""Less memory for the same gradients, and a clear end of a training when it is full."""

from dataclasses import replace

import pytest
import torch
from policy import Sampler
from tiny_learner import TinyModel, make_episode, tiny_module

from selfchallenge.errors import ModelError, StageError
from selfchallenge.learner import online, rft, step
from selfchallenge.learner.grpo import train_grpo
from selfchallenge.learner.packing import pack
from selfchallenge.learner.ppo import train_ppo
from selfchallenge.learner.rft import train_rft
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.settings import GrpoSettings, PpoSettings, RftSettings
from selfchallenge.learner.step import training
from selfchallenge.settings import preset

SETTINGS = RftSettings(precision="float32", warmup=0, batch=4, epochs=2, learning_rate=1e-2)
ONLINE = {"precision": "float32", "iterations": 3, "tasks": 2, "group": 4, "learning_rate": 1e-3}
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


def episodes():
    return [make_episode(f"{x}{n}", a) for x in "ab" for n in range(2) for a in range(2)]


def samples():
    one = tuple(range(30))
    return [
        Sample((*one, number, 7, 8), (False,) * 30 + (True,) * 3, (-1.0,) * 3)
        for number in range(3)
    ]


def kept_bytes(*, gradient_checkpointing):
    """Bytes that the graph of a step keeps for its backward pass, and the gradients it gave."""
    module = tiny_module(4).requires_grad_(True)
    kept = []

    def keep(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with training(module, torch.float32, gradient_checkpointing=gradient_checkpointing):
        packed = pack(samples())
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            said = step.forward(module, packed)
        forward = sum(kept)
        said.logprobs.sum().backward()
    return forward, [p.grad for p in module.parameters()]


def test_checkpointing_keeps_less_and_gives_the_same_gradients():
    most, usual = kept_bytes(gradient_checkpointing=False)
    least, same = kept_bytes(gradient_checkpointing=True)
    assert least < 0.3 * most
    for one, other in zip(usual, same, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_checkpointed_module_is_left_as_it_was():
    module = tiny_module()
    with training(module, torch.float32, gradient_checkpointing=True):
        assert all(layer.gradient_checkpointing for layer in module.model.layers)
    assert not any(layer.gradient_checkpointing for layer in module.model.layers)
    assert not module.get_input_embeddings()._forward_hooks
    assert not module(torch.tensor([[1, 2, 3]])).logits.requires_grad


@pytest.mark.parametrize("rank", [4, 0])
def test_a_whole_training_with_checkpointing_is_the_same(tmp_path, rank):
    found = [
        train_rft(
            TinyModel(), episodes(), tmp_path / str(wanted),
            replace(SETTINGS, gradient_checkpointing=wanted, rank=rank),
        )
        for wanted in (False, True)
    ]  # fmt: skip
    assert found[0].losses == pytest.approx(found[1].losses, abs=1e-5)


def test_a_model_without_checkpointing_says_so(tmp_path):
    model = TinyModel()
    model.module.supports_gradient_checkpointing = False
    with pytest.raises(StageError, match="has no gradient checkpointing") as error:
        train_rft(model, episodes(), tmp_path / "m", replace(SETTINGS, gradient_checkpointing=True))
    assert "gradient_checkpointing=false" in error.value.fix


def test_a_sample_alone_makes_no_bias_of_the_square_of_its_length():
    module = tiny_module().requires_grad_(True)
    one, two = pack(samples()[:1]), pack(samples()[:2])
    with training(module, torch.float32):
        alone = step.forward(module, one).logprobs
        together = step.forward(module, two).logprobs
    assert not one.biases
    assert two.biases
    assert torch.allclose(alone, together[:3], atol=1e-5)
    # The same gradients by either way through the attention.
    first, second = (
        torch.autograd.grad(said.sum(), list(module.parameters())) for said in (alone, together[:3])
    )
    for mine, theirs in zip(first, second, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.fixture
def full(monkeypatch):
    """Memory runs out from the given forward pass on, until it is set to None."""
    usual, passes = step.forward, {"left": None}

    def forward(*args):
        if passes["left"] is not None:
            passes["left"] -= 1
            if passes["left"] < 0:
                raise torch.OutOfMemoryError(FULL)
        return usual(*args)

    monkeypatch.setattr(step, "forward", forward)
    for room in (rft, online):  # it reads a few tokens only
        monkeypatch.setattr(room, "check_supported", lambda *_: None)
    return passes


def test_a_training_that_ran_out_of_memory_goes_on_with_less(tmp_path, full):
    settings = replace(SETTINGS, checkpoint=1)
    whole = train_rft(TinyModel(), episodes(), tmp_path / "whole", settings)
    full["left"] = 2
    with pytest.raises(
        ModelError, match=r"out of memory: a pass over \d+ tokens and back"
    ) as error:
        train_rft(TinyModel(), episodes(), tmp_path / "model", settings)
    assert "micro_tokens" in error.value.fix
    assert "gradient_checkpointing" in error.value.fix
    full["left"] = None
    less = replace(settings, micro_tokens=120, gradient_checkpointing=True)
    report = train_rft(TinyModel(), episodes(), tmp_path / "model", less)
    assert report.resumed == 2
    assert report.losses == pytest.approx(whole.losses, abs=1e-4)


@pytest.mark.parametrize(
    ("train", "settings"),
    [(train_grpo, GrpoSettings(**ONLINE)), (train_ppo, PpoSettings(**ONLINE))],
)
def test_scoring_that_ran_out_of_memory_says_so(tmp_path, full, train, settings):
    model = TinyModel()
    sampler = Sampler(model)
    full["left"] = 0
    with pytest.raises(ModelError, match=r"out of memory: a pass over \d+ tokens"):
        train(model, list("abcd"), sampler, tmp_path / "model", settings)


def test_all_attempts_of_the_paper_are_checkpointed():
    """Samples of 16,192 tokens through an 8B model fit nowhere otherwise."""
    paper = preset("paper")
    for group in (paper.rft, paper.dpo, paper.grpo, paper.ppo):
        assert group.max_length == 16192
        assert group.gradient_checkpointing
