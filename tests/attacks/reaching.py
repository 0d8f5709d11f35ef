"""Groups 22, 23, 25 and 29: sockets, files, other processes, the kernel."""

from pieces import LIBC, SOCKETS, attack, system_call

REACHING = [
    attack(
        22,
        "connect to TCP",
        SOCKETS + 'attempt(lambda: socket.socket().connect(("127.0.0.1", W["tcp"])))',
    ),
    attack(
        22,
        "send over UDP",
        SOCKETS
        + """
def send():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"hello", ("127.0.0.1", W["udp"]))
attempt(send)
""",
    ),
    attack(
        22,
        "connect to an abstract unix socket",
        SOCKETS
        + """
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect("\\0" + W["abstract"])
attempt(connect)
""",
    ),
    attack(
        22,
        "connect to a unix socket by its path",
        SOCKETS
        + """
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(W["unix"])
attempt(connect)
""",
    ),
    attack(
        22,
        "use an existing socket for another address",
        SOCKETS
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
    attack(
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
    attack(23, "memfd_create", 'import os\nos.memfd_create("x")\nanswer = True', "error", "Error"),
    attack(
        25,
        "signal the zygote, the host and everybody",
        LIBC
        + """
import signal
answer = False
for pid in (os.getppid(), W["host"], -1, 0, 1, W["sibling"], -W["sibling"], W["sibling"] - 1):
    for send in (os.kill, lambda p, s: call("tgkill", p, p, s) == 0 or 1 / 0):
        try:
            send(pid, signal.SIGKILL)
            answer = True
        except (OSError, ZeroDivisionError):
            pass
""",
    ),
    attack(
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
    attack(
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
    attack(
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
    system_call("ptrace", 16, 1, 0, 0, group=25),
    system_call("process_vm_readv", 1, 0, 0, 0, 0, 0, group=25),
    system_call("process_vm_writev", 1, 0, 0, 0, 0, 0, group=25),
    system_call("pidfd_getfd", 3, 3, 0, group=25),
]

KERNEL = [
    system_call("execve", 0, 0, 0),
    system_call("io_uring_setup", 1, 0),
    system_call("userfaultfd", 0),
    system_call("bpf", 0, 0, 0),
    system_call("keyctl", 0, 0),
    system_call("perf_event_open", 0, 0, 0, 0, 0),
    system_call("unshare", 0x10000000),
    system_call("setns", 3, 0),
    system_call("mount", 0, 0, 0, 0, 0),
    system_call("open_by_handle_at", 3, 0, 0),
    attack(
        29,
        "an x32 system call number",
        LIBC + "libc.syscall(ctypes.c_long(0x40000000 + 39))\nanswer = True",
        "violation",
        "system call",
    ),
    attack(
        29,
        "executable memory",
        LIBC
        + """
mapped = libc.mmap(None, 4096, 7, 0x22, -1, 0) != FAILED
plain = libc.mmap(None, 4096, 3, 0x22, -1, 0)
changed = libc.mprotect(ctypes.c_void_p(plain), 4096, 5) == 0
answer = mapped or changed
""",
    ),
    attack(
        29,
        "undo the confinement",
        LIBC
        + """
answer = False
for name in ("prctl", "seccomp", "setuid", "setresuid", "capset", "personality", "arch_prctl"):
    if name in W["calls"]:
        answer = answer or call(name, 0, 0, 0) == 0
""",
    ),
]
