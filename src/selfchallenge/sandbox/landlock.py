"""Landlock: a process gives up, for good, every file, port and signal that is not named.

It needs no privilege and no namespace, which is why it is in both levels that are safe (A and B;
design, section 3). How much it covers depends on the kernel: files from ABI 1 (Linux 5.13), TCP
from 4 (6.7), signals and abstract unix sockets from 6 (6.12); seccomp stands behind all of these.

Standard library only; loaded by path, without the package.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_RULE_PATH_BENEATH = 1

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights over files the ABI knows: refer came with 2, truncate 3, ioctl on devices 5."""
_TCP = (1 << 0) | (1 << 1)
_TCP_SINCE = 4
_SCOPES = (1 << 0) | (1 << 1)
"""Abstract unix sockets and signals, of processes outside the domain."""
_SCOPES_SINCE = 6

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that this kernel offers.

    Raises:
        OSError: none: ENOSYS when it is not built in, EOPNOTSUPP when it is off at boot.
    """
    return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))


@contextmanager
def opened(paths: Iterable[str]) -> Iterator[list[int]]:
    """Descriptors that name files and directories without the right to read them.

    They are taken before the uid is dropped: afterwards a path may not be reachable any more.
    """
    fds = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def restrict(readable: Iterable[int]) -> None:
    """Leave this process the reading of what is `readable` (and beneath), and no other right.

    Args:
        readable: descriptors of files and directories; no_new_privs must be set.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    version = abi()
    rights = max(count for since, count in _FILE_RIGHTS_OF_ABI.items() if since <= version)
    ruleset = _ruleset(
        files=(1 << rights) - 1,
        tcp=_TCP if version >= _TCP_SINCE else 0,
        scopes=_SCOPES if version >= _SCOPES_SINCE else 0,
    )
    try:
        for fd in readable:
            _allow_reading(ruleset, fd)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def isolate() -> None:
    """Put this process into a domain of its own, out of reach of its parent and its siblings.

    Domains are inherited, so without this a child may signal the process that forked it. Does
    nothing where the kernel does not know scopes yet.
    """
    if abi() < _SCOPES_SINCE:
        return
    ruleset = _ruleset(files=0, tcp=0, scopes=_SCOPES)
    try:
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _ruleset(*, files: int, tcp: int, scopes: int) -> int:
    attributes = struct.pack("=QQQ", files, tcp, scopes)
    # A kernel that is older than a field takes it only when it is not there.
    size = 24 if scopes else 16 if tcp else 8
    return _call(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))


def _allow_reading(ruleset: int, fd: int) -> None:
    directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    rule = struct.pack("=Qi", _READ_FILE | (_READ_DIR if directory else 0), fd)
    kind = ctypes.c_int(_RULE_PATH_BENEATH)
    _call(_ADD_RULE, ctypes.c_int(ruleset), kind, rule, ctypes.c_uint32(0))


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
