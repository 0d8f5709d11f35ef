"""Runs the attacks at a level that stops few of them, where they can do no harm.

`contained.py LEVEL` makes namespaces of its own (user, processes, mounts, network), in which it is
an ordinary user and process 1, the disk is read-only but for empty temporary folders, and memory
is bounded; then it runs itself again in there and prints one JSON line an attack. It ends with
`UNAVAILABLE` where namespaces cannot be had: the attacks kill every process they see.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

UNAVAILABLE = 75
USER, INSIDE = 1000, "--inside"
MEMORY = 1 << 30
TEMPORARY = "/dev/shm"
_NEW = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x08000000
_MS_REC, _MS_PRIVATE, _MOUNT_SETATTR, _AT_RECURSIVE = 0x4000, 0x40000, 442, 0x8000
_SIOCSIFFLAGS, _UP = 0x8914, 0x1 | 0x40
_libc = ctypes.CDLL(None, use_errno=True)


def enter() -> None:
    """Go on in namespaces of its own; only the child that is process 1 in there returns."""
    uid, gid = os.geteuid(), os.getegid()
    _must(_libc.unshare(_NEW), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{USER} {gid} 1")
    Path("/proc/self/uid_map").write_text(f"{USER} {uid} 1")
    _must(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount /")
    read_only = struct.pack("=QQQQ", 1, 0, 0, 0)
    asked = [ctypes.c_long(n) for n in (_MOUNT_SETATTR, -100)]
    _must(
        _libc.syscall(
            *asked, b"/", ctypes.c_long(_AT_RECURSIVE), read_only, ctypes.c_long(len(read_only))
        ),
        "mount_setattr",
    )
    for folder in (b"/var/tmp", TEMPORARY.encode()):
        _must(_libc.mount(b"tmpfs", folder, b"tmpfs", 0, b"size=16m,mode=1777"), "tmpfs")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
        fcntl.ioctl(loopback, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _UP, b""))
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
    _must(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "proc")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _must(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def attack_all(level: str) -> None:
    """Run every attack as a solution, an action and a verifier; print what came of each."""
    # An attack that traces this process would stop it for good.
    _must(_libc.prctl(4, 0, 0, 0, 0), "prctl")
    from arsenal import ATTACKS  # noqa: I001
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.sandbox.host import Sandbox
    from victims import HERE, listen

    bank = load_environment(f"{HERE / 'bank.py'}:Bank")
    with ExitStack() as stack, Sandbox(level=level, allow_unsafe=True) as sandbox:
        listeners = listen(Path(tempfile.mkdtemp()), stack)
        for attack in ATTACKS:
            for role in ("solution", "action", "verifier")[: 2 + attack.judges]:
                said = _attack(sandbox, bank, attack, role, listeners)
                line = {"name": attack.name, "role": role, "level": sandbox.isolation, **said}
                print(json.dumps(line), flush=True)


def _attack(sandbox: Any, bank: Any, attack: Any, role: str, listeners: Any) -> dict[str, Any]:
    from arsenal import HONEST, VERIFIER
    from victims import Victims

    from selfchallenge.errors import SelfChallengeError
    from selfchallenge.sandbox.host import Limits

    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o777)
    (folder / "existing").write_text("before")
    limits = Limits(wall=0.25 if attack.quick else 20.0, cpu=20, memory=192 << 20)
    through, passed, balance, ended = False, False, 0, ""
    try:
        with sandbox.session(bank) as session, sandbox.session(bank) as other:
            victims = Victims(sandbox.cell(other), listeners, folder)
            code = victims.told(attack.code)
            if role == "solution":
                done = sandbox.execute(code, session, limits=limits)
                through, ended = done.answer is True, done.status
                passed = sandbox.evaluate(VERIFIER, done.answer, session).passed
            elif role == "action":
                with sandbox.cell(session, limits=limits) as cell:
                    cell.run("answer = 7")
                    done = cell.run(f"del answer\n{code}")
                through, ended = done.answer is True, done.status
                passed = sandbox.evaluate(VERIFIER, done.answer, session).passed
            else:
                code += "\ndef evaluate(_):\n    return answer is True\n"
                judged = sandbox.evaluate(code, 42, session, limits=limits)
                through, ended = judged.passed, judged.status
            balance = session.state()["balance"]
    except SelfChallengeError as error:
        # It killed the processes of the sandbox: whatever it was, it got out.
        through, ended = True, f"{type(error).__name__}: {error}"
    for name, listener in listeners.items():
        with contextlib.suppress(BlockingIOError):
            listener.recv(1) if name == "udp" else listener.accept()[0].close()
            through = True
    names = sorted(path.name for path in folder.iterdir())
    through = through or names != ["existing"]
    with sandbox.session(bank) as session:
        honest = sandbox.execute(HONEST, session)
        fine = sandbox.evaluate(VERIFIER, honest.answer, session).passed
    return {
        "through": through,
        "ended": ended,
        "passed": passed,
        "balance": balance,
        "next": fine,
    }


def main() -> None:
    if sys.argv[2:] == [INSIDE]:
        attack_all(sys.argv[1])
        return
    try:
        enter()
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(UNAVAILABLE)
    command = [sys.executable, "-B", __file__, sys.argv[1], INSIDE]
    os.execve(command[0], command, os.environ | {"TMPDIR": TEMPORARY})


if __name__ == "__main__":
    main()
