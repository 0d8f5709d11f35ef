"""What the attack list says beyond single pieces of code: verifiers, floods, imports, vacuity."""

from __future__ import annotations

import ast
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from arsenal import ATTACKS, HONEST, MEMORY, VERIFIER
from pieces import Attack
from victims import Victims

from selfchallenge import sandbox as sandbox_package
from selfchallenge.environments.base import Environment
from selfchallenge.sandbox.host import Limits, Sandbox, Session

NAMED = {attack.name: attack for attack in ATTACKS}


def test_an_honest_job_passes(sandbox: Sandbox, session: Session) -> None:
    done = sandbox.execute(HONEST, session)
    assert (done.status, done.answer) == ("done", 42)
    assert sandbox.evaluate(VERIFIER, done.answer, session).passed


@pytest.mark.parametrize("truth", ["1", "'yes'", "[0]", "Liar()", "NotImplemented", "evaluate"])
def test_only_true_is_true(truth: str, sandbox: Sandbox, session: Session) -> None:
    liar = "class Liar(int):\n    def __eq__(self, other): return True\n"
    code = f"{liar}def evaluate(answer): return {truth}"
    assert not sandbox.evaluate(code, 42, session).passed


def test_a_verifier_cannot_change_the_state(sandbox: Sandbox, session: Session) -> None:
    before = session.digest()
    code = "def evaluate(answer):\n    pay(42)\n    return read_balance() == 42"
    judged = sandbox.evaluate(code, 42, session)
    assert not judged.passed
    assert "changes the state" in (judged.error or "")
    assert session.digest() == before


def test_a_verifier_that_hides_the_refusal_judges_the_true_state(
    sandbox: Sandbox, session: Session
) -> None:
    code = """
def evaluate(answer):
    try: pay(42)
    except BaseException: pass
    return read_balance() == 42
"""
    assert not sandbox.evaluate(code, 42, session).passed


def test_a_verifier_cannot_count_its_calls(sandbox: Sandbox, session: Session) -> None:
    code = """
import math, os, sys
def evaluate(answer):
    math.calls = getattr(math, "calls", 0) + 1
    os.environ["CALLS"] = os.environ.get("CALLS", "") + "x"
    return math.calls > 1 or len(os.environ["CALLS"]) > 1
"""
    assert [sandbox.evaluate(code, 42, session).passed for _ in range(3)] == [False] * 3


@pytest.mark.parametrize(
    "expression",
    [
        "os.getpid() > 0",
        "os.getppid() > 0",
        "os.getpgid(0) > 0",
        "os.getsid(0) > 0",
        "0 < threading.get_native_id() <= 2**22",
        "int(os.readlink('/proc/self')) > 0",
        "int(os.path.basename(os.path.realpath('/proc/thread-self'))) > 0",
        "any(os.sched_getaffinity(n) for n in range(2, 200))",
        "any(resource.prlimit(n, resource.RLIMIT_CPU) for n in range(2, 200))",
        "any(os.kill(n, 0) is None for n in range(2, 200))",
        "any(os.getpriority(os.PRIO_PROCESS, n) == 0 for n in range(2, 200))",
    ],
)
def test_nothing_tells_a_verifier_its_pid(
    sandbox: Sandbox, session: Session, expression: str
) -> None:
    """Pids are given in order: they would say which of its runs this is."""
    code = f"import os, resource, threading\ndef evaluate(answer): return {expression}"
    assert not sandbox.evaluate(code, 42, session).passed


def test_names_of_files_are_seen_everywhere_but_at_a(sandbox: Sandbox, session: Session) -> None:
    """What is not protected at B and C (docs/how-to/isolation.md): no layer there sees a path."""
    seen = [path for path in ("/etc/passwd", "/proc/1", "/tmp") if os.path.exists(path)]  # noqa: PTH110
    code = f"import os\nanswer = [path for path in {seen} if os.path.exists(path)]"
    assert seen
    assert sandbox.execute(code, session).answer == ([] if sandbox.isolation == "A" else seen)


def test_a_verifier_cannot_reach_the_solution(sandbox: Sandbox, session: Session) -> None:
    planted = "import math, builtins\nmath.hint = builtins.hint = True\nanswer = 1"
    with sandbox.cell(session) as cell:
        assert cell.run(planted).answer == 1
        code = "import math\ndef evaluate(answer): return hasattr(math, 'hint')"
        assert not sandbox.evaluate(code, 1, session).passed


LEAVE = """
import fcntl, os
for fd in range(64):
    for leave in (
        lambda: os.lseek(fd, 4242, os.SEEK_SET),
        lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND),
        lambda: os.write(fd, b"4242") if fd not in (3, 4) else None,
    ):
        try: leave()
        except OSError: pass
"""
FIND = """
import fcntl, os
def evaluate(answer):
    found = []
    for fd in range(64):
        for look in (
            lambda: os.lseek(fd, 0, os.SEEK_CUR) == 4242,
            lambda: fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND,
            lambda: fd not in (3, 4) and b"4242" in os.pread(fd, 100, 0),
        ):
            try: found.append(look())
            except OSError: pass
    return any(found)
"""


def test_a_solution_leaves_no_mark_in_a_descriptor(sandbox: Sandbox, session: Session) -> None:
    """Or a verifier could pass the code that leaves it, whatever that did to the state."""
    sandbox.execute(LEAVE, session)
    assert not sandbox.evaluate(FIND, None, session).passed


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    "name", ["print 300 MB", "a result of 100 MB", "an error of 100 MB", "malformed frame: endless"]
)
def test_a_flood_stays_in_its_process(
    name: str, sandbox: Sandbox, session: Session, victims: Victims
) -> None:
    sandbox.execute(HONEST, session)
    before = _resident()
    limits = Limits(wall=5.0, cpu=5, memory=MEMORY)
    sandbox.execute(victims.told(NAMED[name].code), session, limits=limits)
    assert _resident() - before < 8 << 20


def test_nothing_is_unpickled_on_the_way_back() -> None:
    banned = {"pickle", "cloudpickle", "marshal", "multiprocessing", "shelve", "concurrent"}
    folder = Path(sandbox_package.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if ast.unparse(node) == "from marshal import dumps":
                continue  # the ledger compares what it writes, and reads nothing
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            names.append(getattr(node, "module", None) or "")
            roots = {name.split(".")[0] for name in names if isinstance(name, str)}
            assert not roots & banned, f"{path.name}:{node.lineno}"


# -- the attacks are no straw men ------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 2, 3])
def test_a_search_finds_what_is_there(group: int, sandbox: Sandbox, session: Session) -> None:
    """The needle planted where group 1 (objects), 2 (frames) and 3 (modules) look."""
    code = next(a for a in ATTACKS if a.group == group).code
    planted = f"""
import sys, types
W = {{}}
held = types.ModuleType("held")
held.secret = ["-".join(["needle", "of", "the", "trainer"])]
sys.modules["held"] = held
def caller(expected):
    space = {{**globals()}}
    exec({code!r}, space)
    return space["answer"]
answer = caller(held.secret)
"""
    patient = Limits(wall=30.0, cpu=20, memory=MEMORY)
    assert sandbox.execute(planted, session, limits=patient).answer is True


@pytest.fixture(scope="module")
def unsafe() -> Iterator[Sandbox]:
    with Sandbox(level="D", allow_unsafe=True) as running:
        yield running


@pytest.mark.parametrize(
    "attack",
    [
        NAMED["connect to TCP"],
        NAMED["send over UDP"],
        NAMED["connect to an abstract unix socket"],
        NAMED["memfd_create"],
        NAMED["executable memory"],
        NAMED["shared memory"],
        NAMED["read files of the host"],
    ],
    ids=lambda attack: attack.name.replace(" ", "-"),
)
def test_without_the_layers_it_gets_through(
    attack: Attack, unsafe: Sandbox, bank: type[Environment], victims: Victims
) -> None:
    with unsafe.session(bank) as session:
        assert unsafe.execute(victims.told(attack.code), session).answer is True
    for name, listener in victims.listeners.items():
        _drain(name, listener)


def _drain(name: str, listener: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        if name == "udp":
            listener.recv(100)
        else:
            listener.accept()[0].close()
