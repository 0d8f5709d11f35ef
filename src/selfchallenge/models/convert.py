"""From one GGUF file to a folder that transformers loads in seconds, tensor by tensor.

GGUF is how the default weights travel (one file, one hash); reading it takes long, so it is done
once. Tensors are dequantised one at a time into float32 and streamed into a safetensors file: the
memory needed is that of the largest tensor, not of the model.

The file holds the embedding twice, as `token_embd` and as `output`: two quantisations (5 and 8
bits) of what is one matrix in the original model. The finer one is kept for both, which is closer
to the original and saves half a gigabyte.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

from selfchallenge.errors import MissingExtraError, ModelError

_BLOCK = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL, _USER_DEFINED = 3, 4


def convert_gguf(file: Path, folder: Path) -> None:
    """Write config, generation config, tokenizer and safetensors of a Qwen2 GGUF into `folder`.

    Args:
        file: a GGUF file of the Qwen2 architecture.
        folder: an existing, empty folder.

    Raises:
        ModelError: the file is no GGUF file of that architecture.
        MissingExtraError: gguf or transformers are not installed.
        OSError: the folder cannot be written (disk full).
    """
    try:
        from gguf import GGUFReader  # noqa: PLC0415 - only needed once in a cache's life
    except ImportError as error:
        raise MissingExtraError("gguf", "train") from error
    try:
        reader = GGUFReader(file)
    except ValueError as error:
        raise ModelError(f"not a GGUF file: {error}", where=str(file)) from error
    meta = {name: field.contents() for name, field in reader.fields.items()}
    if meta.get("general.architecture") != "qwen2":
        found = meta.get("general.architecture")
        raise ModelError(f"only Qwen2 GGUF files are converted, not {found!r}", where=str(file))
    tensors = _named(reader.tensors)
    _write_config(meta, folder)
    _write_tokenizer(meta, folder)
    _write_tensors(tensors, folder / "model.safetensors")


def _named(tensors: list[Any]) -> dict[str, Any]:
    """GGUF tensors by the names that transformers gives them, the embedding once."""
    found = {_name(tensor.name): tensor for tensor in tensors}
    output = found.pop("lm_head.weight", None)
    if output is not None:
        # Both stand for the same matrix (see the module docstring): keep the finer one.
        found["model.embed_tokens.weight"] = max(
            output, found["model.embed_tokens.weight"], key=lambda tensor: tensor.n_bytes
        )
    return found


def _name(name: str) -> str:
    plain = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "output_norm.weight": "model.norm.weight",
    }
    if name in plain:
        return plain[name]
    parts = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if parts is None or parts[2] not in _BLOCK:
        raise ModelError(f"unknown tensor {name!r} in the GGUF file")
    return f"model.layers.{parts[1]}.{_BLOCK[parts[2]]}.{parts[3]}"


def _write_config(meta: dict[str, Any], folder: Path) -> None:
    from transformers import GenerationConfig, Qwen2Config  # noqa: PLC0415 - heavy

    end, pad = meta["tokenizer.ggml.eos_token_id"], meta["tokenizer.ggml.padding_token_id"]
    config = Qwen2Config(
        vocab_size=len(meta["tokenizer.ggml.tokens"]),
        hidden_size=meta["qwen2.embedding_length"],
        intermediate_size=meta["qwen2.feed_forward_length"],
        num_hidden_layers=meta["qwen2.block_count"],
        num_attention_heads=meta["qwen2.attention.head_count"],
        num_key_value_heads=meta["qwen2.attention.head_count_kv"],
        max_position_embeddings=meta["qwen2.context_length"],
        rms_norm_eps=meta["qwen2.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": meta["qwen2.rope.freq_base"]},
        tie_word_embeddings=True,
        eos_token_id=end,
        pad_token_id=pad,
        architectures=["Qwen2ForCausalLM"],
        dtype="float32",
    )
    config.save_pretrained(folder)
    # Either mark ends a reply, as in the original generation config.
    GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad).save_pretrained(folder)


def _write_tokenizer(meta: dict[str, Any], folder: Path) -> None:
    from transformers import AddedToken, Qwen2Tokenizer  # noqa: PLC0415 - heavy

    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    marks = [
        (i, AddedToken(token, special=kind == _CONTROL, normalized=False))
        for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    vocabulary = {token: i for i, token in enumerate(tokens[: marks[0][0]])}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple(merge.split(" ", 1)) for merge in meta["tokenizer.ggml.merges"]],
        eos_token=tokens[meta["tokenizer.ggml.eos_token_id"]],
        pad_token=tokens[meta["tokenizer.ggml.padding_token_id"]],
        chat_template=meta["tokenizer.chat_template"],
        added_tokens_decoder=dict(marks),
    )
    wrong = [m.content for i, m in marks if tokenizer.convert_tokens_to_ids(m.content) != i]
    if wrong:
        raise ModelError(f"tokens {wrong} of the GGUF file got other ids than they have there")
    tokenizer.save_pretrained(folder)


def _write_tensors(tensors: dict[str, Any], file: Path) -> None:
    """Stream a safetensors file: length of the header, the header as JSON, little-endian data."""
    from gguf.quants import dequantize  # noqa: PLC0415 - see above

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in tensors.items():
        size = int(tensor.n_elements) * 4
        header[name] = {
            "dtype": "F32",
            "shape": [int(n) for n in reversed(tensor.shape)],
            "data_offsets": [position, position + size],
        }
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            values = dequantize(tensor.data, tensor.tensor_type)
            out.write(values.astype("<f4", copy=False).data)
