"""Where untrusted code is run from: sessions, cells and evaluations (design, section 3).

Three roles, never in one process: E holds the state and the tools (`Session`), S runs a solution, a
failure case or an action (`Cell`), V runs the verifier (`Sandbox.evaluate`). What S leaves in
`answer` or prints is only a claim; E's final state and E's own trace are the truth, and how a
process ended is told by the zygote that forked it.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from weakref import WeakKeyDictionary

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import Origin, origin_of
from selfchallenge.errors import SandboxError, UsageError
from selfchallenge.sandbox.isolation import LEVELS
from selfchallenge.sandbox.job import RUNS, Failure, Job, Limits, Status
from selfchallenge.sandbox.probe import probe
from selfchallenge.sandbox.session import Session
from selfchallenge.sandbox.spawn import (
    Zygote,
    open_session,
    start_code_zygote,
    start_environment_zygote,
)

__all__ = ["Cell", "Evaluation", "Execution", "Limits", "Sandbox", "Session", "default_sandbox"]

ERROR_LIMIT = 8192
MAX_ENVIRONMENTS = 8
"""Environment zygotes that are kept although no session of theirs is open."""
UNSAFE = ("D", "X")
"""Levels that are no isolation from hostile code."""
_PLAIN = Limits()


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
        reckoned = limits if once else replace(limits, cpu=limits.cpu * RUNS)
        self._job = Job(zygote, session, reckoned, seed=seed, verify=False)

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
        self._dead = "its last run did not come to an end"
        reply = self._job.ask({"op": "run", "code": code}, limits.wall, last=self._once)
        self._dead = ""
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
        container: command that runs Python elsewhere (bubblewrap, a container), where untrusted
            code is to live; it must pass standard input and output on.

    Raises:
        SandboxError: the isolation that can be had here is weaker than asked for, or the level
            named does not hold here.
    """

    isolation: str
    """The level in force: `A` to `D`, `X`."""

    def __init__(
        self,
        *,
        minimum: str = "B",
        allow_unsafe: bool = False,
        level: str | None = None,
        container: Sequence[str] = (),
    ) -> None:
        require_known(minimum, *([level] if level else []))
        self._container = tuple(container)
        found = probe(level or LEVELS[0], self._container)
        if level is not None and found.level != level:
            raise SandboxError(f"level {level} does not hold here", where=str(found))
        self.isolation = found.level
        require_level(self.isolation, minimum, allow_unsafe=allow_unsafe)
        self._lock = threading.Lock()
        self._code: dict[int, Zygote] = {}
        self._environments: dict[tuple[Origin, int], Zygote] = {}
        self._origins: WeakKeyDictionary[type[Environment], Origin] = WeakKeyDictionary()

    def session(
        self, environment: type[Environment], seed: str | None = None, *, hash_seed: int = 0
    ) -> Session:
        """A process with a fresh instance of the environment.

        Raises:
            LoadError: the class cannot be loaded there, or its constructor raises for this seed.
            SandboxError: no process could be started.
        """
        zygote = self._of_environment(environment, hash_seed)
        try:
            child, tools = open_session(zygote, environment, seed)
        except BaseException:
            zygote.users -= 1
            raise
        return Session(environment, seed, child, tools, lambda: _leave(zygote))

    def cell(
        self, session: Session, *, limits: Limits = _PLAIN, seed: int = 0, hash_seed: int = 0
    ) -> Cell:
        """A process in which code blocks run one after the other."""
        return Cell(self._of_code(hash_seed), session, limits, seed=seed)

    def execute(
        self,
        code: str,
        session: Session,
        *,
        limits: Limits = _PLAIN,
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
        limits: Limits = _PLAIN,
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
                found = start_code_zygote(self.isolation, hash_seed, self._container)
                self._code[hash_seed] = found
            return found

    def _of_environment(self, environment: type[Environment], hash_seed: int) -> Zygote:
        with self._lock:
            # Pickling a class twice need not give the same bytes, and each text is a zygote.
            origin = self._origins.get(environment) or origin_of(environment)
            self._origins[environment] = origin
            key = (origin, hash_seed)
            found = self._environments.get(key)
            if found is None or not found.alive:
                self._make_room()
                found = start_environment_zygote(*key)
            # The last one used stands last.
            self._environments.pop(key, None)
            self._environments[key] = found
            found.users += 1
            return found

    def _make_room(self) -> None:
        """End the environment zygotes that nobody has used for the longest time."""
        idle = [key for key, zygote in self._environments.items() if zygote.users == 0]
        for key in idle[: max(0, len(self._environments) - MAX_ENVIRONMENTS + 1)]:
            self._environments.pop(key).close()


def _leave(zygote: Zygote) -> None:
    zygote.users -= 1


def require_known(*levels: str) -> None:
    """Refuse names that are no level.

    Raises:
        UsageError: there is no such level.
    """
    for name in levels:
        if name not in LEVELS:
            raise UsageError(f"no isolation level {name!r}", fix=f"one of {', '.join(LEVELS)}")


def require_level(level: str, minimum: str, *, allow_unsafe: bool) -> None:
    """Refuse a level that is weaker than asked for.

    Raises:
        SandboxError: it is.
        UsageError: there is no such level.
    """
    require_known(level, minimum)
    if allow_unsafe or (level not in UNSAFE and LEVELS.index(level) <= LEVELS.index(minimum)):
        return
    raise SandboxError(
        f"untrusted code can only be isolated at level {level} here, and {minimum} is asked for",
        where="selfchallenge doctor shows what is missing",
        fix="run where user namespaces or Landlock are allowed, ask for less (C), or accept what "
        "generated code may do to this machine (--allow-unsafe)",
    )


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
