"""What runs in the forked child: untrusted code, with tool stubs and nothing else in its hands.

All that this process says is a claim: the payload shares its memory and can forge any reply. The
truth is elsewhere: how the process ended is told by the zygote, what it did to the state by the
environment's own process (design, section 3). So nothing here defends itself against the payload;
it only serves honest code well (output kept, errors shown as a reader of the code needs them).

Standard library only; loaded by the zygote by its path, without the package.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import datetime as dt
import inspect
import io
import linecache
import os
import random
import secrets
import socket
import sys
import time
import traceback
import types
import uuid
from collections.abc import Callable, Iterator, KeysView, ValuesView
from collections.abc import ItemsView as Items
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfchallenge.sandbox import wire
else:
    import selfchallenge_wire as wire

ERROR_LIMIT = 4000
RETURNED_LIMIT = 200
CUT = "\n... [output cut]\n"


class ToolError(Exception):
    """A tool refused a call."""

    __module__ = "builtins"


def serve(payload: socket.socket, tools: socket.socket | None = None, *, output_limit: int) -> None:
    """Answer requests on `payload` until the host closes it."""
    cell = Cell(tools, output_limit)
    while True:
        try:
            request = wire.recv_frame(payload, wire.STATE_LIMIT)
        except EOFError:
            return
        reply = cell.evaluate(request) if request["op"] == "evaluate" else cell.run(request)
        send_reply(payload, reply)


def send_reply(payload: socket.socket, reply: dict[str, Any]) -> None:
    """Send a reply; an answer that cannot cross becomes the error of the run."""
    try:
        wire.send_frame(payload, reply, limit=wire.FRAME_LIMIT)
    except wire.WireError as error:
        text = f"answer is not plain data: {error}"
        reply |= {"answer": None, "error": reply["error"] or text}
        wire.send_frame(payload, reply, limit=wire.FRAME_LIMIT)


class Cell:
    """A namespace that lives as long as the process, with the tools of a session in it."""

    def __init__(self, tools: socket.socket | None, output_limit: int) -> None:
        self._tools = tools
        self._limit = output_limit
        self._blocks = 0
        # A module of its own, so that classes made by the payload find their globals.
        self._module = types.ModuleType("__main__")
        sys.modules["__main__"] = self._module
        self._space = vars(self._module)
        self._space["ToolError"] = ToolError
        builtins.input = _no_input

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a block of code; variables stay for the next one."""
        self._offer(request["tools"])
        output, error, _ = self._guarded(lambda: self._execute(request["code"]))
        return {
            "output": output,
            "error": describe(error) if error is not None else None,
            "raised": type(error).__name__ if error is not None else None,
            "has_answer": "answer" in self._space,
            "answer": self._space.get("answer"),
        }

    def evaluate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Define `evaluate` by the given source and call it."""
        self._offer(request["tools"])
        forbid_chance()
        _, error, result = self._guarded(lambda: self._judge(request["code"], request["answer"]))
        return {
            "passed": error is None and result is True,
            "returned": "" if error is not None else short(result),
            "error": describe(error) if error is not None else None,
        }

    def _offer(self, names: list[str]) -> None:
        """Put the tools into the namespace, once: a payload may take their names for its own."""
        if self._tools is not None and self._blocks == 0:
            for name in names:
                self._space[name] = stub(name, self._tools)

    def _guarded(self, action: Callable[[], Any]) -> tuple[str, BaseException | None, Any]:
        kept = Output(self._limit)
        sys.stdout = sys.stderr = kept
        try:
            result = action()
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it is the payload's
            return kept.text(), error, None
        else:
            return kept.text(), None, result
        finally:
            sys.stdout = sys.stderr = Output(0)

    def _execute(self, source: str) -> None:
        tree = self._parse(source)
        name = self._name()
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            exec(compile(tree, name, "exec"), self._space)  # noqa: S102 - this is the sandbox
            return
        tree.body.pop()
        exec(compile(tree, name, "exec"), self._space)  # noqa: S102
        value = eval(compile(ast.Expression(last.value), name, "eval"), self._space)  # noqa: S307
        if value is not None:
            print(value)

    def _judge(self, source: str, answer: Any) -> Any:
        exec(compile(self._parse(source), self._name(), "exec"), self._space)  # noqa: S102
        evaluate = self._space.get("evaluate")
        if not callable(evaluate):
            raise NameError("the verifier defines no function evaluate(answer)")  # noqa: TRY004
        takes_answer = bool(inspect.signature(evaluate).parameters)
        return evaluate(answer) if takes_answer else evaluate()

    def _parse(self, source: str) -> ast.Module:
        self._blocks += 1
        lines = source.splitlines(keepends=True)
        linecache.cache[self._name()] = (len(source), None, lines, self._name())
        return ast.parse(source, self._name())

    def _name(self) -> str:
        return "<code>" if self._blocks == 1 else f"<code {self._blocks}>"


# -- tools -----------------------------------------------------------------------------------------


def stub(name: str, tools: socket.socket) -> Callable[..., Any]:
    """A function that calls the tool `name` in the environment's process."""

    def call(*args: Any, **kwargs: Any) -> Any:
        request = {
            "tool": name,
            "args": [crossing(value) for value in args],
            "kwargs": {key: crossing(value) for key, value in kwargs.items()},
        }
        try:
            wire.send_frame(tools, request, limit=wire.FRAME_LIMIT)
        except wire.WireError as error:
            return _builtin_instead(name, args, kwargs, error)
        except OSError:
            raise RuntimeError("the environment takes no more calls from this code") from None
        return _result(tools)

    call.__name__ = call.__qualname__ = name
    return call


def crossing(value: Any) -> Any:
    """What iterates (a generator, a range, `map`, dict views) crosses as a list."""
    iterates = isinstance(value, Iterator | range | KeysView | ValuesView | Items)
    return list(value) if iterates else value


def _builtin_instead(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Any:
    """A tool called `max` does not hide `max(items, key=lambda ...)` from the code."""
    original = getattr(builtins, name, None)
    if original is None:
        raise TypeError(f"{name}() takes plain data only: {error}") from None
    return original(*args, **kwargs)


def _result(tools: socket.socket) -> Any:
    try:
        reply = wire.recv_frame(tools, wire.STATE_LIMIT)
    except (EOFError, OSError):
        raise RuntimeError("the environment takes no more calls from this code") from None
    if "error" in reply:
        raise exception_of(reply["error"]["kind"], reply["error"]["message"])
    return reply["value"]


def exception_of(kind: str, message: str) -> Exception:
    """The exception that a tool raised, as far as this process knows its class."""
    if kind == "ToolError":
        return ToolError(message)
    known: Any = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        # UnicodeDecodeError and its like take five arguments.
        with contextlib.suppress(TypeError):
            return known(message)
    unknown: type[RuntimeError] = type(kind, (RuntimeError,), {"__module__": "builtins"})
    return unknown(message)


# -- what is shown ---------------------------------------------------------------------------------


class Output(io.TextIOBase):
    """Standard output that keeps the first `limit` characters."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._cut = False

    def write(self, text: str, /) -> int:
        """Keep what still fits."""
        part = text[: self._limit]
        self._limit -= len(part)
        self._parts.append(part)
        self._cut = self._cut or len(part) < len(text)
        return len(text)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def text(self) -> str:
        """What was kept."""
        text = "".join(self._parts) + (CUT if self._cut else "")
        return text.encode("utf-8", "replace").decode("utf-8")


def describe(error: BaseException) -> str:
    """A traceback of the payload's own frames; an error that cannot be shown is named at least."""
    try:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.startswith("<code")
        ]
        head = ["Traceback (most recent call last):\n"] if frames else []
        last = traceback.format_exception_only(type(error), error)
        text = "".join([*head, *traceback.format_list(frames), *last])
        text = text.encode("utf-8", "replace").decode("utf-8")
    except BaseException:  # noqa: BLE001 - the payload may have broken anything
        text = f"{type(error).__name__} (its text cannot be shown)\n"
    return text if len(text) <= ERROR_LIMIT else "...\n" + text[-ERROR_LIMIT:]


def short(value: Any) -> str:
    """A value in a few words: its `repr`, and its type where that is not plain from it."""
    text = repr(value)[:RETURNED_LIMIT].encode("utf-8", "replace").decode("utf-8")
    return text if value is None or type(value) is bool else f"{text} ({type(value).__name__})"


def _no_input(_prompt: object = "", /) -> str:
    raise RuntimeError("there is nobody to ask: input() is not available")


# -- no clock, no chance ---------------------------------------------------------------------------


def forbid_chance() -> None:
    """Make the clock and unseeded randomness raise: a verdict depends on the state and the answer.

    Arithmetic on dates and `random.Random(seed)` stay.
    """
    for name in CLOCKS & set(dir(time)):
        setattr(time, name, _forbidden(f"time.{name}"))
    for name in random.__all__:
        if name != "Random":
            setattr(random, name, _forbidden(f"random.{name}"))
    setattr(random, "Random", SeededRandom)  # noqa: B010 - a class may not be assigned to
    for name in ("uuid1", "uuid4"):
        setattr(uuid, name, _forbidden(f"uuid.{name}"))
    for name in secrets.__all__:
        if name != "compare_digest":
            setattr(secrets, name, _forbidden(f"secrets.{name}"))
    for module in (os, sys.modules["posix"]):
        for name in ("urandom", "getrandom", "times", "getloadavg"):
            setattr(module, name, _forbidden(f"os.{name}"))
    _forbid_today()
    for name in ("_datetime", "_random", "_uuid"):
        sys.modules.pop(name, None)
        sys.modules[name] = types.ModuleType(name)


CLOCKS = {
    name + unit
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    for unit in ("", "_ns")
} | {
    *("clock_gettime", "clock_gettime_ns", "clock_getres", "clock_settime", "get_clock_info"),
    *("localtime", "gmtime", "ctime", "asctime", "strftime", "sleep", "pthread_getcpuclockid"),
}


class SeededRandom(random.Random):
    """A generator that must be given its seed."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        """Seed it."""
        if a is None:
            _forbidden("random.Random() without a seed")()
        super().seed(a, version)


def _forbidden(name: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError(f"a verifier may not use the clock or chance: {name}")

    return refuse


def _forbid_today() -> None:
    # The classes of datetime are immutable: subclasses take their place.
    refuse = {
        name: staticmethod(_forbidden(f"datetime.{name}")) for name in ("now", "utcnow", "today")
    }
    for kind in (dt.datetime, dt.date):
        # `isinstance` must go on holding for what other functions of the module return.
        check = {"__instancecheck__": lambda _, value, kind=kind: isinstance(value, kind)}
        meta = type("type", (type,), check)
        substitute = meta(kind.__name__, (kind,), {**refuse, "__module__": "datetime"})
        setattr(dt, kind.__name__, substitute)
