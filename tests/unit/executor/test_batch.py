"""Attempts that share a model: who waits for whom, and what is left when it fails."""

import random
import time
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.errors import ModelError
from selfchallenge.executor.batch import Ways, rollout
from selfchallenge.models.base import Completion

HERE = SimpleNamespace(type="cpu")
ELSEWHERE = SimpleNamespace(type="cuda")
PATIENCE = 20
"""Seconds after which something that should have happened has not."""


class Stub:
    """An attempt that ends after `turns` replies."""

    def __init__(self, name, turns, work=lambda stub: None):
        self.name, self.turns, self.work = name, turns, work
        self.stop, self.closed = None, False

    def prompt(self):
        return self.name, self.turns

    def advance(self, reply):
        assert reply.text == f"to {self.name}"
        self.work(self)
        self.turns -= 1
        self.stop = None if self.turns else "answer"

    def finish(self):
        self.close()
        return self.name

    def close(self):
        self.closed = True


class Replying:
    """A model that writes down what it was asked together."""

    name = "replying"

    def __init__(self, device, before=lambda model: None):
        self.device, self.before = device, before
        self.asked, self.busy = [], False

    def generate(self, prompts, sampling):
        self.asked.append(list(prompts))
        self.busy = True
        self.before(self)
        self.busy = False
        return [Completion(f"to {name}") for name, _ in prompts]


def rolled(model, stubs, batch=4, between=lambda active: None):
    """The episodes of these attempts, as they are handed out."""
    ways = Ways(begin=lambda stub, *_: stub, between=between)
    return rollout(model, stubs, None, None, batch=batch, ways=ways)


@pytest.mark.parametrize("device", [HERE, ELSEWHERE])
@given(
    turns=st.lists(st.integers(1, 4), max_size=12),
    batch=st.integers(1, 5),
    cut=st.sets(st.integers(0, 11)),
)
@settings(max_examples=60, deadline=None)
def test_every_attempt_gets_all_its_replies_and_gives_one_episode(device, turns, batch, cut):
    stubs = [Stub(n, count) for n, count in enumerate(turns)]
    model = Replying(device)

    def between(active):
        for stub in active:
            if stub.name in cut and stub.turns == 1:
                stub.stop = "user"

    assert sorted(rolled(model, stubs, batch, between)) == list(range(len(turns)))
    asked = [prompt for together in model.asked for prompt in together]
    owed = [
        (n, left)
        for n, count in enumerate(turns)
        for left in range(1, count + 1)
        if not (n in cut and left == 1)
    ]
    assert sorted(asked) == sorted(owed)
    assert all(0 < len(together) <= batch for together in model.asked)
    assert all(stub.closed for stub in stubs)


def test_the_sandbox_works_while_a_model_elsewhere_replies_to_others():
    asked, acted = Event(), Event()

    def work(stub):
        if stub.name == 0:
            assert asked.wait(PATIENCE), "the model waited for the sandbox"
            acted.set()

    def before(model):
        if len(model.asked) == 2:
            asked.set()
            assert acted.wait(PATIENCE), "the sandbox waited for the model"

    model = Replying(ELSEWHERE, before)
    stubs = [Stub(n, 2, work) for n in range(8)]
    assert sorted(rolled(model, stubs)) == list(range(8))
    assert [[name for name, _ in together] for together in model.asked[:2]] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_a_model_on_these_processors_has_them_to_itself():
    model = Replying(HERE, lambda _: time.sleep(0.01))
    beside = []

    def work(_):
        beside.append(model.busy)

    list(rolled(model, [Stub(n, 3, work) for n in range(10)]))
    assert len(beside) == 30
    assert not any(beside)


@pytest.mark.parametrize("device", [HERE, ELSEWHERE])
def test_no_clock_decides_who_shares_a_batch(device):
    def once(pace):
        slow = random.Random(pace)
        model = Replying(device)
        stubs = [Stub(n, 1 + n % 3, lambda _: time.sleep(slow.uniform(0, 0.01))) for n in range(20)]
        return list(rolled(model, stubs)), model.asked

    assert once(1) == once(2)


@pytest.mark.parametrize("device", [HERE, ELSEWHERE])
def test_a_model_that_fails_loses_no_attempt_that_has_ended(device):
    def before(model):
        if len(model.asked) == 3:
            raise ModelError("the server is gone")

    stubs = [Stub(n, 1) for n in range(20)]
    made = rolled(Replying(device, before), stubs)
    assert [next(made) for _ in range(8)] == list(range(8))
    with pytest.raises(ModelError, match="server is gone"):
        next(made)
    assert [stub.name for stub in stubs if stub.closed] == list(range(12))


@pytest.mark.parametrize("device", [HERE, ELSEWHERE])
def test_attempts_are_closed_when_nobody_asks_for_more(device):
    stubs = [Stub(n, 1 + n % 2) for n in range(20)]
    made = rolled(Replying(device), stubs)
    assert next(made) == 0
    made.close()
    begun = [stub for stub in stubs if stub.closed]
    assert len(begun) == (4 if device is HERE else 8)
