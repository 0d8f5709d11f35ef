"""The process that forks: one child per piece of untrusted code, none of them ever run in here.

A zygote is exec'd fresh, with an empty environment and none of the trainer's memory, imports what
payloads may import, and then only forks. It never reads a payload. The status channel of a child
stays with the zygote: how a child ended is said by the kernel and not by the child (design,
section 3). `Nursery` is also the loop of the environment processes (`server.py`).

Standard library only; run by its path, without the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib.util
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

HEADER_LIMIT = 1 << 18
PR_SET_PDEATHSIG = 1
SETUP_FAILED = 70

MODULES = [
    "_strptime",
    "abc",
    "array",
    "ast",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmath",
    "codecs",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "html",
    "io",
    "itertools",
    "json",
    "keyword",
    "linecache",
    "math",
    "numbers",
    "operator",
    "pprint",
    "random",
    "re",
    "secrets",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "time",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "uuid",
    "zlib",
    "zoneinfo",
]
"""What payloads may import: under seccomp a C extension that is not loaded by now never will be."""

Become = Callable[[list[int]], None]
Prepare = Callable[[dict[str, Any]], Become]


class RefusedError(Exception):
    """A child cannot be started; the text goes back to whoever asked."""


@dataclass
class _Child:
    pid: int
    pidfd: int
    status: socket.socket
    deadline: float | None
    ended: str = field(default="")


class Nursery:
    """Forks a child per request of the host, and kills, reaps and reports each of them.

    A request is one message on `control`: a JSON header and descriptors, the child's status channel
    first. On that channel the host may say `{"kill": true}` or `{"arm": seconds or null}`; when it
    closes the channel the child is killed. The zygote says one thing on it, how the child ended:
    `{"status": exited|signal|killed|deadline|refused, "number": ..., "cpu": ..., "maxrss": ...}`.

    Args:
        control: sequenced-packet socket of the host; when it closes, everything ends.
        prepare: given a header, in the zygote: what the child is to do with its descriptors.
    """

    def __init__(self, control: socket.socket, prepare: Prepare) -> None:
        self._control = control
        self._prepare = prepare
        self._children: dict[int, _Child] = {}
        self._poll = selectors.DefaultSelector()
        self._poll.register(control, selectors.EVENT_READ, self._admit)

    def serve(self) -> None:
        """Serve until the host goes away."""
        _libc()  # once, and not in every child
        gc.collect()
        gc.freeze()
        gc.disable()
        while True:
            for key, _ in self._poll.select(self._patience()):
                key.data()
            now = time.monotonic()
            for child in list(self._children.values()):
                if child.deadline is not None and child.deadline <= now:
                    self._kill(child, "deadline")

    def _patience(self) -> float | None:
        deadlines = [c.deadline for c in self._children.values() if c.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _admit(self) -> None:
        message, fds, _, _ = socket.recv_fds(self._control, HEADER_LIMIT, 8)
        if not message:
            self._end()
        status = socket.socket(fileno=fds[0])
        try:
            header = json.loads(message)
            self._fork(header, status, fds[1:])
        except (RefusedError, OSError) as error:
            _say(status, {"status": "refused", "error": str(error)})
            status.close()
        finally:
            for fd in fds[1:]:
                os.close(fd)

    def _fork(self, header: dict[str, Any], status: socket.socket, fds: list[int]) -> None:
        become = self._prepare(header)
        wall = header.get("wall")
        deadline = None if wall is None else time.monotonic() + wall
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._leave(parent, status, become, fds)
        child = _Child(pid, os.pidfd_open(pid), status, deadline)
        self._children[pid] = child
        self._poll.register(status, selectors.EVENT_READ, lambda: self._obey(child))
        self._poll.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))

    def _leave(self, parent: int, status: socket.socket, become: Become, fds: list[int]) -> None:
        """In the child: drop everything that belongs to the zygote, then become what was asked."""
        try:
            die_with(parent)
            self._poll.close()
            self._control.close()
            status.close()
            for sibling in self._children.values():
                sibling.status.close()
                os.close(sibling.pidfd)
            self._children.clear()
            become(fds)
        except BaseException:  # noqa: BLE001 - whatever happens, a child never returns from here
            os._exit(SETUP_FAILED)
        os._exit(0)

    def _obey(self, child: _Child) -> None:
        if child.pid not in self._children:
            return
        message = child.status.recv(HEADER_LIMIT)
        order = json.loads(message) if message else {"kill": True}
        if "arm" in order:
            wall = order["arm"]
            child.deadline = None if wall is None else time.monotonic() + wall
        else:
            self._kill(child, "killed")
        if not message:
            self._poll.unregister(child.status)

    def _kill(self, child: _Child, ended: str) -> None:
        child.ended = child.ended or ended
        child.deadline = None
        # It may have died by itself in the meantime; then the reaping says how.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _reap(self, child: _Child) -> None:
        if child.pid not in self._children:
            return
        _, wait_status, usage = os.wait4(child.pid, 0)
        del self._children[child.pid]
        code = os.waitstatus_to_exitcode(wait_status)
        ended = "exited" if code >= 0 else "signal"
        _say(
            child.status,
            {
                "status": child.ended if code == -signal.SIGKILL and child.ended else ended,
                "number": abs(code),
                "cpu": round(usage.ru_utime + usage.ru_stime, 4),
                "maxrss": usage.ru_maxrss * 1024,
            },
        )
        self._poll.unregister(child.pidfd)
        os.close(child.pidfd)
        if child.status in self._poll.get_map():
            self._poll.unregister(child.status)
        child.status.close()

    def _end(self) -> None:
        for child in self._children.values():
            self._kill(child, "killed")
        os._exit(0)


def _say(status: socket.socket, what: dict[str, Any]) -> None:
    # The host may have closed its end: then nobody wants to know.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        status.send(json.dumps(what).encode())


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, `parent`, dies."""
    _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


# -- the zygote of untrusted code ------------------------------------------------------------------


def load_sibling(name: str) -> ModuleType:
    """Load a file that lies beside this one, without the package around it."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"selfchallenge_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(config: dict[str, Any]) -> None:
    """Run as the zygote of code: `config` has `control` (fd), `level` and `read_only` (paths)."""
    for name in MODULES:
        importlib.import_module(name)
    load_sibling("wire")
    cell = load_sibling("cell")
    isolation = load_sibling("isolation")
    isolation.confine_zygote(config["level"], config["read_only"])
    control = socket.socket(fileno=config["control"])

    def prepare(header: dict[str, Any]) -> Become:
        def become(fds: list[int]) -> None:
            channels = _only(fds)
            isolation.confine_cell(config["level"], header["limits"])
            random.seed(header["seed"])
            gc.enable()
            cell.serve(*channels, output_limit=header["limits"]["output"])

        return become

    control.send(b'{"ready": true}')
    Nursery(control, prepare).serve()


def _only(fds: list[int]) -> list[socket.socket]:
    """Close every descriptor but `fds`, which become 3, 4, ...

    The standard three too: an open file that all children share has an offset and flags, in which
    a solution could leave a mark for its verifier.
    """
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in fds]
    low = [os.dup2(fd, 3 + i, inheritable=False) for i, fd in enumerate(high)]
    os.closerange(0, 3)
    os.closerange(3 + len(fds), os.sysconf("SC_OPEN_MAX"))
    return [socket.socket(fileno=fd) for fd in low]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
