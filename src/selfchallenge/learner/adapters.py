"""Which parameters are trained, how they are saved, and how they get into the model for use.

LoRA adapters are trained beside frozen weights and saved on their own. For evaluation they are
added into the weights of the model in memory: unmerged, every decoded token would pass through two
more small matrices per layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from selfchallenge.models.quiet import without_future_warnings


def attach(module: Any, name: str, rank: int, alpha: int, seed: int) -> Any:
    """Make the trained parameters the only ones that require gradients.

    Args:
        module: causal language model; its linear layers are wrapped in place.
        name: what the saved adapter calls its base model.
        rank: rank of the adapters on all linear layers; 0 trains all weights and no adapter.
        alpha: the adapters' scale is alpha / rank.
        seed: of their initial values.

    Returns:
        What `settle`, `detach` and `save` want: the adapted model, or `module` for rank 0.
    """
    if not rank:
        # In bfloat16, as a GPU has them loaded, small steps would be rounded away.
        _hold_in(module, torch.float32)
        return module.requires_grad_(requires_grad=True)
    with torch.random.fork_rng(), without_future_warnings():
        torch.manual_seed(seed)
        adapted = get_peft_model(module, lora(rank, alpha))
    name_base(adapted, name)
    return adapted


def name_base(adapted: Any, name: str) -> None:
    """Say what the base model of an adapter is called; a folder is to be found from anywhere."""
    base = Path(name)
    where = str(base.absolute()) if base.is_dir() else name
    adapted.peft_config["default"].base_model_name_or_path = where


def lora(rank: int, alpha: int) -> LoraConfig:
    """Adapters on all linear layers but the output layer."""
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


def _hold_in(module: Any, dtype: torch.dtype) -> None:
    """Convert the weights, and no buffers: positions lose by it what no weight does."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)


def save(adapted: Any, directory: Path) -> None:
    """Write the adapter (unmerged), or the whole model when there is none."""
    if isinstance(adapted, PeftModel):
        # The vocabulary never changes; asking whether it did would look the base model up online.
        adapted.save_pretrained(directory, save_embedding_layers=False)
    else:
        adapted.save_pretrained(directory)


def settle(adapted: Any, dtype: torch.dtype) -> None:
    """Add the adapter into the weights and take it off; the module has plain layers again.

    Args:
        adapted: what `attach` returned.
        dtype: that the weights had before.
    """
    if isinstance(adapted, PeftModel):
        adapted.merge_and_unload()
    else:
        _hold_in(adapted, dtype)
    adapted.requires_grad_(requires_grad=False)


def detach(adapted: Any, dtype: torch.dtype) -> None:
    """Take the adapter off and forget it; without an adapter the weights stay as they are.

    Args:
        adapted: what `attach` returned.
        dtype: that the weights had before.
    """
    if isinstance(adapted, PeftModel):
        adapted.unload()
    else:
        _hold_in(adapted, dtype)
    adapted.requires_grad_(requires_grad=False)


def restore(module: Any, directory: Path) -> None:
    """Put what `save` wrote into the untrained model, ready for use."""
    if (directory / "adapter_config.json").exists():
        with without_future_warnings():
            adapted = PeftModel.from_pretrained(module, directory)
        settle(adapted, module.dtype)
        return
    trained = AutoModelForCausalLM.from_pretrained(directory, dtype=module.dtype)
    module.load_state_dict(trained.state_dict())


def trained_parameters(adapted: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: p for name, p in adapted.named_parameters() if p.requires_grad}


class Untrained:
    """The model as it was before training, beside the one that is trained."""

    def __init__(self, adapted: Any) -> None:
        """Keep what training will change; adapters leave the weights below them alone.

        Args:
            adapted: what `attach` returned, untrained.
        """
        self._adapted = adapted
        self._kept: dict[str, Tensor] = {}
        if not isinstance(adapted, PeftModel):
            self._kept = {n: p.detach().clone() for n, p in trained_parameters(adapted).items()}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the model is the untrained one; it must not be trained there."""
        if isinstance(self._adapted, PeftModel):
            with self._adapted.disable_adapter():
                yield
            return
        parameters = trained_parameters(self._adapted)
        present = {name: parameter.data for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            parameter.data = self._kept[name]
        try:
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = present[name]
