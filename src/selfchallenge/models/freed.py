"""When freed memory goes back to the system, which glibc decides badly for tensors.

It asks the system anew for each block of 32 MiB or more, and each such block is filled with zeros
page by page, at every step again: a third of the time of long conversations went into that. And
tensors of ever other sizes leave gaps in its heap, which it never gives back: a run of the default
model would keep three gigabytes that nothing uses. So all blocks of a generation come from the
heap, and what is free goes back when it has ended. Training does without the first: its blocks are
so many and so uneven that the gaps would cost a fifth more memory.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of `mallopt` (malloc.h)."""
_LARGE = 32 << 20
"""Bytes to which glibc would raise the threshold by itself."""


_inside = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Freed blocks are used again inside and go back at the end, where the C library is glibc.

    Blocks may lie within each other: a model is asked while it waits for other prompts.
    """
    global _inside  # noqa: PLW0603 - as what it counts is of the process
    mallopt = _of_libc("mallopt")
    _inside += 1
    if mallopt is not None and _inside == 1:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        _inside -= 1
        if mallopt is not None and not _inside:
            mallopt(_MMAP_MAX, 1 << 16)
            mallopt(_MMAP_THRESHOLD, _LARGE)
            mallopt(_TRIM_THRESHOLD, 2 * _LARGE)
        return_freed_memory()


def return_freed_memory() -> None:
    """Give freed blocks back, where the C library is glibc."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _of_libc(name: str) -> Callable[..., Any] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
