"""Run a piece of code in a confined process, on a kernel that may lack things; print what came.

Run by its path: `confined.py {"isolation": file, "level": ..., "code": ...}`.
"""

from __future__ import annotations

import ctypes
import decimal  # noqa: F401 - under the filter nothing compiled can be loaded any more
import importlib.util
import json
import os
import random  # noqa: F401
import re  # noqa: F401
import select  # noqa: F401
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PER_LINUX32 = 38, 24, 8
PR_SET_SECCOMP = 22
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def become_ordinary(uid: int) -> None:
    """Be an ordinary user after the next exec; nothing on the disk has to be readable by others."""
    real = os.geteuid(), os.getegid()
    assert libc.unshare(CLONE_NEWUSER) == 0
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{uid} {real[1]} 1")
    Path("/proc/self/uid_map").write_text(f"{uid} {real[0]} 1")


def drop(capabilities: Iterable[int]) -> None:
    """Be without them after the next exec."""
    for capability in capabilities:
        assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def deny(isolation: ModuleType, calls: Iterable[tuple[int, int, int]]) -> None:
    """Have the kernel answer system calls with an errno: (number, first argument or -1, errno)."""
    seccomp = isolation.seccomp
    code = []
    for number, first, error in calls:
        body = [(0x06, 0, 0, seccomp.ERRNO | error)]
        if first >= 0:
            body = [(0x20, 0, 0, 16), (0x15, 0, 1, first), *body, (0x06, 0, 0, seccomp.ALLOW)]
        code += [(0x20, 0, 0, 0), (0x15, 0, len(body), number), *body]
    original, seccomp.program = (
        seccomp.program,
        lambda _, **__: [*code, (0x06, 0, 0, seccomp.ALLOW)],
    )
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    seccomp.Filter().install()
    seccomp.program = original


def run(isolation: ModuleType, level: str, limits: dict[str, Any] | None, code: str) -> Any:
    """Run `code` in a child; its variable `out`, its exception, or how it ended."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if limits is not None:
                isolation.confine_cell(level, limits)
            space: dict[str, Any] = {"isolation": isolation}
            exec(code, space)
            said = json.dumps(space["out"])
        except BaseException as error:  # noqa: BLE001
            said = json.dumps(f"{type(error).__name__}: {error}")
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    said = b"".join(iter(lambda: os.read(read, 4096), b""))
    _, status = os.waitpid(pid, 0)
    return json.loads(said) if said else f"ended with {os.waitstatus_to_exitcode(status)}"


def cripple(
    isolation: ModuleType,
    *,
    uid: int = 0,
    dropped: tuple[int, ...] = (),
    denied: tuple[tuple[int, int, int], ...] = (),
    machine32: bool = False,
) -> None:
    """Take from this process what the machine of a test does not have."""
    if uid:
        become_ordinary(uid)
    drop(dropped)
    if machine32:
        libc.personality(PER_LINUX32)
    if denied:
        deny(isolation, denied)


def main(config: dict[str, Any]) -> None:
    """Cripple this process and exec `then`; or confine it and run `code` in a child."""
    isolation = load(config["isolation"])
    if "then" in config:
        cripple(isolation, **config["missing"])
        os.execv(config["then"][0], config["then"])
    level = config["level"]
    isolation.confine_zygote(level, config.get("read_only") or isolation.interpreter_paths())
    print(json.dumps(run(isolation, level, config.get("limits"), config["code"])), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
