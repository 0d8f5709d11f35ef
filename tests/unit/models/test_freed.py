"""Freed memory is used again while a model generates, and is given back after that."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfchallenge.models.freed import freed_memory_kept

PAGES = 20_000
"""Of 4 KiB: a block that glibc by itself would ask the system for."""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library is not glibc"
)


def fault_in() -> int:
    """Page faults of filling a block and freeing it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(PAGES * 4096, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def faults_without_huge_pages() -> bool:
    return fault_in() > PAGES // 2


def test_a_block_is_used_again_inside() -> None:
    with freed_memory_kept():
        # What alignment cuts off goes into a small cache first, so early blocks do not join again.
        for _ in range(20):
            fault_in()
        assert fault_in() < PAGES // 10


def test_a_block_within_a_block_ends_nothing() -> None:
    with freed_memory_kept():
        with freed_memory_kept():
            fault_in()
        for _ in range(20):
            fault_in()
        assert fault_in() < PAGES // 10


def test_all_is_given_back_at_the_end() -> None:
    with freed_memory_kept():
        fault_in()
        inside = resident_pages()
    assert resident_pages() < inside - PAGES // 2


def fail_inside() -> None:
    with freed_memory_kept():
        fault_in()
        raise ValueError(resident_pages())


def test_it_is_given_back_after_a_failure() -> None:
    with pytest.raises(ValueError, match=r"\d") as failure:
        fail_inside()
    assert resident_pages() < failure.value.args[0] - PAGES // 2


OUTSIDE = f"""
import resource
import torch
from selfchallenge.models.freed import freed_memory_kept

def fault_in():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones({PAGES} * 4096, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept():
    fault_in()
fault_in()
print(fault_in())
"""
"""In a process of its own: a heap that other tests left gaps in holds such a block by itself."""


@pytest.mark.skipif(not faults_without_huge_pages(), reason="the system hands out huge pages")
def test_outside_blocks_come_from_the_system_as_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) > PAGES // 2
