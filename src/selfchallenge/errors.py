"""The error tree: every error says what went wrong, where, and what to do next.

`SelfChallengeError` is the root of everything the package raises on purpose; the command line turns
it into three lines and an exit code, and shows a traceback for anything else only with `--debug`.
`ToolError` stands apart: it is what a tool raises to tell the *agent* that a call was refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ToolError(Exception):
    """Raised by a tool to refuse a call; the message is what the agent reads."""


class SelfChallengeError(Exception):
    """Root of the tree.

    Args:
        what: what went wrong, in one sentence.
        where: file, line, field, stage or address it happened at.
        fix: what to do next, preferably a command.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        fix = f"\n  next: {self.fix}" if self.fix else ""
        return f"{self.what}{where}{fix}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(kind: type[SelfChallengeError], what: str, where: str, fix: str) -> SelfChallengeError:
    return kind(what, where=where, fix=fix)


class UsageError(SelfChallengeError):
    """The command or the call was wrong: unknown name, flag or value."""

    exit_code = 2


class LoadError(SelfChallengeError):
    """An environment, a tools file or a data folder could not be loaded."""


class RecordError(SelfChallengeError):
    """A record of a file is malformed; `where` names the file, the line and the field."""


class SandboxError(SelfChallengeError):
    """Untrusted code cannot be run safely: isolation too weak, or a sandbox process is gone."""


class SessionError(SandboxError):
    """A session can tell nothing more: code that used it broke or ended its environment."""


class ModelError(SelfChallengeError):
    """A model could not be found, loaded or reached, or needs more memory than there is."""


class FetchError(ModelError):
    """The weights of a model are not here and cannot be fetched."""


class MissingExtraError(ModelError):
    """An optional dependency is not installed; `fix` is its pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed",
            where=f"extra {extra!r}",
            fix=f'pip install "selfchallenge[{extra}]"',
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_extra, (self.what.split(" ", 1)[0], self.where.split("'")[1])


def _rebuild_extra(package: str, extra: str) -> MissingExtraError:
    return MissingExtraError(package, extra)


class StorageError(SelfChallengeError):
    """The run directory cannot be read or written (disk full, wrong folder, other version)."""


class StageError(SelfChallengeError):
    """A stage of the loop ended without what the next one needs (no tasks, no successes, NaN)."""


class SpoiltError(StageError):
    """The sandbox ended all attempts: nothing is known of the model, and they are owed still."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        advice = "selfchallenge doctor shows what is wrong with the sandbox; then the same command"
        super().__init__(what, where=where, fix=fix or f"{advice} makes them again")


@contextmanager
def boundary(
    kind: type[SelfChallengeError], what: str, *, where: str = "", fix: str = ""
) -> Iterator[None]:
    """Turn any foreign exception that crosses this wall into `kind`, keeping its cause.

    Raises:
        SelfChallengeError: `kind`, whose text ends with the foreign exception's own sentence.
    """
    try:
        yield
    except SelfChallengeError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().rstrip(":")
        raise kind(f"{what}: {reason}", where=where, fix=fix) from error
