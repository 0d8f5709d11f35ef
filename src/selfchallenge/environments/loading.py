"""From what a user writes (`library`, `shop.py:Shop`, a class) to an environment class.

The class is needed twice: here, to describe its tools, and in the process that holds the state,
which is another one. `Origin` says how to get it there: by its module's name, by its file, or, for
a class of a notebook, by value (cloudpickle, from the host to that process and never back).
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import inspect
import pickle
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from selfchallenge.environments.base import Environment
from selfchallenge.errors import LoadError, UsageError, boundary

__all__ = ["BUILTIN", "Origin", "load_environment", "load_origin", "origin_of", "spelling_of"]

BUILTIN = {
    "airline": "selfchallenge.environments.airline.tools:Airline",
    "calculation": "selfchallenge.environments.calculation.tools:Calculation",
    "library": "selfchallenge.environments.library.tools:Library",
    "retail": "selfchallenge.environments.retail.tools:Retail",
    "web": "selfchallenge.environments.web.tools:Web",
}
"""Built-in environments by name."""

FORMS = "a built-in name ({names}), file.py:Class, or package.module:Class"


@dataclass(frozen=True)
class Origin:
    """Where another process finds an environment class; plain data.

    Attributes:
        kind: `module` (import `module`), `file` (run `file`), or `pickle` (unpickle `payload`).
        module: name of the module.
        name: qualified name of the class within it.
        file: absolute path, empty for `pickle`.
        payload: base64 of the class by value.
        data: folder that the class is bound to, None when it is not.
    """

    kind: Literal["module", "file", "pickle"]
    module: str = ""
    name: str = ""
    file: str = ""
    payload: str = ""
    data: str | None = None


def load_environment(
    env: str | type[Environment], data: str | Path | None = None
) -> type[Environment]:
    """The environment class that `env` names, bound to the folder `data` when one is given.

    Args:
        env: a built-in name, `file.py:Class`, `package.module:Class`, or the class itself.
        data: folder of external data.

    Raises:
        UsageError: no such environment, or no such folder.
        LoadError: its file or module cannot be imported, or holds no such environment.
    """
    cls = _by_text(env) if isinstance(env, str) else _environment(env, str(env))
    return cls if data is None else _bind(cls, Path(data))


def origin_of(cls: type[Environment]) -> Origin:
    """Where another process finds `cls`.

    Raises:
        LoadError: a class that lives in no file refers to something that cannot be sent.
    """
    bound: type[Environment] | None = vars(cls).get("__bound_from__")
    if bound is not None:
        return Origin(**{**vars(origin_of(bound)), "data": str(cls.data)})
    module = sys.modules.get(cls.__module__)
    file = _file_of(module)
    if module is None or _attribute(module, cls.__qualname__) is not cls:
        return _pickled(cls)
    if hasattr(module, "__selfchallenge_file__"):
        return Origin("file", cls.__module__, cls.__qualname__, file)
    if cls.__module__ == "__main__" or not _importable(cls.__module__, file):
        return _pickled(cls)
    return Origin("module", cls.__module__, cls.__qualname__, file)


def spelling_of(cls: type[Environment]) -> str:
    """How `load_environment` is asked for `cls`, without its data, from any working directory."""
    bound: type[Environment] | None = vars(cls).get("__bound_from__")
    if bound is not None:
        return spelling_of(bound)
    module = sys.modules.get(cls.__module__)
    if hasattr(module, "__selfchallenge_file__"):
        return f"{_file_of(module)}:{cls.__qualname__}"
    place = f"{cls.__module__}:{cls.__qualname__}"
    return {target: name for name, target in BUILTIN.items()}.get(place, place)


def load_origin(origin: Origin) -> type[Environment]:
    """The class that `origin` stands for, in a process that may be another one.

    Raises:
        LoadError: it is not there.
        UsageError: its data folder is gone.
    """
    if origin.kind == "pickle":
        with boundary(LoadError, f"{origin.name} cannot be loaded in its own process"):
            # Only ever written by this user's own process: see `origin_of`.
            cls = pickle.loads(base64.b64decode(origin.payload))  # noqa: S301
    elif origin.kind == "file":
        cls = _member(_run_file(Path(origin.file)), origin.name, origin.file)
    else:
        cls = _member(_import(origin.module), origin.name, origin.module)
    return cls if origin.data is None else _bind(cls, Path(origin.data))


def _by_text(env: str) -> type[Environment]:
    if env.startswith("mcp:"):
        raise UsageError(
            "environments from MCP servers are not available yet",
            where=env,
            fix="write the tools as a class: selfchallenge env new NAME",
        )
    place, colon, name = BUILTIN.get(env, env).rpartition(":")
    if not colon or not place or not name:
        names = ", ".join(BUILTIN)
        raise UsageError(
            f"no environment is called {env!r}",
            fix=f"give {FORMS.format(names=names)}",
        )
    if not place.endswith(".py"):
        return _member(_import(place), name, place)
    file = Path(place).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"there is no file {place}", where=env, fix="check the path")
    return _member(_run_file(file), name, place)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no module {error.name!r}",
                where=name,
                fix="install it, or give the path of the file: file.py:Class",
            ) from error
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _run_file(file: Path) -> ModuleType:
    """Import a file under a name of its own; the same file is the same module."""
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise LoadError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__selfchallenge_file__"] = True
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failed(str(file), error) from error
    return module


def _import_failed(place: str, error: BaseException) -> LoadError:
    """The error for a module that raised: with the line of the user's code that did it."""
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f[0]]
        own = [frame for frame in frames if frame.filename != __file__]
        file, line = (own[-1].filename, own[-1].lineno) if own else (place, None)
    return LoadError(
        f"{place} cannot be imported: {type(error).__name__}: {error}",
        where=f"{file}, line {line}" if line else str(file),
        fix="correct that line and try again",
    )


def _member(module: ModuleType, name: str, place: str) -> type[Environment]:
    found = _attribute(module, name)
    if found is None:
        there = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, Environment)
            and value is not Environment
        ]
        raise LoadError(
            f"{place} has no class {name}",
            fix=f"its environments: {', '.join(there) or 'none'}",
        )
    return _environment(found, f"{place}:{name}")


def _environment(found: Any, place: str) -> type[Environment]:
    if inspect.isclass(found) and issubclass(found, Environment):
        return found
    raise LoadError(
        f"{place} is not an environment",
        fix="subclass selfchallenge.Environment and mark its tools with @tool",
    )


def _attribute(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _bind(cls: type[Environment], data: Path) -> type[Environment]:
    folder = data.expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {data}",
            where=f"data of {cls.__name__}",
            fix="give the folder that holds its data files",
        )
    names = {key: vars(cls).get(key) for key in ("__doc__", "__module__", "__qualname__")}
    names["__qualname__"] = cls.__qualname__
    return type(cls.__name__, (cls,), {**names, "data": folder, "__bound_from__": cls})


def _file_of(module: ModuleType | None) -> str:
    return str(Path(getattr(module, "__file__", None) or "").absolute())


def _importable(name: str, file: str) -> bool:
    """Whether a process that has not imported it yet finds this file under this name."""
    parent = name.rpartition(".")[0]
    path = getattr(sys.modules.get(parent), "__path__", None)
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return str(Path(spec.origin or "").absolute()) == file
    return False


def _pickled(cls: type[Environment]) -> Origin:
    import cloudpickle  # noqa: PLC0415 - only for classes of a notebook

    module = sys.modules.get(cls.__module__)
    # cloudpickle takes any module that was imported here for one that can be imported there.
    by_value = module is not None and not _importable(cls.__module__, _file_of(module))
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        payload = base64.b64encode(cloudpickle.dumps(cls)).decode("ascii")
    except Exception as error:
        raise LoadError(
            f"{cls.__name__} cannot be sent to its own process: {type(error).__name__}: {error}",
            where=cls.__module__,
            fix="put the class into a file and use file.py:Class",
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return Origin("pickle", cls.__module__, cls.__qualname__, payload=payload)
