"""Groups 13 to 21, 24, 26 and 27: time, processes, memory, output, crashes."""

from pieces import FORGE, LIBC, attack

HANGING = [
    attack(
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
    attack(14, "a power tower", "9 ** 9 ** 9", "timeout error", quick=True),
    attack(
        14,
        "a regular expression that explodes",
        'import re\nre.match("(a+)+$", "a" * 40 + "b")',
        "timeout",
        quick=True,
    ),
    attack(
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
    attack(
        16,
        "a result that drips",
        FORGE
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
    attack(
        16,
        "a tool call that drips",
        FORGE
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
    attack(
        17,
        "close every descriptor and spin",
        "import os\nos.closerange(0, 64)\nwhile True: pass",
        "timeout crashed",
        quick=True,
    ),
]

SPAWNING = [
    attack(
        18,
        "fork twenty times",
        "import os\nfor _ in range(20):\n    if os.fork() == 0: os._exit(0)\nanswer = True",
        "violation",
        "system call",
    ),
    attack(
        18,
        "fork through libc",
        LIBC + "pid = libc.fork()\nif pid == 0: os._exit(0)\nanswer = pid > 0",
        "violation",
        "system call",
    ),
    attack(
        19,
        "a shell through os.system of a subclass",
        """
wrap = next(c for c in object.__subclasses__() if c.__name__ == "_wrap_close")
answer = wrap.__init__.__globals__["system"]("true") == 0
""",
        "violation",
        "system call",
    ),
    attack(
        19,
        "a shell through os.system",
        'import os\nanswer = os.system("true") == 0',
        "violation",
        "system call",
    ),
    attack(
        19,
        "a program through subprocess",
        """
import subprocess
subprocess.run(["/bin/true"], check=True)
answer = True
""",
        "error violation",
    ),
    attack(
        19,
        "a shell through libc",
        LIBC + 'answer = libc.system(b"true") == 0',
        "violation",
        "system call",
    ),
    attack(
        19,
        "posix_spawn",
        'import os\nos.posix_spawn("/bin/true", ["true"], {})\nanswer = True',
        "violation",
        "system call",
    ),
    attack(
        20,
        "two hundred threads",
        """
import _thread
_thread.stack_size(1 << 16)
for _ in range(200):
    _thread.start_new_thread(print, ())
answer = True
""",
        "error",
        "can't start new thread",
    ),
]

GREED = [
    attack(21, "8 GiB at once", "bytearray(8 << 30)\nanswer = True", "error", "MemoryError"),
    attack(
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
    attack(
        21,
        "shared memory",
        LIBC + "answer = libc.mmap(None, 1 << 20, 3, 0x21, -1, 0) != FAILED",
    ),
    attack(
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
    attack(
        24,
        "print 300 MB",
        "for _ in range(300): print('x' * 1_000_000)\nanswer = False",
        says="",
    ),
    attack(
        24,
        "a result of 100 MB",
        "answer = 'x' * 100_000_000",
        "error crashed",
        judges=False,
    ),
    attack(
        24,
        "an error of 100 MB",
        "raise ValueError('x' * 100_000_000)",
        "error",
    ),
]

CRASHING = [
    attack(
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
    attack(26, "a null pointer", "import ctypes\nctypes.string_at(0)", "crashed", "SIGSEGV"),
    attack(26, "abort", "import os\nos.abort()", "crashed", "SIGABRT|SIGSEGV"),
    attack(
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
    attack(
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
