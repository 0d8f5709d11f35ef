"""A tiny random Qwen2 with a byte-level tokenizer, for tests without weights."""

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = 258
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template=CHATML):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(MARKS))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def make_module(**changes):
    config = Qwen2Config(
        **{
            "vocab_size": 272,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            "eos_token_id": END,
            **changes,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Qwen2ForCausalLM(config)
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.3)
    return module.eval()


def save_tiny(folder, template=CHATML, **changes):
    """A model folder as a user would have it."""
    make_module(**changes).save_pretrained(folder)
    make_tokenizer(template).save_pretrained(folder)
    return folder
