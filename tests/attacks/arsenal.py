"""What untrusted code may try, as pieces of code, in the groups of the design's attack list.

Each piece tries for one effect and leaves `answer = True` only when it got it; `W` holds what it
knows about the world (addresses, folders, process numbers, system call numbers). Where its success
shows outside its process, the test looks there too. Anything a piece needs is loaded in the zygote
or called through ctypes, so that what stops it is the kernel and not a failing import.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

HONEST = "pay(42)\nanswer = 42"
VERIFIER = "def evaluate(answer):\n    return answer == 42 and read_balance() == 42"

THROUGH: dict[str, frozenset[str]] = {"A": frozenset(), "B": frozenset()}
"""Names of the attacks that are known to get through, by level: at the safe levels none."""

MARK = "needle-of-the-trainer"
"""Stands in the memory and the environment variables of the host, and must stay there."""

MEMORY = 192 << 20

LISTED = 30
"""Groups of the attack list."""


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


def _attack(group: int, name: str, code: str, ends: str = "done", says: str = "", **more: bool):
    return Attack(group, name, dedent(code).strip() + "\n", ends, says, **more)


_MARKS = """
needles = ["-".join(["needle", "of", "the", where]) for where in ("trainer", "environment")]
def holds(value, seen=None, depth=0):
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

_FRAMES = """
import json, os, struct
def frame(value, raw=None):
    data = json.dumps(value).encode() if raw is None else raw
    return struct.pack("!I", len(data)) + data
REPLY = {"output": "", "error": None, "raised": None, "has_answer": True, "answer": 42}
"""

_LIBC = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
FAILED = ctypes.c_void_p(-1).value
def call(name, *args):
    return libc.syscall(ctypes.c_long(W["calls"][name]), *[ctypes.c_long(a) for a in args])
"""

_SOCKETS = """
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


def _malformed(name: str, raw: str) -> Attack:
    code = _FRAMES + f"os.write(3, {raw})\nos._exit(0)"
    return _attack(12, f"malformed frame: {name}", code, "violation", judges=True)


def _system_call(name: str, *arguments: int, group: int = 29) -> Attack:
    values = "".join(f", {value}" for value in arguments)
    code = _LIBC + f'call("{name}"{values})\nanswer = True'
    return _attack(group, f"system call {name}", code, "violation", "system call")


LOOKING = [
    _attack(
        1,
        "search all objects for the expected answer",
        _MARKS
        + """
import gc
answer = any(holds(found) for found in gc.get_objects())
""",
    ),
    _attack(
        2,
        "walk the frames of the caller",
        _MARKS
        + """
import sys
answer = False
frame = sys._getframe()
while frame is not None:
    if frame.f_globals is not globals():
        answer = answer or holds(dict(frame.f_locals)) or holds(frame.f_globals)
    frame = frame.f_back
""",
    ),
    _attack(
        2,
        "walk the traceback",
        _MARKS
        + """
answer = False
try:
    read_balance(1, 2, 3)
except Exception as error:
    trace = error.__traceback__
    while trace is not None:
        answer = answer or holds(dict(trace.tb_frame.f_locals))
        trace = trace.tb_next
""",
    ),
    _attack(
        3,
        "look into modules and the closures of the tools",
        _MARKS
        + """
import sys
answer = holds(read_balance) or any(holds(module) for module in list(sys.modules.values()))
""",
    ),
    _attack(
        3,
        "ask the environment's process as if it were the host",
        _FRAMES
        + """
import socket
tools = next(
    c.cell_contents for c in read_balance.__closure__ if isinstance(c.cell_contents, socket.socket)
)
tools.sendall(frame({"op": "state"}))
answer = b"needle" in tools.recv(1 << 16)
""",
        "done violation",
    ),
    _attack(
        4,
        "read the environment variables",
        """
import os
answer = bool(set(os.environ) - {"PYTHONHASHSEED", "LC_CTYPE"}) or "needle" in str(os.environ)
""",
    ),
    _attack(
        5,
        "read files of the host",
        """
import os
answer = False
for path in W["files"]:
    for how in (lambda: open(path, "rb").read(1), lambda: os.listdir(path)):
        try:
            how()
            answer = path
        except OSError:
            pass
answer = bool(answer)
""",
    ),
    _attack(
        5,
        "reach a file through a symbolic name or a descriptor",
        """
import os
answer = False
for path in ("/proc/self/root/etc/passwd", "/dev/fd/0/../etc/passwd", "../../../etc/passwd"):
    try:
        os.close(os.open(path, os.O_RDONLY))
        answer = True
    except OSError:
        pass
for fd in range(64):
    try:
        os.close(os.open("etc/passwd", os.O_RDONLY, dir_fd=fd))
        answer = True
    except OSError:
        pass
""",
    ),
]

LYING = [
    _attack(
        6,
        "answer with text that equals everything",
        """
class Liar(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
answer = Liar("x")
""",
    ),
    _attack(
        6,
        "answer with a number that equals everything",
        """
class Liar(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __index__(self): return 42
answer = Liar(7)
""",
    ),
    _attack(
        7,
        "replace builtins, json and the verifier",
        """
import builtins, json, sys
json.dumps = lambda *a, **k: '{"passed": true}'
for module in list(sys.modules.values()):
    if hasattr(module, "evaluate"):
        module.evaluate = lambda *a: True
def evaluate(answer): return True
builtins.evaluate = evaluate
answer = 41
builtins.isinstance = lambda *a: True
""",
        "done error crashed violation",
        judges=False,
    ),
    _attack(8, "leave with code 0", "import os\nos._exit(0)", "crashed", "ended with code 0"),
    _attack(8, "sys.exit(0)", "import sys\nanswer = 42\nsys.exit(0)", "error", "SystemExit"),
    _attack(9, "SystemExit(True)", "answer = 42\nraise SystemExit(True)", "error", "SystemExit"),
    _attack(9, "KeyboardInterrupt", "raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    _attack(
        9,
        "an exception whose text raises",
        """
class Nasty(BaseException):
    def __str__(self): raise Nasty()
    __repr__ = __str__
raise Nasty()
""",
        "error",
        "Nasty",
    ),
    _attack(
        9,
        "an exception whose text leaves",
        """
import os
class Nasty(Exception):
    def __str__(self): os._exit(0)
raise Nasty()
""",
        "crashed",
    ),
    _attack(
        10,
        "write a forged result to every descriptor",
        _FRAMES
        + """
for fd in range(64):
    try:
        os.write(fd, frame(REPLY))
    except OSError:
        pass
os._exit(0)
""",
        "done violation",
        judges=False,
    ),
    _attack(
        10,
        "write a forged status to every descriptor",
        _FRAMES
        + """
for fd in range(64):
    try:
        os.write(fd, json.dumps({"status": "exited", "number": 0, "ready": True}).encode())
    except OSError:
        pass
os._exit(0)
""",
        "violation crashed",
    ),
    _attack(
        11,
        "two results",
        _FRAMES + "os.write(3, frame(REPLY) + frame(REPLY))\nos._exit(0)",
        "violation",
        judges=False,
    ),
    _attack(
        11,
        "bytes after the result",
        _FRAMES + "os.write(3, frame(REPLY) + b'x')\nos._exit(0)",
        "violation",
        judges=False,
    ),
    _malformed("endless", 'struct.pack("!I", 0xffffffff) + b"x" * 100'),
    _malformed("not a dict", "frame([1, 2])"),
    _malformed("other keys", 'frame({**REPLY, "passed": True})'),
    _malformed("missing keys", 'frame({"answer": 42})'),
    _malformed(
        "the same key twice", "frame(0, json.dumps(REPLY).encode()[:-1] + b', \"answer\": 1}')"
    ),
    _malformed("NaN", 'frame({**REPLY, "answer": float("nan")})'),
    _malformed("infinity", "frame(0, json.dumps(REPLY).replace('42', '1e999').encode())"),
    _malformed("lone surrogate", 'frame({**REPLY, "answer": chr(0xd800)})'),
    _malformed("huge integer", "frame(0, json.dumps(REPLY).replace('42', '9' * 900000).encode())"),
    _malformed("bottomless", "frame(0, json.dumps(REPLY).replace('42', '[' * 200000).encode())"),
    _malformed("not UTF-8", "frame(0, bytes(range(256)))"),
    _malformed("empty", 'frame(0, b"")'),
    _malformed("unknown mark", 'frame({**REPLY, "answer": {"$object": 1}})'),
    _malformed("broken off", "frame(REPLY)[:-3]"),
]

HANGING = [
    _attack(
        13,
        "a loop that catches everything",
        """
while True:
    try:
        while True: pass
    except BaseException: pass
""",
        "timeout",
        quick=True,
    ),
    _attack(14, "a power tower", "9 ** 9 ** 9", "timeout error", quick=True),
    _attack(
        14,
        "a regular expression that explodes",
        'import re\nre.match("(a+)+$", "a" * 40 + "b")',
        "timeout",
        quick=True,
    ),
    _attack(
        15,
        "block all signals and sleep",
        """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
time.sleep(60)
""",
        "timeout error",
        quick=True,
    ),
    _attack(
        16,
        "a result that drips",
        _FRAMES
        + """
import select
os.write(3, struct.pack("!I", 5000))
while True:
    os.write(3, b" ")
    select.select([], [], [], 0.01)
""",
        "timeout",
        quick=True,
    ),
    _attack(
        16,
        "a tool call that drips",
        _FRAMES
        + """
import select
os.write(4, struct.pack("!I", 5000))
while True:
    os.write(4, b" ")
    select.select([], [], [], 0.01)
""",
        "timeout error crashed",
        quick=True,
    ),
    _attack(
        17,
        "close every descriptor and spin",
        "import os\nos.closerange(0, 64)\nwhile True: pass",
        "timeout crashed",
        quick=True,
    ),
]

SPAWNING = [
    _attack(
        18,
        "fork twenty times",
        "import os\nfor _ in range(20):\n    if os.fork() == 0: os._exit(0)\nanswer = True",
        "violation",
        "system call",
    ),
    _attack(
        18,
        "fork through libc",
        _LIBC + "answer = libc.fork() >= 0",
        "violation",
        "system call",
    ),
    _attack(
        19,
        "a shell through os.system of a subclass",
        """
wrap = next(c for c in object.__subclasses__() if c.__name__ == "_wrap_close")
answer = wrap.__init__.__globals__["system"]("true") == 0
""",
        "violation",
        "system call",
    ),
    _attack(
        19,
        "a shell through libc",
        _LIBC + 'answer = libc.system(b"true") == 0',
        "violation",
        "system call",
    ),
    _attack(
        19,
        "posix_spawn",
        'import os\nos.posix_spawn("/bin/true", ["true"], {})\nanswer = True',
        "violation",
        "system call",
    ),
    _attack(
        20,
        "two hundred threads",
        """
import threading
for _ in range(200):
    threading.Thread(target=print).start()
answer = True
""",
        "error",
        "can't start new thread",
    ),
]

GREED = [
    _attack(21, "8 GiB at once", "bytearray(8 << 30)\nanswer = True", "error", "MemoryError"),
    _attack(
        21,
        "1 MiB again and again",
        """
import resource
kept = []
try:
    while True: kept.append(bytearray(b"x" * (1 << 20)))
except MemoryError:
    answer = len(kept) > W["memory"] >> 20
    del kept
answer = answer or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 > W["memory"] * 2
""",
    ),
    _attack(
        21,
        "shared memory",
        _LIBC + "answer = libc.mmap(None, 1 << 20, 3, 0x21, -1, 0) != FAILED",
    ),
    _attack(
        21,
        "raise the limits",
        """
import resource
answer = False
for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC):
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        answer = True
    except (ValueError, OSError):
        pass
""",
    ),
    _attack(
        24,
        "print 300 MB",
        "for _ in range(300): print('x' * 1_000_000)\nanswer = False",
        says="",
    ),
    _attack(
        24,
        "a result of 100 MB",
        "answer = 'x' * 100_000_000",
        "error crashed",
        judges=False,
    ),
    _attack(
        24,
        "an error of 100 MB",
        "raise ValueError('x' * 100_000_000)",
        "error",
    ),
]

REACHING = [
    _attack(
        22,
        "connect to TCP",
        _SOCKETS + 'attempt(lambda: socket.socket().connect(("127.0.0.1", W["tcp"])))',
    ),
    _attack(
        22,
        "send over UDP",
        _SOCKETS
        + """
def send():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"hello", ("127.0.0.1", W["udp"]))
attempt(send)
""",
    ),
    _attack(
        22,
        "connect to an abstract unix socket",
        _SOCKETS
        + """
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect("\\0" + W["abstract"])
attempt(connect)
""",
    ),
    _attack(
        22,
        "connect to a unix socket by its path",
        _SOCKETS
        + """
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(W["unix"])
attempt(connect)
""",
    ),
    _attack(
        22,
        "use an existing socket for another address",
        _SOCKETS
        + """
for fd in range(16):
    def move():
        s = socket.socket(fileno=os.dup(fd))
        s.connect("\\0" + W["abstract"])
    def bind():
        s = socket.socket(fileno=os.dup(fd))
        s.listen()
        s.accept()
    import os
    attempt(move)
    attempt(bind)
""",
    ),
    _attack(
        23,
        "write files",
        """
import os
answer = False
for folder in W["folders"]:
    for flags in (os.O_CREAT | os.O_WRONLY, os.O_TMPFILE | os.O_RDWR, os.O_CREAT):
        try:
            path = folder if flags & os.O_TMPFILE == os.O_TMPFILE else f"{folder}/written"
            os.open(path, flags, 0o666)
            answer = True
        except OSError:
            pass
    for change in (os.mkdir, os.unlink, os.rmdir):
        try:
            change(f"{folder}/existing")
            answer = True
        except OSError:
            pass
    for change in (os.rename, os.symlink, os.link):
        try:
            change(f"{folder}/existing", f"{folder}/other")
            answer = True
        except OSError:
            pass
""",
    ),
    _attack(23, "memfd_create", 'import os\nos.memfd_create("x")\nanswer = True', "error", "Error"),
    _attack(
        25,
        "signal the zygote, the host and everybody",
        _LIBC
        + """
import signal
answer = False
for pid in (os.getppid(), W["host"], -1, 0, 1, W["sibling"], -W["sibling"], os.getpid() - 1):
    for send in (os.kill, lambda p, s: call("tgkill", p, p, s) == 0 or 1 / 0):
        try:
            send(pid, signal.SIGKILL)
            answer = True
        except (OSError, ZeroDivisionError):
            pass
""",
    ),
    _attack(
        25,
        "signal a sibling through a pidfd",
        """
import os, signal
answer = False
for pid in (os.getppid(), W["host"], W["sibling"]):
    try:
        signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)
        answer = True
    except OSError:
        pass
""",
    ),
    _attack(
        25,
        "have the kernel signal the zygote when a socket is ready",
        """
import fcntl, os, signal
answer = False
for fd in (3, 4):
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid())
        fcntl.fcntl(fd, 10, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        answer = True
    except OSError:
        pass
""",
    ),
    _attack(
        25,
        "read or write the memory of the zygote",
        """
import os
answer = False
for pid in (os.getppid(), W["host"], W["sibling"]):
    for name in ("mem", "environ", "maps", "fd/3"):
        for flags in (os.O_RDONLY, os.O_RDWR):
            try:
                os.open(f"/proc/{pid}/{name}", flags)
                answer = True
            except OSError:
                pass
""",
    ),
    _system_call("ptrace", 16, 1, 0, 0, group=25),
    _system_call("process_vm_readv", 1, 0, 0, 0, 0, 0, group=25),
    _system_call("process_vm_writev", 1, 0, 0, 0, 0, 0, group=25),
    _system_call("pidfd_getfd", 3, 3, 0, group=25),
]

CRASHING = [
    _attack(
        26,
        "recursion without end",
        """
import sys
sys.setrecursionlimit(10 ** 9)
nest = []
for _ in range(3 * 10 ** 5): nest = [nest]
repr(nest)
""",
        "crashed error",
    ),
    _attack(26, "a null pointer", "import ctypes\nctypes.string_at(0)", "crashed", "SIGSEGV"),
    _attack(26, "abort", "import os\nos.abort()", "crashed", "SIGABRT"),
    _attack(
        26,
        "free the interpreter's memory",
        """
import ctypes
for address in range(id(None), id(None) + 64, 8):
    ctypes.c_size_t.from_address(address).value = 0
print(None)
""",
        "crashed error timeout",
        judges=False,
    ),
    _attack(
        27,
        "an answer that pickles into a command",
        """
class Bomb:
    def __reduce__(self): return (eval, ("1/0",))
answer = Bomb()
""",
        "error",
        "not plain data",
        judges=False,
    ),
]

CHEATING = [
    _attack(28, "claim success without the tools", "answer = 42", judges=False),
    _attack(
        28,
        "change the state through the stubs",
        """
answer = 42
for tool in (pay, read_balance):
    tool.__globals__.update(balance=42)
    tool.__dict__["balance"] = 42
read_balance = lambda: 42
try:
    pay.__self__.balance = 42
except AttributeError: pass
""",
        judges=False,
    ),
    _attack(
        28,
        "call what is no tool",
        _FRAMES
        + """
import socket
tools = next(
    c.cell_contents for c in read_balance.__closure__ if isinstance(c.cell_contents, socket.socket)
)
answer = False
for name in ("__init__", "snapshot", "__setattr__", "__class__", "balance", "show", "open"):
    tools.sendall(frame({"tool": name, "args": ["balance", 42], "kwargs": {}}))
    answer = answer or b"unknown tool" not in tools.recv(1 << 16)
""",
    ),
    _attack(
        28,
        "arguments that are more than data",
        """
import types
answer = False
class Bomb:
    def __reduce__(self): return (eval, ("1/0",))
for value in (pay, types, object(), open, Bomb, Bomb()):
    try:
        echo(value)
        answer = True
    except TypeError:
        pass
""",
    ),
    _attack(
        28,
        "a flood of tool calls",
        """
answer = False
try:
    for _ in range(5000): read_balance()
    answer = True
except RuntimeError:
    pass
""",
    ),
]

KERNEL = [
    _system_call("execve", 0, 0, 0),
    _system_call("io_uring_setup", 1, 0),
    _system_call("userfaultfd", 0),
    _system_call("bpf", 0, 0, 0),
    _system_call("keyctl", 0, 0),
    _system_call("perf_event_open", 0, 0, 0, 0, 0),
    _system_call("unshare", 0x10000000),
    _system_call("setns", 3, 0),
    _system_call("mount", 0, 0, 0, 0, 0),
    _system_call("open_by_handle_at", 3, 0, 0),
    _attack(
        29,
        "an x32 system call number",
        _LIBC + "libc.syscall(ctypes.c_long(0x40000000 + 39))\nanswer = True",
        "violation",
        "system call",
    ),
    _attack(
        29,
        "executable memory",
        _LIBC
        + """
mapped = libc.mmap(None, 4096, 7, 0x22, -1, 0) != FAILED
plain = libc.mmap(None, 4096, 3, 0x22, -1, 0)
changed = libc.mprotect(ctypes.c_void_p(plain), 4096, 5) == 0
answer = mapped or changed
""",
    ),
    _attack(
        29,
        "undo the confinement",
        _LIBC
        + """
answer = False
for name in ("prctl", "seccomp", "setuid", "setresuid", "capset", "personality", "arch_prctl"):
    if name in W["calls"]:
        answer = answer or call(name, 0, 0, 0) == 0
""",
    ),
]

POISON = [
    _attack(
        30,
        "poison what the next job uses",
        """
import builtins, json, os, random, sys
random.seed(0)
random.random = lambda: 0.5
json.loads = json.dumps = None
sys.path[:] = ["/nowhere"]
sys.modules["math"] = None
os.environ["POISON"] = "1"
builtins.print = lambda *a: None
builtins.poisoned = True
answer = False
""",
        "done error crashed violation",
        judges=False,
    ),
    _attack(
        30,
        "poison the interpreter from below",
        """
import ctypes
real = ctypes.py_object.from_address(id(int) + 24)
ctypes.c_long.from_address(id(7) + 24).value = 8
answer = False
""",
        "done error crashed violation",
        judges=False,
    ),
]

ATTACKS = [
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
