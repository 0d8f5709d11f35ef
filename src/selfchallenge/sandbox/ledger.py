"""A state as it was when a session began, in pieces that are compared at the speed of C.

The frame condition of the reward asks after every attempt what changed. Copying a database as plain
data and comparing it value by value takes longer than the attempt; here each record is kept as
bytes, and only one whose bytes differ is looked into. A piece is kept so only when it consists of
nothing but None, booleans, numbers, texts, lists, tuples and dicts with text keys: then equal bytes
mean equal values of equal types. Every other piece is compared as `changed_paths` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from marshal import dumps  # what it writes is only compared; nothing here reads it
from typing import Any

from selfchallenge.sandbox import wire
from selfchallenge.sandbox.state import differences, digest, plain, step
from selfchallenge.task import Path

SPLIT_DEPTH = 2
"""The state and its tables are split, so that a piece is a record."""

SENT_DEPTH = 1
"""What is sent stands within a reply."""

_ATOMS = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a state.

    Attributes:
        value: as plain data.
        written: as bytes, where they tell all.
        text: as it is in digests.
        encoded: as it is sent; `text` but for the order of keys.
    """

    value: Any
    written: bytes | None
    text: bytes
    encoded: bytes


_Node = _Piece | dict[str, Any]
"""A piece, or the nodes of a dict that was split by its keys."""


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
        self.digest = _hashed(state, _text(self.root))

    def compare(self, state: Any) -> Comparison:
        """What `snapshot` gives now beside what it gave then."""
        return Comparison(self.root, state)


class Comparison:
    """A later state beside the first one; it must not change while this is in use."""

    def __init__(self, root: _Node, state: Any) -> None:
        self._root = root
        self._state = state
        self._same: dict[Path, bool] = {}

    def changed(self) -> tuple[Path, ...]:
        """Paths at which the states differ, as `changed_paths` finds them."""
        return tuple(self._differences(self._root, self._state, ()))

    def digest(self) -> str:
        """SHA-256 of the later state, as `state.digest` computes it."""
        return _hashed(self._state, self._text(self._root, self._state, ()))

    def encoded(self) -> bytes:
        """The later state as plain data, as `wire.encode` writes it."""
        return self._encoded(self._root, self._state, ())

    def _differences(self, before: _Node, now: Any, path: Path) -> Iterator[Path]:
        if isinstance(before, dict) and _splits(now):
            for key in dict.fromkeys((*before, *now)):
                inner = (*path, step(key))
                if key in before and key in now:
                    yield from self._differences(before[key], now[key], inner)
                else:
                    if key in now:
                        plain(now[key], path=inner, objects=True)  # what came must be data too
                    yield inner
        elif not self._unchanged(before, now, path):
            yield from differences(_value(before), plain(now, path=path, objects=True), path)

    def _text(self, before: _Node | None, now: Any, path: Path) -> bytes:
        if isinstance(before, dict) and _splits(now):
            return _object(
                {key: self._text(before.get(key), now[key], (*path, key)) for key in now}
            )
        if isinstance(before, _Piece) and self._unchanged(before, now, path):
            return before.text
        return wire.canonical(plain(now, path=path, objects=True))

    def _encoded(self, before: _Node | None, now: Any, path: Path) -> bytes:
        if isinstance(before, dict) and _splits(now):
            return _in_order(
                {key: self._encoded(before.get(key), now[key], (*path, key)) for key in now}
            )
        if isinstance(before, _Piece) and self._unchanged(before, now, path):
            return before.encoded
        return wire.encode(plain(now, path=path, objects=True), len(path) + SENT_DEPTH)

    def _unchanged(self, before: _Node, now: Any, path: Path) -> bool:
        """Whether the bytes say that nothing changed; False when they cannot tell."""
        if isinstance(before, dict) or before.written is None:
            return False
        if path not in self._same:
            self._same[path] = _written(now) == before.written
        return self._same[path]


def _taken(state: Any, path: Path, like: _Node | None) -> _Node:
    """The node of a state, sharing what is equal in another one."""
    if len(path) < SPLIT_DEPTH and _splits(state):
        others = like if isinstance(like, dict) else {}
        return {key: _taken(state[key], (*path, key), others.get(key)) for key in state}
    written = _written(state)
    if isinstance(like, _Piece) and written is not None and written == like.written:
        return like
    value = plain(state, path=path, objects=True)
    text, encoded = wire.canonical(value), wire.encode(value, len(path) + SENT_DEPTH)
    return _Piece(
        value,
        written if _tells_all(state) else None,
        text,
        text if encoded == text else encoded,
    )


def _splits(value: Any) -> bool:
    """Whether it is a dict whose canonical text is put together from those of its keys."""
    return type(value) is dict and all(type(key) is str and key[:1] != "$" for key in value)


def _text(node: _Node) -> bytes:
    if isinstance(node, dict):
        return _object({key: _text(inner) for key, inner in node.items()})
    return node.text


def _hashed(state: Any, text: bytes) -> str:
    # A state that cannot be seen, None, has a digest of its own.
    return digest(None) if state is None else hashlib.sha256(text).hexdigest()


def _object(texts: dict[str, bytes]) -> bytes:
    """Canonical text of a dict, given those of its values."""
    return _in_order({key: texts[key] for key in sorted(texts)})


def _in_order(texts: dict[str, bytes]) -> bytes:
    """Text of a dict with its keys as they come, given those of its values."""
    return b"{%b}" % b",".join([_key_text(key) + texts[key] for key in texts])


@lru_cache(maxsize=1 << 14)
def _key_text(key: str) -> bytes:
    return wire.canonical(key) + b":"


def _value(node: _Node) -> Any:
    if isinstance(node, dict):
        return {key: _value(inner) for key, inner in node.items()}
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
