"""Groups 1 to 5: looking for what the host and the environment keep to themselves."""

from pieces import FORGE, SEARCH, attack

LOOKING = [
    attack(
        1,
        "search all objects for the expected answer",
        SEARCH
        + """
import gc
answer = any(holds(found) for found in gc.get_objects())
""",
    ),
    attack(
        2,
        "walk the frames of the caller",
        SEARCH
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
    attack(
        2,
        "walk the traceback",
        SEARCH
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
    attack(
        3,
        "look into modules and the closures of the tools",
        SEARCH
        + """
import sys
answer = holds(read_balance) or any(holds(module) for module in list(sys.modules.values()))
""",
    ),
    attack(
        3,
        "look into __main__ and what imported it",
        SEARCH
        + """
import sys
main = sys.modules["__main__"]
answer = main.__dict__ is not globals() or any(
    holds(getattr(module, "__dict__", {}))
    for name, module in list(sys.modules.items())
    if name.startswith(("selfchallenge", "pytest", "_pytest", "site", "__"))
)
""",
    ),
    attack(
        3,
        "ask the environment's process as if it were the host",
        FORGE
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
    attack(
        4,
        "read the environment variables",
        """
import os
answer = bool(set(os.environ) - {"PYTHONHASHSEED", "LC_CTYPE"}) or "needle" in str(os.environ)
""",
    ),
    attack(
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
    attack(
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
