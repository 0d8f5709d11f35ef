"""Shows how far a stage is and how long it may still take: bars on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 15.0
LITTLE = 0.05
"""Share of what is owed below which the time left cannot be told: attempts end in batches."""


class Stage(Protocol):
    """A stage under way."""

    def update(self, done: int, note: str = "") -> None:
        """So many of the total are done; `note` is a word on how it goes."""
        ...


class Watch(Protocol):
    """Who is told what goes on."""

    def stage(self, name: str, total: int, done: int = 0) -> Stage:
        """A stage begins, `done` of its total by an earlier process; the one before has ended."""
        ...

    def say(self, text: str) -> None:
        """One line worth reading."""
        ...


class Silent:
    """Tells nobody: the default in code."""

    def stage(self, name: str, total: int, done: int = 0) -> Silent:
        """Ignored."""
        del name, total, done
        return self

    def update(self, done: int, note: str = "") -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""


class Lines:
    """Plain lines, one every few seconds, for logs and CI."""

    def __init__(self) -> None:
        self.name, self.total, self.before, self.started, self.last = "", 0, 0, 0.0, 0.0

    def stage(self, name: str, total: int, done: int = 0) -> Lines:
        """Begin a stage."""
        self.name, self.total, self.before, self.started = name, total, done, time.monotonic()
        self.last = 0.0
        return self

    def update(self, done: int, note: str = "") -> None:
        """Print at most every `SECONDS_BETWEEN_LINES` seconds, and at the end."""
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN_LINES and done < self.total:
            return
        self.last = now
        passed = now - self.started
        now_done, rest = done - self.before, ""
        if LITTLE * (self.total - self.before) <= now_done and done < self.total:
            rest = f", about {_duration(passed / now_done * (self.total - done))} left"
        note = f" ({note})" if note else ""
        self.say(f"{self.name}: {done}/{self.total}{note}, {_duration(passed)}{rest}")

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(text, file=sys.stderr, flush=True)


class Bars:
    """Progress bars with an estimate of the time left."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.task = progress, None

    def stage(self, name: str, total: int, done: int = 0) -> _Bar:
        """Begin a bar."""
        return _Bar(self.progress, name, total, done)

    def say(self, text: str) -> None:
        """Print above the bars."""
        self.progress.console.print(text, highlight=False)


class _Bar:
    def __init__(self, progress: Progress, name: str, total: int, done: int) -> None:
        self.progress = progress
        # What stands at the beginning counts for nothing in the estimate of the time left.
        self.task = progress.add_task(name, total=total, completed=done, note="")

    def update(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=done, note=note)


@contextmanager
def watch() -> Iterator[Watch]:
    """Bars when standard error is a terminal, plain lines otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


def counted(number: int, word: str) -> str:
    """A number with its word: `1 step`, `2 steps`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
