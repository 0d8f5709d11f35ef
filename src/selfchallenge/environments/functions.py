"""An environment made of plain functions, for users whose tools keep no state of their own.

Every session runs in a process of its own, forked from one in which nothing was called yet, so even
what functions keep in their modules is fresh each time. It cannot be seen, though: when a function
is marked with `@tool(mutates=True)`, the environment shows no state and has no frame condition.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from selfchallenge.environments.base import Environment, describe_tools, tool
from selfchallenge.errors import LoadError

__all__ = ["environment_from_functions"]

Function = Callable[..., Any]


def environment_from_functions(
    name: str, functions: Iterable[Function], description: str
) -> type[Environment]:
    """An environment class whose tools are `functions`, by their own names.

    Assign it to a variable called `name` in the module of the functions: by that it is found from
    other processes (`file.py:name`).

    Args:
        name: name of the class, and label of its records.
        functions: with type hints and docstrings; `@tool(mutates=True)` marks one that writes.
        description: what the agent is told of this world before the tools.

    Raises:
        LoadError: no functions, one without a name, two of one name, or a signature that gives no
            JSON schema.
    """
    tools = list(functions)
    _check(name, tools)
    members: dict[str, Any] = {function.__name__: _method(function) for function in tools}
    hidden = any(getattr(function, "__selfchallenge_tool__", False) for function in tools)
    members |= {
        "__doc__": description,
        "__module__": tools[0].__module__,
        "label": name,
        "snapshot": lambda _: None if hidden else {},
    }
    made = type(name, (Environment,), members)
    describe_tools(made)
    return made


def _check(name: str, tools: list[Function]) -> None:
    if not tools:
        raise LoadError(f"{name} has no functions", fix="give at least one")
    if not name.isidentifier():
        raise LoadError(f"{name!r} is no name for a class", fix="use letters, digits and _")
    names = [getattr(function, "__name__", repr(function)) for function in tools]
    for function_name in names:
        taken = names.count(function_name) > 1 or hasattr(Environment, function_name)
        if taken or not function_name.isidentifier():
            raise LoadError(
                f"{function_name} cannot be the name of a tool",
                where=f"functions of {name}",
                fix="give each function a name of its own (`def`), and none that Environment has",
            )


def _method(function: Function) -> Function:
    """The function as a method that leaves out the instance."""

    @functools.wraps(function)
    def call(_: Environment, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    itself = inspect.Parameter("_", inspect.Parameter.POSITIONAL_ONLY)
    given = inspect.signature(function)
    try:
        signature = given.replace(parameters=[itself, *given.parameters.values()])
    except ValueError as error:
        raise LoadError(f"{function.__name__} has a signature no tool can have: {error}") from error
    call.__signature__ = signature  # type: ignore[attr-defined]
    return tool(mutates=getattr(function, "__selfchallenge_tool__", False))(call)
