"""Weights and a tokenizer from a folder or a hub, on the device and in the precision asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from selfchallenge.errors import MissingExtraError, ModelError, UsageError, boundary
from selfchallenge.models.packed import computes_bfloat16
from selfchallenge.models.quiet import without_future_warnings

Dtype = Literal["auto", "float32", "bfloat16"]


def find_device(wanted: str) -> torch.device:
    """The device of that name; `auto` is a GPU when there is one.

    Raises:
        UsageError: there is none.
    """
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if gpu else "cpu") if wanted == "auto" else wanted)
    except RuntimeError as error:
        raise UsageError(f"no device is called {wanted!r}", fix="use auto, cpu or cuda") from error
    if device.type == "cuda" and not gpu:
        raise UsageError("torch sees no GPU", where=f"device {wanted}", fix="use device cpu")
    return device


def computes_low(dtype: Dtype, device: torch.device) -> bool:
    """Whether to compute in bfloat16.

    Raises:
        UsageError: it was asked for and the device has no instructions for it.
    """
    can = computes_bfloat16(device.type) or device.type not in ("cpu", "cuda")
    if dtype == "bfloat16" and not can:
        raise UsageError("this device does not compute in bfloat16", fix="use dtype float32")
    return can and dtype != "float32"


def load(
    path: str, adapters: Sequence[Path], device: torch.device, dtype: Dtype
) -> tuple[Any, Any]:
    """A causal language model, ready to be asked, and its tokenizer.

    Args:
        path: folder or hub id of the model.
        adapters: folders of LoRA adapters to be added into its weights, one after the other.
        device: where it is to be.
        dtype: what it is to compute in.

    Raises:
        ModelError: they cannot be loaded, or there is no chat template.
    """
    try:
        from transformers import (  # noqa: PLC0415 - seconds
            AutoModelForCausalLM,
            AutoTokenizer,
            utils,
        )
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "train") from error
    low = computes_low(dtype, device) and device.type != "cpu"
    utils.logging.disable_progress_bar()
    fix = "give a local folder of a model, or check the hub id and the network"
    with boundary(ModelError, f"cannot load model {path}", where=path, fix=fix):
        tokenizer = AutoTokenizer.from_pretrained(path)
        _require_template(tokenizer, path)
        module = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.bfloat16 if low else torch.float32
        )
        for adapter in adapters:
            module = _adapted(module, adapter)
    return module.to(device).eval().requires_grad_(requires_grad=False), tokenizer


def _require_template(tokenizer: Any, path: str) -> None:
    if not tokenizer.chat_template:
        raise ModelError(
            "the model has no chat template",
            where=path,
            fix="use an instruction-tuned model, or put its chat_template.jinja into the folder",
        )


def _adapted(module: Any, adapter: Path) -> Any:
    """The module with an adapter added into its weights."""
    try:
        from peft import PeftModel  # noqa: PLC0415 - an extra, seldom needed
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    with without_future_warnings():
        return PeftModel.from_pretrained(module, str(adapter)).merge_and_unload()


def end_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a reply: those of the generation config and the tokenizer's own."""
    found = module.generation_config.eos_token_id
    ids = found if isinstance(found, list) else [found]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)
