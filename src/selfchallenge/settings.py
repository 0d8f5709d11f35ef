"""Settings: a preset, a file, then flags, laid onto small frozen dataclasses.

Each room declares its own settings beside the code that they steer; a run nests them. Here is only
what lays values onto them, so that a wrong name or a wrong type is an error before anything runs.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from selfchallenge.errors import UsageError
from selfchallenge.manifest import RunSettings

T = TypeVar("T")


def overlay(settings: T, changes: Mapping[str, Any], *, where: str = "") -> T:
    """A copy of `settings` with `changes` laid onto it; nested mappings go into nested settings.

    Args:
        settings: an instance of a frozen dataclass, whose fields may be such instances.
        changes: new values by the name of the field.
        where: the file or flag that the changes come from, for the error.

    Raises:
        UsageError: an unknown name, a value of another type, or one that the settings refuse.
    """
    return _overlay(settings, changes, where, "")


def _overlay(settings: T, changes: Mapping[str, Any], where: str, prefix: str) -> T:
    hints = get_type_hints(type(settings))
    names = [field.name for field in dataclasses.fields(settings)]  # type: ignore[arg-type]
    new: dict[str, Any] = {}
    for name, value in changes.items():
        spelled = f"{prefix}{name}"
        if name not in names:
            raise _unknown(spelled, name, [f"{prefix}{n}" for n in names], where)
        current = getattr(settings, name)
        if not dataclasses.is_dataclass(current):
            new[name] = _typed(value, hints[name], spelled, where, current)
        elif isinstance(value, Mapping):
            new[name] = _overlay(current, value, where, f"{spelled}.")
        else:
            raise UsageError(
                f"{spelled} is a group of settings, not one value",
                where=where,
                fix=f"set one of its settings: {spelled}.NAME = VALUE",
            )
    try:
        return dataclasses.replace(settings, **new)  # type: ignore[type-var]
    except UsageError as error:  # the settings know neither their group nor where values come from
        fix = error.fix or "choose another value"
        raise UsageError(f"{prefix}{error.what}", where=where, fix=fix) from error


def _unknown(spelled: str, name: str, known: list[str], where: str) -> UsageError:
    ends = {other.rpartition(".")[2]: other for other in known}
    near = get_close_matches(name, ends, n=1, cutoff=0.5)
    fix = f"did you mean {ends[near[0]]}?" if near else f"the settings are {', '.join(known)}"
    return UsageError(f"there is no setting {spelled}", where=where, fix=fix)


def _typed(value: Any, hint: Any, spelled: str, where: str, current: Any) -> Any:
    finite = ConfigDict(allow_inf_nan=False)
    value = tuple(value) if isinstance(value, list) else value  # TOML and JSON have lists only
    try:
        return TypeAdapter(hint, config=finite).validate_python(value, strict=True)
    except ValidationError as error:
        raise UsageError(
            f"{spelled} must be {_expected(hint)}, not {value!r}",
            where=where,
            fix=f"write a value such as {spelled} = {json.dumps(current)}",
        ) from error


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        values = [str(value) for value in get_args(hint)]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return known.get(hint, str(hint))


def assignments(texts: list[str]) -> dict[str, Any]:
    """Flags of the form `NAME=VALUE`, where NAME may have dots, as one nested mapping.

    VALUE is read as TOML (`3`, `0.5`, `true`, `"text"`) and as plain text where it is none.

    Raises:
        UsageError: a text without a name or without `=`.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{text!r} is no setting", where="--set", fix="write NAME=VALUE")
        _merge(found, _assignment(name, value))
    return found


def _assignment(name: str, value: str) -> dict[str, Any]:
    nested: Any = _value(value)
    for part in reversed(name.split(".")):
        nested = {part: nested}
    return dict(nested)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def preset_names() -> list[str]:
    """Names of the presets that come with the package, sorted."""
    folder = files("selfchallenge").joinpath("presets")
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def preset(name: str) -> RunSettings:
    """The settings of a preset that comes with the package.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in preset_names():
        names = ", ".join(preset_names())
        raise UsageError(
            f"there is no preset {name!r}", fix=f"use one of {names}, or --config FILE.toml"
        )
    source = files("selfchallenge").joinpath("presets", f"{name}.toml")
    changes = tomllib.loads(source.read_text("utf-8"))
    return overlay(RunSettings(), changes, where=f"--preset {name}")


def read_config(path: Path) -> dict[str, Any]:
    """The values of a TOML file of one's own, to be laid onto a preset.

    Raises:
        UsageError: the file cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"the settings cannot be read: {reason}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings are no TOML: {error}", where=str(path)) from error
