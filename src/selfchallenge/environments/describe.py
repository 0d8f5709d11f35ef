"""Environments as a reader sees them: what there is, what one offers, and one to start from."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from selfchallenge.environments.asking import seeds_of
from selfchallenge.environments.base import (
    Environment,
    describe_tools,
    environment_name,
    policy_of,
)
from selfchallenge.environments.loading import BUILTIN, load_environment
from selfchallenge.errors import StorageError, UsageError


def list_environments() -> list[dict[str, str]]:
    """Name and first sentence of every built-in environment."""
    return [
        {"name": name, "summary": _first_sentence(policy_of(load_environment(name)))}
        for name in BUILTIN
    ]


def _first_sentence(text: str) -> str:
    return re.split(r"[.;] ", " ".join(text.split()))[0].rstrip(".")


def describe(environment: type[Environment]) -> dict[str, Any]:
    """What an environment tells its agents, its tools, and how many seeds it has; plain data.

    Raises:
        LoadError: it has no tools, one whose signature gives no JSON schema, or wrong seeds.
    """
    return {
        "name": environment_name(environment),
        "description": policy_of(environment),
        "tools": [vars(spec) for spec in describe_tools(environment)],
        "seeds": len(seeds_of(environment)),
    }


def as_text(found: dict[str, Any]) -> str:
    """A description for reading, with the number of held-out tasks in it."""
    lines = [found["name"], "", *found["description"].splitlines(), ""]
    for tool in found["tools"]:
        lines.append(tool["signature"] + ("  (changes the state)" if tool["mutates"] else ""))
        lines += [f"    {line}".rstrip() for line in tool["description"].splitlines()]
    numbers = f"{found['seeds']} seeds, {found['held_out_tasks']} held-out tasks"
    return "\n".join([*lines, "", numbers])


def write_starter(name: str, folder: Path) -> tuple[Path, str]:
    """Write `NAME.py` with a small environment; its path and the name of its class.

    Raises:
        UsageError: `name` is no name for a module, or the file is there already.
        StorageError: it cannot be written.
    """
    if not name.isidentifier():
        raise UsageError(f"{name!r} is no name", fix="use letters, digits and _, such as my_shop")
    file, cls = folder / f"{name}.py", "".join(part.capitalize() for part in name.split("_"))
    text = files("selfchallenge.environments").joinpath("starter.py").read_text("utf-8")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(re.sub(r"\bStarter\b", cls, re.sub(r"\bstarter\b", name, text)))
    except FileExistsError as error:
        raise UsageError(f"{file} is there already", fix="choose another name") from error
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror or error}", where=str(file)) from error
    return file, cls
