import enum
import json
import math
import os
import random
import socket
import struct
import threading
import time
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.sandbox import wire
from selfchallenge.sandbox.wire import WireError, canonical, decode, encode

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(
    ["$tuple", "$", "$set", "", "\x00"]
)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.binary(max_size=8)
    | st.integers(min_value=10**40, max_value=10**60)
)
KEYS = st.recursive(
    ATOMS.filter(lambda value: value == value),  # noqa: PLR0124 - not NaN
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equality that tells types apart, and takes NaN for itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (
            math.isnan(one) and math.isnan(other)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same([*one.values()], [*other.values()])
    if isinstance(one, set | frozenset):
        return canonical(one) == canonical(other)
    return one == other


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_every_plain_value_survives_the_way(value):
    assert same(decode(encode(value)), value)
    assert same(decode(encode(value), ours=True), value)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_strict_json(value):
    def refuse(text):
        raise AssertionError(text)

    json.loads(encode(value).decode("utf-8"), parse_constant=refuse)


@given(st.dictionaries(KEYS, ATOMS, min_size=2, max_size=6), st.randoms())
@settings(deadline=None)
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value, chance):
    items = list(value.items())
    chance.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


def test_subclasses_cross_as_what_they_are_underneath():
    class Always(str):
        __slots__ = ()

        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    class Number(enum.IntEnum):
        ONE = 1

    pair = namedtuple("pair", "a b")  # noqa: PYI024
    value = [Always("no"), Number.ONE, pair(1, 2), OrderedDict(a=1), bytearray(b"x")]
    found = decode(encode(value))
    assert [type(item) for item in found] == [str, int, tuple, dict, bytes]
    assert found == ["no", 1, (1, 2), {"a": 1}, b"x"]


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, 1j, [{"a": object()}], "\ud800", {"\udfff": 1}, 10**5000, type, range(3)],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(WireError):
        encode(value)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_has_a_limit_on_both_sides():
    assert decode(encode(nested(90))) == nested(90)
    with pytest.raises(WireError, match="nested"):
        encode(nested(150))
    with pytest.raises(WireError):
        decode(b"[" * 150 + b"]" * 150)
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(WireError, match="nested"):
        encode(cycle)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"1 2",
        b"{} {}",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'"\\ud800"',
        b'{"\\uD800": 1}',
        b'["\\udfff\\ud800"]',
        b"\xff",
        b'"\xed\xa0\x80"',
        b"9" * 5000,
        b"-" + b"9" * 1_000_000,
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"[" * 200 + b"]" * 200,
        b'{"$unknown": 1}',
        b'{"$tuple": 1}',
        b'{"$tuple": [1], "x": 2}',
        b'{"x": 2, "$set": [1]}',
        b'{"$set": [[1]]}',
        b'{"$set": [1, 1]}',
        b'{"$set": "ab"}',
        b'{"$frozenset": [{"a": 1}]}',
        b'{"$dict": [1]}',
        b'{"$dict": [[1, 2, 3]]}',
        b'{"$dict": [[[], 2]]}',
        b'{"$dict": [[1, 2], [1, 3]]}',
        b'{"$dict": {"a": 1}}',
        b'{"$bytes": 1}',
        b'{"$bytes": "not base64!"}',
        b'{"$bytes": "\\u00e9"}',
        b'{"$float": "1"}',
        b'{"$float": ["nan"]}',
        b'{"$float": "infinity"}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_malformed_bytes_are_refused(data):
    with pytest.raises(WireError):
        decode(data)


@pytest.mark.parametrize("mark", ["$set", "$frozenset", "$dict"])
def test_numbers_with_one_hash_are_refused(mark):
    """Fifty thousand of them would keep a set busy for minutes."""
    numbers = [n * (2**61 - 1) for n in range(1, 50_000)]
    members = [[n, 0] for n in numbers] if mark == "$dict" else numbers
    with pytest.raises(WireError, match="collide"):
        decode(json.dumps({mark: members}).encode())
    assert decode(encode(set(range(50_000)))) == set(range(50_000))
    assert decode(encode({-1, -2, 0, 2**61 - 1})) == {-1, -2, 0, 2**61 - 1}


def test_a_pair_of_surrogates_is_one_character():
    assert decode(b'"\\ud83d\\ude00"') == "\U0001f600"


@given(VALUES, st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_bytes_decode_or_raise_wire_error(value, data):
    broken = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(broken)))
        action = data.draw(st.sampled_from(["put", "drop", "swap", "repeat"]))
        if action == "put":
            broken[place:place] = data.draw(
                st.sampled_from([b'"', b"[", b"]", b"{", b"}", b"$", b"\\ud800", b"NaN", b"\xff"])
            )
        elif action == "drop":
            del broken[place : place + data.draw(st.integers(1, 5))]
        elif action == "swap" and place < len(broken):
            broken[place] = data.draw(st.integers(0, 255))
        else:
            broken[place:place] = broken[:place]
    try:
        found = decode(broken)
    except WireError:
        return
    assert same(decode(encode(found)), found)


# -- frames ----------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def test_frames_arrive_in_order(pair):
    for value in ({"a": (1, 2)}, [], "x" * 1000):
        wire.send_frame(pair[0], value)
    assert [wire.recv_frame(pair[1], 2000, soon()) for _ in range(3)] == [
        {"a": (1, 2)},
        [],
        "x" * 1000,
    ]


def test_a_large_frame_passes_a_small_buffer(pair):
    value = os.urandom(1 << 20)
    sender = threading.Thread(target=wire.send_frame, args=(pair[0], value))
    sender.start()
    assert wire.recv_frame(pair[1], wire.STATE_LIMIT, soon(30)) == value
    sender.join()


def test_a_frame_over_the_limit_is_refused_unread(pair):
    pair[0].sendall(struct.pack("!I", 0xFFFFFFFF))
    with pytest.raises(WireError, match="more than the 100 allowed"):
        wire.recv_frame(pair[1], 100, soon())
    with pytest.raises(WireError, match="may be sent"):
        wire.send_frame(pair[0], "x" * 100, limit=50)


def test_a_closed_connection_and_a_broken_frame_differ(pair):
    pair[0].sendall(b"\x00\x00\x00\x05[1")
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(WireError, match="broke off"):
        wire.recv_frame(pair[1], 100, soon())
    with pytest.raises(EOFError):
        wire.recv_frame(pair[1], 100, soon())


def test_half_a_prefix_is_a_broken_frame(pair):
    pair[0].sendall(b"\x00\x00")
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(WireError, match="broke off"):
        wire.recv_frame(pair[1], 100, soon())


def test_deadlines_hold_for_both_sides(pair):
    pair[0].sendall(b"\x00\x00")
    with pytest.raises(TimeoutError):
        wire.recv_frame(pair[1], 100, soon(0.05))
    with pytest.raises(TimeoutError):
        wire.recv_frame(pair[1], 100, soon(-1))
    with pytest.raises(TimeoutError):
        wire.send_frame(pair[0], "x" * (4 << 20), deadline=soon(0.05))


def test_a_slow_drip_does_not_extend_the_deadline(pair):
    stop = threading.Event()

    def drip():
        pair[0].sendall(struct.pack("!I", 1000))
        while not stop.wait(0.01):
            pair[0].sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(TimeoutError):
        wire.recv_frame(pair[1], 2000, soon(0.2))
    stop.set()
    thread.join()


def test_descriptors_travel_with_a_frame(pair):
    reading, writing = os.pipe()
    wire.send_frame(pair[0], {"op": "attach"}, fds=[writing])
    value, fds = wire.recv_frame_with_fds(pair[1], 1000)
    os.close(writing)
    os.write(fds[0], b"hello")
    os.close(fds[0])
    assert value == {"op": "attach"}
    assert os.read(reading, 10) == b"hello"
    os.close(reading)
    pair[0].close()
    with pytest.raises(EOFError):
        wire.recv_frame_with_fds(pair[1], 1000)


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_frame_or_an_expected_error(data):
    one, other = socket.socketpair()
    with one, other:
        one.sendall(data)
        one.close()
        try:
            for _ in range(20):
                wire.recv_frame(other, 64, soon())
        except (EOFError, WireError):
            return
        raise AssertionError("never ended")


def test_sets_do_not_depend_on_the_hash_seed():
    words = [f"word{i}" for i in range(50)]
    shuffled = random.Random(0).sample(words, 50)
    assert encode(set(words)) == encode(set(shuffled))
    assert encode(set(words)) == encode({*words[::-1]})
    assert decode(encode(set(words))) == set(words)
