"""How values cross between processes: tagged JSON in length-prefixed frames.

JSON alone loses tuples, sets, bytes, non-string keys and NaN, and accepts what a hostile sender
must not get through (duplicate keys, lone surrogates, huge integers, bottomless nesting). Values
that JSON lacks are objects with one key that starts with `$`; everything else is refused. Pickle
is never used. Standard library only: the zygotes load this file by its path, without the package.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "FRAME_LIMIT",
    "STATE_LIMIT",
    "WireError",
    "canonical",
    "decode",
    "encode",
    "recv_frame",
    "recv_frame_with_fds",
    "send_encoded",
    "send_frame",
]

FRAME_LIMIT = 1 << 20
"""Bytes that a frame of untrusted code may have."""
STATE_LIMIT = 64 << 20
"""Bytes that a frame of the environment's process may have: it may carry a whole state."""

MAX_DEPTH = 100
MAX_DIGITS = 4000
"""Fewer than Python will write, so that one more than such a number can still be shown."""
MAX_COLLISIONS = 100
MAX_FDS = 4
_PREFIX = struct.Struct("!I")


class WireError(ValueError):
    """A value cannot cross, or what came in is no well-formed frame."""


def encode(value: Any, depth: int = 0) -> bytes:
    """`value` as tagged JSON.

    Args:
        value: plain data.
        depth: how deep in the whole it will stand.

    Raises:
        WireError: it holds something that is not plain data, or is nested too deeply.
    """
    return _dump(_tagged(value, depth, _in_order))


def canonical(value: Any) -> bytes:
    """Tagged JSON in which equal values have equal bytes: the keys of every dict are sorted."""
    return _dump(_tagged(value, 0, _sorted))


def decode(data: bytes | bytearray, *, ours: bool = False) -> Any:
    """The value that `encode` wrote.

    Args:
        data: the bytes.
        ours: whether it was surely `encode` that wrote them. Then nothing is looked for that it
            never writes, and a database is read in less than half the time.

    Raises:
        WireError: the bytes are not exactly one such value.
    """
    try:
        text = bytes(data).decode("utf-8")
        # Most of what crosses holds no mark, and then no key needs to be looked at.
        marked = '"$' in text or "\\u0024" in text
        if ours:
            return json.loads(text, object_pairs_hook=_untagged if marked else None)
        value = json.loads(
            text,
            object_pairs_hook=_untagged if marked else _object,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_constant,
        )
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(value)
        if "\\ud" in text or "\\uD" in text:
            # A surrogate can only stand alone when it was written as an escape.
            json.dumps(_tagged(value, 0, _in_order), ensure_ascii=False).encode("utf-8")
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"malformed value: {type(error).__name__}: {str(error)[:200]}") from None
    return value


# -- writing ---------------------------------------------------------------------------------------

Items = Callable[[dict[Any, Any]], Iterable[tuple[Any, Any]]]


def _in_order(value: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    return value.items()


def _sorted(value: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    if all(type(key) is str for key in value):
        return sorted(value.items())
    return sorted(value.items(), key=lambda item: canonical(item[0]))


def _dump(tagged: Any) -> bytes:
    try:
        text = json.dumps(tagged, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise WireError(f"cannot be sent: {type(error).__name__}: {str(error)[:200]}") from None


def _tagged(value: Any, depth: int, items: Items) -> Any:
    kind = type(value)
    if kind is str or kind is bool or kind is int or value is None:
        return value
    if depth > MAX_DEPTH:
        raise WireError(f"nested deeper than {MAX_DEPTH}")
    if kind is dict or isinstance(value, dict):
        return _tagged_dict(value, depth, items)
    if kind is list or isinstance(value, list):
        return [_tagged(item, depth + 1, items) for item in value]
    if isinstance(value, float):
        plain = float(value)
        return plain if math.isfinite(plain) else {"$float": str(plain)}
    if isinstance(value, tuple):
        return {"$tuple": [_tagged(item, depth + 1, items) for item in value]}
    if isinstance(value, set | frozenset):
        # Sorted, or the bytes would depend on the hash seed.
        members = sorted((_tagged(item, depth + 1, _sorted) for item in value), key=_dump)
        return {"$frozenset" if isinstance(value, frozenset) else "$set": members}
    if isinstance(value, bytes | bytearray):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    raise WireError(f"a value of type {kind.__module__}.{kind.__qualname__} is not plain data")


def _tagged_dict(value: dict[Any, Any], depth: int, items: Items) -> Any:
    for key in value:
        if type(key) is not str or key[:1] == "$":
            break
    else:
        return {key: _tagged(item, depth + 1, items) for key, item in items(value)}
    pairs = [
        [_tagged(key, depth + 1, items), _tagged(item, depth + 1, items)]
        for key, item in items(value)
    ]
    return {"$dict": pairs}


# -- reading ---------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise WireError("an object has the same key twice")
    return value


def _untagged(pairs: list[tuple[str, Any]]) -> Any:
    value = _object(pairs)
    for key, inner in pairs:
        if key.startswith("$"):
            if len(pairs) != 1 or key not in _READERS:
                raise WireError(f"unknown mark {key[:20]!r}")
            return _READERS[key](inner)
    return value


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise WireError("a mark without its list")
    return value


def _read_set(value: Any) -> set[Any]:
    _check_hashes(_items(value))
    members = set(value)
    if len(members) != len(value):
        raise WireError("a set has the same member twice")
    return members


def _check_hashes(keys: list[Any]) -> None:
    """Numbers can be chosen so that their hashes are equal, and a set of them takes minutes."""
    if len(set(map(hash, keys))) < len(keys) - MAX_COLLISIONS:
        raise WireError("keys that collide")


def _read_dict(value: Any) -> dict[Any, Any]:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in _items(value)):
        raise WireError("a mark without its pairs")
    _check_hashes([key for key, _ in value])
    found: dict[Any, Any] = dict(value)
    if len(found) != len(value):
        raise WireError("a dict has the same key twice")
    return found


def _read_bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise WireError("bytes without their text")
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise WireError("bytes that are not base64") from None


def _read_float(value: Any) -> float:
    if value not in ("nan", "inf", "-inf"):
        raise WireError("unknown float")
    return float(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": lambda value: tuple(_items(value)),
    "$set": _read_set,
    "$frozenset": lambda value: frozenset(_read_set(value)),
    "$dict": _read_dict,
    "$bytes": _read_bytes,
    "$float": _read_float,
}


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise WireError(f"an integer of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise WireError("a number beyond the range of floats")
    return value


def _constant(text: str) -> Any:
    raise WireError(f"{text} is not JSON")


_CONTAINERS = (dict, list, tuple, set, frozenset)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner for outer in level for inner in _inside(outer) if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return
    raise WireError(f"nested deeper than {MAX_DEPTH}")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        keys = [key for key in value if type(key) is not str]
        return (*value.values(), *keys) if keys else value.values()
    return value if isinstance(value, _CONTAINERS) else ()


# -- frames ----------------------------------------------------------------------------------------


def send_frame(
    sock: socket.socket,
    value: Any,
    *,
    limit: int = STATE_LIMIT,
    deadline: float | None = None,
    fds: Iterable[int] = (),
) -> None:
    """Send one frame, and with it copies of open file descriptors.

    Args:
        sock: a connected stream socket.
        value: plain data.
        limit: bytes it may have.
        deadline: `time.monotonic()` by which it must be out, None to wait without end.
        fds: descriptors that the receiver gets copies of.

    Raises:
        WireError: it is not plain data or too large; nothing was sent.
        TimeoutError: the receiver does not read.
        OSError: the receiver is gone.
    """
    send_encoded(sock, encode(value), limit=limit, deadline=deadline, fds=fds)


def send_encoded(
    sock: socket.socket,
    data: bytes,
    *,
    limit: int = STATE_LIMIT,
    deadline: float | None = None,
    fds: Iterable[int] = (),
) -> None:
    """The same for a value as `encode` wrote it."""
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes are more than the {limit} that may be sent at once")
    view = memoryview(_PREFIX.pack(len(data)) + data)
    _wait(sock, deadline)
    sent = socket.send_fds(sock, [view], list(fds)) if fds else sock.send(view)
    while sent < len(view):
        _wait(sock, deadline)
        sent += sock.send(view[sent:])


def recv_frame(
    sock: socket.socket, limit: int, deadline: float | None = None, *, ours: bool = False
) -> Any:
    """Receive one frame of at most `limit` bytes; `ours` as in `decode`.

    Raises:
        EOFError: the sender closed before a frame began.
        WireError: it is malformed, too large or broken off.
        TimeoutError: it was not complete by `deadline` (`time.monotonic()`).
        OSError: the connection broke.
    """
    return decode(_body(sock, _exactly(sock, _PREFIX.size, deadline), limit, deadline), ours=ours)


def recv_frame_with_fds(sock: socket.socket, limit: int) -> tuple[Any, list[int]]:
    """Like `recv_frame` without a deadline, with the descriptors that came along."""
    _wait(sock, None)
    head, fds, _, _ = socket.recv_fds(sock, _PREFIX.size, MAX_FDS)
    if not head:
        raise EOFError("the connection was closed")
    if len(head) < _PREFIX.size:
        head += _exactly(sock, _PREFIX.size - len(head), None)
    return decode(_body(sock, head, limit, None)), fds


def _body(sock: socket.socket, head: bytes, limit: int, deadline: float | None) -> bytes:
    (size,) = _PREFIX.unpack(head)
    if size > limit:
        raise WireError(f"a frame of {size} bytes is more than the {limit} allowed")
    try:
        return _exactly(sock, size, deadline)
    except EOFError:
        raise WireError("the frame broke off") from None


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        _wait(sock, deadline)
        part = sock.recv(min(missing, 1 << 16))
        if not part:
            if parts:
                raise WireError("the frame broke off")
            raise EOFError("the connection was closed")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _wait(sock: socket.socket, deadline: float | None) -> None:
    """Let the next operation on `sock` last until the deadline at most."""
    if deadline is None:
        if sock.gettimeout() is not None:
            sock.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline passed")
    sock.settimeout(left)
