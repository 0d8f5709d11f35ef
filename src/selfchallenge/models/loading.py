"""MODEL of the command line: one string names any model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from selfchallenge.errors import MissingExtraError, ModelError, UsageError
from selfchallenge.models.base import Model
from selfchallenge.models.scripted import named_script
from selfchallenge.models.weights import DEFAULTS, default_weights, to_stderr

FORMS = (
    "default, default-1.5b, a local folder, a hub id (OWNER/NAME), openai:NAME@URL, scripted:NAME"
)

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
"""What of a model on the hub is fetched."""

SECONDS_TO_ANSWER = 5
"""That the hub has, before it counts as unreachable."""


def load_model(
    spec: str,
    *,
    batch: int = 40,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Model:
    """The model that `spec` names.

    Args:
        spec: one of `FORMS`; a local folder is a model of transformers, or an adapter that a run
            left in its `model/`.
        batch: conversations that a local model continues at once, or requests under way.
        device: of a local model: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        dtype: what a local model computes in.
        threads: of a local model on a CPU; None leaves it to torch.
        say: takes one line for each thing that happens.

    Raises:
        UsageError: `spec` has none of the forms, or names something that does not exist.
        ModelError: the model cannot be found, fetched or loaded.
        MissingExtraError: what this kind of model needs is not installed.
        StorageError: the disk is full.
    """
    kind, _, rest = spec.partition(":")
    if kind == "scripted":
        return named_script(rest)
    if kind == "openai":
        from selfchallenge.models.openai import OpenAIModel  # noqa: PLC0415 - slow to import

        return OpenAIModel.from_spec(spec, concurrency=batch)
    folder, found = _find(spec, say)
    try:
        from selfchallenge.models.transformers import TransformersModel  # noqa: PLC0415 - heavy
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "train") from error
    return TransformersModel(
        folder,
        adapters=found,
        name=spec,
        batch=batch,
        device=device,
        dtype=dtype,
        threads=threads,
    )


def look_up(spec: str) -> None:
    """Make sure that `spec` names a model, without loading it or fetching its weights.

    Raises:
        UsageError: `spec` has none of the forms, or names something that does not exist.
        ModelError: the hub does not know it, or cannot be asked.
        MissingExtraError: the hub's client is not installed.
    """
    kind, _, rest = spec.partition(":")
    if kind == "scripted":
        named_script(rest).close()
    elif kind == "openai":
        from selfchallenge.models.openai import OpenAIModel  # noqa: PLC0415 - slow to import

        OpenAIModel.from_spec(spec).close()
    else:
        base, _ = _without_adapters(spec)
        if base not in DEFAULTS and not _is_folder(base) and _in_hub_cache(base) is None:
            from huggingface_hub import model_info  # noqa: PLC0415 - an extra

            with _hub_errors(base):
                model_info(base, timeout=SECONDS_TO_ANSWER)


def absolute(spec: str) -> str:
    """`spec` as it is from any working directory; only that of a folder depends on one."""
    return str(Path(spec).expanduser().absolute()) if _is_folder(spec) else spec


def _find(spec: str, say: Callable[[str], None]) -> tuple[Path, tuple[Path, ...]]:
    """The folder of the weights, and those of the adapters upon them, the lowest first."""
    base, adapters = _without_adapters(spec)
    if base in DEFAULTS:
        return default_weights(base, say), adapters
    return (Path(base).expanduser() if _is_folder(base) else _from_hub(base, say)), adapters


def _without_adapters(spec: str) -> tuple[str, tuple[Path, ...]]:
    """The model that `spec` names or builds on, and the adapters' folders, the lowest first."""
    folder = Path(spec).expanduser()
    note = folder / "adapter_config.json"
    if not _is_folder(spec) or not note.exists():
        return spec, ()
    base = str(json.loads(note.read_text("utf-8")).get("base_model_name_or_path") or "")
    if Path(base).expanduser().resolve() == folder.resolve() or not base:
        raise ModelError("the adapter does not name the model it belongs to", where=str(note))
    below, adapters = _without_adapters(base)
    return below, (*adapters, folder)


def _is_folder(spec: str) -> bool:
    return bool(spec) and spec not in DEFAULTS and Path(spec).expanduser().is_dir()


def _from_hub(spec: str, say: Callable[[str], None]) -> Path:
    cached = _in_hub_cache(spec)
    if cached is not None:
        return cached
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra

    say(f"model {spec}: not in the hub's cache, asking the hub")
    with _hub_errors(spec):
        return Path(snapshot_download(spec, allow_patterns=WANTED, etag_timeout=SECONDS_TO_ANSWER))


def _in_hub_cache(spec: str) -> Path | None:
    """Where the hub's cache has the model; None when it has not."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", spec) or spec.startswith((".", "~")):
        raise UsageError(
            f"no model is called {spec!r}, and there is no such folder", fix=f"use one of: {FORMS}"
        )
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra
        from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "train") from error
    with _hub_errors(spec):
        try:
            return Path(snapshot_download(spec, allow_patterns=WANTED, local_files_only=True))
        except LocalEntryNotFoundError:
            return None


@contextmanager
def _hub_errors(spec: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"cannot get model {spec} from the hub: {type(error).__name__} {lines[0]}",
            where="no folder of that name exists here either",
            fix="check the name and the network, give the folder of a model that you have, "
            "or use --model default",
        ) from error
