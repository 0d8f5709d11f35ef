"""Hostile frames found by coverage: what `million.py` does blindly, led by `atheris` (libFuzzer).

    pip install atheris
    python tests/fuzz/guided.py NEW_FOLDER tests/fuzz/corpus -timeout=0 -max_total_time=300

The first byte of an input says who takes the rest: the host as a reply, or the environment's
process as a call. What the host raises ends the run, and the input is written down. Not part of the
test suite: `atheris` has wheels for few Pythons. `-timeout=0`, because tools are timed by the alarm
that libFuzzer would take.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["selfchallenge.sandbox"]):
    from frames import Calls, as_reply

CALLS = Calls()


def take(data: bytes) -> None:
    """Give one input to whom it is for."""
    kind, frame = data[:1], data[1:]
    if kind < b"\x55":
        as_reply(frame, "run")
    elif kind < b"\xaa":
        as_reply(frame, "evaluate")
    else:
        CALLS.take(frame)


atheris.Setup(sys.argv, take)
atheris.Fuzz()
