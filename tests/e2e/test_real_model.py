"""The real model once through: load, generate, one optimiser step, generate again."""

import pytest
import torch

from selfchallenge.episode import Episode, StopReason, Turn
from selfchallenge.errors import FetchError
from selfchallenge.learner.packing import pack
from selfchallenge.learner.rft import RftSettings, train_rft
from selfchallenge.learner.samples import samples_from
from selfchallenge.learner.step import sequence_logprobs, training
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.loading import load_model
from selfchallenge.models.weights import default_weights

SYSTEM = Message("system", "You answer with one line of Python. " + "Be brief and exact. " * 12)
QUESTIONS = ("Print the sum of 2 and 3.", "Print the length of 'abc'.")


@pytest.fixture(scope="module")
def model():
    try:
        default_weights()
    except FetchError as error:
        pytest.skip(f"the weights of the default model cannot be had: {error}")
    model = load_model("default")
    yield model
    model.close()


def prompt(question):
    return Prompt((SYSTEM, Message("user", question)), seed=1)


def as_episode(number, completion):
    turn = Turn(
        role="assistant",
        content=completion.text,
        token_ids=(*completion.prompt_ids, *completion.token_ids),
        logprobs=completion.logprobs,
    )
    return Episode(
        phase="train",
        task=f"task-{number}",
        attempt=0,
        model="default",
        seed=1,
        turns=(turn,),
        stop=StopReason.ANSWER,
        reward=1.0,
        passed=True,
    )


def logprobs(module, samples):
    with torch.no_grad(), training(module, torch.float32):
        return sequence_logprobs(module, pack(samples))


@pytest.mark.weights
@pytest.mark.timeout(900)
def test_it_loads_generates_and_learns_in_one_step(model, tmp_path):
    replies = model.generate([prompt(q) for q in QUESTIONS], Sampling(1.0, max_tokens=24))
    assert all(len(reply.token_ids) == len(reply.logprobs) > 0 for reply in replies)
    episodes = [as_episode(number, reply) for number, reply in enumerate(replies)]
    samples = samples_from(episodes, 2048).samples

    sampled = torch.tensor([p for sample in samples for p in sample.logprobs])
    before = logprobs(model.module, samples)
    # Decoding may compute in bfloat16, so single tokens differ a little.
    assert (before - sampled).abs().mean() < 0.1

    # Adam's first step is as long as the rate allows, and 1e-4 already overshoots here.
    settings = RftSettings(epochs=1, batch=2, learning_rate=1e-5, warmup=0)
    report = train_rft(model, episodes, tmp_path / "model", settings)
    assert len(report.steps) == 1
    assert abs(report.losses[0] + float(before.mean())) < 0.1
    assert logprobs(model.module, samples).mean() > before.mean()
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()

    again = model.generate([prompt(QUESTIONS[0])], Sampling(0.0, max_tokens=24))
    assert again[0].text
