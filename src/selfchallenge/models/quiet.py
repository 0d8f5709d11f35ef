"""Warnings of libraries about each other, which no user can do anything about."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_future_warnings() -> Iterator[None]:
    """Inside, nobody is told that a library is asked by a name that is about to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
