"""Giving freed memory back to the system, which glibc does not do by itself.

Tensors of ever other sizes leave gaps in its heap: a run of the default model would keep three
gigabytes that nothing uses.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def return_freed_memory() -> None:
    """Give freed blocks back; where the C library is another one, nothing is done."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
