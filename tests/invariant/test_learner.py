"""What must hold of an optimiser step, whatever is trained."""

import random

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from selfchallenge.learner.batches import micro_batches
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.step import backward, own_sample, training, update


def make_module():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=61,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return Qwen2ForCausalLM(config)


def make_samples(weight=1.0):
    draw = random.Random(0)
    shared = tuple(draw.randrange(61) for _ in range(30))
    return [
        Sample(
            shared + tuple(draw.randrange(61) for _ in range(4 + number)),
            (False,) * 32 + (True,) * (2 + number),
            (-1.0,) * (2 + number),
            weight,
        )
        for number in range(8)
    ]


def gradients(samples, tokens):
    module = make_module()
    with training(module, torch.float32):
        loss, _ = backward(module, samples, tokens)
    return loss, [p.grad for p in module.parameters()]


def test_one_batch_of_eight_is_eight_of_one():
    assert len(list(micro_batches(make_samples(), 1000, own_sample))) == 1
    assert len(list(micro_batches(make_samples(), 1, own_sample))) == 8
    loss, whole = gradients(make_samples(), 1000)
    other, pieces = gradients(make_samples(), 1)
    assert abs(loss - other) < 1e-5
    for one, two in zip(whole, pieces, strict=True):
        assert (one - two).abs().max() <= 1e-5 * one.abs().max() + 1e-9


def test_weight_zero_leaves_the_parameters_alone():
    module = make_module()
    before = [p.clone() for p in module.parameters()]
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=0.0)
    with training(module, torch.float32):
        loss, _ = backward(module, make_samples(0.0), 1000)
        update(optimizer, 0.1, 1.0, loss)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_a_sample_of_weight_zero_changes_nothing():
    one, _, *others = make_samples()
    ignored = Sample(one.ids[::-1], one.mask, one.logprobs, 0.0)
    _, without = gradients(others, 1000)
    _, along = gradients([*others, ignored], 1000)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(without, along, strict=True))


def test_the_same_batch_gives_the_same_bits():
    _, one = gradients(make_samples(), 60)
    _, two = gradients(make_samples(), 60)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
