"""Which isolation level this machine gives, found by attacks that are really made (`canary.py`).

Nothing is inferred from versions or flags, and no level is given up in silence: the report says for
each layer whether it is in force, why not, and how to get it (design, section 3).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from selfchallenge.sandbox.isolation import LEVELS
from selfchallenge.sandbox.relay import BOOT, PYTHON, boxed

__all__ = ["Canary", "Layer", "ProbeReport", "probe"]

SECONDS = 60.0
"""After which a level that hangs is taken for one that cannot be had."""

_CANARY = Path(__file__).with_name("canary.py")
_LAYERS = {"namespaces": "A", "landlock": "AB", "seccomp": "ABC", "limits": "ABCD"}
"""The layers, strongest first, and the levels that need them."""
_LIMITED = {"too much memory"}
_STILL_ROOT = (
    "code keeps uid 0 (no capabilities): root cannot leave it, or nobody else reads Python",
    "install Python where everyone may read it, or run as an ordinary user",
)


@dataclass(frozen=True)
class Layer:
    """One layer of the isolation.

    Attributes:
        name: `namespaces`, `landlock`, `seccomp`, `limits` or `uid`.
        active: whether it is in force at the level found.
        reason: why not, or what is known of it.
        remedy: how to get it; empty when it is active.
    """

    name: str
    active: bool
    reason: str
    remedy: str


@dataclass(frozen=True)
class Canary:
    """One attack at the level found.

    Attributes:
        name: what was tried.
        stopped: whether it failed.
        outcome: `through`, `stopped`, or the signal that ended it.
    """

    name: str
    stopped: bool
    outcome: str


@dataclass(frozen=True)
class ProbeReport:
    """What isolation there is, and what is missing to the next level."""

    level: str
    layers: tuple[Layer, ...]
    canaries: tuple[Canary, ...]

    def __str__(self) -> str:
        missing = [
            f"{layer.name}: {layer.reason}" + (f"; {layer.remedy}" if layer.remedy else "")
            for layer in self.layers
            if not layer.active
        ]
        return "\n  ".join([f"isolation level {self.level}", *missing])


@cache
def probe(strongest: str = "A", container: tuple[str, ...] = ()) -> ProbeReport:
    """Find the strongest level that holds here; the answer is kept for this process.

    Args:
        strongest: levels above this one are not tried.
        container: command that runs Python elsewhere; then the level is the one that holds there.
    """
    if sys.platform != "linux":
        return _elsewhere(sys.platform)
    why: dict[str, tuple[str, str, str]] = {}
    for level in LEVELS[LEVELS.index(strongest) : -1]:
        seen = _attempt(level, container)
        failed = _failure(level, seen)
        if failed is None:
            return _report(level, seen, why)
        why[level] = failed
    return _report(LEVELS[-1], {}, why)


def _elsewhere(system: str) -> ProbeReport:
    remedy = "run selfchallenge in a Linux container (docker run -it python:3.11 ...) or a Linux VM"
    return ProbeReport(
        LEVELS[-1],
        tuple(Layer(name, False, f"{system} has none for Python", remedy) for name in _LAYERS),
        (),
    )


def _attempt(level: str, container: tuple[str, ...]) -> dict[str, Any]:
    """Run the canaries at a level, in a process of their own."""
    command, given = [sys.executable, *PYTHON, str(_CANARY), level], b""
    if container:
        command, given = [*container, "-c", BOOT], boxed([_CANARY.name, level])
    env = dict(os.environ) if container else {}
    try:
        done = subprocess.run(  # noqa: S603 - our own file, the user's own command
            command,
            env=env,
            cwd="/",
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
        seen: dict[str, Any] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode(errors="replace").strip().splitlines()
        return _broken(level, f"its process ended with {error.returncode}: {' '.join(text[-1:])}")
    except (subprocess.TimeoutExpired, ValueError, OSError) as error:
        return _broken(level, f"{type(error).__name__}: {error}")
    return seen


def _broken(level: str, reason: str) -> dict[str, Any]:
    layer = next(name for name, levels in _LAYERS.items() if level in levels)
    return {"failed": [layer, reason, "report it, with the output of selfchallenge doctor"]}


def _failure(level: str, seen: dict[str, Any]) -> tuple[str, str, str] | None:
    """The layer because of which a level does not hold, why, and how to get it."""
    if "failed" in seen:
        layer, reason, remedy = seen["failed"]
        return layer, reason, remedy
    if seen["honest"] != "through":
        return (*_broken(level, f"honest code was {seen['honest']}")["failed"],)
    leaks = [name for name in _required(level, seen) if seen["canaries"][name] == "through"]
    if leaks:
        return (*_broken(level, f"got through: {', '.join(leaks)}")["failed"],)
    return None


def _required(level: str, seen: dict[str, Any]) -> set[str]:
    """The attacks that a level must stop."""
    return _LIMITED if level == "D" else set(seen["canaries"])


def _report(level: str, seen: dict[str, Any], why: dict[str, tuple[str, str, str]]) -> ProbeReport:
    layers = [_layer(name, level in levels, seen, why, level) for name, levels in _LAYERS.items()]
    canaries = tuple(
        Canary(name, outcome != "through", outcome)
        for name, outcome in seen.get("canaries", {}).items()
    )
    return ProbeReport(level, (*layers, _uid(seen)), canaries)


def _layer(
    name: str, active: bool, seen: dict[str, Any], why: dict[str, tuple[str, str, str]], level: str
) -> Layer:
    if active:
        known = f"ABI {seen['landlock']}" if name == "landlock" else ""
        return Layer(name, True, known, "")
    return Layer(name, False, *_missing(name, level, why))


def _missing(name: str, level: str, why: dict[str, tuple[str, str, str]]) -> tuple[str, str]:
    """Why a layer is not in force: its own failure, or that of the level which would bring it."""
    failed = [why[tried] for tried in _LAYERS[name] if tried in why]
    own = next((found for found in failed if found[0] == name), None)
    if own is not None:
        return own[1], own[2]
    if not failed:
        return f"not part of level {level}", ""
    other, reason, remedy = failed[-1]
    return f"not part of level {level}; a higher one lacks {other}: {reason}", remedy


def _uid(seen: dict[str, Any]) -> Layer:
    if os.geteuid() != 0 or not seen:
        return Layer("uid", False, "code runs under your own uid", "")
    if seen["uid"] == 0:
        return Layer("uid", False, *_STILL_ROOT)
    return Layer("uid", True, "nobody", "")
