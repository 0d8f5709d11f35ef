"""The application that commands register with, and the wall that errors end at."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from selfchallenge.errors import SelfChallengeError
from selfchallenge.system import require_system

app = typer.Typer(
    help="Self-Challenging agents on your own tools.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RESUMABLE = ("run", "challenge", "rollout", "train", "reproduce")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; errors become lines, tracebacks only with --debug."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest = [argument for argument in given if argument != "--debug"]
    try:
        app(rest, prog_name="selfchallenge")
    except SystemExit as end:
        if end.code == 130:
            kept = rest[:1] == ["eval"] and any(a.split("=")[0] == "--out" for a in rest)
            resumes = kept or (rest[:1] and rest[0] in RESUMABLE)
            again = "; the same command goes on where it was" if resumes else ""
            print(f"interrupted{again}", file=sys.stderr)
        raise
    except Exception as error:  # noqa: BLE001 - the last wall: nothing passes it as a traceback
        if len(rest) < len(given):
            traceback.print_exc()
        sys.exit(_say_error(error))
    sys.exit(0)


def _say_error(error: Exception) -> int:
    """Print what went wrong, where, and what to do next; the exit code."""
    if not isinstance(error, SelfChallengeError):
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        error = SelfChallengeError(
            f"{what} (this is a bug of selfchallenge)",
            fix="run the command again with --debug and report what it prints",
        )
    lines = [f"error: {error.what}", f"  where: {error.where}", f"  next: {error.fix}"]
    shown = [line for line, text in zip(lines, error.args, strict=True) if text]
    print("\n".join(shown), file=sys.stderr)
    return error.exit_code


@app.callback()
def _root(
    *, debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False
) -> None:
    del debug  # taken out by `main`, wherever it stands
    require_system()
