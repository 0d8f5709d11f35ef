"""Weights that are loaded in bfloat16, as on a GPU: adapters, all weights, and small steps."""

from dataclasses import replace

import pytest
import torch
from policy import Sampler
from tiny_learner import TinyModel, make_episode

from selfchallenge.learner.grpo import train_grpo
from selfchallenge.learner.ppo import train_ppo
from selfchallenge.learner.rft import train_rft
from selfchallenge.learner.samples import trainable
from selfchallenge.learner.settings import GrpoSettings, PpoSettings, RftSettings
from selfchallenge.learner.step import resolve_precision
from selfchallenge.learner.support import check_supported

SETTINGS = RftSettings(warmup=0, batch=4, epochs=2, learning_rate=1e-2)
ONLINE = {"iterations": 2, "tasks": 2, "group": 4, "learning_rate": 1e-3, "kl": 0.1, "updates": 2}

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
PLACES = pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=on_gpu)])
RANKS = pytest.mark.parametrize("rank", [4, 0], ids=["lora", "full"])


class Loaded(TinyModel):
    """As `TransformersModel` loads it on a GPU."""

    def __init__(self, place, dtype=torch.bfloat16):
        super().__init__()
        self.module = self.module.to(place)
        for parameter in self.module.parameters():  # buffers stay in float32 there
            parameter.data = parameter.data.to(dtype)


class Placed(Sampler):
    """Samples on the device that the model is on."""

    def sample(self, context, draw):
        device, self.model.module = self.model.module.device, self.model.module.cpu()
        try:
            return super().sample(context, draw)
        finally:
            self.model.module.to(device)


def test_a_check_of_what_a_model_computes_holds_one_layer_at_a_time_in_float32():
    model = Loaded("cpu")
    frozen = dict(model.module.named_parameters())
    before = {name: p.data_ptr() for name, p in frozen.items()}
    held, said = [], set()

    def look(_, __, output):
        held.append(sum(p.dtype == torch.float32 for p in frozen.values()))
        said.add(output.dtype)

    for layer in model.module.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(look)
    check_supported(model.module, [trainable(episodes()[0], 4096)])
    assert max(held) <= 2  # a layer's weight and its bias
    assert said == {torch.float32}
    assert before == {name: p.data_ptr() for name, p in frozen.items()}


def test_bfloat16_that_a_gpu_only_emulates_is_not_taken(monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert resolve_precision("auto", torch.device("cuda")) == torch.float32


def episodes():
    return [make_episode(f"{x}{n}", a) for x in "ab" for n in range(2) for a in range(2)]


@PLACES
@RANKS
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_model_in_bfloat16_learns_what_one_in_float32_does(tmp_path, place, rank, precision):
    settings = replace(SETTINGS, rank=rank, precision=precision)
    low, exact = Loaded(place), TinyModel()
    # The same numbers, so that only the precision of the training differs.
    exact.module.load_state_dict({k: v.float() for k, v in low.module.state_dict().items()})
    one = train_rft(low, episodes(), tmp_path / "low", settings)
    other = train_rft(exact, episodes(), tmp_path / "exact", replace(settings, precision="float32"))
    # Adapters are drawn in the precision of what they are put on.
    near = 0.05 if precision == "bfloat16" else 0.02 if rank else 1e-5
    assert one.losses == pytest.approx(other.losses, abs=near)
    assert one.losses[-1] < one.losses[0]
    assert one.precision == precision
    assert {p.dtype for p in low.module.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in low.module.buffers()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in low.module.parameters())


@PLACES
def test_steps_smaller_than_a_bfloat16_are_not_lost(tmp_path, place):
    """All weights of 0.2 move by 1e-5 a step, a hundredth of what bfloat16 can tell apart."""
    from safetensors.torch import load_file

    model = Loaded(place)
    before = model.module.state_dict()["model.layers.0.mlp.up_proj.weight"].float().cpu().clone()
    settings = replace(SETTINGS, rank=0, learning_rate=1e-5)
    train_rft(model, episodes(), tmp_path / "model", settings)
    saved = load_file(tmp_path / "model" / "model.safetensors")
    moved = (saved["model.layers.0.mlp.up_proj.weight"] - before).abs()
    assert 5e-6 < float(moved.median()) < 5e-5


@PLACES
@RANKS
@pytest.mark.parametrize(
    ("train", "kind"), [(train_grpo, GrpoSettings), (train_ppo, PpoSettings)], ids=["grpo", "ppo"]
)
def test_online_algorithms_take_a_model_in_bfloat16(tmp_path, place, rank, train, kind):
    model = Loaded(place)
    settings = kind(**ONLINE, rank=rank, warmup=0)
    report = train(model, ["a", "b", "c"], Placed(model), tmp_path / "model", settings)
    assert len(report.steps) == 4
    assert all(torch.isfinite(torch.tensor(record.norm)) for record in report.steps)
    assert max(record.norm for record in report.steps) > 0
    assert model.module.dtype == torch.bfloat16


@PLACES
@RANKS
def test_a_training_in_bfloat16_resumes_with_the_same_losses(tmp_path, place, rank):
    settings = replace(SETTINGS, rank=rank, checkpoint=2)

    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    whole = train_rft(Loaded(place), episodes(), tmp_path / "whole", settings)
    cut = Loaded(place)
    with pytest.raises(KeyboardInterrupt):
        train_rft(cut, episodes(), tmp_path / "cut", settings, stop)
    assert cut.module.dtype == torch.bfloat16
    again = train_rft(Loaded(place), episodes(), tmp_path / "cut", settings)
    assert again.resumed == 2
    assert again.losses == pytest.approx(whole.losses, abs=0 if place == "cpu" else 1e-2)
