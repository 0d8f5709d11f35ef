"""A policy over random weights that really samples, and what it is rewarded for."""

import random

import torch
from tiny_learner import VOCABULARY, tokens

from selfchallenge.episode import Episode, StopReason, Turn

LENGTH = 5


class Sampler:
    """Attempts with the model as it is: two turns of sampled tokens, an observation between them.

    An attempt succeeds when its first sampled token is a low one, so half of all do at first.
    """

    def __init__(self, model, reward=lambda sampled: float(sampled[0] < VOCABULARY // 2)):
        self.model, self.reward, self.made = model, reward, []

    def __call__(self, draws):
        return [
            [self.attempt(d.task, number) for number in range(d.first, d.first + d.count)]
            for d in draws
        ]

    def attempt(self, task, number):
        self.made.append((task, number))
        draw = torch.Generator().manual_seed(hash_of(task, number))
        context, turns, said = [], [Turn(role="user", content=task)], []
        for turn, given in enumerate((12, 4)):
            own = tokens(random.Random(f"{task}/{turn}"), given)
            context += own
            ids, logprobs = self.sample(context, draw)
            context += ids
            said += ids
            turns.append(
                Turn(role="assistant", content="x", token_ids=(*own, *ids), logprobs=logprobs)
            )
        reward = self.reward(said)
        return Episode(
            phase="train",
            task=task,
            attempt=number,
            model="tiny",
            seed=0,
            turns=turns,
            stop=StopReason.ANSWER,
            reward=reward,
            passed=reward == 1.0,
        )

    def sample(self, context, draw):
        ids, logprobs = [], []
        for _ in range(LENGTH):
            with torch.no_grad():
                logits = self.model.module(torch.tensor([context + ids])).logits[0, -1]
            said = logits.log_softmax(0)
            ids.append(int(torch.multinomial(said.exp(), 1, generator=draw)))
            logprobs.append(float(said[ids[-1]]))
        return ids, tuple(logprobs)


def hash_of(task, number):
    return random.Random(f"{task}/{number}").randrange(2**31)


def chance_of_success(model, tasks):
    """How likely the first token is a low one, over all tasks."""
    prompts = torch.tensor([tokens(random.Random(f"{task}/0"), 12) for task in tasks])
    with torch.no_grad():
        said = model.module(prompts).logits[:, -1].softmax(1)
    return float(said[:, : VOCABULARY // 2].sum(1).mean())
