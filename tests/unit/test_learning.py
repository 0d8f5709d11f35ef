"""The stages that learn, through the whole loop on the toy and scripted models."""

import json
import shutil

import pytest

from selfchallenge.cli import main
from selfchallenge.cli.options import Engine, means_of
from selfchallenge.errors import ModelError, StageError, UsageError
from selfchallenge.executor.user import PORTIONS, STOP, ScriptedUser, Talk, portions
from selfchallenge.learner.means import Means
from selfchallenge.models.scripted import register_script
from selfchallenge.pipeline import open_loop, run_loop
from selfchallenge.progress import Silent
from selfchallenge.settings import overlay, preset

pytest.importorskip("torch")

from selfchallenge.learner.tiny import tiny_model


def settings(**changes):
    small = {"tasks": 3, "candidates": 12}
    return overlay(preset("smoke"), small | changes)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_teacher_makes_the_attempts_and_the_student_is_measured(tmp_path):
    asked = settings(algorithm="distill", teacher_model="scripted:half", rollouts=4)
    summary = run_loop("library", tmp_path, asked)
    episodes = lines(tmp_path / "episodes.jsonl")
    assert {e["model"] for e in episodes} == {"scripted:half"}
    assert {e["reward"] for e in episodes} == {0.0, 1.0}
    assert {e["model"] for e in lines(tmp_path / "scores.jsonl")} == {
        "scripted:oracle",
        "scripted:idle",
    }
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    assert 0 < trained["samples"] <= len(episodes)
    assert summary["algorithm"] == "distill"


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"algorithm": "distill"}, "--teacher-model"),
        ({"teacher_model": "scripted:half"}, "--algorithm distill"),
        ({"rft": {"only_success": True}}, "--algorithm distill"),
    ],
)
def test_a_teacher_and_distillation_go_together(tmp_path, changes, fix):
    with pytest.raises(UsageError) as error:
        run_loop("library", tmp_path / "run", settings(**changes))
    assert fix in error.value.fix
    assert not (tmp_path / "run").exists()


def test_an_unreachable_teacher_is_named_and_the_tasks_are_kept(tmp_path, monkeypatch):
    from selfchallenge import roles
    from selfchallenge.models.openai import OpenAIModel

    def load(spec, **_):
        if spec.startswith("openai:"):
            return OpenAIModel("big", "http://127.0.0.1:9/v1", retries=0)
        raise AssertionError(spec)

    monkeypatch.setattr(roles, "load_model", load)
    asked = settings(algorithm="distill", teacher_model="openai:big@http://127.0.0.1:9/v1")
    said = []
    watch = Silent()
    watch.say = said.append
    with open_loop("library", tmp_path, asked, watch=watch) as loop:
        assert any("openai:big@http://127.0.0.1:9/v1 does not answer" in text for text in said)
        loop.challenge()
        with pytest.raises(ModelError, match="cannot reach the server") as error:
            loop.roll_out()
    assert "start the server" in error.value.fix
    assert len(lines(tmp_path / "tasks.jsonl")) == 3
    assert not (tmp_path / "episodes.jsonl").exists()


@pytest.mark.parametrize("algorithm", ["dpo", "grpo", "ppo"])
def test_every_algorithm_goes_through_the_whole_loop(tmp_path, algorithm):
    asked = settings(algorithm=algorithm, model="scripted:half", rollouts=4)
    summary = run_loop("library", tmp_path, asked)
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    assert summary["algorithm"] == algorithm
    assert summary["after"]["n"] == summary["before"]["n"] > 0
    assert trained["samples"] > 0
    assert trained["steps"]
    keys = [f"{e['phase']}/{e['task']}/{e['attempt']}" for e in lines(tmp_path / "episodes.jsonl")]
    assert len(keys) == len(set(keys)) >= trained["samples"]


def test_an_online_training_that_was_killed_repeats_no_attempt(tmp_path):
    asked = settings(algorithm="ppo", model="scripted:half")
    with open_loop("library", tmp_path, asked) as loop:
        loop.challenge()
        made = loop._learning._attempts

        def few(model, owed, tick):
            for number, episode in enumerate(made(model, owed, tick)):
                yield episode
                if number == 4:
                    raise KeyboardInterrupt

        loop._learning._attempts = few
        with pytest.raises(KeyboardInterrupt):
            loop.train()
    first = lines(tmp_path / "episodes.jsonl")
    with open_loop("library", tmp_path, asked) as loop:
        loop.train()
    episodes = lines(tmp_path / "episodes.jsonl")
    assert episodes[: len(first)] == first
    assert len(episodes) == 2 * 3 * 4
    assert len({(e["task"], e["attempt"]) for e in episodes}) == len(episodes)


@pytest.mark.parametrize(
    "spoilt",
    [{"stop": "sandbox"}, {"meta": {"engine": "trl"}}, {"meta": {"user_fault": "left"}}],
    ids=["sandbox", "engine", "user"],
)
def test_attempts_that_are_not_of_this_policy_are_made_again(tmp_path, spoilt):
    asked = settings(algorithm="ppo", model="scripted:half", ppo={"iterations": 1})
    with open_loop("library", tmp_path, asked) as loop:
        loop.challenge()
        loop.train()
    shutil.rmtree(tmp_path / "model")
    whole = lines(tmp_path / "episodes.jsonl")
    (tmp_path / "episodes.jsonl").write_text(
        "".join(json.dumps(e | (spoilt if n % 2 else {})) + "\n" for n, e in enumerate(whole))
    )
    with open_loop("library", tmp_path, asked) as loop:
        loop.train()
    again = lines(tmp_path / "episodes.jsonl")[len(whole) :]
    assert {(e["task"], e["attempt"]) for e in again} == {
        (e["task"], e["attempt"]) for e in whole[1::2]
    }
    assert all(e["stop"] != "sandbox" and "engine" not in e["meta"] for e in again)


def test_attempts_that_do_not_differ_cannot_be_compared(tmp_path):
    with pytest.raises(UsageError, match="greedy") as error:
        run_loop("library", tmp_path / "run", settings(algorithm="grpo", temperature=0.0))
    assert "temperature" in error.value.fix


def test_online_algorithms_make_no_attempts_beforehand(tmp_path):
    with open_loop("library", tmp_path, settings(algorithm="grpo")) as loop:
        loop.challenge()
        loop.roll_out()
    assert not (tmp_path / "episodes.jsonl").exists()


# -- tasks that a user tells -----------------------------------------------------------------------


def test_a_user_tells_the_tasks_and_the_agent_never_reads_them(tmp_path):
    asked = settings(user_model="scripted:user", hinted=2, model="scripted:half", rollouts=4)
    summary = run_loop("retail", tmp_path, asked)
    tasks = {task["id"]: task["instruction"] for task in lines(tmp_path / "tasks.jsonl")}
    episodes = lines(tmp_path / "episodes.jsonl")
    assert len(episodes) == 4 * len(tasks)  # and none that sees its solution
    assert {episode["reward"] for episode in episodes} == {0.0, 1.0}
    for episode in episodes:
        assert episode["meta"]["user"] == "scripted:user"
        told = [turn for turn in episode["turns"] if turn["role"] == "user"]
        assert told[0]["content"] == portions(tasks[episode["task"]], PORTIONS)[0]
        assert not any(turn["logprobs"] for turn in told)
    assert summary["user"] == {"model": "scripted:user", "tokens": 0, "faults": 0}
    assert (summary["noop_floor"], summary["hinted"]) == (0.0, None)
    assert 0 < summary["before"]["pass@1"] < 1
    assert (tmp_path / "model" / "training.json").exists()


def deserter():
    """A user that leaves every other talk before it has said anything."""

    def reply(prompt):
        instruction = prompt.messages[0].content.split("\n\n")[1]
        heard = [m.content for m in prompt.messages if m.role == "user"]
        said = [m.content for m in prompt.messages if m.role == "assistant"]
        if not said and prompt.seed // 1000 % 2:
            return STOP
        return ScriptedUser().reply([Talk(instruction, said, heard)])[0]

    return reply


def test_what_the_user_spoilt_is_labelled_and_not_learnt_from(tmp_path):
    register_script("deserter", deserter)
    asked = settings(
        user_model="scripted:deserter",
        algorithm="distill",
        teacher_model="scripted:oracle",
        rollouts=6,
    )
    summary = run_loop("library", tmp_path, asked)
    episodes = lines(tmp_path / "episodes.jsonl")
    spoilt = [episode for episode in episodes if episode["reward"] == 0.0]
    assert 0 < len(spoilt) < len(episodes)
    assert all(episode["meta"]["user_fault"].startswith("left without") for episode in spoilt)
    assert summary["user"]["faults"] >= len(spoilt)
    assert summary["user"]["tokens"] > 0
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    assert trained["samples"] == len({e["task"] for e in episodes} - only_in(spoilt, episodes))


def only_in(spoilt, episodes):
    """Tasks of which every attempt was spoilt."""
    return {e["task"] for e in spoilt} - {e["task"] for e in episodes if e["reward"] == 1.0}


def test_the_user_stays_as_it_is_while_the_executor_learns(tmp_path, monkeypatch):
    from selfchallenge import roles
    from selfchallenge.models.scripted import ScriptedModel

    loaded = []

    def load(spec, batch, **_):
        loaded.append((spec, batch))
        return ScriptedModel(spec, lambda _: "")

    monkeypatch.setattr(roles, "load_model", load)
    asked = settings(model="folder", user_model="folder", batch=7)
    found = roles.Roles(asked, tmp_path, Silent())
    executor = found.executor([])
    found.ways()
    found.ways()
    assert found.executor([]) is executor
    assert loaded == [("folder", 7)] * 2
    found.close()


@pytest.mark.parametrize(
    ("algorithm", "stage"), [("rft", "roll_out"), ("rft", "train"), ("grpo", "train")]
)
def test_without_tasks_the_command_that_makes_them_is_named(tmp_path, algorithm, stage):
    with (
        open_loop("library", tmp_path, settings(algorithm=algorithm)) as loop,
        pytest.raises(StageError, match="no accepted tasks yet") as error,
    ):
        getattr(loop, stage)()
    assert error.value.fix == f"selfchallenge challenge ENV --out {tmp_path}"


@pytest.fixture(scope="module")
def attempted(tmp_path_factory):
    """A run with tasks and attempts."""
    folder = tmp_path_factory.mktemp("attempted")
    with open_loop("library", folder, settings()) as loop:
        loop.challenge()
        loop.roll_out()
    return folder


@pytest.fixture
def run(attempted, tmp_path):
    """A copy of it."""
    return shutil.copytree(attempted, tmp_path / "run")


def command(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["train", *map(str, arguments)])
    return end.value.code


def test_without_attempts_the_command_that_makes_them_is_named(run, capsys):
    (run / "episodes.jsonl").unlink()
    assert command(run) == 1
    said = capsys.readouterr().err
    assert "no attempts have been made in this run yet" in said
    assert f"selfchallenge rollout {run}" in said


def test_what_is_refused_changes_nothing(run, capsys):
    before = (run / "run.json").read_bytes()
    for refused, why in [
        (("--engine", "trl", "--set", "rft.keep=1"), "keep no policies"),
        (("--set", "grpo.kl=1"), "rft does not learn by grpo.kl"),
        (("--set", "rollouts=9"), "rollouts was used by earlier stages"),
        (("--set", "quality.hardest=0.9", "--set", "quality.easiest=0.2"), "no pass rate lies"),
    ]:
        assert command(run, *refused) == 2
        assert why in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == before


def test_an_empty_band_can_be_widened(run, capsys):
    assert command(run, "--set", "quality.hardest=0.999", "--set", "quality.easiest=0.9991") == 1
    said = capsys.readouterr().err
    assert "no task that was solved has a pass rate between 0.999 and 0.9991" in said
    assert "--set quality.hardest=RATE" in said
    assert command(run, "--set", "quality.hardest=0", "--set", "quality.easiest=1") == 0
    assert (run / "model").exists()


def test_after_a_training_that_diverged_another_learns_from_the_same_attempts(
    run, monkeypatch, capsys
):
    before = (run / "episodes.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("selfchallenge.learner.rft.backward", lambda *_: (float("nan"), 1))
        assert command(run) == 1
    said = capsys.readouterr().err
    assert "training diverged: loss nan" in said
    assert "selfchallenge train DIR --set rft.learning_rate" in said
    assert not (run / "model").exists()
    assert command(run, "--set", "rft.learning_rate=1e-5") == 0
    trained = json.loads((run / "model" / "training.json").read_text())
    assert trained["steps"][-1]["learning_rate"] <= 1e-5
    assert json.loads((run / "run.json").read_text())["settings"]["rft"]["learning_rate"] == 1e-5
    assert (run / "episodes.jsonl").read_bytes() == before
    capsys.readouterr()
    assert command(run, "--set", "rft.epochs=3") == 2
    assert "trained already" in capsys.readouterr().err


def test_what_earlier_stages_used_is_not_changed(run, capsys):
    before = (run / "run.json").read_bytes()
    assert command(run, "--set", "temperature=0.5") == 2
    assert "temperature was used by earlier stages" in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == before


def test_the_attempts_of_an_online_algorithm_belong_to_its_settings(tmp_path, capsys):
    with open_loop("library", tmp_path, settings(algorithm="grpo")) as loop:
        loop.challenge()
    assert command(tmp_path, "--set", "grpo.kl=0.1") == 2
    assert "made by the policy of other settings" in capsys.readouterr().err


class Fast:
    """The tiny model that stands for a scripted executor, with a tokenizer that TRL takes."""

    def __init__(self):
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from transformers import PreTrainedTokenizerFast

        tiny = tiny_model()
        self.name, self.module, self.forget = tiny.name, tiny.module, tiny.forget
        words = {f"b{i}": i for i in range(len(tiny.tokenizer))}
        core = Tokenizer(WordLevel(words, unk_token="b0"))
        end = f"b{len(words) - 1}"
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=core, eos_token=end, pad_token=end, unk_token="b0"
        )


def test_the_steps_can_be_those_of_trl(tmp_path, monkeypatch):
    pytest.importorskip("trl", reason="TRL is not installed")
    monkeypatch.setattr("selfchallenge.learner.tiny.tiny_model", Fast)
    asked = settings(tasks=1)
    with open_loop("library", tmp_path, asked, means=Means(engine="trl")) as loop:
        loop.challenge()
        loop.roll_out()
        loop.train()
    trained = json.loads((tmp_path / "model" / "training.json").read_text())
    assert trained["samples"] > 0
    assert all(step["norm"] > 0 for step in trained["steps"])
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "model.partial").exists()


@pytest.mark.parametrize("engine", ["own", "trl"])
@pytest.mark.parametrize(
    ("algorithm", "learns"),
    [("rft", "rft.train_rft"), ("dpo", "dpo.train_dpo"), ("grpo", "grpo.train_grpo")],
)
def test_every_algorithm_is_told_the_engine(run, monkeypatch, algorithm, learns, engine):
    seen = []

    def stop(*_, engine, **__):
        seen.append(engine)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"selfchallenge.learner.{learns}", stop)
    begun = json.loads((run / "run.json").read_text())
    begun["settings"]["algorithm"] = algorithm
    (run / "run.json").write_text(json.dumps(begun))
    assert command(run, "--engine", engine) == 130
    assert seen == [engine]


def test_trl_does_not_train_what_has_no_tokenizer(run, capsys):
    pytest.importorskip("trl", reason="TRL is not installed")
    assert command(run, "--engine", "trl") == 1
    assert "--engine own" in capsys.readouterr().err


def test_flags_say_by_what_means_to_train():
    assert means_of(Engine.own, None) == Means()
    assert means_of(Engine.trl, "tensorboard, wandb,") == Means("trl", ("tensorboard", "wandb"))
