"""What an attempt writes down is what the model read and drew, id by id, and the mask says which.

Whole attempts in the sandbox, by models that write anything: actions that fail, observations that
are long, replies cut at the limit of tokens, tasks that a user tells.
"""

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfchallenge.environments.library import Library
from selfchallenge.evaluation.suite import held_out_tasks, references
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import Ways, rollout
from selfchallenge.executor.talk import told_by
from selfchallenge.executor.user import ScriptedUser
from selfchallenge.learner.samples import sample_of
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.sandbox.host import Sandbox

HOW = AgentSettings(max_steps=4, max_tokens=60, max_observation=200)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as box:
        yield box


@pytest.fixture(scope="module")
def pairs(sandbox):
    return references(held_out_tasks(Library)[:3], Library, sandbox)


class Remembered(ScriptedModel):
    """Says what it is given to say, and remembers each conversation's replies."""

    def __init__(self, replies):
        super().__init__("remembered", lambda prompt: replies[prompt.seed % len(replies)])
        self.made = defaultdict(list)

    def generate(self, prompts, sampling):
        made = super().generate(prompts, sampling)
        for prompt, completion in zip(prompts, made, strict=True):
            self.made[prompt.seed // 1000].append(completion)  # a seed an attempt, a step a unit
        return made


code = st.sampled_from(["print('ä' * 300)", "1 / 0", "print(1)", "import os", "while", "x = '''"])
replies = st.lists(
    st.builds("I try.\n```python\n{}\n```".format, code)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=80),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("ways", [Ways(), told_by(ScriptedUser())], ids=["read", "told"])
@given(said=replies)
@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
def test_every_id_is_one_that_was_read_or_drawn(ways, said, sandbox, pairs):
    model = Remembered(said)
    chosen = [Assignment(task, verdict, 0, seed=n) for n, (task, verdict) in enumerate(pairs)]
    episodes = list(rollout(model, chosen, Library, sandbox, settings=HOW, ways=ways))
    assert len(episodes) == len(chosen)
    for episode in episodes:
        made = model.made[episode.seed]
        spoken = [turn for turn in episode.turns if turn.logprobs]
        assert [turn.content for turn in spoken] == [one.text for one in made if one.logprobs]
        ids = [i for turn in episode.turns for i in turn.token_ids]
        mask = [m for turn in episode.turns for m in turn.mask]
        drawn = [False] * len(ids)
        for one in made:
            read, end = len(one.prompt_ids), len(one.prompt_ids) + len(one.token_ids)
            assert tuple(ids[:read]) == one.prompt_ids
            assert tuple(ids[read:end]) == one.token_ids
            drawn[read:end] = [True] * (end - read)
        assert mask == drawn
        assert episode.completion_tokens == sum(mask)
        sample = sample_of(episode, 100_000)
        if sum(mask):
            assert (sample.ids, sample.mask) == (tuple(ids), tuple(mask))
            assert sample.logprobs == tuple(p for one in made for p in one.logprobs)
