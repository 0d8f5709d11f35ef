import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_learner import VOCABULARY, tiny_module, tokens

from selfchallenge.errors import StageError
from selfchallenge.learner.losses import nll
from selfchallenge.learner.packing import pack
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.step import sequence_logprobs, training


def family(seed=0, size=6):
    """Samples that share one, two or no stretches, one of them twice."""
    draw = random.Random(seed)
    shared, middle = tokens(draw, 40), tokens(draw, 20)
    samples = []
    for number in range(size):
        beginning = ((), shared, shared + middle)[number % 3]
        own = tokens(draw, draw.randrange(3, 30))
        mask = [False] * len(beginning) + [draw.random() < 0.6 for _ in own]
        mask[0], mask[-2], mask[-1] = False, True, draw.random() < 0.5
        ids = beginning + own
        samples.append(Sample(ids, tuple(mask), (-1.0,) * sum(mask), 1.0 + number))
    return [*samples, samples[0]]


def plain_logprobs(module, samples):
    parts = []
    for sample in samples:
        logits = module(torch.tensor([sample.ids])).logits[0].log_softmax(1)
        parts += [logits[i - 1, sample.ids[i]] for i, m in enumerate(sample.mask) if m]
    return torch.stack(parts)


def test_gradients_are_those_of_the_samples_one_by_one():
    samples, module = family(), tiny_module(3).requires_grad_(True)
    packed = pack(samples)
    weights = list(module.parameters())

    plain = plain_logprobs(module, samples)
    expected = torch.autograd.grad(nll(plain, packed.weights, 7.0), weights)
    with training(module, torch.float32):
        ours = sequence_logprobs(module, packed)
    found = torch.autograd.grad(nll(ours, packed.weights, 7.0), weights)

    assert len(packed.ids) < 0.6 * sum(len(sample.ids) for sample in samples)
    assert torch.allclose(ours, plain, atol=1e-5)
    for ours_, plain_ in zip(found, expected, strict=True):
        assert (ours_ - plain_).abs().max() <= 1e-5 * plain_.abs().max()


sequences = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 20)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(sequences)
def test_every_sequence_can_be_read_back_from_the_tree(choices):
    draw = random.Random(1)
    stretches = [tokens(draw, 17) for _ in range(4)]
    samples = []
    for first, second, own in choices:
        ids = stretches[first] + stretches[second] + tokens(draw, own)
        mask = (False,) * (len(ids) - own) + (True,) * own
        samples.append(Sample(ids, mask, (-1.0,) * own))
    packed = pack(samples)

    assert sum(node.size for node in packed.nodes) == len(packed.ids)
    starts = [sum(node.size for node in packed.nodes[:i]) for i in range(len(packed.nodes))]
    source = iter(packed.sources.tolist())
    target = iter(packed.targets.tolist())
    for sample in samples:
        for i in (i for i, trained in enumerate(sample.mask) if trained):
            place = next(source)
            node = max(n for n, start in enumerate(starts) if start <= place)
            line = [
                packed.ids[starts[n] : starts[n] + packed.nodes[n].size].tolist()
                for n in packed.nodes[node].past
            ]
            read = [t for part in line for t in part] + packed.ids[
                starts[node] : place + 1
            ].tolist()
            assert tuple(read) == sample.ids[:i]
            assert next(target) == sample.ids[i]
            assert int(packed.positions[place]) == i - 1


def test_nothing_is_read_twice_and_nothing_after_the_last_trained_token():
    shared = tuple(range(30))
    one = Sample((*shared, 50, 51, 52), (False,) * 30 + (True, True, False), (-1.0,) * 2)
    two = Sample((*shared, 60, 61), (False,) * 30 + (True, True), (-1.0,) * 2)
    packed = pack([one, two])
    assert packed.ids.tolist() == [*shared, 50, 60]
    assert packed.positions.tolist() == [*range(30), 30, 30]


def test_a_sample_of_weight_zero_has_no_gradient():
    (sample, *_) = family()
    module = tiny_module().requires_grad_(True)
    packed = pack([Sample(sample.ids, sample.mask, sample.logprobs, 0.0)])
    with training(module, torch.float32):
        nll(sequence_logprobs(module, packed), packed.weights, 1.0).backward()
    assert all(not p.grad.any() for p in module.parameters())


def test_a_window_that_is_too_small_is_refused():
    module = tiny_module(use_sliding_window=True, sliding_window=24, max_window_layers=0)
    short = Sample(tuple(range(20)), (False,) * 19 + (True,), (-1.0,))
    long = Sample(tuple(range(40)), (False,) * 39 + (True,), (-1.0,))
    with training(module, torch.float32):
        sequence_logprobs(module, pack([short]))
        with pytest.raises(StageError, match="longer than the model's window of 24"):
            sequence_logprobs(module, pack([long]))


def test_the_module_is_left_as_it_was():
    module = tiny_module()
    before = {name: p.clone() for name, p in module.named_parameters()}
    usual = module.config._attn_implementation
    with training(module, torch.bfloat16):
        assert module.model.embed_tokens.weight.dtype == torch.bfloat16
    assert module.config._attn_implementation == usual
    assert not module.training
    assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())
    ids = torch.tensor([tokens(random.Random(3), 9)])
    assert module(ids).logits.shape == (1, 9, VOCABULARY)
