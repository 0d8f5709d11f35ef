"""What a class says of its world, asked for so that a mistake in it is shown with its line.

`seeds` and `describe_seed` run here, in the process of the user, and are code of the user.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selfchallenge.environments.base import Environment
from selfchallenge.errors import LoadError, SelfChallengeError


def seeds_of(cls: type[Environment]) -> list[str]:
    """The exploration seeds of an environment.

    Raises:
        LoadError: `seeds` raises, or returns anything but texts.
    """
    with _mistakes(cls, "seeds"):
        seeds = list(cls.seeds())
    for seed in seeds:
        _require_text(seed, cls, "seeds", "returns a seed")
    return seeds


def subject_of(cls: type[Environment], seed: str | None) -> str:
    """The starting material that the writer is shown with a seed; `anything` without one.

    Raises:
        LoadError: `describe_seed` raises, or returns anything but a text.
    """
    if seed is None:
        return "anything"
    with _mistakes(cls, "describe_seed"):
        subject = cls.describe_seed(seed)
    _require_text(subject, cls, "describe_seed", "returns something")
    return subject


@contextmanager
def _mistakes(cls: type[Environment], method: str) -> Iterator[None]:
    file, line = _place(cls, method)
    try:
        yield
    except SelfChallengeError:
        raise
    except Exception as error:
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        raise LoadError(
            f"{cls.__name__}.{method} raises {type(error).__name__}: {error}",
            where=f"{file}, line {own[-1].lineno if own else line}",
            fix="correct that line and try again",
        ) from error


def _require_text(value: Any, cls: type[Environment], method: str, verb: str) -> None:
    if isinstance(value, str):
        return
    file, line = _place(cls, method)
    raise LoadError(
        f"{cls.__name__}.{method} {verb} that is no text: {value!r}",
        where=f"{file}, line {line}",
        fix="return text, for instance str(...) of it",
    )


def _place(cls: type[Environment], method: str) -> tuple[str, int]:
    """File and first line of a method of the class."""
    code = inspect.unwrap(getattr(cls, method)).__code__
    return code.co_filename, code.co_firstlineno
