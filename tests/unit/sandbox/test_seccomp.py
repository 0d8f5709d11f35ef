"""The filter as a program: what it answers to every call, on both architectures."""

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.sandbox import seccomp
from selfchallenge.sandbox.seccomp import ALLOW, ARCHITECTURES, EACCES, EAGAIN, ENOSYS, EPERM, KILL

MACHINES = tuple(ARCHITECTURES)
PROGRAMS = {machine: seccomp.program(machine) for machine in MACHINES}
U64 = st.integers(0, 2**64 - 1)
machines = pytest.mark.parametrize("machine", MACHINES)


def decide(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter as the kernel does."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = number.to_bytes(4, "little")
    data += (ARCHITECTURES[machine][0] if audit is None else audit).to_bytes(4, "little")
    data += bytes(8) + b"".join(a.to_bytes(8, "little") for a in padded)
    program, position, loaded = PROGRAMS[machine], 0, 0
    while True:
        operation, yes, no, constant = program[position]
        constant &= 0xFFFFFFFF
        position += 1
        if operation == 0x20:
            loaded = int.from_bytes(data[constant : constant + 4], "little")
        elif operation == 0x06:
            return constant
        elif operation == 0x05:
            position += constant
        else:
            tests = {0x15: loaded == constant, 0x35: loaded >= constant, 0x45: loaded & constant}
            position += yes if tests[operation] else no


def number(machine: str, name: str) -> int:
    column = ARCHITECTURES[machine][1]
    tables = (seccomp._ALLOWED, seccomp._CONDITIONAL, seccomp._KILLED, seccomp._ABSENT)
    return {k: v for table in tables for k, v in seccomp.numbers(table, column).items()}[name]


@machines
def test_every_table_has_its_answer(machine: str) -> None:
    column = ARCHITECTURES[machine][1]
    for table, answer in ((seccomp._ALLOWED, ALLOW), (seccomp._KILLED, KILL)):
        for name, value in seccomp.numbers(table, column).items():
            assert decide(machine, value, *[2**64 - 1] * 6) == answer, name
    assert decide(machine, number(machine, "clone3")) == ENOSYS


@machines
def test_what_is_not_listed_is_refused(machine: str) -> None:
    column = ARCHITECTURES[machine][1]
    tables = (seccomp._ALLOWED, seccomp._CONDITIONAL, seccomp._KILLED, seccomp._ABSENT)
    listed = {v for table in tables for v in seccomp.numbers(table, column).values()}
    rest = set(range(seccomp.NEWEST + 1)) - listed
    assert {decide(machine, value) for value in rest} == {EPERM}
    assert len(listed) == sum(len(seccomp.numbers(table, column)) for table in tables)


@machines
@given(value=st.integers(seccomp.NEWEST + 1, seccomp.X32 - 1))
def test_what_is_newer_does_not_exist(machine: str, value: int) -> None:
    assert decide(machine, value) == ENOSYS


@machines
@given(value=st.integers(seccomp.X32, 2**32 - 1))
def test_the_other_numbering_kills(machine: str, value: int) -> None:
    assert decide(machine, value) == KILL


@machines
@given(value=st.integers(0, 2**32 - 1), audit=st.integers(0, 2**32 - 1))
def test_another_architecture_kills(machine: str, value: int, audit: int) -> None:
    if audit != ARCHITECTURES[machine][0]:
        assert decide(machine, value, audit=audit) == KILL


@machines
@given(flags=st.integers(0, 2**32 - 1), junk=U64)
def test_open_is_for_reading(machine: str, flags: int, junk: int) -> None:
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000
    answer = EACCES if flags & writes else ALLOW
    assert decide(machine, number(machine, "openat"), junk, junk, flags, junk) == answer


@machines
@given(protection=st.integers(0, 15), flags=st.integers(0, 2**20), junk=U64)
def test_memory_is_private_and_not_executable(
    machine: str, protection: int, flags: int, junk: int
) -> None:
    answer = EACCES if protection & 4 or flags & 1 else ALLOW
    assert decide(machine, number(machine, "mmap"), junk, junk, protection, flags) == answer
    answer = EACCES if protection & 4 else ALLOW
    assert decide(machine, number(machine, "mprotect"), junk, junk, protection) == answer


@machines
@given(arguments=st.tuples(U64, U64, U64))
def test_no_signals_and_no_pids(machine: str, arguments: tuple[int, int, int]) -> None:
    for call in {
        "x86_64": (39, 110, 186, 62, 234, 89, 267, 121, 124),
        "aarch64": (172, 173, 178, 129, 131, 78, 155, 156),
    }[machine]:
        assert decide(machine, call, *arguments) == EPERM


@machines
@given(pid=st.integers(0, 2**32 - 1), pointer=U64, junk=U64)
def test_only_about_itself(machine: str, pid: int, pointer: int, junk: int) -> None:
    answer = EPERM if pid else ALLOW
    assert decide(machine, number(machine, "sched_getaffinity"), pid, junk, junk) == answer
    assert decide(machine, number(machine, "prlimit64"), pid, junk, 0) == answer
    assert decide(machine, number(machine, "prlimit64"), 0, junk, pointer) == (
        EPERM if pointer else ALLOW
    )


@machines
@given(pointer=U64, junk=U64)
def test_pointers_that_must_be_null(machine: str, pointer: int, junk: int) -> None:
    answer = EPERM if pointer else ALLOW
    assert decide(machine, number(machine, "sendto"), 3, junk, junk, junk, pointer) == answer


@machines
@given(command=st.integers(0, 2**32 - 1), junk=U64)
def test_only_harmless_commands(machine: str, command: int, junk: int) -> None:
    for name, allowed in (("fcntl", seccomp._FCNTL), ("ioctl", seccomp._IOCTL)):
        answer = ALLOW if command in allowed else EPERM
        assert decide(machine, number(machine, name), 3, command, junk) == answer
        for known in allowed:
            assert decide(machine, number(machine, name), 3, known, junk) == ALLOW


@machines
@given(flags=U64)
def test_threads_are_refused_and_processes_kill(machine: str, flags: int) -> None:
    answer = EAGAIN if flags & 0x10000 else KILL
    assert decide(machine, number(machine, "clone"), flags) == answer


@machines
def test_jumps_fit_and_end(machine: str) -> None:
    program = PROGRAMS[machine]
    for position, (operation, yes, no, constant) in enumerate(program):
        assert 0 <= yes <= 255
        assert 0 <= no <= 255
        furthest = constant if operation == 0x05 else max(yes, no)
        assert operation == 0x06 or position + 1 + furthest < len(program)


HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


@machines
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = Path(HEADERS[machine])
    if not header.exists():
        pytest.skip(f"the kernel's headers are not installed ({header})")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    tables = (seccomp._ALLOWED, seccomp._CONDITIONAL, seccomp._KILLED, seccomp._ABSENT)
    names = {"newfstatat": "fstatat"} if machine == "aarch64" else {}
    for table in tables:
        for name, value in seccomp.numbers(table, ARCHITECTURES[machine][1]).items():
            assert int(known.get(name) or known[names[name]]) == value, name


def test_errors_are_what_python_understands() -> None:
    assert EPERM & 0xFFFF == errno.EPERM
    assert EACCES & 0xFFFF == errno.EACCES
