"""The zygote protocol over standard input and output, so that untrusted code can live elsewhere.

A container command gives two pipes and no way to pass descriptors. Two relays stand for them: the
one outside is what the host takes for its zygote, the one inside starts the real zygote and hands
it sockets of its own. Between them go frames of `(kind, child, channel, length)` and bytes. What a
child sent before it died is forwarded before the news of its death, as the kernel would have it.

Standard library only; run by its path, outside as `relay.py outside FD COMMAND...`, inside by
`BOOT`, which brings the files along: the container needs Python 3.11 and a writable `/tmp`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READY, OPEN, DATA, END = range(4)
FILES = ("canary", "cell", "isolation", "landlock", "relay", "seccomp", "wire", "zygote")
PYTHON = ("-s", "-S", "-P", "-B")
CHUNK = 1 << 16
BUSY = 8 << 20
"""Bytes waiting for the pipe above which no more is taken in."""
INWARD, OUTWARD = 96 << 20, 4 << 20
"""Bytes that may wait for one channel: a whole state goes in, a frame of untrusted code comes out;
a channel that overflows is closed."""
_HEAD = struct.Struct("!BIBI")
_LENGTH = struct.Struct("!I")

BOOT = """
import json, os, sys, tempfile
def read(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit("the files did not arrive")
        data += piece
    return data
sent = json.loads(read(int.from_bytes(read(4), "big")))
folder = tempfile.mkdtemp()
for name, text in sent["files"].items():
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
os.chmod(folder, 0o755)
program = os.path.join(folder, sent["run"][0])
os.execve(sys.executable, [sys.executable, *sent["flags"], program, *sent["run"][1:]], sent["env"])
"""


def boxed(run: Sequence[str], env: dict[str, str] | None = None) -> bytes:
    """What `BOOT` reads: our files, and which of them to run with what arguments."""
    here = Path(__file__).parent
    files = {f"{name}.py": (here / f"{name}.py").read_text("utf-8") for name in FILES}
    sent = {"files": files, "run": list(run), "flags": PYTHON, "env": env or {}}
    body = json.dumps(sent).encode()
    return _LENGTH.pack(len(body)) + body


@dataclass
class _Channel:
    """One end of a socket that a child or the host holds the other end of."""

    sock: socket.socket
    packets: bool
    waiting: list[bytes] = field(default_factory=list)
    held: int = 0
    ending: bool = False


class Relay:
    """Carries channels over a pair of pipes.

    Args:
        source: descriptor that frames come from.
        sink: descriptor that frames go to.
        limit: bytes that may wait for one channel.
        heard: what to do with a frame that is not of a channel: kind, child, body.
    """

    def __init__(
        self, source: int, sink: int, limit: int, heard: Callable[[int, int, bytes], None]
    ) -> None:
        self._source, self._sink, self._limit, self._heard = source, sink, limit, heard
        self._channels: dict[tuple[int, int], _Channel] = {}
        self._read, self._out = bytearray(), bytearray()
        self._more: dict[socket.socket, Callable[[], None]] = {}
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def listen(self, sock: socket.socket, action: Callable[[], None]) -> None:
        """Call `action` when there is something on a socket that is no channel."""
        self._more[sock] = action

    def add(self, child: int, index: int, sock: socket.socket) -> None:
        """Carry a channel; the first of a child (0) is its status, which keeps messages whole."""
        sock.setblocking(False)
        self._channels[child, index] = _Channel(sock, packets=index == 0)

    def send(self, kind: int, child: int, index: int = 0, body: bytes = b"") -> None:
        """Queue a frame."""
        self._out += _HEAD.pack(kind, child, index, len(body)) + body

    def serve(self) -> None:
        """Carry until the other side is gone."""
        while True:
            with selectors.DefaultSelector() as poll:
                self._register(poll)
                ready = poll.select()
            for key, events in ready:
                if events & selectors.EVENT_WRITE:
                    key.data[1]()
                if events & selectors.EVENT_READ:
                    key.data[0]()

    def _register(self, poll: selectors.BaseSelector) -> None:
        nothing = int
        poll.register(self._source, selectors.EVENT_READ, (self._take, nothing))
        if self._out:
            poll.register(self._sink, selectors.EVENT_WRITE, (nothing, self._flush))
        busy = len(self._out) > BUSY
        for sock, action in self._more.items():
            poll.register(sock, selectors.EVENT_READ, (action, nothing))
        for key, channel in self._channels.items():
            events = 0 if busy else selectors.EVENT_READ
            events |= selectors.EVENT_WRITE if channel.waiting else 0
            if events:
                actions = (lambda k=key: self._forward(k), lambda k=key: self._deliver(k))
                poll.register(channel.sock, events, actions)

    def _flush(self) -> None:
        try:
            del self._out[: os.write(self._sink, self._out)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            os._exit(0)

    def _take(self) -> None:
        data = os.read(self._source, 1 << 20)
        if not data:
            os._exit(0)
        self._read += data
        while len(self._read) >= _HEAD.size:
            kind, child, index, length = _HEAD.unpack_from(self._read)
            end = _HEAD.size + length
            if len(self._read) < end:
                return
            body = bytes(self._read[_HEAD.size : end])
            del self._read[:end]
            self._frame(kind, child, index, body)

    def _frame(self, kind: int, child: int, index: int, body: bytes) -> None:
        if kind not in (DATA, END):
            self._heard(kind, child, body)
            return
        channel = self._channels.get((child, index))
        if channel is None:
            return
        if kind == END:
            channel.ending = True
        elif channel.held + len(body) > self._limit:
            self._drop((child, index))
            return
        else:
            channel.waiting.append(body)
            channel.held += len(body)
        self._deliver((child, index))

    def _deliver(self, key: tuple[int, int]) -> None:
        """Write what waits for a channel, and end it when that was all."""
        channel = self._channels.get(key)
        if channel is None:
            return
        try:
            while channel.waiting:
                first = channel.waiting[0]
                sent = channel.sock.send(first)
                channel.held -= sent
                if sent == len(first) or channel.packets:
                    channel.waiting.pop(0)
                else:
                    channel.waiting[0] = first[sent:]
        except BlockingIOError:
            return
        except OSError:  # nobody hears it any more, but what was said before is still to be read
            channel.waiting.clear()
            channel.held = 0
        if channel.ending:
            self._close(key)

    def _forward(self, key: tuple[int, int]) -> None:
        """Send on what is on a channel; of a status only after what its child sent before."""
        child, index = key
        if index == 0:
            for other in [k for k in self._channels if k[0] == child and k[1] > 0]:
                while self._forward_one(other):
                    pass
        self._forward_one(key)

    def _forward_one(self, key: tuple[int, int]) -> bool:
        channel = self._channels.get(key)
        if channel is None:
            return False
        try:
            try:
                data = channel.sock.recv(CHUNK)
            except ConnectionResetError:
                # It closed before it read what it was sent; its last words are behind this error.
                data = channel.sock.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._drop(key)
            return False
        self.send(DATA, *key, data)
        return True

    def _drop(self, key: tuple[int, int]) -> None:
        self.send(END, *key)
        self._close(key)

    def _close(self, key: tuple[int, int]) -> None:
        self._channels.pop(key).sock.close()


# -- outside ---------------------------------------------------------------------------------------


def outside(control_fd: int, command: Sequence[str]) -> None:
    """Stand for the zygote towards the host, and run the container."""
    control = socket.socket(fileno=control_fd)
    process = subprocess.Popen(  # noqa: S603 - the user's own command
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(sys.stdin.buffer.read())
    process.stdin.flush()
    children = iter(range(1, 1 << 32))

    def heard(kind: int, _child: int, body: bytes) -> None:
        if kind == READY:
            control.send(body)

    relay = Relay(process.stdout.fileno(), process.stdin.fileno(), OUTWARD, heard)

    def admit() -> None:
        message, fds, _, _ = socket.recv_fds(control, 1 << 18, 8)
        if not message:
            os._exit(0)
        child = next(children)
        for index, fd in enumerate(fds):
            relay.add(child, index, socket.socket(fileno=fd))
        relay.send(OPEN, child, 0, bytes([len(fds)]) + message)

    relay.listen(control, admit)
    relay.serve()


# -- inside ----------------------------------------------------------------------------------------


def inside(level: str) -> None:
    """Start the zygote and hand it the sockets that the host would have passed."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = {"level": level, "read_only": _interpreter_paths(), "control": theirs.fileno()}
    program = str(Path(__file__).with_name("zygote.py"))
    subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, *PYTHON, program, json.dumps(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        cwd="/",
    )
    theirs.close()

    def heard(kind: int, child: int, body: bytes) -> None:
        if kind == OPEN:
            _admit(relay, control, child, body)

    relay = Relay(0, 1, INWARD, heard)

    def ready() -> None:
        message = control.recv(1 << 16)
        if not message:
            os._exit(1)
        relay.send(READY, 0, 0, message)

    relay.listen(control, ready)
    relay.serve()


def _admit(relay: Relay, control: socket.socket, child: int, body: bytes) -> None:
    kinds = [socket.SOCK_SEQPACKET] + [socket.SOCK_STREAM] * (body[0] - 1)
    pairs = [socket.socketpair(socket.AF_UNIX, kind) for kind in kinds]
    socket.send_fds(control, [body[1:]], [theirs.fileno() for _, theirs in pairs])
    for index, (ours, theirs) in enumerate(pairs):
        theirs.close()
        relay.add(child, index, ours)


def _interpreter_paths() -> list[str]:
    spec = importlib.util.spec_from_file_location(
        "isolation", Path(__file__).with_name("isolation.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[str] = module.interpreter_paths()
    return found


if __name__ == "__main__":
    if sys.argv[1] == "outside":
        outside(int(sys.argv[2]), sys.argv[3:])
    else:
        inside(sys.argv[2])
