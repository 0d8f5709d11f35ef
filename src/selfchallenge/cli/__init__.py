"""The command line: one verb for each room, and no logic of its own.

Rooms are imported inside the commands, so that `--help` answers at once. Exit codes: 0 done, 1 a
stage failed, 2 wrong usage, 130 interrupted. Every error says what to do next.
"""

from selfchallenge.cli import (
    data,
    env,
    look,
    loop,
    measure,
    reproduce,
)  # their commands register themselves
from selfchallenge.cli.app import app, main

__all__ = ["app", "data", "env", "look", "loop", "main", "measure", "reproduce"]
