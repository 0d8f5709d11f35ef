"""What a process of untrusted code is deprived of, level by level.

`A` namespaces, Landlock and seccomp; `B` Landlock and seccomp; `C` seccomp, under which no file can
be opened, and limits; `D` limits; `X` nothing. The zygote gives up what all its children go without
(`confine_zygote`), each child the rest just before it reads its payload (`confine_cell`). A layer
that cannot be had is an error and never left out in silence; which level a machine gives is found
by `probe.py`. Design, section 3; the pitfalls are in the comments.

Standard library only; the zygote loads this file by its path, without the package.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import math
import os
import resource
import select
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["LEVELS", "ConfinementError", "confine_cell", "confine_zygote", "interpreter_paths"]

LEVELS = ("A", "B", "C", "D", "X")
NOBODY = 65534
OPEN_FILES = 16
STACK = 8 << 20

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
_CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN = 6, 7, 21
_CAPABILITY_VERSION = 0x20080522
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_MS_NOSUID, _MS_NODEV = 2, 4
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4

_REMEDIES = {
    "namespaces": (
        "allow user namespaces (sysctl user.max_user_namespaces=10000; on Ubuntu "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container a seccomp profile that "
        "permits unshare, or --cap-add SYS_ADMIN)"
    ),
    "landlock": (
        "use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, and 'landlock' in the boot "
        "parameter lsm="
    ),
    "seccomp": ("use Linux on x86_64 or aarch64 with CONFIG_SECCOMP_FILTER and a 64-bit Python"),
    "uid": "give the process CAP_SETUID and CAP_SETGID, or run it as an ordinary user",
    "limits": "raise the hard limits of this process (ulimit -H -a)",
}

_libc = ctypes.CDLL(None, use_errno=True)


def _beside(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"selfchallenge_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from selfchallenge.sandbox import landlock, seccomp
else:  # the zygote has no package around it
    landlock, seccomp = _beside("landlock"), _beside("seccomp")


class ConfinementError(Exception):
    """A layer cannot be had.

    Attributes:
        layer: namespaces, landlock, seccomp, uid or limits.
        number: errno, 0 where there is none.
        reason: what was tried and what the kernel said.
        remedy: how to get it.
    """

    def __init__(self, layer: str, reason: str, number: int = 0) -> None:
        super().__init__(layer, reason, number)
        self.layer, self.reason, self.number = layer, reason, number
        self.remedy = _REMEDIES[layer]

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}; to get it: {self.remedy}"


def interpreter_paths() -> list[str]:
    """What a zygote of this Python has to read: its library, and the time zones."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    extensions = Path(sys.base_exec_prefix, sys.platlibdir, version)
    paths = (Path(os.__file__).parent, extensions, Path("/usr/share/zoneinfo"))
    return [str(path) for path in dict.fromkeys(paths) if path.is_dir()]


# -- the zygote ------------------------------------------------------------------------------------

_base = (0, 0)
"""Bytes of address space and of private memory that the zygote has by itself."""
_filter: Any = None


def confine_zygote(level: str, read_only: list[str]) -> None:
    """Give up what no child may have; call once, single-threaded, before serving.

    At level A the caller goes on as process 1 of a new pid namespace; the process it was waits for
    it and ends as it did, and neither outlives the other.

    Args:
        level: one of `LEVELS`.
        read_only: files and directories that children may read, as absolute paths.

    Raises:
        ValueError: there is no such level.
        FileNotFoundError: one of the paths does not exist.
        ConfinementError: a layer of the level cannot be had.
    """
    global _base, _filter  # noqa: PLW0603 - inherited by the children, which are forks
    _known(level)
    _base = _memory()
    if level == "X":
        return
    if level in "ABC":
        # Without Landlock nothing knows one file from another, or from /proc/PID/mem of the host.
        _filter = _layer("seccomp", lambda: _new_filter(files=level != "C"))
    with landlock.opened(read_only if level in "AB" else ()) as readable:
        if level == "A":
            _layer("namespaces", lambda: _enter_namespaces(read_only))
        _layer("uid", lambda: _drop_privileges(stay=level == "B" and _must_stay(read_only)))
        if level in "AB":
            _layer("landlock", lambda: landlock.restrict(readable))


def _known(level: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"no isolation level {level!r}; one of {', '.join(LEVELS)}")


def _layer(name: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "error")
        raise ConfinementError(name, f"{code}, {error}", error.errno or 0) from error


def _new_filter(*, files: bool) -> Any:
    if not seccomp.supported():
        raise ConfinementError("seccomp", f"no table for {os.uname().machine}")
    return seccomp.Filter(files=files)


def _memory() -> tuple[int, int]:
    # Read here because a child at level A has no /proc.
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    page = resource.getpagesize()
    return int(fields[0]) * page, int(fields[5]) * page


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl({option})")


# -- namespaces ------------------------------------------------------------------------------------


def _enter_namespaces(read_only: list[str]) -> None:
    flags = sum(_CLONE.values())
    if _capable(_CAP_SYS_ADMIN):
        _check(_libc.unshare(flags & ~_CLONE["user"]), "unshare")
    else:
        uid, gid = os.geteuid(), os.getegid()
        _check(_libc.unshare(flags), "unshare with a user namespace")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1", encoding="ascii")
    _replace_root(read_only)
    _become_init()


def _capable(capability: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> capability & 1)


def _replace_root(read_only: list[str]) -> None:
    """Make a new root of nothing but `read_only`, under the same names."""
    sources = _outermost(read_only)
    os.umask(0o022)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    # Any directory will do as the place of the new root: once that is the root, it hides nothing.
    _mount("tmpfs", "/proc", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    os.chdir("/proc")
    Path("old").mkdir()
    _check(_libc.pivot_root(b".", b"old"), "pivot_root")
    os.chdir("/")
    for path, real in sources.items():
        _bind(Path(f"/old{real}"), Path(path))
    _check(_libc.umount2(b"/old", _MNT_DETACH), "umount2")
    Path("/old").rmdir()
    _make_read_only()


def _outermost(paths: list[str]) -> dict[str, str]:
    """Each path that lies in no other one, and where it really is."""
    kept: dict[str, str] = {}
    for path in sorted(map(Path, paths)):
        if not any(path.is_relative_to(outer) for outer in kept):
            kept[str(path)] = str(path.resolve())
    return kept


def _bind(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o444)
    _mount(str(source), str(target), None, _MS_BIND | _MS_REC)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None)
    _check(result, f"mount {target}")


def _make_read_only() -> None:
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        b"/",
        ctypes.c_uint(_AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, "mount_setattr")


def _become_init() -> None:
    """Go on as process 1 of the new pid namespace; killing it kills everything in there."""
    outside = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid != 0:
        # The descriptors of the host must not stay open here when the zygote is gone.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    _die_with(outside)
    global _outside  # noqa: PLW0603 - needed once more, after the uid is dropped
    _outside = outside


_outside = -1


def _die_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the kernel was told; getppid() is 0 in a new namespace either way.
    if select.select([parent], [], [], 0)[0]:
        os._exit(1)


# -- privileges ------------------------------------------------------------------------------------


def _must_stay(paths: list[str]) -> bool:
    """Whether root can only stay root: it may not change, or nobody else may read these paths."""
    above = {parent for path in paths for parent in Path(path).parents}
    public = all(parent.stat().st_mode & stat.S_IXOTH for parent in above) and all(
        Path(path).stat().st_mode & stat.S_IROTH for path in paths
    )
    return not (public and _capable(_CAP_SETUID) and _capable(_CAP_SETGID))


def _drop_privileges(*, stay: bool) -> None:
    """Become nobody where that is another one, and lose every capability.

    Args:
        stay: keep uid 0, without its capabilities: under Landlock, and without a mount namespace,
            a library below a private home (`~/.pyenv`) can be read by no other.
    """
    if os.geteuid() == 0 and not stay:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    # Siblings of the same uid must not trace each other or open /proc/PID/mem.
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _outside >= 0:
        _die_with(_outside)  # forgotten by the kernel when the uid changed
        os.close(_outside)


# -- the cell --------------------------------------------------------------------------------------


def confine_cell(level: str, limits: Mapping[str, Any]) -> None:
    """Give up the rest; call in the forked child, before a byte of the payload is read.

    Args:
        level: as given to `confine_zygote` in the parent.
        limits: `memory` (bytes beyond what the zygote has), `cpu` (seconds).

    Raises:
        ConfinementError: a layer cannot be had; the child must end.
    """
    _known(level)
    if level == "X":
        return
    _layer("limits", lambda: _limit(limits["memory"], limits["cpu"]))
    if level in "AB":
        _layer("landlock", landlock.isolate)
    if level in "ABC":
        _layer("seccomp", _filter.install)


def _limit(memory: int, cpu: float) -> None:
    address_space, private = _base
    seconds = max(1, math.ceil(cpu))
    wanted = {
        resource.RLIMIT_AS: (address_space + memory, address_space + memory),
        resource.RLIMIT_DATA: (private + memory, private + memory),
        # The signal of the soft limit may be ignored, that of the hard one not.
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        resource.RLIMIT_STACK: (STACK, STACK),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
        # Counts all processes of the uid, so it only says "none".
        resource.RLIMIT_NPROC: (0, 0),
    }
    for kind, (soft, hard) in wanted.items():
        allowed = resource.getrlimit(kind)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)  # noqa: PLW2901 - the lower counts
        resource.setrlimit(kind, (soft, hard))
