import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfchallenge import cli, manifest, pipeline
from selfchallenge.cli.options import resolve
from selfchallenge.environments.loading import BUILTIN, load_environment
from selfchallenge.errors import StageError, UsageError
from selfchallenge.manifest import RunSettings
from selfchallenge.runs.store import RunDirectory
from selfchallenge.task import CodeAsTask

TASK = CodeAsTask(
    environment="Starter",
    seed="ada",
    instruction="Cancel order #1, it was ordered by mistake.",
    verifier="def evaluate():\n    order = get_order('#1')\n"
    "    return (order['status'], order.get('reason')) == ('cancelled', 'mistake')",
    solution="cancel_order('#1', 'mistake')",
    failures=("cancel_order('#3', 'mistake')", "get_order('#1')", "answer = 'cancelled'"),
)


@pytest.fixture
def command(capsys):
    """Run a command; its exit code, output and errors."""

    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def failing(monkeypatch):
    """Let `env list` fail with this."""

    def fail(error: BaseException) -> None:
        def raising() -> None:
            raise error

        monkeypatch.setattr("selfchallenge.environments.describe.list_environments", raising)

    return fail


# -- errors and exit codes


def test_an_error_says_what_where_and_what_next(command, failing):
    failing(StageError("no task", where="runs/x", fix="try again"))
    assert command("env", "list") == (
        1, "", "error: no task\n  where: runs/x\n  next: try again\n",
    )  # fmt: skip


def test_lines_without_a_text_are_left_out(command, failing):
    failing(StageError("no task"))
    assert command("env", "list") == (1, "", "error: no task\n")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(command, failing, place):
    failing(StageError("no task"))
    arguments = ["env", "list"]
    arguments.insert(place, "--debug")
    code, _, shown = command(*arguments)
    assert code == 1
    assert shown.startswith("Traceback")
    assert shown.endswith("error: no task\n")


def test_any_other_exception_is_owned_up_to(command, failing):
    failing(RuntimeError("list is empty"))
    code, _, shown = command("env", "list")
    assert code == 1
    assert "RuntimeError: list is empty (this is a bug of selfchallenge)" in shown
    assert "--debug" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["run"],
        ["run", "library", "--bogus"],
        ["check", "tasks.jsonl"],
        ["eval", "library", "--trials", "0"],
        ["env", "show", "nowhere"],
        ["env", "show", "nowhere.py:Shop"],
        ["env", "new", "two words"],
        ["check", "absent.jsonl", "--env", "library"],
        ["report", "absent"],
        ["rollout", "absent"],
        ["run", "library", "--preset", "lap"],
        ["run", "library", "--config", "absent.toml"],
        ["run", "library", "--min-isolation", "X"],
        ["run", "library", "--algorithm", "sft"],
        ["run", "library", "--algorithm", "distill"],
        ["run", "library", "--teacher-model", "scripted:half"],
        ["run", "library", "--only-success"],
        ["run", "library", "--algorithm", "grpo", "--set", "temperature=0.0"],
        ["run", "library", "--set", "grpo.loss=sum"],
        ["run", "library", "--rounds", "0"],
        ["run", "library", "--rounds", "2", "--challenger", "newest"],
        ["run", "library", "--gate", "strict"],
        ["run", "library", "--actions", "json"],
        ["run", "library", "--set", "rft.epoch=3"],
        ["run", "library", "--set", "rft"],
        ["run", "library", "--set", "tasks=abc"],
        ["run", "library", "--preset", "smoke", "--set", "temperature=nan"],
        ["run", "library", "--preset", "smoke", "--set", "min_isolation=Z"],
        ["challenge", "library", "--preset", "smoke", "--set", "write.failures=1"],
        ["eval", "library", "--set", "batch=0"],
        ["run", "mcp:server"],
        ["eval", "library", "--tasks", "tau-bench"],
        ["audit", "runs/x"],
        ["export", "runs/x", "--to", "trl"],
    ],
)
def test_wrong_usage_is_exit_code_2(command, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, shown = command(*arguments)
    assert code == 2
    assert not out
    assert shown
    assert "Traceback" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["env", "show", "nowhere"],
            "no environment is called 'nowhere'\n  next: give a built-in name (",
        ),
        (
            ["eval", "library", "--model", "nowhere"],
            "no model is called 'nowhere', and there is no such folder\n  next: use one of:",
        ),
        (
            ["eval", "library", "--model", "scripted:nobody"],
            "no script is called 'nobody'\n  where: scripted:nobody\n  next: use one of ",
        ),
        (
            ["run", "library", "--preset", "lap"],
            "there is no preset 'lap'\n  next: use one of laptop, paper, smoke, or --config",
        ),
        (
            ["run", "library", "--set", "rft.epoch=3"],
            "there is no setting rft.epoch\n  where: --set\n  next: did you mean rft.epochs?\n",
        ),
        (
            ["check", "absent.jsonl", "--env", "library"],
            "",
        ),
    ],
)
def test_errors_of_usage_say_where_and_what_next(command, arguments, error):
    code, _, shown = command(*arguments)
    assert code == 2
    assert shown.removeprefix("error: ").startswith(error)
    assert "\n  next: " in shown


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("import selfchallenge\nimport no_such_module\n", "ModuleNotFoundError", 2),
        ("\n\nprices = {}['lamp']\n", "KeyError: 'lamp'", 3),
        ("def broken(:\n", "SyntaxError", 1),
        ("raise SystemExit(0)\n", "SystemExit", 1),
    ],
)
def test_a_file_that_fails_to_import_is_shown_with_its_line(command, tmp_path, text, what, line):
    file = tmp_path / "shop.py"
    file.write_text(text)
    code, _, shown = command("env", "show", f"{file}:Shop")
    assert code == 1
    assert f"cannot be imported: {what}" in shown
    assert f"where: {file}, line {line}\n" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["audit", "runs/x"], "selfchallenge report runs/x"),
        (["export", "runs/x", "--to", "trl"], "runs/x/tasks.jsonl"),
    ],
)
def test_what_is_not_built_says_so_and_what_to_use(command, arguments, instead):
    _, _, shown = command(*arguments)
    assert "yet" in shown
    assert instead in shown


def test_interrupted_by_the_keyboard(command, monkeypatch, tmp_path):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run_loop", interrupted)
    code, _, shown = command("run", "library", "--out", str(tmp_path / "run"))
    assert code == 130
    assert shown.endswith("interrupted; the same command goes on where it was\n")


def test_a_signal_from_the_keyboard_in_a_real_process():
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "from selfchallenge import cli, pipeline\n"
        "def slow(*_, **__): print('started', flush=True); time.sleep(60)\n"
        "pipeline.run_loop = slow\n"
        "cli.main(['run', 'library'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate()
    assert process.returncode == 130
    assert "goes on where it was" in shown
    assert "Traceback" not in shown


# -- from flags to settings


@pytest.fixture
def asked(monkeypatch):
    """What `run` asks the pipeline for."""
    calls = []

    def run_loop(environment, out, settings, *, data, watch, means):
        del watch, means
        calls.append((environment, out, settings, data))
        return {}

    monkeypatch.setattr(pipeline, "run_loop", run_loop)
    return calls


def test_run_without_flags_is_the_laptop_preset(command, asked):
    code, _, _ = command("run", "library")
    environment, out, settings, data = asked[0]
    assert code == 0
    assert (environment, out, data) == ("library", Path("runs/library"), None)
    assert settings.model == "default"
    assert settings == resolve("laptop")


def test_run_as_json_prints_the_summary_and_nothing_else(command, asked):
    code, out, _ = command("run", "library", "--json")
    assert (code, json.loads(out)) == (0, {})


def test_flags_go_over_set_and_set_over_the_file(command, asked, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('model = "a/b"\nseed = 1\ntasks = 7\n[rft]\nepochs = 5\nrank = 4\n')
    command(
        "run", "shop.py:Shop", "--config", str(config), "--min-isolation", "A",
        "--set", "rft.epochs=3", "--set", "seed=2", "--seed", "3", "--writer", "paper",
        "--actions", "code", "--allow-unsafe",
        "--challenger-model", "openai:x@http://localhost:1/v1",
    )  # fmt: skip
    _, out, settings, _ = asked[0]
    assert out == Path("runs/Shop")
    assert (settings.model, settings.tasks, settings.seed) == ("a/b", 7, 3)
    assert (settings.rft.epochs, settings.rft.rank) == (3, 4)
    assert (settings.writer, settings.allow_unsafe) == ("paper", True)
    assert settings.min_isolation == "A"
    assert settings.rollouts == resolve("laptop").rollouts
    assert settings.challenger_model == "openai:x@http://localhost:1/v1"


def test_unsafe_is_never_the_default(command, asked):
    command("run", "library")
    assert asked[0][2].allow_unsafe is False


def test_a_run_is_not_gone_on_with_at_a_weaker_level(tmp_path):
    world = load_environment("library")
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        manifest.agree(run, "library", world, resolve("smoke"), "B")
        manifest.agree(run, "library", world, resolve("smoke"), "A")
        with pytest.raises(UsageError, match="level B and only C holds"):
            manifest.agree(run, "library", world, resolve("smoke"), "C")


@pytest.mark.parametrize(("verb", "stage"), [("rollout", "roll_out"), ("train", "train")])
def test_a_stage_goes_on_with_the_settings_of_its_run(command, monkeypatch, tmp_path, verb, stage):
    begun = resolve("smoke", assign=["rft.epochs=3"])
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        manifest.agree(run, "library", load_environment("library"), begun, "A")
    calls = []

    @contextmanager
    def open_loop(environment, out, settings, *, data, watch, means):
        del watch, means
        calls.append((environment, out, settings, data))
        yield type("Loop", (), {stage: lambda _: calls.append(stage)})()

    monkeypatch.setattr(pipeline, "open_loop", open_loop)
    code, _, _ = command(verb, str(tmp_path / "run"))
    assert code == 0
    assert calls == [("library", tmp_path / "run", begun, None), stage]


# -- the reading commands


def test_env_list(command):
    code, out, _ = command("env", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(BUILTIN)
    _, out, _ = command("env", "list", "--json")
    assert {entry["name"] for entry in json.loads(out)} == set(BUILTIN)


def test_env_show(command):
    code, out, _ = command("env", "show", "library")
    assert code == 0
    assert "renew_loan(book_id: str) -> dict[str, Any]  (changes the state)" in out
    assert "32 seeds, 12 held-out tasks" in out
    _, out, _ = command("env", "show", "library", "--json")
    shown = json.loads(out)
    tool = next(tool for tool in shown["tools"] if tool["name"] == "lend_book")
    assert tool["parameters"]["required"] == ["book_id", "member_id"]
    assert (tool["mutates"], shown["seeds"], shown["held_out_tasks"]) == (True, 32, 12)


def test_env_new_can_be_shown_and_checked(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("env", "new", "my_shop")
    assert code == 0
    assert "my_shop.py:MyShop" in out
    assert "class MyShop(Environment)" in Path("my_shop.py").read_text()
    assert "Starter" not in Path("my_shop.py").read_text()
    code, out, _ = command("env", "show", "my_shop.py:MyShop")
    assert "cancel_order(order_id: str, reason: 'mistake' | 'late')" in out
    lines = [TASK.model_copy(update={"environment": "MyShop", "id": ""}).model_dump_json()]
    Path("tasks.jsonl").write_text("\n".join(lines))
    code, out, _ = command("check", "tasks.jsonl", "--env", "my_shop.py:MyShop")
    assert code == 0
    assert "1 of 1 accepted (gate full, isolation " in out


def test_env_new_overwrites_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("kept")
    code, _, shown = command("env", "new", "mine")
    assert code == 2
    assert "mine.py is there already" in shown
    assert Path("mine.py").read_text() == "kept"


STARTER = "selfchallenge.environments.starter:Starter"


@pytest.fixture
def tasks(tmp_path):
    """A file with a good task, one that its verifier refuses, and two that are no tasks."""
    wrong = {**json.loads(TASK.model_dump_json(exclude={"id"})), "solution": "get_order('#1')"}
    file = tmp_path / "tasks.jsonl"
    file.write_text(
        "\n".join([TASK.model_dump_json(), json.dumps(wrong), "{", '{"environment": "Starter"}'])
    )
    return str(file)


def test_check_says_one_line_for_every_task(command, tasks):
    code, out, _ = command("check", tasks, "--env", STARTER)
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[1] for line in lines[:-1]] == ["kept:", *["dropped:"] * 3]
    assert lines[2].startswith("line-3 ")
    assert "instruction" in lines[3]
    assert lines[-1].startswith("1 of 4 accepted (gate full, isolation ")


def test_check_as_json_is_one_object_for_every_task(command, tasks):
    code, out, _ = command("check", tasks, "--env", STARTER, "--gate", "paper", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [verdict["accepted"] for verdict in found] == [True, False, False, False]
    assert found[0]["id"] == TASK.id
    assert all(set(verdict) == {"id", "accepted", "isolation", "checks"} for verdict in found)
    checks = [check for verdict in found for check in verdict["checks"]]
    assert all(set(check) == {"name", "passed", "evidence"} for check in checks)


@pytest.fixture
def one(tmp_path):
    """A file with one good task."""
    file = tmp_path / "one.jsonl"
    file.write_text(TASK.model_dump_json())
    return str(file)


@pytest.mark.parametrize("user", [None, "scripted:user"])
def test_eval_measures_and_tells_the_floor(command, one, user):
    flags = ("--tasks", one, "--preset", "smoke", "--trials", "2")
    flags += () if user is None else ("--user-model", user)
    code, out, _ = command("eval", STARTER, *flags, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["pass@1"], found["n"], found["noop_floor"]) == (1.0, 1, 0.0)
    assert (found["grounded"]["pass@1"], found["attempts"]) == (1.0, 2)
    assert (found["tasks"], found["model"]) == (one, "scripted:oracle")
    assert found["measured"].get("user") == user


def test_eval_on_held_out_tasks(command, monkeypatch):
    monkeypatch.setattr("selfchallenge.evaluation.benchmarks.measure", lambda _, tasks, *a, **k: {
        "environment": a[0].__name__, "n": len(tasks.pairs), "attempts": a[2].trials,
        "tasks": k["label"],
    })  # fmt: skip
    for flags in (["--trials", "3"], ["--set", "trials=3"], ["--set", "trials=2", "--trials", "3"]):
        code, out, _ = command("eval", "library", *flags, "--json")
        assert code == 0
        assert json.loads(out) == {
            "environment": "Library", "n": 12, "attempts": 3, "tasks": "held-out",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "taubench"], "use held-out, m3tooleval, tau-bench, tau2, or a file"),
        (["--tasks", "tau-bench", "--set", "agent.max_steps=3"], "use --steps N"),
        (["--tasks", "tau-bench", "--set", "agent.policy=false"], "or --no-policy"),
        (["--tasks", "tau-bench", "--set", "agent.max_tokens=3"], "use --tokens N"),
    ],
)
def test_eval_says_what_to_write_instead(command, arguments, said):
    code, _, shown = command("eval", "retail", *arguments)
    assert code == 2
    assert said in shown


def test_eval_keeps_attempts_and_score_in_a_folder_once(command, one, tmp_path):
    flags = ("--tasks", one, "--preset", "smoke", "--out", str(tmp_path / "kept"))
    _, out, _ = command("eval", STARTER, *flags, "--json")
    attempts = (tmp_path / "kept" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in attempts] == ["noop", "eval"]
    found = json.loads((tmp_path / "kept" / "score.json").read_text())
    assert found == json.loads(out)
    code, _, shown = command("eval", STARTER, *flags, "--seed", "9")
    assert code == 2
    assert "holds a measurement with seed = " in shown


def test_flags_of_a_benchmark_are_refused_where_they_mean_nothing(command, one):
    code, _, shown = command("eval", STARTER, "--tasks", one, "--steps", "1", "--checker", "fair")
    assert code == 2
    assert "flags of a benchmark" in shown
    assert "agent.max_steps" in shown


@pytest.mark.parametrize(("kept", "again"), [(True, "; the same command goes on"), (False, "")])
def test_an_interrupted_measurement_says_whether_it_goes_on(
    command, one, tmp_path, monkeypatch, kept, again
):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfchallenge.evaluation.benchmarks.measure", interrupted)
    flags = ("--out", str(tmp_path / "kept")) if kept else ()
    _, _, shown = command("eval", STARTER, "--tasks", one, *flags)
    assert f"interrupted{again}" in shown
    assert ("goes on" in shown) is kept


def test_eval_as_text(command, one):
    code, out, _ = command("eval", STARTER, "--tasks", one, "--model", "scripted:silent")
    assert code == 0
    assert out.startswith("Pass@1 0.0% (95 % interval 0.0% to ")
    assert "doing nothing 0.0%" in out


def test_eval_stops_at_a_malformed_task(command, tasks):
    code, _, shown = command("eval", STARTER, "--tasks", tasks, "--model", "scripted:silent")
    assert code == 1
    assert "line 3" in shown


def test_eval_without_tasks_says_what_to_give(command):
    code, _, shown = command("eval", STARTER, "--model", "scripted:silent")
    assert code == 2
    assert "--tasks FILE" in shown


def test_report_writes_the_page_and_prints_the_summary(command, tmp_path):
    with RunDirectory.open(tmp_path, create=True) as run:
        world = load_environment("library")
        manifest.agree(run, "library", world, RunSettings(model="scripted:oracle"), "A")
    code, out, _ = command("report", str(tmp_path))
    assert code == 0
    assert Path(out.strip()) == tmp_path / "report.html"
    assert (tmp_path / "report.html").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["environment"] == "library"
    _, out, _ = command("report", str(tmp_path), "--json")
    assert json.loads(out) == summary


def test_report_of_a_run_whose_environment_is_gone(command, tmp_path):
    with RunDirectory.open(tmp_path, create=True) as run:
        world = load_environment("library")
        manifest.agree(run, "gone.py:Shop", world, RunSettings(), "A")
    code, _, shown = command("report", str(tmp_path))
    assert code == 0
    assert "held-out tasks are shown without their text" in shown
    assert (tmp_path / "report.html").exists()


def test_doctor(command, monkeypatch, tmp_path):
    monkeypatch.setenv("SELFCHALLENGE_CACHE", str(tmp_path))
    code, out, _ = command("doctor")
    assert code == 0
    assert "isolation: level " in out
    assert "  default: absent" in out
    _, out, _ = command("doctor", "--json")
    found = json.loads(out)
    assert found["isolation"]["level"] in "ABCDX"
    assert {layer["name"] for layer in found["isolation"]["layers"]} >= {"landlock", "seccomp"}
    assert found["packages"]["typer"]
    assert found["weights"] == {
        "cache": str(tmp_path),
        "models": {"default": "absent", "default-1.5b": "absent"},
    }


def test_doctor_names_the_command_for_a_missing_extra(command, monkeypatch):
    declared = ["pydantic>=2", 'torch==2 ; extra == "train"', 'no-such-package ; extra == "ui"']
    monkeypatch.setattr("selfchallenge.doctor.requires", lambda _: declared)
    _, out, _ = command("doctor")
    assert 'extra ui: no-such-package missing\n  next: pip install "selfchallenge[ui]"' in out


# -- eval and report


def test_eval_keeps_a_result_and_report_compares_it(command, tmp_path):
    told, alone = str(tmp_path / "told"), str(tmp_path / "alone")
    given = ("eval", "library", "--preset", "smoke", "--model")
    flags = ("--user-model", "scripted:user", "--out", told)
    assert command(*given, "scripted:silent", *flags)[0] == 0
    flags = ("--compare", told, "--out", alone, "--json")
    code, said, _ = command(*given, "scripted:oracle", *flags)
    found = json.loads(said)
    assert (code, found["pass@1"], found["paired"]["lost"]) == (0, 1.0, 0)
    code, said, _ = command("report", told, alone)
    assert code == 0
    assert "| user | scripted:user |  |" in said
    code, said, _ = command("report", told, alone, "--json")
    assert [entry["model"] for entry in json.loads(said)] == ["scripted:silent", "scripted:oracle"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tasks", "m3tooleval"), "need its data"),
        (("--tasks", "tau-bench", "--checker", "kind"), "checker must be one of"),
        (("--tasks", "tau-bench", "--actions", "text"), "actions must be one of"),
        (("--tasks", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_eval_says_what_does_not_fit(command, flags, said):
    code, _, error = command("eval", "retail", "--model", "scripted:silent", *flags)
    assert code == 2
    assert re.search(said, error)


def test_the_flags_of_learning_reach_the_run(command, tmp_path, monkeypatch):
    seen = []

    def remember(environment, out, settings, **_):
        seen.append((out, settings))
        return {}

    # In this order: the rounds take the loop's function from the pipeline when they are imported.
    monkeypatch.setattr("selfchallenge.rounds.run_loop", remember)
    monkeypatch.setattr("selfchallenge.pipeline.run_loop", remember)
    taught = ["--algorithm", "distill", "--teacher-model", "scripted:half", "--only-success"]
    taught += ["--user-model", "scripted:user"]
    given = ["run", "library", "--out", str(tmp_path / "x"), "--json"]
    assert command(*given, *taught)[:2] == (0, "{}\n")
    (_, settings) = seen.pop()
    assert (settings.algorithm, settings.teacher_model) == ("distill", "scripted:half")
    assert settings.rft.only_success
    assert settings.user_model == "scripted:user"

    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert command(*given, "--model", "mine")[:2] == (0, "{}\n")
    assert seen.pop()[1].model == str(tmp_path / "mine")

    assert command(*given, "--rounds", "2", "--challenger", "latest")[:2] == (0, "{}\n{}\n")
    (first, _), (second, later) = seen
    assert (first.name, second.name) == ("round-1", "round-2")
    assert later.model == later.challenger_model == str(first / "model")


def test_a_served_model_is_not_trained_and_that_is_said_first(command, tmp_path):
    asked = ["run", "library", "--out", str(tmp_path / "x")]
    for rounds in ("1", "2"):
        code, _, error = command(*asked, "--model", "openai:big@http://x/v1", "--rounds", rounds)
        assert code == 2
        assert "cannot be trained here" in error
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("vain", [("--gate", "full"), ("--set", "hinted=3")])
def test_what_tasks_without_code_cannot_have_is_refused(command, tmp_path, vain):
    asked = ["run", "library", "--out", str(tmp_path / "x"), "--writer", "pae", *vain]
    code, _, error = command(*asked)
    assert code == 2
    assert "pae hold no code" in error


def test_one_round_has_no_later_model_to_write_tasks(command, tmp_path):
    asked = ["run", "library", "--out", str(tmp_path / "x"), "--challenger", "latest"]
    code, _, error = command(*asked)
    assert code == 2
    assert "--rounds" in error
    assert not (tmp_path / "x").exists()


# -- reproduce


def test_a_plan_is_told_in_words_and_as_json(command, tmp_path):
    arguments = (
        "reproduce",
        "table3",
        "--scale",
        "tiny",
        "--dry-run",
        "--out",
        str(tmp_path / "x"),
    )
    code, text, _ = command(*arguments)
    assert code == 0
    assert "| SCA, library, seed 0 | owed | train after |" in text
    code, told, _ = command(*arguments, "--json")
    assert code == 0
    assert json.loads(told)["cells"][0]["state"] == "owed"
    assert not (tmp_path / "x").exists()


def test_an_unknown_experiment_is_wrong_usage(command):
    code, _, errors = command("reproduce", "table9", "--dry-run")
    assert code == 2
    assert "use one of calculation, figure3" in errors
