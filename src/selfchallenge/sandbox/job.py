"""One process of untrusted code, S or V: what it is asked, what it claims, and how it ended."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from selfchallenge.errors import SandboxError
from selfchallenge.sandbox import wire
from selfchallenge.sandbox.session import GRACE, Session
from selfchallenge.sandbox.spawn import Ended, Zygote
from selfchallenge.sandbox.zygote import SETUP_FAILED

Status = Literal["done", "error", "timeout", "crashed", "violation"]

RUNS = 64
"""Runs that the processor time of a cell is reckoned for; each run has its own wall time."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        wall: seconds of wall time per run.
        cpu: seconds of processor time per run.
        memory: bytes of memory.
        output: characters of output that are kept.
    """

    wall: float = 5.0
    cpu: int = 5
    memory: int = 512 << 20
    output: int = 65536


@dataclass(frozen=True)
class Failure:
    """Why there is no reply."""

    status: Status
    error: str


Said = dict[str, Any] | str | Failure | None
"""A reply, or what is wrong with it, or why it could not be asked for, or nothing."""


class Job:
    """One forked process of untrusted code and its right to call tools (an S or a V)."""

    def __init__(
        self, zygote: Zygote, session: Session, limits: Limits, *, seed: int = 0, verify: bool
    ) -> None:
        self._session = session
        self._over = False
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._client = session.attach(ours, verify=verify)
            header = {"limits": asdict(limits), "seed": seed, "wall": None}
            self._child = zygote.fork(header, theirs)

    def ask(self, request: dict[str, Any], wall: float, *, last: bool) -> dict[str, Any] | Failure:
        """Have it do one thing in `wall` seconds; after the last, or a failure, it is gone.

        Raises:
            SandboxError: the zygote or the environment's process is gone.
        """
        with self._session.turn:
            try:
                return self._ask(request, wall, last=last)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End it; closing twice is fine."""
        if self._over:
            return
        self._over = True
        self._child.close()
        if not self._session.over:
            # A session whose process died is reported by its next use.
            with contextlib.suppress(SandboxError):
                self._session.detach(self._client)

    def _ask(self, request: dict[str, Any], wall: float, *, last: bool) -> dict[str, Any] | Failure:
        started = time.monotonic()
        self._session.activate(self._client, wall)
        self._child.arm(wall)
        reply = self._exchange({**request, "tools": list(self._session.tools)}, wall)
        if isinstance(reply, dict) and not last:
            self._child.arm(None)
            broken = self._session.pause(self._client) or self._unasked()
            if broken is None:
                return reply
            reply = broken
        return self._finish(reply, wall, started)

    def _finish(self, reply: Said, wall: float, started: float) -> dict[str, Any] | Failure:
        """Kill it and say how it ended; its reply counts only if nothing follows it."""
        try:
            ended = self._child.kill()
            self._over = True
            broken = self._session.detach(self._client) or self._unasked()
        finally:
            self._child.close()
        if isinstance(reply, Failure) or (isinstance(reply, dict) and broken is None):
            return reply
        if ended.how == "deadline" and time.monotonic() < started + wall:
            # Its reply to the run before came in the very moment that its time was over.
            return Failure("crashed", "crashed: its process was ended by the limit of its last run")
        return _failure(ended, reply if isinstance(reply, str) else broken, wall)

    def _exchange(self, request: dict[str, Any], wall: float) -> Said:
        """The reply, or what was wrong with it, or None when there is none."""
        sock, deadline = self._child.payload, time.monotonic() + wall + GRACE
        try:
            wire.send_frame(sock, request, deadline=deadline)
        except wire.WireError as error:
            return Failure("error", f"what it was given cannot be sent: {error}")
        except OSError:  # it died at once
            return None
        try:
            reply = wire.recv_frame(sock, wire.FRAME_LIMIT, deadline)
        except wire.WireError as error:
            return f"malformed result: {error}"
        except (EOFError, OSError):  # dead, or deaf: the zygote knows
            return None
        if not _well_formed(reply, _REPLIES[request["op"]]):
            return "malformed result: not what was asked for"
        return dict(reply)

    def _unasked(self) -> str | None:
        """Bytes beyond the one reply."""
        try:
            self._child.payload.setblocking(False)
            extra = self._child.payload.recv(1, socket.MSG_PEEK)
        except OSError:
            return None
        return "malformed result: bytes after it" if extra else None


_TEXT_OR_NONE = str | None
_REPLIES: dict[str, dict[str, Any]] = {
    "run": {
        "output": str,
        "error": _TEXT_OR_NONE,
        "raised": _TEXT_OR_NONE,
        "has_answer": bool,
        "answer": object,
    },
    "evaluate": {"passed": bool, "returned": str, "error": _TEXT_OR_NONE},
}


def _well_formed(reply: Any, shape: dict[str, Any]) -> bool:
    return (
        isinstance(reply, dict)
        and reply.keys() == shape.keys()
        and all(isinstance(reply[key], kind) for key, kind in shape.items())
    )


def _failure(ended: Ended, broken: str | None, wall: float) -> Failure:
    if ended.how == "refused":
        raise SandboxError(f"a process could not be started: {ended.error}")
    if ended.how == "signal" and ended.number == signal.SIGSYS:
        return Failure("violation", "stopped: it made a system call that is not allowed")
    # Cut off in the middle of a frame is what a timeout looks like, not a violation.
    if ended.how == "deadline" or (ended.how, ended.number) == ("signal", signal.SIGXCPU):
        return Failure("timeout", f"timeout: the code ran longer than {wall:g} s")
    if broken is not None:
        return Failure("violation", f"stopped: {broken}")
    if ended.how == "exited" and ended.number == SETUP_FAILED:
        return Failure("crashed", "crashed: its process could not be set up")
    if ended.how == "killed":
        return Failure("crashed", "crashed: it closed its connection without a result")
    return Failure("crashed", f"crashed: its process {_was(ended)} without a result")


def _was(ended: Ended) -> str:
    return f"was {ended}" if ended.how == "signal" else str(ended)
