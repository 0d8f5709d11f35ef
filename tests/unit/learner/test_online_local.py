"""The online loop over a local model: decoding and training take turns on the same weights."""

import sys
from pathlib import Path

import pytest
import torch

from selfchallenge.episode import Episode, StopReason, Turn
from selfchallenge.learner.grpo import Grpo, train_grpo
from selfchallenge.learner.settings import GrpoSettings
from selfchallenge.learner.training import Training
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.transformers import TransformersModel

sys.path.append(str(Path(__file__).parents[1] / "models"))
from tiny_model import save_tiny

TASKS = ["add", "take", "count"]
SETTINGS = GrpoSettings(
    iterations=3, tasks=2, group=4, learning_rate=2e-2, warmup=0, rank=4, kl=0.01, updates=2
)


def attempts_with(model, temperature, seen):
    """One reply to each task; it succeeds when its first token is an even one."""

    def attempt(task, number, reply):
        ids = (*reply.prompt_ids, *reply.token_ids)
        reward = float(reply.token_ids[0] % 2 == 0)
        said = Turn(role="assistant", content="", token_ids=ids, logprobs=reply.logprobs)
        return Episode(
            phase="train",
            task=task,
            attempt=number,
            model=model.name,
            seed=number,
            turns=(said,),
            stop=StopReason.ANSWER,
            reward=reward,
            passed=bool(reward),
        )

    def make(draws):
        groups = [[(d.task, d.first + i) for i in range(d.count)] for d in draws]
        keys = [key for group in groups for key in group]
        prompts = [
            Prompt((Message("user", task),), seed=100 * TASKS.index(task) + n) for task, n in keys
        ]
        replies = iter(model.generate(prompts, Sampling(temperature, max_tokens=6)))
        made = [[attempt(*key, next(replies)) for key in group] for group in groups]
        seen.extend(made)
        return made

    return make


@pytest.fixture
def model(tmp_path):
    torch.set_num_threads(1)
    folder = save_tiny(tmp_path / "tiny")
    return lambda dtype: TransformersModel(folder, device="cpu", dtype=dtype, batch=4)


class Watched(Grpo):
    """Keeps every batch, to be looked at."""

    def credit(self, said):
        self.kept = [*getattr(self, "kept", []), *(one for group in said for one in group)]
        return super().credit(said)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_after_every_update_the_sampled_probabilities_are_those_recomputed(
    model, tmp_path, temperature
):
    local = model("float32")
    algorithm = Watched(local, TASKS, attempts_with(local, temperature, []), SETTINGS, temperature)
    training = Training(local, tmp_path / "model", SETTINGS, algorithm, torch.float32)
    report = training.run()
    assert len(report.steps) == 6
    assert max(record.norm for record in report.steps) > 0
    for said in algorithm.kept:
        assert torch.allclose(said.old, torch.tensor(said.sample.logprobs), atol=1e-3)
    # The policy has moved away from the reference, which has not.
    last = algorithm.kept[-1]
    assert not torch.allclose(last.old, last.reference, atol=1e-3)


def test_decoding_in_another_precision_is_corrected_for(model, tmp_path):
    local = model("auto")
    seen = []
    report = train_grpo(local, TASKS, attempts_with(local, 1.0, seen), tmp_path / "model", SETTINGS)
    assert len(report.steps) == 6
    assert len(seen) >= 6
    again = model("auto")
    reloaded = TransformersModel(
        tmp_path / "tiny", adapters=[tmp_path / "model"], device="cpu", dtype="float32"
    )
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        trained = local.module(ids).logits
        assert torch.allclose(trained, reloaded.module(ids).logits, atol=1e-4)
        assert not torch.allclose(trained, again.module(ids).logits, atol=1e-3)


def surprise(model, group):
    """How far a model's log-probabilities of what was sampled are from those recorded, at most."""
    worst = 0.0
    for (turn,) in (episode.turns for episode in group):
        ids, sampled = torch.tensor([turn.token_ids]), len(turn.logprobs)
        with torch.no_grad():
            said = model.module(ids).logits[0, -sampled - 1 : -1].log_softmax(1)
        own = said.gather(1, ids[0, -sampled:, None])[:, 0]
        worst = max(worst, float((own - torch.tensor(turn.logprobs)).abs().max()))
    return worst


def test_trl_asks_a_local_model_for_attempts_while_it_trains_it(model, tmp_path):
    pytest.importorskip("trl", reason="TRL is not installed")
    local, seen = model("float32"), []
    report = train_grpo(
        local, TASKS, attempts_with(local, 1.0, seen), tmp_path / "model", SETTINGS, engine="trl"
    )
    assert len(report.steps) == 6
    assert len(seen) == report.steps[-1].figures["place"] >= 6
    # The attempts of each round are those of the policy as it was by then.
    untrained = model("float32")
    assert surprise(untrained, seen[0]) < 1e-3
    assert surprise(untrained, seen[-1]) > 1e-2
    trained = TransformersModel(
        tmp_path / "tiny", adapters=[tmp_path / "model"], device="cpu", dtype="float32"
    )
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert not torch.allclose(
            trained.module(ids).logits, model("float32").module(ids).logits, atol=1e-3
        )
