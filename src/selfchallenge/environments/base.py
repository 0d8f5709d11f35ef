"""What an environment is: a class whose instance is the state and whose marked methods are tools.

A new instance is a fresh state, so a leak between two attempts is impossible rather than forbidden.
The class docstring is what the agent is told first (o_0 in the paper: the documentation, never the
data). Tools are the user's own trusted code; what they are *given* is not, so no tool may evaluate
a string as Python.

An environment never runs in the process of its user: `Environment.open` starts (forks) a process
that holds one fresh instance and returns its handle, a `Session`. Who starts that process is the
sandbox's affair; it registers itself here with `set_opener`, so that imports keep running downward.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import (
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
    runtime_checkable,
)

from pydantic import ConfigDict, Field, create_model

from selfchallenge.errors import LoadError, ToolError

__all__ = [
    "Demonstration",
    "Environment",
    "Session",
    "ToolSpec",
    "describe_tools",
    "environment_name",
    "policy_of",
    "set_opener",
    "tool",
]

Arguments = Mapping[str, Any] | Sequence[Any]
"""Arguments of a call: by keyword, or positional when a list."""


@dataclass(frozen=True)
class ToolSpec:
    """What can be said of a tool without running it.

    Attributes:
        name: the method's name, by which code calls it.
        description: its docstring.
        signature: as a reader writes it, `get_order(order_id: str) -> dict`.
        parameters: JSON schema of its arguments (an object).
        mutates: it may change the state; a verifier cannot call it.
    """

    name: str
    description: str
    signature: str
    parameters: dict[str, Any]
    mutates: bool


@dataclass(frozen=True)
class Demonstration:
    """One worked example of acting in an environment, shown to the agent before its task.

    Small models answer at once instead of acting unless they have seen how acting looks.

    Attributes:
        instruction: a request, of no task set.
        thought: what the agent says before its code.
        code: its action.
        output: what the action prints.
        answer: the final reply.
    """

    instruction: str
    thought: str
    code: str
    output: str
    answer: str


@runtime_checkable
class Session(Protocol):
    """Handle of one environment process: single use, never reset, always reopened."""

    def call(self, name: str, arguments: Arguments = ()) -> str:
        """Call a tool and return what the agent would read; an error is an observation too."""
        ...

    def state(self) -> Any:
        """The whole visible state as plain data, None when the environment shows none."""
        ...

    def digest(self) -> str:
        """SHA-256 of the state, computed where the state is."""
        ...

    def close(self) -> None:
        """End the process; closing twice is fine."""
        ...


class Environment:
    """Base class of every environment; subclass it and mark its tools with `@tool`.

    Attributes:
        label: name of the environment in records; the class name when empty.
        data: folder of external data given by the user (`--data`), None without.
        volatile: state paths outside the frame condition because their values are generated (ids,
            times): dotted keys, `*` for any one key, for instance `"orders.*.updated_at"`.
    """

    label: ClassVar[str] = ""
    data: ClassVar[Path | None] = None
    volatile: ClassVar[tuple[str, ...]] = ()

    def __init__(self, seed: str | None = None) -> None:
        self.seed = seed

    @classmethod
    def seeds(cls) -> list[str]:
        """Exploration seeds: the parts of the world that tasks can be about."""
        return []

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        """One line of concrete, typed starting material that the writer is shown with this seed."""
        return f"seed {seed!r}"

    @classmethod
    def demonstration(cls, seed: str | None) -> Demonstration | None:
        """A worked example shown to the agent before its task; none unless a subclass has one."""
        del seed
        return None

    @classmethod
    def redact(cls, instruction: str, seed: str | None) -> str:
        """An instruction without what a user would not know, such as internal ids; as it is here.

        Applied to what a writer wrote, before the gate asks whether the instruction says enough.
        """
        del seed
        return instruction

    @classmethod
    def offered(cls, seed: str | None) -> list[str]:
        """Names of the tools that a session with this seed offers, in the order of definition."""
        del seed
        return list(_marked(cls))

    @classmethod
    def open(cls, seed: str | None = None) -> OpenSession:
        """Start a process with a fresh instance; use it as a context manager.

        Raises:
            LoadError: the class cannot be loaded there, or its constructor raises for this seed.
            SandboxError: no process could be started.
        """
        if _opener is None:
            # The default one registers itself when its package is first needed.
            import_module("selfchallenge.sandbox")
        assert _opener is not None
        return _opener(cls, seed)

    def snapshot(self) -> Any:
        """The visible state: all instance attributes; return None where it cannot be seen."""
        return dict(vars(self))

    def show(self, value: Any) -> str:
        """How a tool's result is shown as an observation: JSON unless a subclass says otherwise."""
        return json.dumps(value, ensure_ascii=False, default=str)

    def show_error(self, name: str, error: Exception) -> str:
        """How a refused or failed call is written as an observation."""
        del name
        kind = "" if isinstance(error, ToolError) else f"{type(error).__name__}: "
        return f"Error: {kind}{error}"


class OpenSession(Session, Protocol):
    """A session as `Environment.open` gives it: closed at the end of the `with` block."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


Opener = Callable[[type[Environment], str | None], OpenSession]
_opener: Opener | None = None


def set_opener(opener: Opener) -> None:
    """Register what starts an environment process (called once, by the sandbox)."""
    global _opener  # noqa: PLW0603 - the one seam between this room and the sandbox above it
    _opener = opener


F = TypeVar("F", bound=Callable[..., Any])


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, mutates: bool = False) -> Callable[[F], F]: ...
def tool(function: Any = None, /, *, mutates: bool = False) -> Any:
    """Mark a method as a tool: `@tool` when it reads, `@tool(mutates=True)` when it writes.

    The method stays what it was, so tools may call each other.
    """

    def mark(target: Any) -> Any:
        target.__selfchallenge_tool__ = mutates
        return target

    return mark if function is None else mark(function)


def _marked(cls: type) -> dict[str, Callable[..., Any]]:
    """Tools of a class by name, base classes first, in the order of definition."""
    names = [name for base in reversed(cls.__mro__) for name in vars(base)]
    found = {name: inspect.getattr_static(cls, name) for name in dict.fromkeys(names)}
    return {name: f for name, f in found.items() if hasattr(f, "__selfchallenge_tool__")}


def environment_name(cls: type[Environment]) -> str:
    """The label that records carry for this class."""
    return cls.label or cls.__name__


def policy_of(cls: type[Environment]) -> str:
    """What the agent is told of the environment before its tools: the docstring of the class.

    A subclass without one has that of the class it is made from.
    """
    makers = cls.__mro__[: cls.__mro__.index(Environment)]
    return inspect.cleandoc(next((doc for maker in makers if (doc := maker.__doc__)), ""))


def describe_tools(cls: type[Environment], seed: str | None = None) -> tuple[ToolSpec, ...]:
    """Specifications of the tools that a session with this seed offers.

    Raises:
        LoadError: a tool's type hints cannot be turned into a JSON schema, the class has no tool,
            or it offers a name that is none of its tools.
    """
    marked = _marked(cls)
    if not marked:
        raise LoadError(
            f"{cls.__name__} has no tools",
            fix="mark at least one method with @tool",
        )
    unknown = [name for name in cls.offered(seed) if name not in marked]
    if unknown:
        raise LoadError(f"{cls.__name__}.offered({seed!r}) names {unknown}, which are no tools")
    return tuple(_describe(name, marked[name]) for name in cls.offered(seed))


@lru_cache(maxsize=512)  # every seed of an environment asks again, and a schema takes milliseconds
def _describe(name: str, function: Callable[..., Any]) -> ToolSpec:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1:]
    try:
        hints = get_type_hints(function, include_extras=True)
        schema = _schema(name, parameters, hints)
    except Exception as error:
        raise LoadError(
            f"tool {name!r} has a signature that gives no JSON schema: {error}",
            where=f"{function.__module__}.{function.__qualname__}",
            fix="annotate its parameters with types that pydantic knows",
        ) from error
    shown = ", ".join(_parameter_text(p, hints) for p in parameters)
    result = f" -> {_type_text(hints['return'])}" if "return" in hints else ""
    return ToolSpec(
        name=name,
        description=inspect.cleandoc(function.__doc__ or ""),
        signature=f"{name}({shown}){result}",
        parameters=schema,
        mutates=bool(getattr(function, "__selfchallenge_tool__", False)),
    )


def _schema(
    name: str, parameters: list[inspect.Parameter], hints: dict[str, Any]
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for p in parameters:
        hint = hints.get(p.name, Any)
        if p.kind is p.VAR_POSITIONAL:
            fields[p.name] = (list[hint], Field(default_factory=list))  # type: ignore[valid-type]
        elif p.kind is not p.VAR_KEYWORD:
            fields[p.name] = (hint, ... if p.default is p.empty else p.default)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    config = ConfigDict(extra="allow" if open_ended else "forbid", arbitrary_types_allowed=False)
    model = create_model(name, __config__=config, **fields)
    return {key: value for key, value in model.model_json_schema().items() if key != "title"}


def _parameter_text(parameter: inspect.Parameter, hints: dict[str, Any]) -> str:
    several: dict[Any, str] = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
    stars = several.get(parameter.kind, "")
    hint = f": {_type_text(hints[parameter.name])}" if parameter.name in hints else ""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}{hint}{default}"


def _type_text(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(repr(value) for value in get_args(hint))
    if get_origin(hint) is None and isinstance(hint, type):
        return "None" if hint is type(None) else hint.__name__
    return re.sub(r"\b(typing|collections\.abc|[a-z_]+)\.(?=\w)", "", str(hint))
