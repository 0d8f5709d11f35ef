"""MODEL of the command line: one string names any model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from selfchallenge.errors import MissingExtraError, ModelError, UsageError
from selfchallenge.models.base import Model
from selfchallenge.models.scripted import named_script
from selfchallenge.models.weights import DEFAULTS, default_weights, to_stderr

FORMS = (
    "default, default-1.5b, a local folder, a hub id (OWNER/NAME), openai:NAME@URL, scripted:NAME"
)


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


def _find(spec: str, say: Callable[[str], None]) -> tuple[Path, tuple[Path, ...]]:
    """The folder of the weights, and those of the adapters upon them, the lowest first."""
    if spec in DEFAULTS:
        return default_weights(spec, say), ()
    folder = Path(spec).expanduser()
    if not spec or not folder.is_dir():
        return _from_hub(spec, say), ()
    note = folder / "adapter_config.json"
    if not note.exists():
        return folder, ()
    base = str(json.loads(note.read_text("utf-8")).get("base_model_name_or_path") or "")
    if Path(base).expanduser().resolve() == folder.resolve() or not base:
        raise ModelError("the adapter does not name the model it belongs to", where=str(note))
    weights, below = _find(base, say)
    return weights, (*below, folder)


def _from_hub(spec: str, say: Callable[[str], None]) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", spec) or spec.startswith((".", "~")):
        raise UsageError(
            f"no model is called {spec!r}, and there is no such folder", fix=f"use one of: {FORMS}"
        )
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "train") from error
    wanted = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(spec, allow_patterns=wanted, local_files_only=True))
    except Exception:  # noqa: BLE001 - whatever it is, the hub is asked next
        say(f"model {spec}: not in the hub's cache, asking the hub")
    try:
        return Path(snapshot_download(spec, allow_patterns=wanted, etag_timeout=5))
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"cannot get model {spec} from the hub: {type(error).__name__} {lines[0]}",
            where="no folder of that name exists here either",
            fix="check the name and the network, give the folder of a model that you have, "
            "or use --model default",
        ) from error
