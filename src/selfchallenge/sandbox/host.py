"""Where untrusted code is run from: sessions, cells and evaluations (design, section 3).

Three roles, never in one process: E holds the state and the tools (`Session`), S runs a solution, a
failure case or an action (`Cell`), V runs the verifier (`Sandbox.evaluate`). What S leaves in
`answer` or prints is only a claim; E's final state and E's own trace are the truth, and how a
process ended is told by the zygote that forked it.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from selfchallenge.environments.base import Arguments, Environment
from selfchallenge.environments.loading import Origin, origin_of
from selfchallenge.episode import Call
from selfchallenge.errors import LoadError, SandboxError, ToolError, UsageError
from selfchallenge.sandbox import wire
from selfchallenge.sandbox.spawn import (
    Child,
    Ended,
    Zygote,
    open_session,
    start_code_zygote,
    start_environment_zygote,
)
from selfchallenge.task import Path

__all__ = ["Cell", "Evaluation", "Execution", "Limits", "Sandbox", "Session", "default_sandbox"]

Status = Literal["done", "error", "timeout", "crashed", "violation"]

CALL_SECONDS = 60.0
"""How long a tool may take when the host itself calls it."""
GRACE = 10.0
"""Seconds beyond a deadline after which whoever should have kept it is taken for dead."""
ERROR_LIMIT = 8192


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
class Execution:
    """What running a piece of code came to; `output` and `answer` are claims of that code.

    Attributes:
        output: what it printed.
        error: why it failed, a traceback where it raised; None when it is done.
        answer: what it left in the variable `answer`, None when nothing.
        status: `done`, `error` (it raised), `timeout`, `crashed`, or `violation` (it broke the
            protocol or made a forbidden system call).
        seconds: wall time.
    """

    output: str
    error: str | None
    answer: Any
    status: Status
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ran to its end."""
        return self.status == "done"


@dataclass(frozen=True)
class Evaluation:
    """What a verifier said.

    Attributes:
        passed: `evaluate` returned exactly True.
        error: why it failed to say anything.
        status: as for `Execution`.
        seconds: wall time.
        returned: what it returned, in a few words.
    """

    passed: bool
    error: str | None
    status: Status
    seconds: float
    returned: str


class Session:
    """Handle of one environment process, E: single use, never reset, always reopened."""

    def __init__(
        self, environment: type[Environment], seed: str | None, child: Child, tools: list[str]
    ) -> None:
        self.environment = environment
        self.seed = seed
        self.tools = tuple(tools)
        """Names of the tools that it offers."""
        self._child = child
        self._lock = threading.Lock()
        self._clients = 0
        self._gone = ""

    def call(self, name: str, arguments: Arguments = ()) -> str:
        """Call a tool and return what the agent would read; an error is an observation too."""
        return str(self._call(name, arguments, show=True))

    def value(self, name: str, arguments: Arguments = ()) -> Any:
        """Call a tool and return its result.

        Raises:
            ToolError: the tool raised, whatever it was.
        """
        reply = self._call(name, arguments, show=False)
        if "error" not in reply:
            return reply["value"]
        kind, message = reply["error"]["kind"], reply["error"]["message"]
        raise ToolError(message if kind == "ToolError" else f"{kind}: {message}")

    def state(self) -> Any:
        """The whole visible state as plain data, None when the environment shows none."""
        return self._ask("state")

    def digest(self) -> str:
        """SHA-256 of the state, computed where the state is."""
        return str(self._ask("digest"))

    def changed(self) -> tuple[Path, ...] | None:
        """Paths of the state that changed since the session was opened; None when it is unseen."""
        found: tuple[Path, ...] | None = self._ask("changed")
        return found

    def trace(self) -> tuple[Call, ...]:
        """The calls made so far, as E saw them; a verifier's are not among them.

        `arguments` are a list or a dict as they were given; where both, a dict whose key `*` holds
        the positional ones. `result` of a failed call is its error; large ones are left out.
        """
        return tuple(Call(**call) for call in self._ask("trace"))

    def close(self) -> None:
        """End the process; closing twice is fine."""
        self._gone = self._gone or "it was closed"
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def attach(self, sock: socket.socket, *, verify: bool) -> int:
        """Let the process at the other end of `sock` call tools while it is active."""
        self._clients += 1
        client = self._clients
        self._ask("attach", fds=(sock.fileno(),), client=client, verify=verify)
        return client

    def activate(self, client: int, seconds: float) -> None:
        """Serve this client, and no other, for `seconds` at most."""
        self._ask("activate", client=client, seconds=seconds)

    def pause(self, client: int) -> str | None:
        """Serve it no longer; returns what it did against the protocol, if anything."""
        violation: str | None = self._ask("pause", client=client)
        return violation

    def detach(self, client: int) -> str | None:
        """Let it go; returns what it did against the protocol, if anything."""
        violation: str | None = self._ask("detach", client=client)
        return violation

    def _call(self, name: str, arguments: Arguments, *, show: bool) -> Any:
        args, kwargs = _split(arguments)
        return self._ask(
            "call", tool=name, args=args, kwargs=kwargs, show=show, seconds=CALL_SECONDS
        )

    def _ask(self, op: str, *, fds: tuple[int, ...] = (), **fields: Any) -> Any:
        with self._lock:
            if self._gone:
                raise SandboxError(
                    f"the session of {self.environment.__name__} is over: {self._gone}",
                    fix="open a new one",
                )
            deadline = time.monotonic() + CALL_SECONDS + GRACE
            try:
                sock = self._child.payload
                wire.send_frame(sock, {"op": op, **fields}, deadline=deadline, fds=fds)
                reply = wire.recv_frame(sock, wire.STATE_LIMIT, deadline)
            except wire.WireError as error:
                raise UsageError(f"{op} of {self.environment.__name__}: {error}") from error
            except (EOFError, OSError) as error:
                self._lost(op)
                raise SandboxError(
                    f"the process of {self.environment.__name__} {self._gone} during {op}"
                ) from error
        if "error" in reply:
            raise LoadError(
                f"{self.environment.__name__} cannot show its state: {reply['error']}",
                fix="override snapshot() so that it returns plain data",
            )
        return reply["value"]

    def _lost(self, op: str) -> None:
        try:
            ended = self._child.kill()
            self._gone = "did not answer" if ended.how == "killed" else str(ended)
        finally:
            self._gone = self._gone or f"is gone since {op}"
            self._child.close()


def _split(arguments: Arguments) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(arguments, Mapping):
        keywords = dict(arguments)
        positional = keywords.pop("*", [])
    else:
        positional, keywords = arguments, {}
    if isinstance(positional, str | bytes) or not all(isinstance(key, str) for key in keywords):
        raise UsageError(
            "the arguments of a call are a list or a dict with text keys",
            where=repr(arguments)[:200],
        )
    return list(positional), keywords


class Job:
    """One forked process of untrusted code and its right to call tools (an S or a V)."""

    def __init__(
        self, zygote: Zygote, session: Session, limits: Limits, *, seed: int = 0, verify: bool
    ) -> None:
        self._session = session
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
        self._session.activate(self._client, wall)
        self._child.arm(wall)
        reply, broken = self._exchange({**request, "tools": list(self._session.tools)}, wall)
        if reply is not None and not last:
            self._child.arm(None)
            broken = self._session.pause(self._client) or self._unasked()
            if broken is None:
                return reply
        ended = self._child.kill()
        broken = self._session.detach(self._client) or broken or self._unasked()
        self._child.close()
        if broken is None and reply is not None:
            return reply
        return _failure(ended, broken, wall)

    def close(self) -> None:
        """End it."""
        self._child.close()

    def _exchange(
        self, request: dict[str, Any], wall: float
    ) -> tuple[dict[str, Any] | None, str | None]:
        sock, deadline = self._child.payload, time.monotonic() + wall + GRACE
        try:
            wire.send_frame(sock, request, deadline=deadline)
            reply = wire.recv_frame(sock, wire.FRAME_LIMIT, deadline)
        except wire.WireError as error:
            return None, f"malformed result: {error}"
        except (EOFError, OSError):  # dead, or deaf: the zygote knows
            return None, None
        if not _well_formed(reply, _REPLIES[request["op"]]):
            return None, "malformed result: not what was asked for"
        return reply, None

    def _unasked(self) -> str | None:
        """Bytes beyond the one reply."""
        try:
            self._child.payload.setblocking(False)
            extra = self._child.payload.recv(1, socket.MSG_PEEK)
        except OSError:
            return None
        return "malformed result: bytes after it" if extra else None


@dataclass(frozen=True)
class Failure:
    """Why there is no reply."""

    status: Status
    error: str


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
    if broken is not None:
        return Failure("violation", f"stopped: {broken}")
    if ended.how == "deadline" or (ended.how, ended.number) == ("signal", signal.SIGXCPU):
        return Failure("timeout", f"timeout: the code ran longer than {wall:g} s")
    if ended.how == "killed":
        return Failure("crashed", "crashed: it closed its connection without a result")
    return Failure("crashed", f"crashed: its process {ended} without a result")


class Cell:
    """A process of untrusted code whose variables stay from run to run (S).

    After a timeout or a crash it is dead, and every further run says so.
    """

    def __init__(
        self, zygote: Zygote, session: Session, limits: Limits, *, seed: int, once: bool = False
    ) -> None:
        self._limits = limits
        self._once = once
        self._dead = ""
        self._job = Job(zygote, session, limits, seed=seed, verify=False)

    def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run a block of code.

        Args:
            code: Python source; the session's tools are functions in its namespace.
            limits: other limits for wall time and output than the cell's.

        Raises:
            SandboxError: the zygote or the environment's process is gone.
        """
        if self._dead:
            return Execution("", f"this cell is dead: {self._dead}", None, "crashed", 0.0)
        limits = limits or self._limits
        started = time.perf_counter()
        reply = self._job.ask({"op": "run", "code": code}, limits.wall, last=self._once)
        seconds = time.perf_counter() - started
        if isinstance(reply, Failure):
            self._dead = reply.error
            return Execution("", reply.error, None, reply.status, seconds)
        error = reply["error"]
        return Execution(
            reply["output"][: limits.output + 64],
            error if error is None else error[:ERROR_LIMIT],
            reply["answer"],
            "done" if error is None else "error",
            seconds,
        )

    def close(self) -> None:
        """End the process; closing twice is fine."""
        self._dead = self._dead or "it was closed"
        self._job.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Sandbox:
    """Starts and keeps the zygotes, and everything that runs goes through it; thread-safe.

    Args:
        minimum: weakest isolation level that is accepted.
        allow_unsafe: accept also the levels D and X.
        level: use exactly this level instead of the strongest one that works here.

    Raises:
        SandboxError: the isolation that can be had here is weaker than asked for.
    """

    isolation: str
    """The level in force: `A` to `D`, `X`."""

    def __init__(
        self, *, minimum: str = "B", allow_unsafe: bool = False, level: str | None = None
    ) -> None:
        self.isolation = level or "X"
        self._lock = threading.Lock()
        self._code: dict[int, Zygote] = {}
        self._environments: dict[tuple[Origin, int], Zygote] = {}

    def session(
        self, environment: type[Environment], seed: str | None = None, *, hash_seed: int = 0
    ) -> Session:
        """A process with a fresh instance of the environment.

        Raises:
            LoadError: the class cannot be loaded there, or its constructor raises for this seed.
            SandboxError: no process could be started.
        """
        child, tools = open_session(self._of_environment(environment, hash_seed), environment, seed)
        return Session(environment, seed, child, tools)

    def cell(
        self, session: Session, *, limits: Limits = Limits(), seed: int = 0, hash_seed: int = 0
    ) -> Cell:
        """A process in which code blocks run one after the other."""
        return Cell(self._of_code(hash_seed), session, limits, seed=seed)

    def execute(
        self,
        code: str,
        session: Session,
        *,
        limits: Limits = Limits(),
        seed: int = 0,
        hash_seed: int = 0,
    ) -> Execution:
        """Run one piece of code in a process of its own."""
        zygote = self._of_code(hash_seed)
        with Cell(zygote, session, limits, seed=seed, once=True) as cell:
            return cell.run(code)

    def evaluate(
        self,
        verifier: str,
        answer: Any,
        session: Session,
        *,
        limits: Limits = Limits(),
        hash_seed: int = 0,
    ) -> Evaluation:
        """Ask a verifier about the state of `session` and an answer, in a process of its own.

        Tools that change the state raise there, and so do the clock and chance.
        """
        started = time.perf_counter()
        job = Job(self._of_code(hash_seed), session, limits, verify=True)
        try:
            request = {"op": "evaluate", "code": verifier, "answer": answer}
            reply = job.ask(request, limits.wall, last=True)
        finally:
            job.close()
        seconds = time.perf_counter() - started
        if isinstance(reply, Failure):
            return Evaluation(False, reply.error, reply.status, seconds, "")
        error = reply["error"]
        status: Status = "done" if error is None else "error"
        passed = reply["passed"] and status == "done"
        return Evaluation(passed, error, status, seconds, reply["returned"][:ERROR_LIMIT])

    def close(self) -> None:
        """End all its processes."""
        with self._lock:
            for zygote in (*self._code.values(), *self._environments.values()):
                zygote.close()
            self._code.clear()
            self._environments.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _of_code(self, hash_seed: int) -> Zygote:
        with self._lock:
            found = self._code.get(hash_seed)
            if found is None or not found.alive:
                found = self._code[hash_seed] = start_code_zygote(self.isolation, hash_seed)
            return found

    def _of_environment(self, environment: type[Environment], hash_seed: int) -> Zygote:
        key = (origin_of(environment), hash_seed)
        with self._lock:
            found = self._environments.get(key)
            if found is None or not found.alive:
                found = self._environments[key] = start_environment_zygote(*key)
            return found


_default: Sandbox | None = None
_default_lock = threading.Lock()


def default_sandbox() -> Sandbox:
    """The sandbox of this process, started when it is first asked for."""
    global _default  # noqa: PLW0603 - one per process is the point
    with _default_lock:
        if _default is None:
            _default = Sandbox()
            atexit.register(_default.close)
        return _default


def _forget() -> None:
    global _default  # noqa: PLW0603
    _default = None


# The zygotes belong to the process that started them, not to a fork of it.
os.register_at_fork(after_in_child=_forget)
