"""Looks at this machine: how well code is isolated, what is installed, where the weights are."""

from __future__ import annotations

import dataclasses
import platform
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from selfchallenge import __version__
from selfchallenge.models.weights import DEFAULTS, cache_folder
from selfchallenge.sandbox.probe import probe

CORE = ("typer", "pydantic", "rich", "jinja2", "openai", "cloudpickle")
LEVEL_MEANS = {
    "A": "namespaces, Landlock, seccomp and limits: the strongest",
    "B": "Landlock, seccomp and limits",
    "C": "seccomp and limits, no file can be opened; runs with --min-isolation C",
    "D": "limits alone, no protection; runs with --allow-unsafe",
    "X": "nothing, no protection; runs with --allow-unsafe",
}
_REQUIREMENT = re.compile(r"([\w.-]+).*extra == ['\"](\w+)['\"]")


def examine(container: str = "") -> dict[str, Any]:
    """Everything that `selfchallenge doctor` tells, as plain data.

    Args:
        container: command that runs Python where untrusted code is to live; empty: here.
    """
    found = probe(container=tuple(shlex.split(container)))
    return {
        "version": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.platform(),
        "isolation": {
            "level": found.level,
            "where": container or "here",
            "layers": [dataclasses.asdict(layer) for layer in found.layers],
        },
        "packages": {name: installed(name) for name in CORE},
        "extras": extras(),
        "weights": {"cache": str(cache_folder()), "models": weights()},
    }


def installed(name: str) -> str | None:
    """The version of an installed package, None when it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def extras() -> dict[str, dict[str, Any]]:
    """For each extra: the versions of its packages, and the pip command when one is missing."""
    try:
        declared = requires("selfchallenge") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return {}
    found: dict[str, dict[str, Any]] = {}
    for match in filter(None, map(_REQUIREMENT.match, declared)):
        extra = found.setdefault(match[2], {"packages": {}, "next": ""})
        extra["packages"][match[1]] = installed(match[1])
        if extra["packages"][match[1]] is None:
            extra["next"] = f'pip install "selfchallenge[{match[2]}]"'
    return found


def weights() -> dict[str, str]:
    """For each default model: `ready`, `downloaded` (not converted yet) or `absent`."""
    cache, found = cache_folder(), {}
    for name, source in DEFAULTS.items():
        if (cache / source.stem / "source.json").exists():
            found[name] = "ready"
        else:
            found[name] = "downloaded" if (cache / source.file).exists() else "absent"
    return found


def as_text(found: dict[str, Any]) -> str:
    """What `examine` found, for reading."""
    isolation, held = found["isolation"], found["weights"]
    lines = [
        f"selfchallenge {found['version']}, Python {found['python']}, {found['machine']}",
        f"isolation: level {isolation['level']} ({LEVEL_MEANS[isolation['level']]})"
        + (f", in {isolation['where']}" if isolation["where"] != "here" else ""),
    ]
    for layer in isolation["layers"]:
        note = f"  {layer['reason']}" if layer["reason"] else ""
        lines.append(f"  {layer['name']:<12}{'yes' if layer['active'] else 'no '}{note}")
        lines += [f"    next: {layer['remedy']}"] * bool(layer["remedy"])
    if isolation["level"] not in "AB":
        lines.append("  or: have a container run the code, --container 'docker run --rm -i ...'")
        lines.append("      (docs/how-to/isolation.md)")
    lines.append(f"packages: {_versions(found['packages'])}")
    for name, extra in found["extras"].items():
        lines.append(f"extra {name}: {_versions(extra['packages'])}")
        lines += [f"  next: {extra['next']}"] * bool(extra["next"])
    lines.append(f"weights in {held['cache']}:")
    lines += [f"  {name}: {state}" for name, state in held["models"].items()]
    return "\n".join(lines)


def _versions(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {number or 'missing'}" for name, number in packages.items())
