"""A tiny random language model over bytes: stands in for the weights of a scripted executor.

The smoke loop takes a real optimiser step on it, so that the whole path from episodes to a saved
adapter is run in seconds and without a download. It learns nothing worth measuring.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from selfchallenge.models.scripted import END


class ByteTokenizer:
    """What the learner asks of a tokenizer, for the ids of `ScriptedModel`."""

    chat_template = None

    def __len__(self) -> int:
        return END + 1

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of the bytes; the end mark has none."""
        del skip_special_tokens
        return bytes(i for i in ids if i != END).decode("utf-8", "ignore")

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a note: these ids are bytes."""
        note = {"tokens": "UTF-8 bytes", "end": END}
        Path(directory, "tokenizer_config.json").write_text(json.dumps(note), "utf-8")


class TinyModel:
    """Random weights of a Qwen2 with two layers; torch computes in one thread from then on.

    There is so little to compute that more threads wait for each other most of the time, and on a
    busy machine nearly all of it.
    """

    name = "tiny-random"

    def __init__(self) -> None:
        config = Qwen2Config(
            vocab_size=END + 1,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=16384,
        )
        torch.set_num_threads(1)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = Qwen2ForCausalLM(config).eval()
        self.tokenizer = ByteTokenizer()

    def forget(self) -> None:
        """It keeps nothing computed."""


def tiny_model() -> TinyModel:
    """The model, the same weights every time."""
    return TinyModel()
