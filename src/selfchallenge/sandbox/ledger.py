"""A state as it was when a session began, in pieces that are compared at the speed of C.

The frame condition of the reward asks after every attempt what changed. Copying a database as plain
data and comparing it value by value takes longer than the attempt; here each record is kept as
bytes, and only one whose bytes differ is looked into. A piece is kept so only when it consists of
nothing but None, booleans, numbers, texts, lists, tuples and dicts with text keys: then equal bytes
mean equal values of equal types. Every other piece is compared as `changed_paths` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from marshal import dumps  # what it writes is only compared; nothing here reads it
from typing import Any

from selfchallenge.sandbox import wire
from selfchallenge.sandbox.state import (
    SPLIT_DEPTH,
    differences,
    digest,
    digest_of,
    digest_part,
    plain,
    splits,
    step,
)
from selfchallenge.task import Path

SENT_DEPTH = 1
"""What is sent stands within a reply."""

_ATOMS = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a state.

    Attributes:
        value: as plain data.
        written: as bytes, where they tell all.
        digest: SHA-256 of its canonical text.
        encoded: as it is sent.
    """

    value: Any
    written: bytes | None
    digest: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class _Split:
    """A dict in parts, one for each key.

    Attributes:
        parts: in the order of the dict.
        digest: put together from those of the parts.
        strip: keys and values of the parts that are pieces and whose bytes tell all, in a row.
        ends: where in `strip` such a part ends.
    """

    parts: dict[str, _Piece | _Split]
    digest: bytes
    strip: bytes
    ends: dict[str, int]


_Node = _Piece | _Split


class Ledger:
    """The visible state of an instance that nobody has touched yet; `unseen` when there is none.

    Args:
        state: what its `snapshot` gave.
        like: of another instance of the same class; pieces that are equal are shared with it.

    Raises:
        NotPlainError: the state holds something that is no plain data.
        WireError: it is nested too deeply.
    """

    def __init__(self, state: Any, like: Ledger | None = None) -> None:
        self.unseen = state is None
        self.root: _Node = _taken(state, (), like.root if like else None)
        self.digest = digest(None) if self.unseen else self.root.digest.hex()

    def compare(self, state: Any) -> Comparison:
        """What `snapshot` gives now beside what it gave then."""
        return Comparison(self.root, state)


class Comparison:
    """A later state beside the first one; it must not change while this is in use."""

    def __init__(self, root: _Node, state: Any) -> None:
        self._root = root
        self._state = state
        self._stands = _stands(root, state)

    def changed(self) -> tuple[Path, ...]:
        """Paths at which the states differ, as `changed_paths` finds them."""
        return tuple(_differences(self._root, self._state, self._stands, ()))

    def digest(self) -> str:
        """SHA-256 of the later state, as `state.digest` computes it."""
        if self._state is None:
            return digest(None)
        return _later_digest(self._root, self._state, self._stands, ()).hex()

    def encoded(self) -> bytes:
        """The later state as plain data, as `wire.encode` writes it."""
        return _encoded(self._root, self._state, self._stands, ())


_Stands = bool | dict[str, Any]
"""Whether a part of a state is what it was, as far as bytes tell; key by key where it splits."""


def _stands(before: _Node, now: Any) -> _Stands:
    if isinstance(before, _Piece):
        return before.written is not None and _written(now) == before.written
    if not splits(now):
        return False
    found: dict[str, _Stands] = {}
    strip, at, in_row = before.strip, 0, 0
    for key, value in now.items():
        end = before.ends.get(key)
        written = _written((key, value)) if end else None
        # The process is a fork: a piece that is not even looked at is not copied for it.
        if written is not None and strip.startswith(written, at):
            found[key], in_row = True, in_row + 1
        else:
            found[key] = key in before.parts and _stands(before.parts[key], value)
        at = end or at
    return in_row == len(before.parts) == len(now) or found


def _differences(before: _Node, now: Any, stands: _Stands, path: Path) -> Iterator[Path]:
    if isinstance(before, _Split) and isinstance(stands, dict):
        for key in dict.fromkeys((*before.parts, *now)):
            if stands.get(key) is True:
                continue
            inner = (*path, step(key))
            if key in before.parts and key in now:
                yield from _differences(before.parts[key], now[key], stands[key], inner)
            else:
                if key in now:
                    plain(now[key], path=inner, objects=True)  # what came must be data too
                yield inner
    elif stands is not True:
        yield from differences(_value(before), plain(now, path=path, objects=True), path)


def _later_digest(before: _Node | None, now: Any, stands: _Stands, path: Path) -> bytes:
    if before is not None and stands is True:
        return before.digest
    if isinstance(before, _Split) and isinstance(stands, dict):
        return digest_of(
            {
                key: _later_digest(before.parts.get(key), now[key], found, (*path, key))
                for key, found in stands.items()
            }
        )
    return digest_part(plain(now, path=path, objects=True), len(path))


def _encoded(before: _Node | None, now: Any, stands: _Stands, path: Path) -> bytes:
    if isinstance(before, _Piece) and stands is True:
        return before.encoded
    if isinstance(before, _Split) and stands is not False:
        return _in_order(
            {
                key: _encoded(
                    before.parts.get(key),
                    now[key],
                    stands is True or stands[key],
                    (*path, key),
                )
                for key in now
            }
        )
    return wire.encode(plain(now, path=path, objects=True), len(path) + SENT_DEPTH)


def _taken(state: Any, path: Path, like: _Node | None) -> _Node:
    """The node of a state, sharing what is equal in another one."""
    if len(path) < SPLIT_DEPTH and splits(state):
        return _split(state, path, like if isinstance(like, _Split) else None)
    written = _written(state) if _tells_all(state) else None
    if isinstance(like, _Piece) and written is not None and written == like.written:
        return like
    value = plain(state, path=path, objects=True)
    return _Piece(
        value,
        written,
        digest_part(value, len(path)),
        wire.encode(value, len(path) + SENT_DEPTH),
    )


def _split(state: dict[str, Any], path: Path, like: _Split | None) -> _Split:
    others = like.parts if like else {}
    parts = {key: _taken(state[key], (*path, key), others.get(key)) for key in state}
    if like and list(parts) == list(others) and all(parts[key] is others[key] for key in parts):
        return like
    strip = bytearray()
    ends = {}
    for key, part in parts.items():
        if isinstance(part, _Piece) and part.written is not None:
            strip += dumps((key, state[key]), 2)
            ends[key] = len(strip)
    digested = digest_of({key: part.digest for key, part in parts.items()})
    return _Split(parts, digested, bytes(strip), ends)


def _in_order(texts: dict[str, bytes]) -> bytes:
    """Text of a dict with its keys as they come, given those of its values."""
    return b"{%b}" % b",".join([_key_text(key) + texts[key] for key in texts])


@lru_cache(maxsize=1 << 14)
def _key_text(key: str) -> bytes:
    return wire.canonical(key) + b":"


def _value(node: _Node) -> Any:
    if isinstance(node, _Split):
        return {key: _value(inner) for key, inner in node.parts.items()}
    return node.value


def _written(value: Any) -> bytes | None:
    try:
        # Version 2 has no references: equal values are written alike, whoever else holds them.
        return dumps(value, 2)
    except ValueError:
        return None


def _tells_all(value: Any) -> bool:
    """Whether equal bytes mean an equal value: no sets (unordered), no buffers (untyped)."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_tells_all, value.values()))
    return kind in (list, tuple) and all(map(_tells_all, value))
