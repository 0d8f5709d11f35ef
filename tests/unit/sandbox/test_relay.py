"""The zygote over pipes, as a container command gives them; tried with Python as the command."""

import shutil
import sys
from collections.abc import Iterator

import pytest
from shop import Shop

from selfchallenge.errors import SandboxError
from selfchallenge.sandbox.host import Limits, Sandbox

BWRAP = (
    "bwrap --unshare-all --die-with-parent --clearenv --ro-bind / / --tmpfs /tmp "
    f"--ro-bind {sys.prefix} {sys.prefix} "  # it may lie in /tmp
    f"--proc /proc --dev /dev {sys.executable}"
)
COMMANDS = [
    [sys.executable],
    pytest.param(
        BWRAP.split(),
        marks=pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here"),
    ),
]


@pytest.fixture(scope="module", params=COMMANDS, ids=["python", "bwrap"])
def sandbox(request) -> Iterator[Sandbox]:
    with Sandbox(container=request.param) as found:
        yield found


def test_code_calls_tools_and_leaves_an_answer(sandbox):
    with sandbox.session(Shop) as session:
        done = sandbox.execute("print('hello')\nanswer = get_order('W1')['status']", session)
        assert (done.status, done.answer, done.output) == ("done", "open", "hello\n")
        verifier = "def evaluate(answer):\n    return get_order('W1')['status'] == answer"
        assert sandbox.evaluate(verifier, done.answer, session).passed
    assert sandbox.isolation in ("A", "B")


def test_a_cell_keeps_its_variables(sandbox):
    with sandbox.session(Shop) as session, sandbox.cell(session) as cell:
        assert cell.run("x = 41").ok
        assert cell.run("answer = x + 1").answer == 42


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("while True: pass", "timeout"),
        ("import os\nos._exit(0)", "crashed"),
        ("import os\nos.write(3, b'x' * 100)\nos._exit(0)", "violation"),
        ("import os\nwhile True: os.write(3, b'x' * 65536)", "violation"),
        ("import os\nos.fork()", "violation"),
        ("answer = 'x' * 3_000_000", "error"),
    ],
)
def test_hostile_code_ends_as_it_does_without_pipes(sandbox, code, status):
    with sandbox.session(Shop) as session:
        done = sandbox.execute(
            code, session, limits=Limits(wall=1.0 if status == "timeout" else 20.0)
        )
        assert done.status == status, done
    with sandbox.session(Shop) as session:
        assert sandbox.execute("answer = 42", session).answer == 42


def test_many_run_at_once(sandbox):
    with (
        sandbox.session(Shop) as one,
        sandbox.session(Shop) as other,
        sandbox.cell(one) as first,
        sandbox.cell(other) as second,
    ):
        assert first.run("answer = 1").answer == 1
        assert second.run("answer = 2").answer == 2
        assert first.run("answer = 3").answer == 3


def test_a_large_answer_comes_whole(sandbox):
    with sandbox.session(Shop) as session:
        assert len(sandbox.execute("answer = 'x' * 900_000", session).answer) == 900_000


def test_a_command_that_does_not_run_python_is_an_error():
    with pytest.raises(SandboxError):
        Sandbox(container=["false"])
