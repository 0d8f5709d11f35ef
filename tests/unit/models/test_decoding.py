import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import END, make_tokenizer

from selfchallenge.errors import ModelError
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.decoding import Ending, Reply, draw

TOKENIZER = make_tokenizer()
ENDING = Ending(frozenset({END}), None, 99, 999)


@given(st.integers(1, 1600), st.integers(0, 2**32), st.sampled_from([0.3, 1.0, 2.0]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_number_picks_the_id_whose_share_it_falls_into(size, seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, size, generator=generator) * 4
    numbers = torch.rand(5, generator=generator).tolist()
    ids, logprobs = draw(logits, temperature, numbers)
    chances = (logits.double() / temperature).softmax(-1)
    edges = chances.cumsum(-1)
    for row, (token, number, logprob) in enumerate(zip(ids, numbers, logprobs, strict=True)):
        low = edges[row, token - 1].item() if token else 0.0
        assert low - 1e-5 <= number <= edges[row, token].item() + 1e-5
        assert math.isclose(logprob, chances[row, token].log().item(), abs_tol=1e-3)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1024])
@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_ends_of_the_vocabulary_can_be_drawn(size, number):
    ids, logprobs = draw(torch.zeros(1, size), 1.0, [number])
    assert ids == [0 if number == 0 else size - 1]
    assert math.isclose(logprobs[0], -math.log(size), abs_tol=1e-5)


def test_an_impossible_token_is_never_drawn():
    logits = torch.full((3, 1500), -math.inf)
    logits[:, 700] = 0
    assert draw(logits, 1.0, [0.0, 0.5, 1 - 2**-53])[0] == [700] * 3


def test_greedy_tells_the_chance_at_temperature_one():
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    ids, logprobs = draw(logits, 0.0, [0.9])
    assert ids == [1]
    assert math.isclose(logprobs[0], logits.log_softmax(-1)[0, 1].item(), abs_tol=1e-6)


def test_nan_is_an_error():
    with pytest.raises(ModelError, match="NaN"):
        draw(torch.tensor([[0.0, math.nan]]), 1.0, [0.5])


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_text_grows_by_whole_characters(text):
    reply = Reply(Prompt((Message("user", "q"),)), (1,))
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    seen = [""]
    for token in ids:
        reply.take(token, 0.0, TOKENIZER, ENDING)
        seen.append(reply.text)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert all(text.startswith(part) for part in seen)
    assert reply.completion(TOKENIZER, {END}).text == text


def test_half_a_character_at_the_end_is_shown_as_such():
    reply = Reply(Prompt((Message("user", "q"),)), (1,))
    for token in TOKENIZER("aé", add_special_tokens=False).input_ids[:-1]:
        reply.take(token, 0.0, TOKENIZER, ENDING)
    assert reply.text == "a"
    assert reply.completion(TOKENIZER, {END}).text == "a\ufffd"


def test_the_limits_are_told_apart():
    def ended(sampling, window):
        reply = Reply(Prompt((Message("user", "q"),)), (1, 2))
        ending = Ending.of(sampling, frozenset({END}), window)
        return reply.finish if reply.take(65, 0.0, TOKENIZER, ending) else None

    assert ended(Sampling(max_tokens=1), 99) == "length"
    assert ended(Sampling(max_tokens=2), 3) == "context"
    assert ended(Sampling(max_tokens=2, stop="."), 3) == "stop"
    assert ended(Sampling(max_tokens=2), 99) is None
