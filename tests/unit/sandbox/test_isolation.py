"""What each layer takes away by itself, and what is left to honest code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from selfchallenge.sandbox import isolation
from selfchallenge.sandbox.isolation import ConfinementError, interpreter_paths
from selfchallenge.sandbox.probe import probe

SCRIPT = Path(__file__).with_name("confined.py")
LIMITS = {"memory": 64 << 20, "cpu": 2}
COMMAND = [sys.executable, "-s", "-S", "-P", "-B", str(SCRIPT)]


def needs(level: str) -> pytest.MarkDecorator:
    reason = f"level {level} cannot be had here: {probe()}"
    return pytest.mark.skipif(probe(level).level != level, reason=reason)


safe = pytest.mark.parametrize("level", [pytest.param(name, marks=needs(name)) for name in "AB"])
filtered = pytest.mark.parametrize(
    "level", [pytest.param(name, marks=needs(name)) for name in "ABC"]
)


def confined(level: str, code: str, *, cell: bool = True, **more: Any) -> Any:
    """What a child of a zygote at `level` comes to; without `cell` only the zygote is confined."""
    config = {"isolation": isolation.__file__, "level": level, "code": code, **more}
    if cell:
        config["limits"] = {**LIMITS, **more.get("limits", {})}
    done = subprocess.run(
        [*COMMAND, json.dumps(config)], capture_output=True, check=False, cwd="/", env={}
    )
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


@safe
def test_the_library_can_be_read(level: str) -> None:
    assert confined(level, "import colorsys, this; out = colorsys.rgb_to_hls(0, 0, 0)") == [0, 0, 0]


@safe
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/", "/tmp", "/root"])
def test_nothing_else_can_be_read(level: str, path: str) -> None:
    code = f"import os\nout = os.listdir({path!r}) if {path!r}.count('/') == 1 else open({path!r})"
    got = confined(level, code, cell=False)
    assert isinstance(got, str), got
    assert got.startswith(("PermissionError", "FileNotFoundError", "NotADirectoryError")), got


@safe
def test_paths_that_are_named_can_be_read(level: str, tmp_path: Path) -> None:
    """A folder, a file, a path inside another one, and a link to a folder."""
    inner = tmp_path / "folder" / "inner"
    inner.mkdir(parents=True)
    (inner / "text").write_text("1")
    (tmp_path / "file").write_text("2")
    (tmp_path / "secret").write_text("3")
    (tmp_path / "link").symlink_to(inner)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and "pytest" in str(path):
            path.chmod(0o755)
    named = [str(tmp_path / name) for name in ("folder", "file", "folder/inner", "link")]
    code = f"""
out = [open(f"{tmp_path}/{{name}}").read() for name in ("folder/inner/text", "link/text", "file")]
try: out.append(open("{tmp_path}/secret").read())
except OSError: out.append("denied")
"""
    read_only = [*interpreter_paths(), *named]
    assert confined(level, code, read_only=read_only) == ["1", "1", "2", "denied"]


@safe
def test_nothing_can_be_written(level: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "file").touch(mode=0o666)
    code = f"""
import os
out = []
for action in (
    lambda: open("{tmp_path}/new", "w"),
    lambda: open("{tmp_path}/file", "w"),
    lambda: os.mkdir("{tmp_path}/folder"),
    lambda: os.unlink("{tmp_path}/file"),
    lambda: os.truncate("{tmp_path}/file", 0),
    lambda: os.rename("{tmp_path}/file", "{tmp_path}/other"),
    lambda: os.mkfifo("{tmp_path}/fifo"),
):
    try:
        action()
        out.append("done")
    except OSError as error:
        out.append(type(error).__name__)
"""
    got = confined(level, code, cell=False, read_only=[*interpreter_paths(), str(tmp_path)])
    assert "done" not in got


@safe
def test_the_zygote_has_no_network(level: str) -> None:
    code = """
import socket
out = []
for connect in (lambda s: s.connect(("127.0.0.1", 9)), lambda s: s.bind(("127.0.0.1", 0))):
    try:
        connect(socket.socket())
        out.append("done")
    except OSError as error:
        out.append(type(error).__name__)
"""
    if "ABI" in probe(level).layers[1].reason and level == "B":
        assert confined(level, code, cell=False) == ["PermissionError", "PermissionError"]
    if level == "A":
        assert "ConnectionRefusedError" not in confined(level, code, cell=False)


@safe
def test_the_zygote_can_still_fork_wait_and_kill(level: str) -> None:
    code = """
import os, signal, socket
one, other = socket.socketpair()
pid = os.fork()
if pid == 0:
    signal.pause()
fd = os.pidfd_open(pid)
signal.pidfd_send_signal(fd, signal.SIGKILL)
os.waitpid(pid, 0)
socket.send_fds(one, [b"x"], [fd])
out = len(socket.recv_fds(other, 1, 4)[1])
"""
    assert confined(level, code, cell=False) == 1


@needs("A")
def test_a_zygote_with_namespaces_is_process_one_of_nobody() -> None:
    code = "import os; out = [os.getppid(), os.getuid(), os.getgid(), os.getgroups()]"
    parent, uid, gid, groups = confined("A", code, cell=False)
    assert (parent, uid, gid) == (1, isolation.NOBODY, isolation.NOBODY)
    assert set(groups) <= {isolation.NOBODY}


@safe
def test_no_capability_is_left(level: str) -> None:
    code = """
import ctypes
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget(header, data)
out = list(data)
"""
    assert confined(level, code, cell=False) == [0] * 6


@safe
def test_privileges_do_not_come_back(level: str) -> None:
    code = """
import ctypes
prctl = ctypes.CDLL(None).prctl
out = [prctl(39, 0, 0, 0, 0), prctl(3, 0, 0, 0, 0)]
"""
    no_new_privileges, dumpable = confined(level, code, cell=False)
    assert (no_new_privileges, dumpable) == (1, 0)


@safe
def test_landlock_alone_keeps_a_child_from_its_parent(level: str) -> None:
    code = """
import os
os.kill(os.getppid(), 0)
isolation.landlock.isolate()
try:
    os.kill(os.getppid(), 0)
    out = "reached"
except PermissionError:
    out = "denied"
"""
    expected = "denied" if int(probe("B").layers[1].reason.split()[-1]) >= 6 else "reached"
    assert confined(level, code, cell=False) == expected


@pytest.mark.parametrize("level", [pytest.param(name, marks=needs(name)) for name in "ABCD"])
def test_limits_of_a_cell(level: str) -> None:
    code = """
import resource as r
kinds = (r.RLIMIT_CPU, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE, r.RLIMIT_NPROC)
out = [r.getrlimit(kind) for kind in kinds]
"""
    assert confined(level, code) == [[2, 3], [16, 16], [0, 0], [0, 0], [0, 0]]
    got = confined(level, "kept = [bytearray(1 << 20) for _ in range(70)]; out = 'done'")
    assert got.startswith("MemoryError")
    assert confined(level, "kept = [bytearray(1 << 20) for _ in range(40)]; out = 1") == 1


@pytest.mark.parametrize("level", [pytest.param(name, marks=needs(name)) for name in "AD"])
def test_processor_time_ends_even_if_the_signal_is_ignored(level: str) -> None:
    code = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert confined(level, code, limits={"cpu": 1}) == f"ended with -{int(signal.SIGKILL)}"


@filtered
@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)",
    ],
)
def test_the_filter_kills(level: str, code: str) -> None:
    assert confined(level, f"{code}\nout = 1") == f"ended with -{int(signal.SIGSYS)}"


@filtered
def test_the_filter_leaves_what_honest_code_needs(level: str) -> None:
    code = """
import decimal, json, os, random, re, select, signal, sys, time
time.sleep(0.001)
signal.signal(signal.SIGTERM, lambda *_: None)
os.cpu_count()
sys.stdout.isatty()
big = bytearray(1 << 22)
out = [
    json.loads(json.dumps({"a": [1.5]})),
    re.sub("a", "b", "banana"),
    str(decimal.Decimal(1) / 3)[:5],
    len(os.urandom(8)),
    time.monotonic() > 0,
    select.select([], [], [], 0),
    os.path.exists("/nowhere"),
]
"""
    expected = [{"a": [1.5]}, "bbnbnb", "0.333", 8, True, [[], [], []], False]
    assert confined(level, code) == expected


@pytest.mark.parametrize("confine", [isolation.confine_zygote, isolation.confine_cell])
@pytest.mark.parametrize("level", ["", "AB", "a", "E"])
def test_an_unknown_level_is_an_error(level: str, confine: Any) -> None:
    with pytest.raises(ValueError, match="no isolation level"):
        confine(level, {})


def test_a_missing_layer_says_how_to_get_it() -> None:
    text = str(ConfinementError("landlock", "ENOSYS, not there", 38))
    assert text.startswith("landlock: ENOSYS")
    assert "CONFIG_SECURITY_LANDLOCK" in text


@needs("A")
def test_the_processes_of_a_zygote_die_together() -> None:
    code = "import time; print('up', flush=True); time.sleep(600); out = 0"
    config = {"isolation": isolation.__file__, "level": "A", "code": code}
    with subprocess.Popen([*COMMAND, json.dumps(config)], stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == b"up\n"
        inner = _below(outer.pid)
        assert len(inner) == 2
        outer.kill()
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in inner) and time.monotonic() < until:
        time.sleep(0.01)
    assert not [pid for pid in inner if Path(f"/proc/{pid}").exists()]


def _below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [below for child in map(int, children) for below in (child, *_below(child))]


@needs("A")
def test_the_outer_process_ends_as_the_zygote_did() -> None:
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("isolation", {isolation.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.confine_zygote("A", module.interpreter_paths())
sys.exit(7)
"""
    done = subprocess.run([*COMMAND[:-1], "-c", script], check=False)
    assert done.returncode == 7
