"""States as plain data: what they hold, their digest, and which paths changed.

The frame condition of the reward (design, section 4) rests on `changed_paths`; it is computed in
the environment's process, where the state is.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import io
import math
import pathlib
import random
import uuid
from collections import Counter
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from marshal import dumps  # what it writes is only compared; nothing here reads it
from typing import Any

from selfchallenge.sandbox import wire
from selfchallenge.task import Path

MAX_DEPTH = wire.MAX_DEPTH
SPLIT_DEPTH = 2
"""A state and its tables are taken apart by their keys, so that a piece is a record."""

ADDED = "+"
"""The step of a path that stands for items which a list did not have."""
_TEXTS = (
    decimal.Decimal,
    fractions.Fraction,
    dt.date,
    dt.time,
    dt.timedelta,
    pathlib.PurePath,
    uuid.UUID,
)
_HEAP_TYPE = 1 << 9
_ATOMS = frozenset((str, int, float, bool, bytes, type(None)))


class NotPlainError(TypeError):
    """A value is no plain data; `path` says where, `kind` is the name of its type."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(path, kind)
        self.path, self.kind = path, kind

    def __str__(self) -> str:
        where = "".join(f"[{key!r}]" for key in self.path)
        return f"a value of type {self.kind}{f' at {where}' if where else ''} is not plain data"


def plain(value: Any, *, objects: bool = False, path: Path = ()) -> Any:
    """A deep copy of `value` as plain data: only None, bool, numbers, text, bytes and containers.

    Dataclasses and pydantic models become dicts, enums their values, dates, decimals, paths and
    UUIDs their text; what iterates becomes a list.

    Args:
        value: anything.
        objects: whether other objects stand for their attributes (in a state they do).
        path: where in a state it lies.

    Raises:
        NotPlainError: something in it is none of these, or it is nested too deeply.
    """
    return _plain(value, path, objects)


def _plain(value: Any, path: Path, objects: bool) -> Any:
    if type(value) in _ATOMS:
        return value
    if len(path) > MAX_DEPTH:
        raise NotPlainError(path[:3], f"{type(value).__name__}, nested deeper than {MAX_DEPTH},")
    if isinstance(value, Mapping):
        return {_key(k, path): _plain(v, (*path, step(k)), objects) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item, (*path, i), objects) for i, item in enumerate(value)]
    if isinstance(value, enum.Enum):
        return _plain(value.value, path, objects)
    if isinstance(value, tuple):
        return tuple(_plain(item, (*path, i), objects) for i, item in enumerate(value))
    if isinstance(value, set | frozenset):
        members = [_key(item, path) for item in value]
        return frozenset(members) if isinstance(value, frozenset) else set(members)
    if isinstance(value, bool | int | float | str | bytes | bytearray):
        return _bare(value)
    if isinstance(value, _TEXTS):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    fields = _fields(value, objects)
    if fields is not None:
        return _plain(fields, path, objects)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return _plain(value.tolist(), path, objects)
    if _iterates(value, objects):
        return [_plain(item, (*path, i), objects) for i, item in enumerate(value)]
    raise NotPlainError(path, type(value).__name__)


def _iterates(value: Any, objects: bool) -> bool:
    if isinstance(value, range | KeysView | ValuesView | ItemsView):
        return True
    # An iterator is used up by looking at it: a state must not be changed by that.
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase) and not objects


def _bare(value: Any) -> Any:
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return bytes(value)


def _fields(value: Any, objects: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(type(value), "model_fields"):
        return dict(value)
    if not objects or isinstance(value, type) or callable(value):
        return None
    if isinstance(value, random.Random):
        return value.getstate()
    return vars(value) if hasattr(value, "__dict__") and _written_in_python(type(value)) else None


def _written_in_python(kind: type) -> bool:
    """Whether the attributes are all there is: a file or a connection holds more than they say."""
    return all(base.__flags__ & _HEAP_TYPE for base in kind.__mro__[:-1])


def _key(value: Any, path: Path) -> Any:
    found = _plain(value, path, objects=False)
    try:
        hash(found)
    except TypeError:
        raise NotPlainError(path, f"{type(value).__name__} (as a key)") from None
    return found


def digest(state: Any) -> str:
    """SHA-256 of a plain state, in hex, put together from those of its records.

    The unseen state, None, has one of its own.
    """
    return hashlib.sha256(b"unseen").hexdigest() if state is None else digest_part(state, 0).hex()


def digest_part(value: Any, depth: int) -> bytes:
    """SHA-256 of what lies at this depth of a plain state, the whole of which lies at 0."""
    if depth < SPLIT_DEPTH and splits(value):
        return digest_of({key: digest_part(value[key], depth + 1) for key in value})
    return hashlib.sha256(wire.canonical(value)).digest()


def digest_of(parts: Mapping[str, bytes]) -> bytes:
    """Digest of a dict that splits, given those of its values; the order of keys is nothing."""
    found = hashlib.sha256(b"\0")  # with which no canonical text begins
    found.update(b"".join([_key_digest(key) + parts[key] for key in sorted(parts)]))
    return found.digest()


@functools.lru_cache(maxsize=1 << 14)
def _key_digest(key: str) -> bytes:
    return hashlib.sha256(wire.canonical(key)).digest()


def splits(value: Any) -> bool:
    """Whether it is a dict that is taken apart by its keys, down to `SPLIT_DEPTH`."""
    return type(value) is dict and all(type(key) is str and key[:1] != "$" for key in value)


def changed_paths(before: Any, after: Any) -> tuple[Path, ...]:
    """Paths at which two plain values differ, outermost first.

    A key that came or went is a changed path. Of lists a short account is given: the old
    places of items that went, what changed in an item that stayed at its place, and for each item
    that came a path that ends in `ADDED` and a number counted from 0, wherever it was put. Tuples
    of another length have changed as a whole. Types count: 1, 1.0 and True differ.
    """
    return tuple(differences(before, after, ()))


def differences(before: Any, after: Any, path: Path) -> Iterator[Path]:
    """The same for two values that lie at `path` of a state, one after the other."""
    if type(before) is not type(after):
        yield path
    elif isinstance(before, dict):
        old, new = _by_key(before), _by_key(after)
        for key in dict.fromkeys((*old, *new)):
            inner = (*path, step(key[1]))
            if key in old and key in new:
                yield from differences(old[key], new[key], inner)
            else:
                yield inner
    elif isinstance(before, list):
        yield from _list_differences(before, after, path)
    elif isinstance(before, tuple) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, (*path, i))
    elif not _same(before, after):
        yield path


def _list_differences(before: list[Any], after: list[Any], path: Path) -> Iterator[Path]:
    pairs, gone, came = _aligned(before, after)
    for i, j in pairs:
        yield from differences(before[i], after[j], (*path, i))
    yield from ((*path, i) for i in gone)
    yield from ((*path, ADDED, count) for count in range(came))


def _aligned(
    before: Sequence[Any], after: Sequence[Any]
) -> tuple[list[tuple[int, int]], list[int], int]:
    """Which places became which, which went, and how many came; items that are equal are left out.

    What is alike at both ends is set aside first, for most changes are small.
    """
    start = _alike(before, after)
    before, after = before[start:], after[start:]
    end = _alike(before[::-1], after[::-1])
    old = [wire.canonical(item) for item in before[: len(before) - end]]
    new = [wire.canonical(item) for item in after[: len(after) - end]]
    pairs: list[tuple[int, int]] = []
    gone: list[int] = []
    came = 0
    for i, until, j, to in _gaps(old, new):
        both = min(until - i, to - j)
        pairs += [(start + i + k, start + j + k) for k in range(both)]
        gone += range(start + i + both, start + until)
        came += to - j - both
    if len(old) == len(new):
        in_place = [(start + i, start + i) for i in range(len(old)) if old[i] != new[i]]
        if len(in_place) <= len(pairs) + len(gone) + came:
            return in_place, [], 0
    return pairs, gone, came


def _gaps(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches of both lists (from, to, from, to) between the items that stayed."""
    i = j = 0
    for a, b in (*_anchors(old, new), (len(old), len(new))):
        if a < i:  # it stands in the stretch that grew from the one before
            continue
        until, to = a, b
        while until > i and to > j and old[until - 1] == new[to - 1]:
            until, to = until - 1, to - 1
        if i < until or j < to:
            yield i, until, j, to
        i, j = a, b
        while i < len(old) and j < len(new) and old[i] == new[j]:
            i, j = i + 1, j + 1


def _anchors(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Places of the items that both lists hold once, as many as stand in the same order in both.

    That is patience sorting: what an attempt writes into a list must not make this slow, as it
    makes `difflib`, whose time grows with the cube of the length.
    """
    places = {item: j for j, item in enumerate(new)}
    common = _once(old) & _once(new)
    shared = [(i, places[item]) for i, item in enumerate(old) if item in common]
    tops: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for k, (_, j) in enumerate(shared):
        pile = bisect.bisect_left(tops, j)
        before.append(last[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [j]
        last[pile : pile + 1] = [k]
    found: list[tuple[int, int]] = []
    k = last[-1] if last else -1
    while k >= 0:
        found.append(shared[k])
        k = before[k]
    return found[::-1]


def _once(items: Sequence[bytes]) -> set[bytes]:
    return {item for item, count in Counter(items).items() if count == 1}


def _alike(before: Sequence[Any], after: Sequence[Any]) -> int:
    """How many items at the beginning are equal and written alike."""
    for i, (one, other) in enumerate(zip(before, after, strict=False)):
        # Version 2 has no references; only sets may be written in two ways.
        if dumps(one, 2) != dumps(other, 2):
            return i
    return min(len(before), len(after))


def _by_key(value: dict[Any, Any]) -> dict[tuple[type, Any], Any]:
    return {(type(key), key): item for key, item in value.items()}


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, float):
        both_nan = math.isnan(before) and math.isnan(after)
        return both_nan or (before == after and math.copysign(1, before) == math.copysign(1, after))
    if isinstance(before, set | frozenset):
        return wire.canonical(before) == wire.canonical(after)
    return bool(before == after)


def step(key: Any) -> str | int:
    """A key as a step of a path: itself when it is text or a number, else its `repr`."""
    return key if type(key) in (str, int) else repr(key)
