"""What of a prompt is computed already: shared beginnings, and conversations that go on.

Both are kept with their keys and values. A conversation that was gone on with leaves first when the
bytes run out, then what was used least recently; one that nobody goes on with leaves after a few
calls. All of it is worthless once the weights have changed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from selfchallenge.models.attention import Prefix

Ids = tuple[int, ...]

SHORTEST = 48
"""Ids that a prefix must add to be kept apart."""
WORTH = 512
"""Ids that a new prefix must save, over all prompts seen lately, to be worth a pass of its own."""
_ALIKE = 16
"""Prompts that share fewer ids than this after a prefix are not looked at together."""


@dataclass(frozen=True)
class Kept:
    """A conversation so far: its ids begin with those of `prefix`, `own` holds the rest.

    Attributes:
        asked: prompts there had been when it was kept.
    """

    prefix: Prefix | None
    own: Tensor
    asked: int


@dataclass(frozen=True)
class Start:
    """What a prompt can begin with instead of being read from its first id."""

    prefix: Prefix | None = None
    own: Tensor | None = None

    @property
    def shared(self) -> int:
        """Ids of the prefix."""
        return 0 if self.prefix is None else len(self.prefix.ids)

    @property
    def length(self) -> int:
        """Ids that need not be read."""
        return self.shared + (0 if self.own is None else self.own.shape[3])


class Memory:
    """Prefixes and conversations with their keys and values, at most `limit` bytes.

    Args:
        limit: bytes.
        idle: prompts after which a conversation that nobody went on with has ended.
        compute: makes the prefix of the given ids, starting from a shorter one.
    """

    def __init__(
        self, limit: int, idle: int, compute: Callable[[Ids, Prefix | None], Prefix]
    ) -> None:
        self.limit, self.idle = limit, idle
        self._compute = compute
        self._seen: deque[Ids] = deque(maxlen=64)
        self._kept: OrderedDict[Ids, Prefix | Kept] = OrderedDict()
        self._bytes = 0
        self._asked = 0

    def starts(self, prompts: Sequence[tuple[Ids, Ids]]) -> list[Start]:
        """Where to start for each prompt, given its ids and those that were its context."""
        self._let_go()
        self._asked += len(prompts)
        found = [self._conversation(ids, context) for ids, context in prompts]
        fresh = [ids for (ids, _), start in zip(prompts, found, strict=True) if start is None]
        for ids in shared_beginnings({*fresh, *self._seen}):
            if ids not in self._kept and any(row[: len(ids)] == ids for row in fresh):
                self._put(ids, self._compute(ids, self._longest(ids)))
        self._seen.extend(fresh)
        return [
            Start(self._longest(ids)) if start is None else start
            for (ids, _), start in zip(prompts, found, strict=True)
        ]

    def keep(self, ids: Ids, prefix: Prefix | None, own: Tensor) -> None:
        """Remember a conversation up to `ids`."""
        self._put(ids, Kept(prefix, own, self._asked))

    def forget(self) -> None:
        """Drop everything."""
        self._seen.clear()
        self._kept.clear()
        self._bytes = 0

    def _let_go(self) -> None:
        """Drop the conversations that have ended."""
        ended = [
            ids
            for ids, kept in self._kept.items()
            if isinstance(kept, Kept) and self._asked - kept.asked > self.idle
        ]
        for ids in ended:
            self._bytes -= _bytes(self._kept.pop(ids))

    def _conversation(self, ids: Ids, context: Ids) -> Start | None:
        # The last id of a reply was sampled and not read, so it is missing in what is kept.
        key = context[:-1]
        kept = self._kept.get(key)
        if not isinstance(kept, Kept) or ids[: len(key)] != key:
            return None
        self._kept.move_to_end(key, last=False)
        return Start(kept.prefix, kept.own)

    def _longest(self, ids: Ids) -> Prefix | None:
        found = [
            kept
            for key, kept in self._kept.items()
            if isinstance(kept, Prefix) and len(key) < len(ids) and ids[: len(key)] == key
        ]
        if not found:
            return None
        best = max(found, key=lambda prefix: len(prefix.ids))
        self._kept.move_to_end(best.ids)
        return best

    def _put(self, ids: Ids, kept: Prefix | Kept) -> None:
        old = self._kept.pop(ids, None)
        self._bytes += _bytes(kept) - (0 if old is None else _bytes(old))
        self._kept[ids] = kept
        while self._bytes > self.limit and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _bytes(oldest)


def _bytes(kept: Prefix | Kept) -> int:
    tensor = kept.kv if isinstance(kept, Prefix) else kept.own
    return tensor.numel() * tensor.element_size()


def shared_beginnings(prompts: Iterable[Ids]) -> list[Ids]:
    """Beginnings that several of these different prompts share and that are worth computing once.

    A longer one follows the shorter one that it begins with; each leaves every prompt that has it
    at least one id of its own.
    """
    found: list[Ids] = []
    _split(sorted(prompts), 0, found)
    return found


def _split(group: list[Ids], depth: int, found: list[Ids]) -> None:
    """Look for shared beginnings longer than `depth` within a sorted group."""
    length = _common(group[0], group[-1]) if len(group) > 1 else 0
    length = min(length, min(map(len, group)) - 1) if length else 0
    gain = length - depth
    if gain >= SHORTEST and gain * (len(group) - 1) >= WORTH:
        found.append(group[0][:length])
        depth = length
    families: dict[Ids, list[Ids]] = {}
    for ids in group:
        families.setdefault(ids[length : length + _ALIKE], []).append(ids)
    for family in families.values():
        if 1 < len(family) < len(group):
            _split(family, depth, found)


def _common(first: Ids, last: Ids) -> int:
    """How many ids two sequences begin with alike."""
    pairs = zip(first, last, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
