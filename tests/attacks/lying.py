"""Groups 6 to 12, 28 and 30: forged answers, verdicts, results, calls and later jobs."""

from pieces import FORGE, Attack, attack


def _malformed(name: str, raw: str) -> Attack:
    code = FORGE + f"os.write(3, {raw})\nos._exit(0)"
    return attack(12, f"malformed frame: {name}", code, "violation", judges=True)


LYING = [
    attack(
        6,
        "answer with text that equals everything",
        """
class Liar(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
answer = Liar("x")
""",
    ),
    attack(
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
    attack(
        6,
        "answer with an object that equals everything",
        """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return hash(42)
    def __bool__(self): return True
answer = Liar()
""",
        "error",
        "not plain data",
        judges=False,
    ),
    attack(
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
    attack(8, "leave with code 0", "import os\nos._exit(0)", "crashed", "ended with code 0"),
    attack(8, "sys.exit(0)", "import sys\nanswer = 42\nsys.exit(0)", "error", "SystemExit"),
    attack(9, "SystemExit(True)", "answer = 42\nraise SystemExit(True)", "error", "SystemExit"),
    attack(9, "KeyboardInterrupt", "raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    attack(
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
    attack(
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
    attack(
        10,
        "write a forged result to every descriptor",
        FORGE
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
    attack(
        10,
        "write a forged status to every descriptor",
        FORGE
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
    attack(
        11,
        "two results",
        FORGE + "os.write(3, frame(REPLY) + frame(REPLY))\nos._exit(0)",
        "violation",
        judges=False,
    ),
    attack(
        11,
        "bytes after the result",
        FORGE + "os.write(3, frame(REPLY) + b'x')\nos._exit(0)",
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

CHEATING = [
    attack(28, "claim success without the tools", "answer = 42", judges=False),
    attack(
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
    attack(
        28,
        "change the state through what a reading tool returned",
        """
answer = False
before = list(read_history())
found = read_history()
found.append(["pay", 42])
found[0][1] = 42
found[0].clear()
answer = read_history() != before
""",
    ),
    attack(
        28,
        "change the state through what a tool was given",
        """
given = [1]
returned = keep(given)
given.append(42)
returned.append(42)
answer = kept() != [1]
keep([0])
""",
        judges=False,
    ),
    attack(
        28,
        "replace the stubs of the tools",
        """
def pay(amount): return 42
def read_balance(): return 42
read_history = keep = kept = echo = read_balance
answer = read_balance()
""",
        judges=False,
    ),
    attack(
        28,
        "call what is no tool",
        FORGE
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
    attack(
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
    attack(
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

POISON = [
    attack(
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
    attack(
        30,
        "poison the hash seed",
        """
import ctypes, os, random
os.environ["PYTHONHASHSEED"] = "4242"
random.seed(4242)
secret = (ctypes.c_char * 24).in_dll(ctypes.pythonapi, "_Py_HashSecret")
ctypes.memset(secret, 42, 24)
answer = False
""",
        "done error crashed violation",
        judges=False,
    ),
    attack(
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
