"""What untrusted code may try, as pieces of code, by what it is after.

Each piece tries for one effect and leaves `answer = True` only when it got it; `W` holds what it
knows about the world (addresses, folders, process numbers, system call numbers). Where its success
shows outside its process, the test looks there too. Anything a piece needs is loaded in the zygote
or called through ctypes, so that what stops it is the kernel and not a failing import.
"""

import os

from exhausting import CRASHING, GREED, HANGING, SPAWNING
from looking import LOOKING
from lying import CHEATING, LYING, POISON
from pieces import Attack
from reaching import KERNEL, REACHING

HONEST = "pay(42)\nanswer = 42"
VERIFIER = "def evaluate(answer):\n    return answer == 42 and read_balance() == 42"

_FILES = frozenset(
    {"read files of the host", "reach a file through a symbolic name or a descriptor"}
)
_UNFILTERED = frozenset(
    {
        "an x32 system call number",
        "connect to TCP",
        "connect to a unix socket by its path",
        "connect to an abstract unix socket",
        "executable memory",
        "have the kernel signal the zygote when a socket is ready",
        "memfd_create",
        "send over UDP",
        "shared memory",
        "signal a sibling through a pidfd",
        "signal the zygote, the host and everybody",
        "system call bpf",
        "system call execve",
        "system call io_uring_setup",
        "system call keyctl",
        "system call mount",
        "system call open_by_handle_at",
        "system call perf_event_open",
        "system call pidfd_getfd",
        "system call process_vm_readv",
        "system call process_vm_writev",
        "system call ptrace",
        "system call setns",
        "system call unshare",
        "system call userfaultfd",
        "write files",
    }
)
_PROCESSES = frozenset(
    {
        "a program through subprocess",
        "a shell through libc",
        "a shell through os.system",
        "a shell through os.system of a subclass",
        "fork through libc",
        "fork twenty times",
        "posix_spawn",
        "two hundred threads",
    }
)
"""At D the kernel counts processes, but not those of root."""
_UNLIMITED = frozenset(
    {
        "1 MiB again and again",
        "raise the limits",
        "read or write the memory of the zygote",
    }
)
THROUGH: dict[str, frozenset[str]] = {
    "A": frozenset(),
    "B": frozenset(),
    "C": frozenset(),
    "D": _FILES | _UNFILTERED | (frozenset() if os.geteuid() else _PROCESSES),
    "X": _FILES | _UNFILTERED | _PROCESSES | _UNLIMITED,
}
"""Names of the attacks that are known to get through, by level: at the safe levels none."""

MARK = "needle-of-the-trainer"
"""Stands in the memory and the environment variables of the host, and must stay there."""

MEMORY = 192 << 20

LISTED = 30
"""Groups of the attack list."""

ATTACKS: list[Attack] = [
    *LOOKING,
    *LYING,
    *HANGING,
    *SPAWNING,
    *GREED,
    *REACHING,
    *CRASHING,
    *CHEATING,
    *KERNEL,
    *POISON,
]
