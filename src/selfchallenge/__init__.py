"""Self-Challenging agents on your own tools: tasks as code, checked in isolation, learned from.

These names are the public interface. Each is loaded when it is first used, so that importing the
package costs next to nothing and never loads a deep-learning library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfchallenge.environments.base import Environment, Session, tool
    from selfchallenge.environments.functions import environment_from_functions
    from selfchallenge.environments.loading import load_environment
    from selfchallenge.episode import Episode, StopReason, Turn
    from selfchallenge.errors import SelfChallengeError, ToolError
    from selfchallenge.models.scripted import ScriptedModel
    from selfchallenge.quality.gate import check
    from selfchallenge.sandbox.host import Sandbox
    from selfchallenge.task import Check, CodeAsTask, Verdict

__version__ = "0.1.0"

__all__ = [
    "Check",
    "CodeAsTask",
    "Environment",
    "Episode",
    "Sandbox",
    "ScriptedModel",
    "SelfChallengeError",
    "Session",
    "StopReason",
    "ToolError",
    "Turn",
    "Verdict",
    "check",
    "environment_from_functions",
    "load_environment",
    "tool",
]

_HOMES = {
    "Check": "task",
    "CodeAsTask": "task",
    "Environment": "environments.base",
    "Episode": "episode",
    "Sandbox": "sandbox.host",
    "ScriptedModel": "models.scripted",
    "SelfChallengeError": "errors",
    "Session": "environments.base",
    "StopReason": "episode",
    "ToolError": "errors",
    "Turn": "episode",
    "Verdict": "task",
    "check": "quality.gate",
    "environment_from_functions": "environments.functions",
    "load_environment": "environments.loading",
    "tool": "environments.base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(f"{__name__}.system").require_system()
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
