"""Hostile frames: seeds, mutations of them, and the host code that has to take them.

What a process of untrusted code can send goes to two places: its reply to the host (`Job`), its
tool calls to the environment's process (`Server`). Neither may raise anything but what it says it
raises, whatever the bytes are. `million.py` does this a million times; `test_frames.py` in short.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from selfchallenge.environments.base import Environment, tool
from selfchallenge.sandbox import wire
from selfchallenge.sandbox.job import Failure, Job
from selfchallenge.sandbox.ledger import Ledger
from selfchallenge.sandbox.server import Pristine, Server, _Client

CORPUS = Path(__file__).with_name("corpus")
LARGEST, BUFFERED = 1 << 14, 1 << 16

RUN = {"output": "", "error": None, "raised": None, "has_answer": True, "answer": 42}
EVALUATE = {"passed": True, "returned": "True", "error": None}
CALL = {"tool": "echo", "args": [1], "kwargs": {"b": [2.5, "x"]}}
VALUES: list[Any] = [
    (1, "a"),
    {1, 2},
    frozenset({("a", 1)}),
    {1: "a", (2, 3): None},
    b"bytes",
    float("nan"),
    float("-inf"),
    10**50,
    [[[[]]]],
    "\u00e9\U0001f600",
    {"$dict": 1},
]
TOKENS = [
    *(b'"$tuple"', b'"$set"', b'"$frozenset"', b'"$dict"', b'"$bytes"', b'"$float"', b'"$x"'),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1E400", b"0x10", b"9" * 5000),
    *(b'"\\ud800"', b'"\\udfff\\ud800"', b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b'"\\u0000"'),
    *(b"[" * 200, b'{"a":' * 200, b"]", b"}", b",", b":", b'"', b"\\", b"null", b"true", b" "),
    *(b'"answer":1,"answer":2', b'"passed":1', b'"tool":"__init__"', b'"kwargs":{"a b":1}'),
]


class Echo(Environment):
    """Gives back what it is given."""

    @tool
    def echo(self, *values: Any, **named: Any) -> Any:
        """Give it back."""
        return [values, named]


def framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def seeds() -> list[bytes]:
    """Well-formed frames, and the corpus."""
    values = [RUN, EVALUATE, CALL]
    values += [{**RUN, "answer": value} for value in VALUES]
    values += [{**CALL, "args": [value]} for value in VALUES]
    made = [framed(wire.encode(value)) for value in values]
    made += [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))]
    return made


def small(pool: list[bytes]) -> list[bytes]:
    """The frames that are quickly mutated."""
    return [data for data in pool if len(data) < LARGEST]


def mutate(rng: random.Random, pool: list[bytes]) -> bytes:
    """A frame with a few things wrong; often with a length that fits, or nobody reads on."""
    data = bytearray(rng.choice(pool))
    body = data[4:]
    for _ in range(rng.randint(1, 6)):
        rng.choice(_MUTATIONS)(rng, body, pool)
    del body[LARGEST:]
    kind = rng.random()
    if kind < 0.85:
        return framed(bytes(body))
    if kind < 0.9:
        return struct.pack("!I", rng.getrandbits(32)) + bytes(body)
    if kind < 0.95:
        return framed(bytes(body)) + bytes(rng.choice(pool))
    return framed(bytes(body))[: rng.randint(0, len(body) + 4)]


def _at(rng: random.Random, body: bytearray) -> int:
    return rng.randint(0, len(body))


def _flip(rng: random.Random, body: bytearray, _pool: list[bytes]) -> None:
    if body:
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, body: bytearray, _pool: list[bytes]) -> None:
    if body:
        body[rng.randrange(len(body))] = rng.getrandbits(8)


def _insert(rng: random.Random, body: bytearray, _pool: list[bytes]) -> None:
    place = _at(rng, body)
    body[place:place] = rng.choice(TOKENS)


def _replace(rng: random.Random, body: bytearray, _pool: list[bytes]) -> None:
    place = _at(rng, body)
    body[place : place + rng.randint(0, 12)] = rng.choice(TOKENS)


def _cut(rng: random.Random, body: bytearray, _pool: list[bytes]) -> None:
    place = _at(rng, body)
    del body[place : place + rng.randint(1, 16)]


def _double(rng: random.Random, body: bytearray, _pool: list[bytes]) -> None:
    place, size = _at(rng, body), rng.randint(1, 32)
    body[place:place] = body[place : place + size]


def _splice(rng: random.Random, body: bytearray, pool: list[bytes]) -> None:
    other = rng.choice(pool)[4:]
    body[_at(rng, body) :] = other[_at(rng, bytearray(other)) :]


_MUTATIONS: list[Callable[[random.Random, bytearray, list[bytes]], None]] = [
    *(_flip, _set, _insert, _replace, _cut, _double, _splice),
]


# -- what takes them -------------------------------------------------------------------------------


@contextmanager
def sent(data: bytes) -> Iterator[socket.socket]:
    """A socket on which these bytes come in, and then nothing more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if len(data) < BUFFERED:
            _send(theirs, data)
            yield ours
            return
        sender = threading.Thread(target=_send, args=(theirs, data))
        sender.start()
        try:
            yield ours
        finally:
            ours.close()
            sender.join()


def _send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def as_reply(data: bytes, op: str) -> str:
    """What the host makes of a reply: `good`, or how it was refused."""
    with sent(data) as ours:
        job: Any = Job.__new__(Job)
        job._child = SimpleNamespace(payload=ours)
        said = job._exchange({"op": op}, 5.0)
        broken = job._unasked()
    assert said is None or isinstance(said, str | dict | Failure), said
    if isinstance(said, dict):
        assert said.keys() == (RUN if op == "run" else EVALUATE).keys()
        json.dumps(wire.encode(said).decode())  # what was taken can be passed on
        return "good" if broken is None else "bytes after it"
    return "refused"


class Calls:
    """An environment's process that is sent tool calls."""

    def __init__(self) -> None:
        host, self._host = socket.socketpair()
        self._server = Server(host, Pristine(Echo(), Ledger({}), {"echo": False}))

    def take(self, data: bytes) -> str:
        """What it makes of a call."""
        with sent(data) as ours:
            client = _Client(ours, verify=False)
            server = self._server
            server._active, server._deadline = client, time.monotonic() + 60
            server._serve_client(client)
            server._trace.clear()
            return "refused" if server._active is None else "answered"

    def close(self) -> None:
        self._host.close()
        self._server._control.close()
