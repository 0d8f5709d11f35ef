"""The host's side of a zygote: starting it, having it fork, and hearing how children end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import Origin
from selfchallenge.errors import LoadError, SandboxError
from selfchallenge.sandbox import wire
from selfchallenge.sandbox.isolation import interpreter_paths
from selfchallenge.sandbox.relay import BOOT, PYTHON, boxed

START_SECONDS = 300.0
"""How long a zygote may take to import what it needs."""
SEND_SECONDS = 60.0
REPORT_SECONDS = 10.0
"""How long after its death a child must have been reported."""
STATUS_LIMIT = 1 << 16

_HERE = Path(__file__).parent
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from selfchallenge.sandbox.server import bootstrap; bootstrap(int(sys.argv[1]))"
)


@dataclass(frozen=True)
class Ended:
    """How a child ended, as the zygote was told by the kernel.

    Attributes:
        how: `exited`, `signal`, `killed` (asked to), `deadline`, or `refused` (never started).
        number: exit code or signal number.
        cpu: seconds of processor time.
        maxrss: largest resident memory in bytes.
        error: why it was refused.
    """

    how: str
    number: int = 0
    cpu: float = 0.0
    maxrss: int = 0
    error: str = ""

    def __str__(self) -> str:
        if self.how == "signal":
            return f"killed by {signal.Signals(self.number).name}"
        if self.how == "refused":
            return self.error
        return f"ended with code {self.number}"


class Child:
    """A forked process: `payload` is the socket it serves, its status comes from the zygote."""

    def __init__(self, payload: socket.socket, status: socket.socket, zygote: Zygote) -> None:
        self.payload = payload
        self._status = status
        self._zygote = zygote
        self._ended: Ended | None = None

    def arm(self, seconds: float | None) -> None:
        """Have it killed in `seconds`, or never."""
        self._order({"arm": seconds})

    def kill(self) -> Ended:
        """Kill it, if it still lives, and wait until it is gone.

        Raises:
            SandboxError: the zygote itself is gone, and with it the child.
        """
        if self._ended is None:
            self._order({"kill": True})
            self._ended = self._report()
        return self._ended

    def close(self) -> None:
        """Let go of it; the zygote kills what is left."""
        self.payload.close()
        self._status.close()

    def _order(self, order: dict[str, Any]) -> None:
        # A zygote that is gone is noticed where its report is missing.
        with contextlib.suppress(OSError):
            self._status.send(json.dumps(order).encode())

    def _report(self) -> Ended:
        self._status.settimeout(REPORT_SECONDS)
        try:
            try:
                message = self._status.recv(STATUS_LIMIT)
            except ConnectionResetError:
                # The zygote closed before it read our order; its report is behind this error.
                message = self._status.recv(STATUS_LIMIT)
        except OSError:
            message = b""
        if not message:
            # Dead or deaf: either way it must not get another job.
            self._zygote.close()
            raise SandboxError("a sandbox process is gone", fix="run it again")
        said = json.loads(message)
        return Ended(
            said["status"],
            said.get("number", 0),
            said.get("cpu", 0.0),
            said.get("maxrss", 0),
            said.get("error", ""),
        )


class Zygote:
    """A running zygote.

    Args:
        command: its command line; the number of its control descriptor takes the place of `{fd}`.
        env: its whole environment.
        cwd: its working directory.
        given: what it reads on standard input.

    Raises:
        SandboxError: it does not start.
        LoadError: it says that it cannot load what it is for.
    """

    def __init__(self, command: list[str], env: dict[str, str], cwd: str, given: bytes) -> None:
        self.users = 0
        """Open sessions; one without any may be ended to make room."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as source:
            source.write(given)
            source.seek(0)
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [part.replace("{fd}", str(theirs.fileno())) for part in command],
                env=env,
                cwd=cwd,
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()
            try:
                self._await_ready(errors)
            except BaseException:
                self.close()
                raise

    def _await_ready(self, errors: IO[bytes]) -> None:
        self._control.settimeout(START_SECONDS)
        try:
            message = self._control.recv(STATUS_LIMIT)
        except OSError as error:
            raise SandboxError(f"a sandbox process does not start: {error}") from error
        if not message:
            self._process.wait()
            errors.seek(0)
            tail = errors.read()[-4000:].decode("utf-8", "replace").strip()
            raise SandboxError(f"a sandbox process ended while it started:\n{tail}")
        said = json.loads(message)
        if "what" in said:
            raise LoadError(said["what"], where=said["where"], fix=said["fix"])

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def fork(self, header: dict[str, Any], *given: socket.socket) -> Child:
        """Have it fork a child that gets its payload socket and then those `given`.

        Raises:
            SandboxError: the zygote is gone or does not react.
        """
        payload, theirs = socket.socketpair()
        status, reported = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, reported:
            fds = [reported.fileno(), theirs.fileno(), *(sock.fileno() for sock in given)]
            try:
                self._control.settimeout(SEND_SECONDS)
                socket.send_fds(self._control, [json.dumps(header).encode()], fds)
            except OSError as error:
                payload.close()
                status.close()
                self.close()
                raise SandboxError(
                    f"a sandbox process is gone: {error}", fix="run it again"
                ) from error
        return Child(payload, status, self)

    def close(self) -> None:
        """End it and all its children."""
        self._control.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_code_zygote(level: str, hash_seed: int, container: Sequence[str] = ()) -> Zygote:
    """The zygote of untrusted code: empty environment, no site packages, isolated at `level`.

    Args:
        level: isolation level.
        hash_seed: of its children.
        container: command that runs Python elsewhere, where the zygote is to live.
    """
    env = {"PYTHONHASHSEED": str(hash_seed)}
    if container:
        relay = [sys.executable, *PYTHON, str(_HERE / "relay.py"), "outside", "{fd}"]
        given = boxed(["relay.py", "inside", level], env)
        return Zygote([*relay, *container, "-c", BOOT], dict(os.environ), "/", given)
    config = {"level": level, "read_only": interpreter_paths()}
    text = json.dumps(config)[:-1] + ', "control": {fd}}'
    return Zygote([sys.executable, *PYTHON, str(_HERE / "zygote.py"), text], env, "/", b"")


def start_environment_zygote(origin: Origin, hash_seed: int) -> Zygote:
    """The zygote of an environment: the user's own code, with the user's own paths."""
    paths = json.dumps([path or str(Path.cwd()) for path in sys.path])
    command = [sys.executable, "-P", "-B", "-c", _BOOT, "{fd}", paths]
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return Zygote(command, env, str(Path.cwd()), wire.encode(asdict(origin)))


def open_session(
    zygote: Zygote, environment: type[Environment], seed: str | None
) -> tuple[Child, list[str]]:
    """A child that holds a fresh instance, and the names of the tools it offers.

    Raises:
        LoadError: the constructor raises for this seed.
        SandboxError: the process could not be started.
    """
    child = zygote.fork({"seed": seed})
    try:
        hello = wire.recv_frame(child.payload, wire.STATE_LIMIT, time.monotonic() + START_SECONDS)
        return child, hello["tools"]
    except (EOFError, OSError) as error:
        ended = child.kill()
        child.close()
        raise LoadError(
            f"{environment.__name__} cannot be started: {ended}",
            where=f"seed {seed!r}",
            fix="mend the class, or choose another seed",
        ) from error
    except BaseException:
        child.close()
        raise
