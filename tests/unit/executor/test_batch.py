"""Attempts that share a model: who waits for whom, and what is left when it fails."""

import random
import time
from contextlib import closing
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.episode import StopReason
from selfchallenge.errors import ModelError
from selfchallenge.executor.batch import Ways, rollout
from selfchallenge.models.base import Completion

PATIENCE = 20
"""Seconds after which something that should have happened has not."""


class Stub:
    """An attempt that ends after `turns` replies; the sandbox ends it the first `spoilt` times."""

    def __init__(self, name, turns, work=lambda stub: None, spoilt=0):
        self.name, self.whole, self.work, self.spoilt = name, turns, work, spoilt
        self.assignment = self
        self.begun, self.closed = 0, False

    def begin(self):
        self.begun, self.turns, self.stop, self.closed = self.begun + 1, self.whole, None, False
        return self

    def prompt(self):
        return self.name, self.turns

    def advance(self, reply):
        assert reply.text == f"to {self.name}"
        self.work(self)
        self.turns -= 1
        self.stop = None if self.turns else "answer"

    def finish(self):
        self.close()
        dead = self.begun <= self.spoilt
        stop = StopReason.SANDBOX if dead else StopReason.ANSWER
        return SimpleNamespace(task=self.name, stop=stop)

    def close(self):
        self.closed = True


class Stepwise:
    """A model that replies to all that is there, and writes down what it was asked together."""

    name = "stepwise"
    device = None

    def __init__(self, before=lambda model: None):
        self.before, self.asked, self.busy = before, [], False

    def generate(self, prompts, sampling):
        assert prompts
        self.asked.append(list(prompts))
        self.work()
        return [Completion(f"to {name}") for name, _ in prompts]

    def work(self):
        self.busy = True
        self.before(self)
        self.busy = False

    def close(self):
        """Nothing to give back."""


class Elsewhere(Stepwise):
    """One that replies to the attempts of lower numbers first, and takes more at any time."""

    device = SimpleNamespace(type="cuda")

    def converse(self, take, sampling):
        live, taken = [], 0
        while True:
            prompts = take(not live)
            if prompts:
                self.asked.append(list(prompts))
            live += enumerate(prompts, taken)
            taken += len(prompts)
            if not live:
                return
            self.work()
            live.sort(key=lambda one: one[1][0])
            number, (name, _) = live.pop(0)
            yield [(number, Completion(f"to {name}"))]


class Here(Elsewhere):
    """The same on this machine's processors."""

    device = SimpleNamespace(type="cpu")


KINDS = pytest.mark.parametrize("kind", [Stepwise, Here, Elsewhere])


def rolled(model, stubs, batch=4, between=None):
    """Whose episodes are handed out, as they are."""
    ways = Ways(begin=lambda stub, *_: stub.begin(), between=between)
    with closing(rollout(model, stubs, None, None, batch=batch, ways=ways)) as episodes:
        for episode in episodes:
            yield episode.task


@KINDS
def test_what_the_sandbox_ended_is_made_once_more_behind_all_others(kind):
    stubs = [Stub(n, 2, spoilt={1: 1, 4: 9}.get(n, 0)) for n in range(6)]
    found = list(rolled(kind(), stubs, batch=2))
    assert sorted(found[:4]) == [0, 2, 3, 5]
    assert sorted(found[4:]) == [1, 4]
    assert [stub.begun for stub in stubs] == [1, 2, 1, 1, 2, 1]
    assert all(stub.closed for stub in stubs)


@KINDS
@given(
    turns=st.lists(st.integers(1, 4), max_size=12),
    batch=st.integers(1, 5),
    cut=st.sets(st.integers(0, 11)),
)
@settings(max_examples=60, deadline=None)
def test_every_attempt_gets_all_its_replies_and_gives_one_episode(kind, turns, batch, cut):
    stubs = [Stub(n, count) for n, count in enumerate(turns)]
    model, waves = kind(), []

    def between(active):
        assert 0 < len(active) <= batch
        waves.append([stub.name for stub in active])
        for stub in active:
            if stub.name in cut and stub.turns == 1:
                stub.stop = "user"

    assert sorted(rolled(model, stubs, batch, between if cut else None)) == list(range(len(turns)))
    asked = [prompt for together in model.asked for prompt in together]
    owed = [
        (n, left)
        for n, count in enumerate(turns)
        for left in range(1, count + 1)
        if not (n in cut and left == 1)
    ]
    assert sorted(asked) == sorted(owed)
    assert all(0 < len(together) <= batch for together in model.asked)
    # Whoever speaks in between speaks for as many as there are.
    assert not waves or len(waves[0]) == min(batch, len(turns))
    assert all(stub.closed for stub in stubs)


def test_the_sandbox_works_while_a_model_elsewhere_replies_to_others():
    replying, acted = Event(), Event()

    def work(stub):
        if stub.name == 0:
            assert replying.wait(PATIENCE), "the model waited for the sandbox"
            acted.set()

    def before(model):
        model.steps = getattr(model, "steps", 0) + 1
        if model.steps == 2:
            replying.set()
            assert acted.wait(PATIENCE), "the sandbox waited for the model"

    stubs = [Stub(n, 2, work) for n in range(8)]
    assert sorted(rolled(Elsewhere(before), stubs)) == list(range(8))


@pytest.mark.parametrize("kind", [Stepwise, Here])
def test_a_model_on_these_processors_has_them_to_itself(kind):
    model = kind(lambda _: time.sleep(0.002))
    beside = []

    def work(_):
        beside.append(model.busy)

    list(rolled(model, [Stub(n, 3, work) for n in range(10)]))
    assert len(beside) == 30
    assert not any(beside)


@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [(Stepwise, 0), (Here, 0), (Stepwise, 5), (Here, 5), (Elsewhere, 5)],
)
def test_no_clock_decides_what_is_asked_together(kind, spoilt):
    def once(pace):
        slow = random.Random(pace)
        stubs = [Stub(n, 1 + n % 3, lambda _: time.sleep(slow.uniform(0, 0.01))) for n in range(20)]
        model = kind()
        return list(rolled(model, stubs, between=spoil if spoilt else None)), model.asked

    def spoil(active):
        for stub in active:
            if stub.name % spoilt == 4:
                stub.stop = "user"

    assert once(1) == once(2)


def test_an_attempt_goes_on_while_the_reply_to_another_is_not_complete():
    model = Here()
    list(rolled(model, [Stub(n, 3) for n in range(3)], batch=3))
    assert model.asked[:4] == [[(0, 3), (1, 3), (2, 3)], [(0, 2)], [(0, 1)], [(1, 2)]]


@KINDS
def test_a_model_that_fails_loses_no_attempt_that_has_ended(kind):
    def before(model):
        model.steps = getattr(model, "steps", 0) + 1
        if model.steps == 3:
            raise ModelError("the server is gone")

    stubs = [Stub(n, 1) for n in range(20)]
    made = rolled(kind(before), stubs)
    ended = 8 if kind is Stepwise else 2
    assert sorted(next(made) for _ in range(ended)) == list(range(ended))
    with pytest.raises(ModelError, match="server is gone"):
        next(made)
    assert [stub.closed for stub in stubs] == [stub.begun > 0 for stub in stubs]
    assert sum(stub.begun for stub in stubs) in ({12} if kind is Stepwise else {5, 6})


@KINDS
def test_attempts_are_closed_when_nobody_asks_for_more(kind):
    stubs = [Stub(n, 1 + n % 2) for n in range(20)]
    made = rolled(kind(), stubs)
    assert next(made) == 0
    made.close()
    assert [stub.closed for stub in stubs] == [stub.begun > 0 for stub in stubs]
    assert sum(stub.begun for stub in stubs) in {4, 5}
