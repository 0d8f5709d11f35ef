"""Small attacks, really made, each by a child confined as untrusted code is at a level.

A kernel that says it has a layer, and a kernel in which the layer stops something, are two things;
`probe.py` starts this file as a throw-away process per level and believes only what it sees here.
The attacks do no harm where they get through.

Standard library only; run by its path: `canary.py LEVEL`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import mmap
import os
import signal
import socket
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

MEMORY = 64 << 20
THROUGH, STOPPED = 100, 101


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compute() -> None:
    assert statistics.median([1, 2, 3]) == 2


def _import() -> None:
    import colorsys  # noqa: PLC0415 - not loaded yet: its file is read here

    assert colorsys.rgb_to_hls(0, 0, 0) == (0, 0, 0)


def _read(path: str) -> Callable[[], None]:
    return lambda: os.close(os.open(path, os.O_RDONLY))


def _write() -> None:
    for folder in ("/tmp", "/var/tmp", "/dev/shm", ".", str(Path(__file__).parent)):  # noqa: S108
        path = Path(folder, f"selfchallenge-canary-{os.getpid()}")
        try:
            path.touch()
        except OSError:
            continue
        path.unlink()
        return
    raise PermissionError("no folder can be written")


def _trace() -> None:
    if ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0:
        raise PermissionError("ptrace")


CANARIES: dict[str, Callable[[], Any]] = {
    "read /etc/passwd": _read("/etc/passwd"),
    "read /proc/1/environ": _read("/proc/1/environ"),
    "open a socket": socket.socket,
    "fork": os.fork,
    "execve": lambda: os.execv("/bin/sh", ["sh", "-c", f"exit {THROUGH}"]),  # noqa: S606
    "write a file": _write,
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "ptrace": _trace,
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "memfd_create": lambda: os.memfd_create("canary"),
    "too much memory": lambda: bytearray(2 * MEMORY),
}


def _try(isolation: ModuleType, level: str, attack: Callable[[], Any]) -> str:
    """What came of an attack: `through`, `stopped`, or the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        outcome = STOPPED
        try:
            isolation.confine_cell(level, {"memory": MEMORY, "cpu": 5})
            attack()
            outcome = THROUGH
        except BaseException:  # noqa: BLE001 - however it is stopped, a child ends here
            outcome = STOPPED
        os._exit(outcome)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return "through" if code == THROUGH else "stopped"


def main(level: str) -> dict[str, Any]:
    """Try every canary at a level; `failed` when the level cannot be had."""
    isolation = _load("isolation")
    try:
        isolation.confine_zygote(level, isolation.interpreter_paths())
    except isolation.ConfinementError as error:
        return {"failed": [error.layer, error.reason, error.remedy]}
    # At C no file can be opened, and at D the uid is dropped even where nobody reads the library.
    honest = _import if level in "AB" else _compute
    return {
        "honest": _try(isolation, level, honest),
        "canaries": {name: _try(isolation, level, attack) for name, attack in CANARIES.items()},
        "uid": os.getuid(),
        "landlock": isolation.landlock.abi() if level in "AB" else 0,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])), flush=True)
