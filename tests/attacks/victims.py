"""What an attack must not reach: listeners, a folder, files, other processes."""

from __future__ import annotations

import os
import platform
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from arsenal import MEMORY

from selfchallenge.sandbox import seccomp
from selfchallenge.sandbox.host import Cell

HERE = Path(__file__).parent
_UNLISTED = {
    "x86_64": {
        "prctl": 157,
        "seccomp": 317,
        "setuid": 105,
        "setresuid": 117,
        "capset": 126,
        "tgkill": 234,
    },
    "aarch64": {
        "prctl": 167,
        "seccomp": 277,
        "setuid": 146,
        "setresuid": 147,
        "capset": 91,
        "tgkill": 131,
    },
}


@dataclass(frozen=True)
class Victims:
    """Attributes: a cell of another session, listeners by kind, a folder open to everybody."""

    sibling: Cell
    listeners: dict[str, socket.socket]
    folder: Path

    def told(self, code: str) -> str:
        """`code`, knowing all about its victims, so that only the sandbox stands in its way."""
        return f"W = {self.world!r}\n{code}"

    @cached_property
    def world(self) -> dict[str, Any]:
        """What an attack knows."""
        return {
            "calls": _calls(),
            "host": os.getpid(),
            "sibling": self._sibling(),
            "memory": MEMORY,
            "tcp": self.listeners["tcp"].getsockname()[1],
            "udp": self.listeners["udp"].getsockname()[1],
            "abstract": self.listeners["abstract"].getsockname()[1:].decode(),
            "unix": self.listeners["unix"].getsockname(),
            "folders": [str(self.folder), "/tmp", "/var/tmp", "/dev/shm", ".", str(HERE)],
            "files": _files(self.folder),
        }

    def _sibling(self) -> int:
        """Pid of the other cell in its own namespace; confined, it cannot say so itself."""
        said = self.sibling.run("import os\nanswer = os.getpid()").answer
        return said if said > 0 else _inner_pid(max(self.processes()))

    def check(self, before: set[int]) -> None:
        """Nothing shows outside the attacker's process; `before` are the processes of then."""
        for name, listener in self.listeners.items():
            with pytest.raises(BlockingIOError):
                listener.recv(1) if name == "udp" else listener.accept()
        assert [path.name for path in self.folder.iterdir()] == ["existing"]
        assert (self.folder / "existing").read_text() == "before"
        assert self.sibling.run("answer = 42").answer == 42
        # A cell that was closed is killed soon, not at once.
        until = time.monotonic() + 10
        while self.processes() - before and time.monotonic() < until:
            time.sleep(0.002)
        assert not self.processes() - before

    def processes(self) -> set[int]:
        """Processes below this one."""
        found: set[int] = set()
        waiting = [os.getpid()]
        while waiting:
            children = _children(waiting.pop())
            found |= children
            waiting += children
        return found


def _inner_pid(pid: int) -> int:
    """What a process is called in its own namespace, from outside; it cannot say so itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("NSpid")).split()[-1])


def _children(pid: int) -> set[int]:
    try:
        tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return {int(child) for task in tasks for child in task.read_text().split()}
    except (FileNotFoundError, ProcessLookupError):  # it ended in the meantime
        return set()


def _calls() -> dict[str, int]:
    """System call numbers of this machine by name."""
    machine = platform.machine()
    column = seccomp.ARCHITECTURES[machine][1]
    tables = (seccomp._ALLOWED, seccomp._CONDITIONAL, seccomp._KILLED)
    named = {n: v for table in tables for n, v in seccomp.numbers(table, column).items()}
    return named | _UNLISTED[machine]


def _files(folder: Path) -> list[str]:
    system = "/ /etc /etc/passwd /etc/hostname /proc /proc/1/environ /proc/self/environ"
    more = "/proc/self/maps /sys /dev/mem /tmp /home /root"
    ours = (Path.home(), HERE, __file__, seccomp.__file__, folder / "existing")
    return [*system.split(), *more.split(), *map(str, ours)]


def listen(folder: Path, stack: ExitStack) -> dict[str, socket.socket]:
    """Sockets that somebody could connect or send to, by kind."""
    opened = {
        "tcp": stack.enter_context(socket.create_server(("127.0.0.1", 0))),
        "udp": stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        "abstract": stack.enter_context(socket.socket(socket.AF_UNIX)),
        "unix": stack.enter_context(socket.socket(socket.AF_UNIX)),
    }
    opened["udp"].bind(("127.0.0.1", 0))
    opened["abstract"].bind(f"\0selfchallenge-{os.getpid()}")
    opened["unix"].bind(str(folder / "socket"))
    for name in ("abstract", "unix"):
        opened[name].listen()
    for listener in opened.values():
        listener.setblocking(False)
    return opened
