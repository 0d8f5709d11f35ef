"""The environment's process (E): it holds the state, and its trace and state are the truth.

It is forked from a zygote that has loaded the class and built the instance, so that a fresh state
costs one copy-on-write fork. It serves the host on one socket and, while a piece of code may call
tools, that code's process on another: a tool call is one hop. The tools are trusted; what they are
given, and every byte of the second socket, is not (design, section 3).
"""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from selfchallenge.environments.base import Environment, describe_tools
from selfchallenge.environments.loading import Origin, load_origin
from selfchallenge.errors import SelfChallengeError, ToolError
from selfchallenge.sandbox import wire
from selfchallenge.sandbox.ledger import SENT_DEPTH, Comparison, Ledger
from selfchallenge.sandbox.state import NotPlainError, plain
from selfchallenge.sandbox.zygote import Become, Nursery, RefusedError

__all__ = ["main", "plain"]

MAX_CALLS = 1000
MAX_BYTES = 8 << 20
TRACED_RESULT = 16 << 10
TRACED_BYTES = 16 << 20
PRISTINE = 64
TRACE_TAIL = 4000


class ToolTimeout(BaseException):
    """A tool ran longer than the code that called it may."""


@dataclass
class _Client:
    """A process of untrusted code that may call tools."""

    sock: socket.socket
    verify: bool
    calls: int = 0
    bytes: int = 0
    violation: str | None = None


@dataclass(frozen=True)
class Pristine:
    """An instance that was never touched, and its state."""

    instance: Environment
    ledger: Ledger
    tools: dict[str, bool] = field(default_factory=dict)
    """Names of the offered tools, and whether each may change the state."""


class Server:
    """One session: a fresh instance, the calls made on it, and who may make them."""

    def __init__(self, control: socket.socket, pristine: Pristine) -> None:
        self._control = control
        self._pristine = pristine
        self._instance = pristine.instance
        self._trace: list[dict[str, Any]] = []
        self._calls = 0
        self._traced = 0
        self._seen: tuple[int, Comparison] | None = None
        self._clients: dict[int, _Client] = {}
        self._active: _Client | None = None
        self._deadline = 0.0

    def serve(self) -> None:
        """Serve until the host closes the session."""
        signal.signal(signal.SIGALRM, _out_of_time)
        while True:
            waiting = [self._control]
            if self._active is not None:
                waiting.append(self._active.sock)
            ready, _, _ = select.select(waiting, [], [])
            if self._control in ready:
                if not self._serve_host():
                    return
            elif self._active is not None:
                self._serve_client(self._active)

    # -- the host's side ---------------------------------------------------------------------------

    def _serve_host(self) -> bool:
        try:
            request, fds = wire.recv_frame_with_fds(self._control, wire.STATE_LIMIT)
        except (EOFError, OSError):
            return False
        try:
            found = getattr(self, f"_op_{request['op']}")(request, fds)
            # A state comes encoded: most of its records were so before the session began.
            data = found if isinstance(found, bytes) else wire.encode(found, SENT_DEPTH)
            wire.send_encoded(self._control, b'{"value":%b}' % data)
        except Exception as error:  # noqa: BLE001 - the user's snapshot() may raise anything
            wire.send_frame(self._control, {"error": f"{type(error).__name__}: {_message(error)}"})
        return True

    def _op_call(self, request: dict[str, Any], _fds: list[int]) -> Any:
        name, args, kwargs = request["tool"], request["args"], request["kwargs"]
        error, value = self._call(name, args, kwargs, request["seconds"])
        if not request["show"]:
            return {"value": value} if error is None else {"error": _described(error)}
        return self._shown(name, error, value)

    def _shown(self, name: str, error: BaseException | None, value: Any) -> str:
        try:
            if error is None:
                return str(self._instance.show(value))
            shown = error if isinstance(error, Exception) else RuntimeError(_message(error))
            return str(self._instance.show_error(name, shown))
        except Exception as failure:  # noqa: BLE001 - what the user's class raises here is unknown
            return f"Error: the result of {name} cannot be shown: {failure}"

    def _op_state(self, _request: dict[str, Any], _fds: list[int]) -> bytes:
        return self._compared().encoded()

    def _op_digest(self, _request: dict[str, Any], _fds: list[int]) -> str:
        return self._compared().digest() if self._calls else self._pristine.ledger.digest

    def _op_changed(self, _request: dict[str, Any], _fds: list[int]) -> Any:
        return None if self._pristine.ledger.unseen else self._compared().changed()

    def _op_trace(self, _request: dict[str, Any], _fds: list[int]) -> Any:
        return self._trace

    def _op_attach(self, request: dict[str, Any], fds: list[int]) -> None:
        client = _Client(socket.socket(fileno=fds[0]), verify=request["verify"])
        self._clients[request["client"]] = client

    def _op_activate(self, request: dict[str, Any], _fds: list[int]) -> None:
        self._deadline = time.monotonic() + request["seconds"]
        self._active = self._clients[request["client"]]

    def _op_pause(self, request: dict[str, Any], _fds: list[int]) -> str | None:
        self._active = None
        return self._clients[request["client"]].violation

    def _op_detach(self, request: dict[str, Any], _fds: list[int]) -> str | None:
        client = self._clients.pop(request["client"])
        if self._active is client:
            self._active = None
        client.sock.close()
        return client.violation

    def _compared(self) -> Comparison:
        """The state now beside the first one; taken again only when tools were called since."""
        if self._seen is None or self._seen[0] != self._calls:
            state = self._instance.snapshot()
            self._seen = self._calls, self._pristine.ledger.compare(state)
        return self._seen[1]

    # -- the side of untrusted code ----------------------------------------------------------------

    def _serve_client(self, client: _Client) -> None:
        try:
            request = wire.recv_frame(client.sock, wire.FRAME_LIMIT, self._deadline)
            self._check(request)
            wire.send_frame(client.sock, self._answer(client, request), deadline=self._deadline)
        except wire.WireError as error:
            self._drop(client, f"malformed tool call: {error}")
        except (EOFError, OSError):  # the process ended, or does not read or write in time
            self._drop(client, None)

    def _drop(self, client: _Client, violation: str | None) -> None:
        client.violation = violation
        client.sock.shutdown(socket.SHUT_RDWR)
        self._active = None

    @staticmethod
    def _check(request: Any) -> None:
        shape = {"tool": str, "args": list, "kwargs": dict}
        if (
            not isinstance(request, dict)
            or request.keys() != shape.keys()
            or not all(isinstance(request[key], kind) for key, kind in shape.items())
            or not all(isinstance(key, str) and key.isidentifier() for key in request["kwargs"])
        ):
            raise wire.WireError("not {tool, args, kwargs}")

    def _answer(self, client: _Client, request: dict[str, Any]) -> dict[str, Any]:
        name, args, kwargs = request["tool"], request["args"], request["kwargs"]
        client.calls += 1
        client.bytes += len(wire.encode([args, kwargs]))
        if client.calls > MAX_CALLS or client.bytes > MAX_BYTES:
            limit = f"more than {MAX_CALLS} tool calls, or than {MAX_BYTES} bytes in them"
            return {"error": {"kind": "RuntimeError", "message": limit}}
        if client.verify and self._pristine.tools.get(name):
            message = f"{name}() changes the state; a verifier may only read"
            return {"error": {"kind": "PermissionError", "message": message}}
        # A little less than the code itself has: so it still hears what took so long.
        seconds = 0.9 * (self._deadline - time.monotonic())
        error, value = self._call(name, args, kwargs, seconds, traced=not client.verify)
        return {"value": value} if error is None else {"error": _described(error)}

    # -- calling -----------------------------------------------------------------------------------

    def _call(
        self, name: str, args: Any, kwargs: Any, seconds: float, *, traced: bool = True
    ) -> tuple[BaseException | None, Any]:
        """Call a tool; what it raises is a result like another."""
        # Taken before the call: a tool may change what it was given.
        arguments = _arguments(args, kwargs)
        error, value, size = None, None, 0
        self._calls += 1
        try:
            value, size = self._checked(name, args, kwargs, seconds)
        except BaseException as raised:  # noqa: BLE001 - also SystemExit: it is a result
            error = raised
        if traced:
            self._note(name, arguments, error, value if size <= TRACED_RESULT else None)
        return error, value

    def _checked(self, name: str, args: Any, kwargs: Any, seconds: float) -> tuple[Any, int]:
        """The result as plain data, and its size in bytes."""
        if name not in self._pristine.tools:
            known = ", ".join(self._pristine.tools)
            raise TypeError(f"unknown tool {name!r}; the tools are {known}")
        with _time_limit(seconds):
            result = getattr(self._instance, name)(*args, **kwargs)
        try:
            value = plain(result)
            return value, len(wire.encode(value))
        except (NotPlainError, wire.WireError) as error:
            raise TypeError(f"the result of {name}(): {error}") from None

    def _note(self, name: str, arguments: Any, error: BaseException | None, value: Any) -> None:
        self._traced += len(wire.encode(arguments))
        result = value if error is None else "{kind}: {message}".format(**_described(error))
        kept = self._traced <= TRACED_BYTES
        self._trace.append(
            {
                "tool": name,
                "arguments": arguments if kept else None,
                "ok": error is None,
                "result": result if kept else None,
            }
        )


def _arguments(args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Arguments as they were given, in the form that `Session.call` takes."""
    if not kwargs:
        return plain(args)
    return plain({"*": args, **kwargs} if args else kwargs)


def _described(error: BaseException) -> dict[str, str]:
    known = {ToolError: "ToolError", ToolTimeout: "TimeoutError"}
    names = [name for kind, name in known.items() if isinstance(error, kind)]
    kind = names[0] if names else type(error).__name__
    return {"kind": kind, "message": _message(error)}


def _message(error: BaseException) -> str:
    try:
        alone = isinstance(error, KeyError) and len(error.args) == 1
        text = str(error.args[0]) if alone else str(error)
    except Exception:  # noqa: BLE001 - a class of the user's, whose __str__ may do anything
        text = "(its text cannot be shown)"
    return text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_time(_signal: int, _frame: Any) -> None:
    raise ToolTimeout("the tool took too long")


# -- the zygote of an environment ------------------------------------------------------------------


def main(control: socket.socket, origin: Origin, null: int) -> None:
    """Load the class, say so, and fork a session per request."""
    try:
        environment = load_origin(origin)
    except SelfChallengeError as error:
        control.send(wire.encode({"what": error.what, "where": error.where, "fix": error.fix}))
        return
    # Until here standard error is a file that the host shows when loading fails.
    os.dup2(null, 2)
    control.send(wire.encode({"ready": True}))
    built: dict[str | None, Pristine] = {}

    def prepare(header: dict[str, Any]) -> Become:
        pristine = _pristine(environment, header["seed"], built)

        def become(fds: list[int]) -> None:
            gc.enable()
            # The same session behaves the same: tools that roll dice do it from here.
            random.seed(0)
            host = socket.socket(fileno=fds[0])
            wire.send_frame(host, {"tools": list(pristine.tools)})
            Server(host, pristine).serve()

        return become

    Nursery(control, prepare).serve()


def _pristine(
    environment: type[Environment], seed: str | None, built: dict[str | None, Pristine]
) -> Pristine:
    found = built.pop(seed, None) or _build(environment, seed, next(reversed(built.values()), None))
    built[seed] = found
    if len(built) > PRISTINE:
        del built[next(iter(built))]
    return found


def _build(environment: type[Environment], seed: str | None, other: Pristine | None) -> Pristine:
    try:
        tools = {spec.name: spec.mutates for spec in describe_tools(environment, seed)}
        instance = environment(seed)
        ledger = Ledger(instance.snapshot(), other.ledger if other else None)
        gc.freeze()
        return Pristine(instance, ledger, tools)
    except SelfChallengeError as error:
        raise RefusedError(str(error)) from error
    except NotPlainError as error:
        fix = "override snapshot() so that it returns plain data"
        raise RefusedError(f"its state is no plain data: {error}; {fix}") from error
    except Exception as error:  # the user's constructor may raise anything
        raise RefusedError(_tail(error)) from error


def _tail(error: BaseException) -> str:
    """The traceback from the user's own code on."""
    found = traceback.TracebackException.from_exception(error)
    found.stack = traceback.StackSummary.from_list(
        [frame for frame in found.stack if frame.filename != __file__]
    )
    text = "".join(found.format()).rstrip()
    return text if len(text) <= TRACE_TAIL else "...\n" + text[-TRACE_TAIL:]


def bootstrap(fd: int) -> None:
    """Entry of the process: the origin of the class comes in on standard input."""
    origin = Origin(**wire.decode(sys.stdin.buffer.read()))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    main(socket.socket(fileno=fd), origin, null)
