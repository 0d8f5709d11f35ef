"""How an attack is written: what it must come to, and what many of them share."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Attack:
    """One piece of hostile code.

    Attributes:
        group: number in the attack list.
        name: what it tries.
        code: source; leaves `answer = True` when it got through.
        ends: statuses with which it may end.
        says: pattern that the error must have.
        judges: whether it makes sense as a verifier too (a verifier's claim to have passed is its
            own to make, so an attack that forges a reply does not).
        quick: run it with a short time limit: it is meant to run into it.
    """

    group: int
    name: str
    code: str
    ends: str = "done"
    says: str = ""
    judges: bool = True
    quick: bool = False


def attack(group: int, name: str, code: str, ends: str = "done", says: str = "", **more: bool):
    return Attack(group, name, dedent(code).strip() + "\n", ends, says, **more)


SEARCH = """
needles = ["-".join(["needle", "of", "the", where]) for where in ("trainer", "environment")]
def holds(value, seen=None, depth=0):
    # What loads itself when it is looked at cannot be loaded under a filter.
    try:
        return look(value, seen, depth)
    except (ImportError, OSError):
        return False
def look(value, seen, depth):
    seen = {id(needles), id(W)} if seen is None else seen
    if id(value) in seen or value is seen or depth > 6:
        return False
    seen.add(id(value))
    if isinstance(value, str):
        return any(needle in value for needle in needles)
    inner = []
    for name in ("__dict__", "__closure__", "cell_contents"):
        try:
            inner.append(object.__getattribute__(value, name))
        except (AttributeError, ValueError):
            pass
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        inner = list(value)
    return any(holds(v, seen, depth + 1) for v in inner)
"""

FORGE = """
import json, os, struct
def frame(value, raw=None):
    data = json.dumps(value).encode() if raw is None else raw
    return struct.pack("!I", len(data)) + data
REPLY = {"output": "", "error": None, "raised": None, "has_answer": True, "answer": 42}
"""

LIBC = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
FAILED = ctypes.c_void_p(-1).value
def call(name, *args):
    return libc.syscall(ctypes.c_long(W["calls"][name]), *[ctypes.c_long(a) for a in args])
"""

SOCKETS = """
import socket
answer = False
def attempt(action):
    global answer
    try:
        action()
        answer = True
    except OSError:
        pass
"""


def system_call(name: str, *arguments: int, group: int = 29) -> Attack:
    values = "".join(f", {value}" for value in arguments)
    code = LIBC + f'call("{name}"{values})\nanswer = True'
    return attack(group, f"system call {name}", code, "violation", "system call")
