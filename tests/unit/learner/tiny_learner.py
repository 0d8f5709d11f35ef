import random
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from selfchallenge.episode import Episode, StopReason, Turn

VOCABULARY = 97

torch.set_num_threads(1)  # the tensors are tiny


class TinyTokenizer:
    def save_pretrained(self, directory):
        (Path(directory) / "tokenizer.json").write_text("{}")


class TinyModel:
    """What the learner asks of a model, over random weights."""

    name = "tiny"

    def __init__(self):
        self.module = tiny_module()
        self.tokenizer = TinyTokenizer()
        self.forgotten = 0

    def forget(self):
        self.forgotten += 1


def tiny_module(layers=2, **changes):
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Qwen2ForCausalLM(config)
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.2)
    return module.eval().requires_grad_(False)


def tokens(draw, count):
    return tuple(draw.randrange(VOCABULARY) for _ in range(count))


def make_episode(task="t", attempt=0, reward=1.0, phase="train", parts=None):
    """Two turns that are the same for all tasks of one letter, after a shared beginning."""
    own, said = random.Random(f"{task}/{attempt}"), random.Random(f"{task[0]} says")
    shared = tokens(random.Random(task[0]), 40)
    parts = parts or [(shared + tokens(own, 6), 5), (tokens(own, 4), 3)]
    turns = [Turn(role="system", content="s"), Turn(role="user", content=task)]
    for given, sampled in parts:
        ids = (*given, *tokens(said, sampled))
        turns.append(
            Turn(
                role="assistant",
                content="".join(map(chr, ids)),
                token_ids=ids,
                logprobs=(-1.0,) * sampled,
            )
        )
    return Episode(
        phase=phase,
        task=task,
        attempt=attempt,
        model="tiny",
        seed=0,
        turns=tuple(turns),
        stop=StopReason.ANSWER,
        reward=reward,
        passed=reward == 1.0,
    )
