"""The host's side of the protocol takes any bytes: hypothesis, the corpus, and a few thousand."""

import random
import signal
from collections.abc import Iterator

import pytest
from frames import CALL, CORPUS, Calls, as_reply, framed, mutate, seeds, small
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.sandbox import wire

PIECES = st.sampled_from([s[4:] for s in small(seeds())]) | st.binary(max_size=40)
BODIES = st.lists(PIECES, max_size=4).map(b"".join)
FRAMES = BODIES.map(framed) | st.binary(max_size=200) | BODIES


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    before = signal.getsignal(signal.SIGALRM)
    found = Calls()
    yield found
    found.close()
    signal.signal(signal.SIGALRM, before)


@settings(max_examples=400, deadline=None)
@given(FRAMES, st.sampled_from(["run", "evaluate"]))
def test_any_reply_is_taken_or_refused(data, op):
    assert as_reply(data, op) in ("good", "refused", "bytes after it")


@settings(max_examples=400, deadline=None)
@given(FRAMES)
def test_any_call_is_answered_or_refused(calls, data):
    assert calls.take(data) in ("answered", "refused")


def test_the_corpus(calls):
    files = sorted(CORPUS.glob("*.bin"))
    assert len(files) >= 20
    for file in files:
        data = file.read_bytes()
        for op in ("run", "evaluate"):
            assert as_reply(data, op) in ("good", "refused", "bytes after it"), file.name
        assert calls.take(data) in ("answered", "refused"), file.name


def test_mutated_frames(calls):
    rng, pool = random.Random(1), small(seeds())
    seen = set()
    for _ in range(1000):
        data = mutate(rng, pool)
        seen |= {as_reply(data, "run"), calls.take(data)}
    assert seen >= {"good", "refused", "bytes after it"}
    assert calls.take(framed(wire.encode(CALL))) == "answered"
