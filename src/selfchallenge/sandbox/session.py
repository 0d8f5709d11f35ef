"""The host's handle of an environment process, E: calls, state, digest, changes, trace."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from selfchallenge.environments.base import Arguments, Environment
from selfchallenge.episode import Call
from selfchallenge.errors import SandboxError, SessionError, ToolError, UsageError
from selfchallenge.sandbox import wire
from selfchallenge.sandbox.spawn import Child
from selfchallenge.task import Path

CALL_SECONDS = 60.0
"""How long a tool may take when the host itself calls it."""
GRACE = 10.0
"""Seconds beyond a deadline after which whoever should have kept it is taken for dead."""


class Session:
    """Handle of one environment process, E: single use, never reset, always reopened."""

    def __init__(
        self,
        environment: type[Environment],
        seed: str | None,
        child: Child,
        tools: list[str],
        when_closed: Callable[[], None],
    ) -> None:
        self.environment = environment
        self.seed = seed
        self.tools = tuple(tools)
        """Names of the tools that it offers."""
        self._child = child
        self._when_closed = when_closed
        self._lock = threading.Lock()
        self._clients = 0
        self._gone = ""
        self.turn = threading.Lock()
        """Held while a process of untrusted code is active: only one may be at a time."""

    def call(self, name: str, arguments: Arguments = ()) -> str:
        """Call a tool and return what the agent would read; an error is an observation too."""
        return str(self._call(name, arguments, show=True))

    def value(self, name: str, arguments: Arguments = ()) -> Any:
        """Call a tool and return its result.

        Raises:
            ToolError: the tool raised, whatever it was.
        """
        reply = self._call(name, arguments, show=False)
        if "error" not in reply:
            return reply["value"]
        kind, message = reply["error"]["kind"], reply["error"]["message"]
        raise ToolError(message if kind == "ToolError" else f"{kind}: {message}")

    def state(self) -> Any:
        """The whole visible state as plain data, None when the environment shows none."""
        return self._ask("state")

    def digest(self) -> str:
        """SHA-256 of the state, computed where the state is."""
        return str(self._ask("digest"))

    def changed(self) -> tuple[Path, ...] | None:
        """Paths of the state that changed since the session was opened; None when it is unseen."""
        found: tuple[Path, ...] | None = self._ask("changed")
        return found

    def trace(self) -> tuple[Call, ...]:
        """The calls made so far, as E saw them; a verifier's are not among them.

        `arguments` are a list or a dict as they were given; where both, a dict whose key `*` holds
        the positional ones. `result` of a failed call is its error; large ones are left out.
        """
        return tuple(Call(**call) for call in self._ask("trace"))

    def close(self) -> None:
        """End the process; closing twice is fine."""
        if not self._gone:
            self._end("it was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def over(self) -> bool:
        """Whether it was closed or its process is gone."""
        return bool(self._gone)

    def attach(self, sock: socket.socket, *, verify: bool) -> int:
        """Let the process at the other end of `sock` call tools while it is active."""
        self._clients += 1
        client = self._clients
        self._ask("attach", fds=(sock.fileno(),), client=client, verify=verify)
        return client

    def activate(self, client: int, seconds: float) -> None:
        """Serve this client, and no other, for `seconds` at most."""
        self._ask("activate", client=client, seconds=seconds)

    def pause(self, client: int) -> str | None:
        """Serve it no longer; returns what it did against the protocol, if anything."""
        violation: str | None = self._ask("pause", client=client)
        return violation

    def detach(self, client: int) -> str | None:
        """Let it go; returns what it did against the protocol, if anything."""
        violation: str | None = self._ask("detach", client=client)
        return violation

    def _call(self, name: str, arguments: Arguments, *, show: bool) -> Any:
        args, kwargs = _split(arguments)
        return self._ask(
            "call", tool=name, args=args, kwargs=kwargs, show=show, seconds=CALL_SECONDS
        )

    def _ask(self, op: str, *, fds: tuple[int, ...] = (), **fields: Any) -> Any:
        with self._lock:
            if self._gone:
                raise SandboxError(
                    f"the session of {self.environment.__name__} is over: {self._gone}",
                    fix="open a new one",
                )
            deadline = time.monotonic() + CALL_SECONDS + GRACE
            try:
                sock = self._child.payload
                wire.send_frame(sock, {"op": op, **fields}, deadline=deadline, fds=fds)
                # No untrusted code runs in E: what its server sends was encoded by it.
                reply = wire.recv_frame(sock, wire.STATE_LIMIT, deadline, ours=True)
            except wire.WireError as error:
                raise UsageError(f"{op} of {self.environment.__name__}: {error}") from error
            except (EOFError, OSError) as error:
                how = self._lost()
                raise SessionError(
                    f"the process of {self.environment.__name__} {how}",
                    where=op,
                    fix="open a new session",
                ) from error
            except BaseException:
                # Interrupted: a later question would be given the answer to this one.
                self._end("it was interrupted")
                raise
        if "error" in reply:
            raise SessionError(
                f"{self.environment.__name__} cannot show its state: {reply['error']}",
                fix="override snapshot() so that it returns plain data",
            )
        return reply["value"]

    def _lost(self) -> str:
        try:
            ended = self._child.kill()
            how = "did not answer" if ended.how == "killed" else str(ended)
        except SandboxError:
            how = "is gone, and what forked it too"
        self._end(how)
        return how

    def _end(self, how: str) -> None:
        self._gone = how
        self._child.close()
        self._when_closed()


def _split(arguments: Arguments) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(arguments, Mapping):
        keywords = dict(arguments)
        positional = keywords.pop("*", [])
    else:
        positional, keywords = arguments, {}
    keyed = all(isinstance(key, str) for key in keywords)
    if isinstance(positional, str | bytes) or not isinstance(positional, Sequence) or not keyed:
        raise UsageError(
            "the arguments of a call are a list or a dict with text keys",
            where=repr(arguments)[:200],
        )
    return list(positional), keywords
