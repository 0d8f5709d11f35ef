"""The system calls that untrusted code may make: an allow-list, as a seccomp filter.

Python has no seccomp in its library, so the filter is classic BPF written here, instruction by
instruction, for x86_64 and aarch64. It is built once in the zygote and installed in every child
just before the payload is read (design, section 3). What is not listed is refused, not executed:
what honest code may stumble into gets an errno that Python turns into an exception, what only an
attack does ends the process. No call tells a process its pid: pids are handed out in order, so a
verifier could count by them which of its runs this one is. (Where `/proc` is there, at B and C,
`stat` still tells which pids exist: a filter sees no path.)

Standard library only; loaded by path, without the package.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

KILL = 0x80000000
ERRNO = 0x00050000
ALLOW = 0x7FFF0000

EPERM, EACCES = ERRNO | errno.EPERM, ERRNO | errno.EACCES
EAGAIN, ENOSYS = ERRNO | errno.EAGAIN, ERRNO | errno.ENOSYS

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Name in `uname -m`: the kernel's audit number, and the column of the tables below."""

X32 = 0x40000000
NEWEST = 450
"""Later numbers get ENOSYS, so that a libc which tries one falls back to what it did before."""

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

# Numbers on x86_64 and aarch64; `-` where the call does not exist.
_CONDITIONAL = """
  mmap 9 222, mprotect 10 226, openat 257 56, open 2 -, fcntl 72 25, ioctl 16 29, sendto 44 206,
  prlimit64 302 261, sched_getaffinity 204 123, clone 56 220
"""
_ALLOWED = """
  read 0 63, write 1 64, recvfrom 45 207, munmap 11 215, brk 12 214, futex 202 98, poll 7 -,
  ppoll 271 73, select 23 -, pselect6 270 72, madvise 28 233, mremap 25 216, newfstatat 262 79,
  fstat 5 80, stat 4 -, lstat 6 -, statx 332 291, close 3 57, lseek 8 62, pread64 17 67,
  readv 19 65, writev 20 66, getdents64 217 61, access 21 -, faccessat 269 48, faccessat2 439 439,
  getcwd 79 17, fadvise64 221 223, dup 32 23, dup2 33 -, dup3 292 24, rt_sigaction 13 134,
  rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132, restart_syscall 219 128,
  shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209, exit 60 93,
  exit_group 231 94, clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115,
  nanosleep 35 101, gettimeofday 96 169, time 201 -, times 100 153, getrandom 318 278,
  getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getgroups 115 158,
  getresuid 118 148, getresgid 120 150, uname 63 160, sysinfo 99 179, getrusage 98 165,
  getrlimit 97 163, sched_yield 24 124, getcpu 309 168, membarrier 324 283, rseq 334 293,
  set_robust_list 273 99
"""
_KILLED = """
  fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, ptrace 101 117,
  process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, pidfd_getfd 438 438,
  process_madvise 440 440, io_uring_setup 425 425, io_uring_enter 426 426,
  io_uring_register 427 427, io_setup 206 0, bpf 321 280, perf_event_open 298 241,
  userfaultfd 323 282, keyctl 250 219, add_key 248 217, request_key 249 218, unshare 272 97,
  setns 308 268, chroot 161 51, pivot_root 155 41, mount 165 40, umount2 166 39,
  move_mount 429 429, open_tree 428 428, fsopen 430 430, mount_setattr 442 442,
  open_by_handle_at 304 265, init_module 175 105, finit_module 313 273, delete_module 176 106,
  kexec_load 246 104, kexec_file_load 320 294, reboot 169 142, swapon 167 224, swapoff 168 225,
  acct 163 89, quotactl 179 60, syslog 103 116, iopl 172 -, ioperm 173 -, modify_ldt 154 -
"""
_ABSENT = "clone3 435 435, openat2 437 437"
"""Their arguments lie in memory, where a filter cannot see them."""

# Classic BPF: operation codes and the layout of what a filter sees (struct seccomp_data).
_LOAD, _RETURN, _JUMP = 0x20, 0x06, 0x05
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, constant."""

# Flags of open() that write or create, of mmap() and clone(); the same on both architectures.
_OPEN_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_TMPFILE = 0o20000000
_PROT_EXEC, _MAP_SHARED, _CLONE_THREAD = 4, 1, 0x10000
_FCNTL = (0, 1, 2, 3, 4, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: no F_SETOWN, it sends signals."""
_IOCTL = (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)
"""TCGETS (isatty), FIONBIO, FIONREAD, FIONCLEX, FIOCLEX: no FIOSETOWN, no TIOCSTI."""


def numbers(table: str, column: int) -> dict[str, int]:
    """System call numbers of one architecture by name."""
    rows = [entry.split() for entry in table.split(",")]
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column] != "-"}


def supported() -> bool:
    """Whether there is a table for this machine, and this process uses its 64-bit calls."""
    return platform.machine() in ARCHITECTURES and struct.calcsize("P") == 8


def program(machine: str, *, files: bool = True) -> list[Instruction]:
    """The filter for an architecture, as classic BPF.

    Args:
        machine: a key of `ARCHITECTURES`.
        files: whether files may be opened for reading; a filter cannot see which.
    """
    audit, column = ARCHITECTURES[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, X32),
        (_RETURN, 0, 0, KILL),
        (_AT_LEAST, 0, 1, NEWEST + 1),
        (_RETURN, 0, 0, ENOSYS),
    ]
    named = {table: numbers(table, column) for table in (_CONDITIONAL, _ALLOWED, _KILLED, _ABSENT)}
    conditions = _conditions()
    if not files:
        conditions |= dict.fromkeys(("openat", "open"), _always(EACCES))
    for name, number in named[_CONDITIONAL].items():
        code += [(_EQUAL, 0, len(conditions[name]), number), *conditions[name]]
    for table, action in ((_ALLOWED, ALLOW), (_KILLED, KILL), (_ABSENT, ENOSYS)):
        code += [*_skip_unless(named[table].values()), *_always(action)]
    return code + _always(EPERM)


def _conditions() -> dict[str, list[Instruction]]:
    """What is asked of the arguments of a call."""
    return {
        "openat": _without(2, _OPEN_WRITES | _TMPFILE, EACCES),
        "open": _without(1, _OPEN_WRITES | _TMPFILE, EACCES),
        "mmap": [*_refuse(2, _PROT_EXEC, EACCES), *_without(3, _MAP_SHARED, EACCES)],
        "mprotect": _without(2, _PROT_EXEC, EACCES),
        "fcntl": _one_of(1, _FCNTL),
        "ioctl": _one_of(1, _IOCTL),
        "sendto": _null(4),
        # Of itself only: to ask of another pid would tell whether there is such a process.
        "prlimit64": [_load(0), (_EQUAL, 1, 0, 0), *_always(EPERM), *_null(2)],
        "sched_getaffinity": _one_of(0, (0,)),
        "clone": [*_refuse(0, _CLONE_THREAD, EAGAIN), *_always(KILL)],
    }


def _skip_unless(values: Iterable[int]) -> list[Instruction]:
    """Skip the next instruction unless what is loaded is one of `values` (at most 255)."""
    wanted = list(values)
    tests = [(_EQUAL, len(wanted) - i, 0, value) for i, value in enumerate(wanted)]
    return [*tests, (_JUMP, 0, 0, 1)]


def _always(action: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, action)]


def _load(argument: int, *, upper: bool = False) -> Instruction:
    # Both architectures are little-endian: the lower half of an argument comes first.
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * upper)


def _refuse(argument: int, bits: int, action: int) -> list[Instruction]:
    return [_load(argument), (_ANY_BIT, 0, 1, bits), (_RETURN, 0, 0, action)]


def _without(argument: int, bits: int, action: int) -> list[Instruction]:
    return [*_refuse(argument, bits, action), *_always(ALLOW)]


def _one_of(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    return [_load(argument), *_skip_unless(values), *_always(ALLOW), *_always(EPERM)]


def _null(argument: int) -> list[Instruction]:
    return [
        _load(argument),
        (_EQUAL, 0, 2, 0),
        _load(argument, upper=True),
        (_EQUAL, 1, 0, 0),
        *_always(EPERM),
        *_always(ALLOW),
    ]


# -- installing ------------------------------------------------------------------------------------


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


class Filter:
    """The filter of this machine, ready to be installed any number of times (in forked children).

    Args:
        files: whether files may be opened for reading.

    Raises:
        KeyError: there is no table for this architecture; ask `supported` first.
        OSError: the kernel has no filters.
    """

    _layout = struct.Struct("=HBBI")

    def __init__(self, *, files: bool = True) -> None:
        code = program(platform.machine(), files=files)
        packed = b"".join(self._layout.pack(*op[:3], op[3] & 0xFFFFFFFF) for op in code)
        self._code = ctypes.create_string_buffer(packed, len(packed))
        self._program = _Program(len(code), ctypes.addressof(self._code))
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        try:
            self._set(None)
        except OSError as error:
            # It looked for a filter at address 0, so it does know what a filter is.
            if error.errno != errno.EFAULT:
                raise

    def install(self) -> None:
        """Confine this process to the allow-list, for good; no_new_privs must be set.

        Raises:
            OSError: the kernel refuses filters.
        """
        self._set(ctypes.byref(self._program))

    def _set(self, filter_: object) -> None:
        if self._prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
