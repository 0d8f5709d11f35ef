"""Write docs/settings.md, the page of all settings (`python docs/make_settings.py`)."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfchallenge.manifest import RunSettings
from selfchallenge.settings import preset

PAGE = Path(__file__).with_name("settings.md")
PRESETS = ("laptop", "paper")
HEAD = """# Settings

Every setting of a run, from its docstring (`python docs/make_settings.py` writes this page). Give
one with `--set NAME=VALUE`, or several in a file with `--config FILE.toml`:

    tasks = 50
    rollouts = 8

    [agent]
    max_steps = 10

    [rft]
    learning_rate = 1e-4

Values are laid over each other in this order: the preset's (`--preset laptop` is the default), the
file's, those of `--set`, the flags'. A preset has the default where its column is empty. `smoke`,
the preset of tests, is not shown.
"""


def described(kind: type) -> dict[str, str]:
    """What the docstrings of a settings class and its bases say of each attribute."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        text = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")[2]
        for entry in re.split(r"\n(?=    \w)", text.partition("\n\n")[0]):
            names, _, meaning = " ".join(entry.split()).partition(": ")
            found |= dict.fromkeys(names.split(", "), meaning)
    return found


def rows(settings: Any, presets: list[Any], within: str = "") -> Iterator[tuple[str, ...]]:
    """Name, default, the presets' values and meaning of every single setting."""
    told = described(type(settings))
    groups = []
    for one in dataclasses.fields(settings):
        value, others = getattr(settings, one.name), [getattr(p, one.name) for p in presets]
        if dataclasses.is_dataclass(value):
            groups.append((value, others, f"{within}{one.name}."))
            continue
        shown = ("" if other == value else _shown(other) for other in others)
        yield f"{within}{one.name}", _shown(value), *shown, told[one.name]
    for value, others, prefix in groups:
        yield from rows(value, others, prefix)


def _shown(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain)}`"


def page() -> str:
    """The whole page."""
    found = list(rows(RunSettings(), [preset(name) for name in PRESETS]))
    parts, group = [HEAD], None
    for name, *cells in found:
        if (of := name.rpartition(".")[0]) != group:
            group = of
            title = f"`{group}.*`" if group else "The run"
            parts.append(f"\n## {title}\n\n| setting | default | {' | '.join(PRESETS)} | |")
            parts.append(f"| {' | '.join(['---'] * (3 + len(PRESETS)))} |")
        line = " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", *cells))
        parts.append(f"| {line} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
