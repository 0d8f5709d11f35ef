import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_learner import tokens

from selfchallenge.learner.batches import micro_batches, plan_batches
from selfchallenge.learner.packing import pack
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.step import own_sample


def make(groups):
    draw = random.Random(0)
    samples = []
    for count in groups:
        shared = tokens(draw, 40)
        mask = (False,) * 45 + (True,) * 4
        samples += [Sample(shared + tokens(draw, 9), mask, ()) for _ in range(count)]
    draw.shuffle(samples)
    return samples


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=4), st.integers(1, 5))
def test_every_sample_is_in_one_batch(groups, size):
    samples = make(groups)
    plan = plan_batches(samples, size, "0/0")
    assert sorted(i for batch in plan for i in batch) == list(range(len(samples)))
    assert len(plan) == -(-len(samples) // size)
    assert plan == plan_batches(samples, size, "0/0")


def test_full_batches_begin_alike_and_epochs_differ():
    samples = make([9, 8, 7])
    plan = plan_batches(samples, 4, "0/0")
    beginnings = sorted(len({samples[i].ids[:40] for i in batch}) for batch in plan)
    assert beginnings == [1, 1, 1, 1, 1, 2]
    assert plan != plan_batches(samples, 4, "0/1")


@settings(deadline=None)
@given(st.integers(1, 200))
def test_pieces_keep_the_limit_unless_one_sample_breaks_it(limit):
    samples = make([3, 2])
    pieces = list(micro_batches(samples, limit, own_sample))
    assert sorted(s.ids for piece in pieces for s in piece) == sorted(s.ids for s in samples)
    assert all(len(piece) == 1 or len(pack(piece).ids) <= limit for piece in pieces)


def test_samples_that_fit_share_one_piece():
    assert [len(piece) for piece in micro_batches(make([5]), 1000, own_sample)] == [5]
