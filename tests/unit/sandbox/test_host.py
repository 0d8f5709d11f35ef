"""Lifetimes, limits, and what is left after code that misbehaves."""

import os
import select
import signal
import threading
import time
from pathlib import Path

import pytest

from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import LoadError, SandboxError, UsageError
from selfchallenge.sandbox import host, wire
from selfchallenge.sandbox.host import Limits, Sandbox, default_sandbox, require_level
from selfchallenge.sandbox.probe import ProbeReport

QUICK = Limits(wall=0.5)


def honest(sandbox, session) -> bool:
    return sandbox.execute("answer = total(40, 2)", session).answer == 42


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def processes_below(pid: int) -> list[tuple[int, str]]:
    """All living descendants, with their state."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)] = (int(fields[1]), fields[0])
    below = {pid}
    while True:
        more = {p for p, (parent, _) in parents.items() if parent in below} - below
        if not more:
            return [(p, parents[p][1]) for p in below - {pid}]
        below |= more


def eventually(condition) -> bool:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# -- cells -----------------------------------------------------------------------------------------


def test_variables_stay_from_run_to_run(sandbox, shop):
    with sandbox.cell(shop) as cell:
        assert cell.run("x = [1]\ndef grow(): x.append(len(x) + 1)").ok
        assert cell.run("grow()\nx").output == "[1, 2]\n"
        assert cell.run("1/0").status == "error"
        done = cell.run("answer = x")
        assert done.answer == [1, 2]
        assert cell.run("pass").answer == [1, 2]


def test_a_traceback_shows_the_lines_of_the_block_they_are_in(sandbox, shop):
    with sandbox.cell(shop) as cell:
        cell.run("def first():\n    return undefined_name\n")
        failed = cell.run("a = 1\nfirst()\n")
        assert "    first()\n" in failed.error
        assert "    return undefined_name\n" in failed.error


def test_a_name_of_a_tool_may_be_taken(sandbox, shop):
    with sandbox.cell(shop) as cell:
        cell.run("total = 5")
        assert cell.run("total + 1").output == "6\n"


def test_calls_of_one_cell_go_on_with_the_state_of_another(sandbox, shop):
    with sandbox.cell(shop) as one, sandbox.cell(shop) as other:
        one.run("cancel_order('W1')")
        assert other.run("answer = get_order('W1')['status']").answer == "cancelled: late"
        assert one.run("answer = view()").answer == 1


def test_a_timeout_kills_the_cell_and_says_so(sandbox, shop):
    with sandbox.cell(shop) as cell:
        assert cell.run("x = 1").ok
        slow = cell.run(
            "while True:\n    try:\n        x += 1\n    except BaseException: pass", QUICK
        )
        assert (slow.status, slow.answer) == ("timeout", None)
        assert "longer than 0.5 s" in slow.error
        again = cell.run("x")
        assert again.status == "crashed"
        assert "this cell is dead: timeout" in again.error
    assert honest(sandbox, shop)


def test_a_reply_in_the_moment_of_the_deadline_is_no_timeout_of_the_next_run(sandbox, shop):
    with sandbox.cell(shop) as cell:
        assert cell.run("answer = 1").ok
        cell._job._child.arm(0.0)  # as if the end of the limit had not been called off in time
        assert select.select([cell._job._child.payload], [], [], 10)[0]
        after = cell.run("answer = 2", Limits(wall=60.0))
        assert (after.status, after.answer) == ("crashed", None)
        assert "the limit of its last run" in after.error
    assert honest(sandbox, shop)


def test_time_between_runs_does_not_count(sandbox, shop):
    with sandbox.cell(shop, limits=Limits(wall=3.0)) as cell:
        assert cell.run("x = 1").ok
        time.sleep(3.1)
        assert cell.run("x").output == "1\n"


@pytest.fixture
def interrupted(monkeypatch) -> None:
    """Ctrl-C while a reply to `endless` is awaited; by a clock it might come before or after."""
    send, receive = wire.send_frame, wire.recv_frame
    asked = [False]

    def sent(sock, value, **more):
        asked[0] = asked[0] or any(word in str(value) for word in ("endless", "'tool': 'wait'"))
        send(sock, value, **more)

    def interrupt(*arguments, **more):
        if asked[0]:
            asked[0] = False
            raise KeyboardInterrupt
        return receive(*arguments, **more)

    monkeypatch.setattr(wire, "send_frame", sent)
    monkeypatch.setattr(wire, "recv_frame", interrupt)


def test_an_interrupted_run_ends_the_cell_and_not_the_session(sandbox, shop, interrupted):
    with sandbox.cell(shop) as cell:
        with pytest.raises(KeyboardInterrupt):
            cell.run("endless = 1\nwhile endless: pass")
        assert cell.run("1").status == "crashed"
    assert honest(sandbox, shop)


def test_an_interrupted_question_ends_the_session(sandbox, shop, interrupted):
    """Or the next question would be given the answer to this one."""
    with pytest.raises(KeyboardInterrupt):
        shop.call("wait", [0.5])
    with pytest.raises(SandboxError, match="it was interrupted"):
        shop.digest()


def test_a_closed_cell_says_so(sandbox, shop):
    cell = sandbox.cell(shop)
    cell.close()
    cell.close()
    assert cell.run("1").error == "this cell is dead: it was closed"


def test_a_cell_that_outlives_its_session_can_be_closed(sandbox, shop_class):
    session = sandbox.session(shop_class)
    cell = sandbox.cell(session)
    session.close()
    with pytest.raises(SandboxError, match="it was closed"):
        cell.run("1")
    cell.close()


def test_verification_goes_on_beside_an_open_cell(sandbox, shop):
    with sandbox.cell(shop) as cell:
        cell.run("cancel_order('W1')")
        verifier = "def evaluate(): return get_order('W1')['status'] != 'open'"
        assert sandbox.evaluate(verifier, None, shop).passed
        assert cell.run("answer = view()").answer == 1


def test_between_its_runs_a_cell_reaches_no_tool(sandbox, shop):
    """A payload that has claimed to be done goes on: its calls wait until it has the turn again."""
    forge = (
        "import os, sys\n"
        "wire = sys.modules['selfchallenge_wire']\n"
        "reply = dict(output='', error=None, raised=None, has_answer=False, answer=None)\n"
        "data = wire.encode(reply)\n"
        "os.write(3, len(data).to_bytes(4, 'big') + data)\n"
        "import time\ntime.sleep(0.3)\n"
        "cancel_order('W1')\n"
    )
    with sandbox.cell(shop) as cell:
        claimed = cell.run(forge)
        assert claimed.status == "done"
        verifier = "def evaluate(): return get_order('W1')['status'] == 'open'"
        assert sandbox.evaluate(verifier, None, shop).passed
        time.sleep(0.5)
        assert sandbox.evaluate(verifier, None, shop).passed
        assert shop.changed() == ()


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "9 ** 9 ** 9",
        "import time\ntime.sleep(60)",
        "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
        "import signal as s, time\ns.pthread_sigmask(s.SIG_BLOCK, range(1, 65))\ntime.sleep(60)",
    ],
)
def test_wall_time_is_kept(sandbox, shop, code):
    slow = sandbox.execute(code, shop, limits=QUICK)
    assert slow.status == "timeout"
    assert honest(sandbox, shop)


def test_a_tool_that_takes_too_long_is_cut_short(sandbox, shop):
    slow = sandbox.execute("wait(60)", shop, limits=QUICK)
    assert slow.status in ("error", "timeout")
    assert [(c.tool, c.ok) for c in shop.trace()] == [("wait", False)]
    assert "the tool took too long" in shop.trace()[0].result
    assert honest(sandbox, shop)


def test_memory_is_kept(shop_class):
    with Sandbox(level="D", allow_unsafe=True) as sandbox, sandbox.session(shop_class) as session:
        code = "x = bytearray(200 << 20)\nanswer = len(x)"
        failed = sandbox.execute(code, session, limits=Limits(memory=64 << 20))
        assert failed.status == "error"
        assert "MemoryError" in failed.error
        assert sandbox.execute(code, session).answer == 200 << 20


# -- misbehaviour ----------------------------------------------------------------------------------

WRITE = "import os\ndef out(data, fd=3): os.write(fd, data)\n"
FRAME = "def frame(text): return len(text).to_bytes(4, 'big') + text\n"
REPLY = 'GOOD = b\'{"output":"","error":null,"raised":null,"has_answer":true,"answer":1}\'\n'
EVIL = {
    "exit": ("import os\nos._exit(0)", "crashed"),
    "segfault": ("import ctypes\nctypes.string_at(0)", "crashed"),
    "end itself": ("import os\nos.abort()", "crashed"),
    "close all": ("import os\nos.closerange(0, 100)\nwhile True: pass", "crashed"),
    "garbage": (WRITE + "out(b'garbage' * 10)\nos._exit(0)", "violation"),
    "half a prefix": (WRITE + "out(b'\\0')\nos._exit(0)", "violation"),
    "half a frame": (WRITE + "out(b'\\0\\0\\0\\x10{')\nos._exit(0)", "violation"),
    "huge frame": (WRITE + "out(b'\\xff' * 4)", "violation"),
    "not a dict": (WRITE + FRAME + "out(frame(b'[1]'))", "violation"),
    "wrong fields": (WRITE + FRAME + "out(frame(b'{\"passed\":true}'))", "violation"),
    "wrong types": (
        WRITE + FRAME + REPLY + "out(frame(GOOD.replace(b'null', b'1')))",
        "violation",
    ),
    "duplicate keys": (
        WRITE + FRAME + REPLY + "out(frame(GOOD[:-1] + b',\"answer\":2}'))",
        "violation",
    ),
    "nan": (WRITE + FRAME + REPLY + "out(frame(GOOD.replace(b'1', b'NaN')))", "violation"),
    "deep": (WRITE + FRAME + "out(frame(b'[' * 100000))", "violation"),
    "two frames": (WRITE + FRAME + REPLY + "out(frame(GOOD) * 2)", "violation"),
    "frame and rest": (WRITE + FRAME + REPLY + "out(frame(GOOD) + b'x')", "violation"),
    "garbage to the tools": (WRITE + "out(b'\\0\\0\\0\\x04nope', 4)\nget_order('W1')", "violation"),
    "half a call": (WRITE + "out(b'\\0\\0\\1', 4)\nos._exit(0)", "violation"),
    "huge call": (WRITE + "out(b'\\xff' * 4, 4)\nget_order('W1')", "violation"),
    "a call that is no call": (WRITE + FRAME + "out(frame(b'[]'), 4)\nview()", "violation"),
    "a call with odd keys": (
        WRITE + FRAME + 'out(frame(b\'{"tool":"view","args":[],"kwargs":{"*":1}}\'), 4)\nview()',
        "violation",
    ),
    "flood": ("import os\nwhile True: os.write(4, b'\\0' * 65536)", None),
    "patched json": ("import json\njson.dumps = lambda *a, **k: 'x'\nanswer = 1", None),
    "patched wire": (
        "import sys\nsys.modules['selfchallenge_wire'].send_frame = None\nanswer = 1",
        "crashed",
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_code_that_misbehaves_never_counts_as_done(sandbox, shop, name):
    code, status = EVIL[name]
    done = sandbox.execute(code, shop, limits=Limits(wall=2.0))
    assert done.status == status if status else not done.ok
    assert done.error
    assert honest(sandbox, shop)
    assert shop.changed() == ()


@pytest.mark.parametrize("name", EVIL)
def test_a_cell_that_misbehaves_is_dead(sandbox, shop, name):
    code, _ = EVIL[name]
    with sandbox.cell(shop, limits=Limits(wall=2.0)) as cell:
        if cell.run(code).ok:
            # What follows a good frame may come too late for this run, but not for the next one.
            assert cell.run("answer = 1").status == "violation"
        assert cell.run("answer = 1").status == "crashed"
    assert honest(sandbox, shop)


@pytest.mark.parametrize(
    "verifier",
    [
        "import os\nos._exit(0)",
        "def evaluate(): import os; os._exit(0)",
        "def evaluate():\n    while True: pass",
        "import os\nos.write(3, b'\\0\\0\\0\\x04true')\ndef evaluate(): return True",
    ],
)
def test_a_verifier_that_misbehaves_does_not_pass(sandbox, shop, verifier):
    said = sandbox.evaluate(verifier, None, shop, limits=QUICK)
    assert not said.passed
    assert said.status not in ("done", "error")
    assert honest(sandbox, shop)


def test_a_tool_that_ends_its_process_ends_the_session_only(sandbox, shop_class, shop):
    with sandbox.session(shop_class) as session:
        with pytest.raises(SandboxError, match="ended with code 3"):
            sandbox.execute("fail('exit')", session)
        with pytest.raises(SandboxError, match="is over"):
            session.state()
        assert session.over
    assert honest(sandbox, shop)


def test_the_next_job_after_a_dead_zygote_works(shop_class):
    with Sandbox(allow_unsafe=True) as sandbox, sandbox.session(shop_class) as session:
        level = sandbox.isolation
        cell = sandbox.cell(session)
        assert cell.run("x = 1").ok
        zygote = sandbox._code[0]._process
        started = processes_below(zygote.pid)
        zygote.kill()
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in started))
        with pytest.raises(SandboxError, match="gone"):
            cell.run("x")
        cell.close()
        assert honest(sandbox, session)
        assert sandbox.isolation == level
        owner = sandbox._environments[next(iter(sandbox._environments))]._process
        started = processes_below(owner.pid)
        owner.kill()
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in started))
        with pytest.raises(SandboxError):
            session.state()
        with sandbox.session(shop_class) as fresh:
            assert honest(sandbox, fresh)


# -- nothing is left behind ------------------------------------------------------------------------


def test_two_hundred_jobs_leave_no_descriptor_and_no_process(shop_class):
    with Sandbox(allow_unsafe=True) as sandbox:

        def work(count: int) -> None:
            for number in range(count):
                with sandbox.session(shop_class) as session:
                    code = "import os\nos._exit(1)" if number % 10 == 0 else f"answer = {number}"
                    sandbox.execute(code, session)

        work(3)
        zygotes = [
            z._process.pid for z in (*sandbox._code.values(), *sandbox._environments.values())
        ]
        assert eventually(lambda: all_idle(zygotes))
        files, inner = open_files(), [files_of(pid) for pid in zygotes]
        work(100)
        with sandbox.session(shop_class) as session:
            for number in range(100):
                assert sandbox.evaluate("def evaluate(): return True", number, session).passed
        assert open_files() == files
        assert eventually(lambda: all_idle(zygotes))
        assert [files_of(pid) for pid in zygotes] == inner
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in zygotes))


def all_idle(zygotes: list[int]) -> bool:
    """Only the zygotes live, and at level A each has one process inside; none is a zombie."""
    below = [state for pid in zygotes for _, state in processes_below(pid)]
    return len(below) <= 1 and "Z" not in below


def files_of(pid: int) -> int:
    inner = [child for child, _ in processes_below(pid)] or [pid]
    try:
        return sum(1 for _ in Path(f"/proc/{inner[0]}/fd").iterdir())
    except PermissionError:
        return -1


def test_zygotes_end_when_the_host_is_killed(tmp_path):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            sandbox = Sandbox(allow_unsafe=True)
            session = sandbox.session(Counting)
            cell = sandbox.cell(session)
            cell.run("x = 1")
            found = " ".join(str(p) for p, _ in processes_below(os.getpid()))
            os.write(writing, found.encode())
            os.close(writing)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as source:
        started = [int(word) for word in source.read().split()]
    os.waitpid(pid, 0)
    assert len(started) >= 4
    assert eventually(lambda: not any(Path(f"/proc/{p}").exists() for p in started))


def test_threads_share_one_sandbox(sandbox, shop_class):
    results: list[object] = []

    def work(number: int) -> None:
        with sandbox.session(shop_class) as session, sandbox.cell(session) as cell:
            for _ in range(5):
                results.append(cell.run(f"answer = total({number}, 1)").answer == number + 1)
                said = sandbox.evaluate(f"def evaluate(a): return a == {number}", number, session)
                results.append(said.passed)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 60


def test_two_cells_of_one_session_take_turns(sandbox, shop):
    def work() -> None:
        with sandbox.cell(shop) as cell:
            done.append(cell.run("for _ in range(50): view()").ok)

    done: list[bool] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4
    assert shop.state()["views"] == 200


def test_tools_do_not_write_to_the_hosts_output(sandbox, shop, capfd):
    assert shop.call("wait", [0]) == '"done"'
    sandbox.execute("wait(0)\nimport os\nos.write(1, b'x')\nos.write(2, b'x')", shop)
    assert capfd.readouterr() == ("", "")


def test_environments_without_a_session_make_room(shop_class):
    with Sandbox(allow_unsafe=True) as sandbox, sandbox.session(shop_class) as kept:
        for number in range(10):
            sandbox.session(type(f"World{number}", (Counting,), {})).close()
        assert len(sandbox._environments) <= 9
        assert kept.call("total", [1, 2]) == "3"


class Counting(Environment):
    """Counts."""

    @tool
    def count(self) -> int:
        """Count."""
        return 1


# -- levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "minimum", "unsafe", "accepted"),
    [
        ("A", "B", False, True),
        ("B", "B", False, True),
        ("C", "B", False, False),
        ("C", "C", False, True),
        ("B", "A", False, False),
        ("D", "D", False, False),
        ("X", "X", False, False),
        ("D", "B", True, True),
        ("X", "B", True, True),
    ],
)
def test_weaker_levels_are_refused(level, minimum, unsafe, accepted):
    if accepted:
        require_level(level, minimum, allow_unsafe=unsafe)
        return
    with pytest.raises(SandboxError, match=f"level {level}"):
        require_level(level, minimum, allow_unsafe=unsafe)


def test_unknown_levels_are_a_usage_error():
    with pytest.raises(UsageError, match="'Q'"):
        Sandbox(level="Q")


def test_a_level_is_never_exchanged_for_a_weaker_one(monkeypatch):
    with pytest.raises(SandboxError):
        Sandbox(level="X")
    with Sandbox(level="X", allow_unsafe=True) as sandbox:
        assert sandbox.isolation == "X"


def test_a_level_that_is_named_is_tried_before_it_is_believed(monkeypatch):
    found = ProbeReport("C", (), ())
    monkeypatch.setattr(host, "probe", lambda *_: found)
    with pytest.raises(SandboxError, match="level B does not hold here"):
        Sandbox(level="B")
    with pytest.raises(SandboxError, match="only be isolated at level C"):
        Sandbox()


def test_a_zygote_that_is_started_again_has_the_same_level(sandbox, shop):
    look = "open('/etc/passwd')"
    assert sandbox.execute(look, shop).status == "error"
    for zygote in sandbox._code.values():
        zygote.close()
    assert sandbox.execute(look, shop).status == "error"


def test_an_environment_that_does_not_load_there(tmp_path):
    file = tmp_path / "picky.py"
    file.write_text(
        "import os\nfrom selfchallenge.environments.base import Environment, tool\n"
        "if 'PYTHONHASHSEED' in os.environ and os.environ['PYTHONHASHSEED'] == '7':\n"
        "    raise OSError('not here')\n"
        "class Picky(Environment):\n"
        "    @tool\n    def x(self) -> int:\n        'x'\n        return 1\n"
    )
    from selfchallenge.environments.loading import load_environment

    cls = load_environment(f"{file}:Picky")
    with Sandbox(allow_unsafe=True) as sandbox:
        sandbox.session(cls).close()
        with pytest.raises(LoadError, match="not here"):
            sandbox.session(cls, hash_seed=7)


def test_there_is_one_default_sandbox():
    assert default_sandbox() is default_sandbox()
