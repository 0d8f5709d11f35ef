import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_learner import TinyModel, make_episode

from selfchallenge.episode import USER_FAULT, StopReason
from selfchallenge.errors import StageError, StorageError, UsageError
from selfchallenge.learner import checkpoints, rft
from selfchallenge.learner.rft import RftSettings, train_distill, train_rft

SETTINGS = RftSettings(epochs=3, batch=4, learning_rate=1e-2, checkpoint=2, precision="float32")


def weights(directory):
    return load_file(directory / "adapter_model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_training_raises_the_probability_of_what_succeeded(model, episodes, tmp_path):
    records = []
    settings = replace(SETTINGS, epochs=10)
    report = train_rft(model, episodes, tmp_path / "model", settings, records.append)

    assert report.losses[-1] < 0.5 * report.losses[0]
    assert (report.samples, report.tasks, len(report.steps)) == (16, 8, 40)
    assert report.tokens == 10 * 16 * 8
    assert tuple(records) == report.steps
    assert [(r.step, r.steps) for r in records] == [(i + 1, 40) for i in range(40)]
    assert [round(r.learning_rate, 6) for r in records[:4]] == [0.003333, 0.006667, 0.01, 0.01]
    saved = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"adapter_config.json", "tokenizer.json", "training.json"} <= saved
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_the_same_seed_gives_the_same_bits_and_another_does_not(episodes, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_rft(TinyModel(), episodes, tmp_path / name, replace(SETTINGS, seed=seed))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("rank", [16, 0])
def test_the_model_in_memory_is_the_saved_one(model, episodes, tmp_path, rank):
    before = model.module(torch.tensor([[1, 2, 3]])).logits
    settings = replace(SETTINGS, rank=rank)
    report = train_rft(model, episodes, tmp_path / "model", settings)
    after = model.module(torch.tensor([[1, 2, 3]])).logits
    assert (after - before).abs().max() > 0.1
    assert type(model.module.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert model.forgotten

    fresh = TinyModel()
    again = train_rft(fresh, episodes, tmp_path / "model", settings)
    assert torch.equal(fresh.module(torch.tensor([[1, 2, 3]])).logits, after)
    assert again == replace(report, resumed=len(report.steps))


def test_the_merged_model_agrees_with_the_saved_adapter(model, episodes, tmp_path):
    from peft import PeftModel

    train_rft(model, episodes, tmp_path / "model", SETTINGS)
    ids = torch.tensor([list(range(40))])
    unmerged = PeftModel.from_pretrained(TinyModel().module, tmp_path / "model")(ids).logits
    merged = model.module(ids).logits
    assert torch.allclose(merged.log_softmax(-1), unmerged.log_softmax(-1), atol=1e-4)


def test_killed_it_goes_on_and_ends_with_the_same_bits(episodes, tmp_path):
    whole = train_rft(TinyModel(), episodes, tmp_path / "whole", SETTINGS)
    script = Path(__file__).with_name("killed_training.py")
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cut"), "6"],
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut").exists()
    report = train_rft(TinyModel(), episodes, tmp_path / "cut", SETTINGS)

    assert report.resumed == 6
    assert report.losses == whole.losses
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_stopped_at_every_step_it_ends_with_the_same_bits(episodes, tmp_path):
    settings = replace(SETTINGS, precision="bfloat16", checkpoint=1, epochs=1)
    whole = train_rft(TinyModel(), episodes, tmp_path / "whole", settings)

    def stop_at(last):
        def progress(record):
            if record.step == last:
                raise KeyboardInterrupt

        return progress

    for last in (2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            train_rft(TinyModel(), episodes, tmp_path / "cut", settings, stop_at(last))
    report = train_rft(TinyModel(), episodes, tmp_path / "cut", settings)
    assert report.resumed == 3
    assert report.losses == whole.losses
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_policies_are_kept_every_so_many_steps(model, episodes, tmp_path):
    report = train_rft(model, episodes, tmp_path / "model", replace(SETTINGS, keep=3))
    kept = sorted(int(folder.name) for folder in (tmp_path / "model.steps").iterdir())
    assert kept == list(range(3, len(report.steps), 3))
    assert not same(weights(tmp_path / "model.steps/3"), weights(tmp_path / "model"))


def test_a_checkpoint_of_other_inputs_is_not_used(model, episodes, tmp_path):
    def stop(record):
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_rft(model, episodes, tmp_path / "model", SETTINGS, stop)
    assert (tmp_path / "model.partial" / "state.pt").exists()
    report = train_rft(TinyModel(), episodes[:-1], tmp_path / "model", SETTINGS)
    assert report.resumed == 0


def test_an_interrupted_model_is_given_back_untouched(model, episodes, tmp_path):
    before = {name: p.clone() for name, p in model.module.named_parameters()}

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_rft(model, episodes, tmp_path / "model", SETTINGS, stop)
    after = dict(model.module.named_parameters())
    assert same(before, after)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_checkpoint(
    model, episodes, tmp_path, monkeypatch
):
    real, losses = rft.backward, []

    def diverging(*arguments):
        losses.append(real(*arguments))
        return (float("nan"), 0) if len(losses) == 4 else losses[-1]

    monkeypatch.setattr(rft, "backward", diverging)
    with pytest.raises(StageError, match="diverged") as error:
        train_rft(model, episodes, tmp_path / "model", SETTINGS)
    assert "learning rate" in error.value.fix
    assert len(torch.load(tmp_path / "model.partial" / "state.pt")["records"]) == 2
    assert not (tmp_path / "model").exists()


def test_without_a_success_it_says_what_to_change(model, tmp_path):
    with pytest.raises(StageError, match="none of the 2 training episodes") as error:
        train_rft(
            model,
            [make_episode("a", n, reward=0.0) for n in range(2)] + [make_episode(phase="before")],
            tmp_path / "model",
        )
    assert "attempts" in error.value.fix


def test_successes_without_tokens_are_no_samples(model, tmp_path):
    silent = make_episode(parts=[((1, 2, 3), 0)])
    with pytest.raises(StageError, match="1 no sampled token"):
        train_rft(model, [silent], tmp_path / "model")


def test_a_full_disk_keeps_the_last_checkpoint(model, episodes, tmp_path, monkeypatch):
    real, writes = torch.save, []

    def full(*arguments):
        writes.append(arguments)
        if len(writes) == 2:
            arguments[1].write(b"half")
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        train_rft(model, episodes, tmp_path / "model", SETTINGS)
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "model.partial").iterdir()] == ["state.pt"]
    assert train_rft(TinyModel(), episodes, tmp_path / "model", SETTINGS).resumed == 2


def test_a_disk_that_is_full_at_the_end_leaves_no_half_model(
    model, episodes, tmp_path, monkeypatch
):
    def full(directory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.tokenizer, "save_pretrained", full, raising=False)
    with pytest.raises(StorageError, match="No space left"):
        train_rft(model, episodes, tmp_path / "model", SETTINGS)
    assert {p.name for p in tmp_path.iterdir()} == {"model.partial"}


def test_a_folder_of_another_training_is_refused(model, episodes, tmp_path):
    train_rft(model, episodes, tmp_path / "model", replace(SETTINGS, epochs=1))
    with pytest.raises(StorageError, match="other episodes"):
        train_rft(TinyModel(), episodes, tmp_path / "model", SETTINGS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="no finished training"):
        train_rft(TinyModel(), episodes, tmp_path / "empty", SETTINGS)


def test_a_damaged_checkpoint_is_named(model, episodes, tmp_path):
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "state.pt").write_bytes(b"torn")
    with pytest.raises(StorageError, match="cannot read the checkpoint") as error:
        train_rft(model, episodes, tmp_path / "model", SETTINGS)
    assert "state.pt" in error.value.where


def test_an_architecture_that_computes_otherwise_is_refused(model, episodes, tmp_path):
    head = model.module.lm_head.forward
    usual = model.module.forward

    def capped(**inputs):
        model.module.lm_head.forward = lambda hidden: head(hidden).tanh()
        try:
            return usual(**inputs)
        finally:
            model.module.lm_head.forward = head

    model.module.forward = capped
    with pytest.raises(StageError, match="packed training assumes"):
        train_rft(model, episodes, tmp_path / "model", SETTINGS)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"learning_rate": -1.0}, {"learning_rate": 1e20}, {"rank": -1}]
)
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        RftSettings(**change)


def test_the_report_on_disk_is_plain_json(model, episodes, tmp_path):
    report = train_rft(model, episodes, tmp_path / "model", SETTINGS)
    saved = json.loads((tmp_path / "model" / "training.json").read_text())
    assert saved["samples"] == report.samples
    assert [step["loss"] for step in saved["steps"]] == list(report.losses)


def test_distillation_learns_from_failures_too(episodes, tmp_path):
    mixed = [e.model_copy(update={"reward": float(e.attempt)}) for e in episodes]
    everything = train_distill(TinyModel(), mixed, tmp_path / "all", SETTINGS)
    only = replace(SETTINGS, only_success=True)
    successes = train_distill(TinyModel(), mixed, tmp_path / "only", only)
    assert (everything.samples, successes.samples) == (16, 8)
    assert everything.losses[-1] < everything.losses[0]


def test_a_teacher_that_never_succeeds_still_teaches_unless_only_success_is_asked(tmp_path):
    failures = [make_episode("a", n, reward=0.0) for n in range(3)]
    assert train_distill(TinyModel(), failures, tmp_path / "all", SETTINGS).samples == 3
    with pytest.raises(StageError, match="none of the 3 training episodes"):
        train_distill(TinyModel(), failures, tmp_path / "no", replace(SETTINGS, only_success=True))


def test_attempts_that_the_sandbox_ended_teach_nothing(tmp_path):
    broken = make_episode("a", 0).model_copy(update={"stop": StopReason.SANDBOX})
    episodes = [broken, make_episode("a", 1)]
    report = train_distill(TinyModel(), episodes, tmp_path / "m", SETTINGS)
    assert report.samples == 1
    liked = [one.model_copy(update={"reward": 1.0}) for one in episodes]  # by a judge
    assert train_rft(TinyModel(), liked, tmp_path / "rft", SETTINGS).samples == 1


@pytest.mark.parametrize("train", [train_rft, train_distill])
@pytest.mark.parametrize(
    ("fault", "said", "fix"),
    [
        ({"stop": StopReason.SANDBOX}, "2 ended by the sandbox", "doctor"),
        ({"meta": {USER_FAULT: "left"}}, "2 spoilt by the simulated user", "--user-model"),
    ],
)
def test_attempts_that_others_spoilt_say_who_it_was(tmp_path, train, fault, said, fix):
    spoilt = [make_episode("a", n, reward=0.0).model_copy(update=fault) for n in range(2)]
    with pytest.raises(StageError, match=said) as error:
        train(TinyModel(), spoilt, tmp_path / "m", SETTINGS)
    assert fix in error.value.fix


def test_an_episode_longer_than_the_model_reads_is_left_out(model, tmp_path):
    window = model.module.config.max_position_embeddings
    long = make_episode("b", parts=[(tuple(range(90)) * 6, 5)])
    report = train_rft(model, [make_episode("a"), long], tmp_path / "model", SETTINGS)
    assert SETTINGS.max_length > window
    assert report.dropped == {f"longer than {window} tokens": 1}


def test_only_episodes_that_are_too_long_say_what_to_change(model, tmp_path):
    with pytest.raises(StageError, match="1 longer than 20 tokens") as error:
        train_rft(model, [make_episode()], tmp_path / "m", replace(SETTINGS, max_length=20))
    assert "rft.max_length" in error.value.fix


@pytest.mark.parametrize(("only", "fix"), [(True, "--only-success"), (False, "stronger teacher")])
def test_a_teacher_that_teaches_nothing_says_what_to_change(model, tmp_path, only, fix):
    failed = [make_episode("a", reward=0.0)] if only else []
    settings = replace(SETTINGS, only_success=only)
    with pytest.raises(StageError, match="training episodes earned the reward") as error:
        train_distill(model, failed, tmp_path / "model", settings)
    assert fix in error.value.fix


def test_a_context_that_ended_the_attempts_is_named(model, tmp_path):
    cut = [
        make_episode("a", n, reward=0.0).model_copy(update={"stop": StopReason.CONTEXT})
        for n in range(3)
    ]
    with pytest.raises(StageError, match="3 no longer fitted the model's context") as error:
        train_rft(model, [*cut, make_episode("b", reward=0.0)], tmp_path / "model", SETTINGS)
    assert "longer context" in error.value.fix


def test_prompts_longer_than_the_context_are_named(model, tmp_path):
    unsaid = make_episode("a", parts=[((1, 2, 3), 0)])
    cut = unsaid.model_copy(update={"stop": StopReason.CONTEXT})
    with pytest.raises(StageError, match="prompt did not fit the model's context") as error:
        train_distill(model, [cut], tmp_path / "model", SETTINGS)
    assert "longer context" in error.value.fix


def test_weights_that_are_no_numbers_are_not_kept(model, episodes, tmp_path, monkeypatch):
    step = torch.optim.AdamW.step

    def overflowing(optimizer, *arguments):
        step(optimizer, *arguments)
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", overflowing)
    with pytest.raises(StageError, match="weights that are no numbers") as error:
        train_rft(model, episodes, tmp_path / "model", SETTINGS)
    assert "learning rate" in error.value.fix
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "model.partial" / "state.pt").exists()
