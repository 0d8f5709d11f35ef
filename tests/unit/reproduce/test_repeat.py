"""An experiment end to end on scripted models: run, stopped, resumed, told and drawn."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from selfchallenge.errors import (
    MissingExtraError,
    ModelError,
    SpoiltError,
    StageError,
    UsageError,
)
from selfchallenge.evaluation.metrics import proportion_interval
from selfchallenge.progress import Silent
from selfchallenge.reproduce import cells as running
from selfchallenge.reproduce import plots, result
from selfchallenge.reproduce.cells import (
    kept_policies,
    run_cells,
    state_of,
    tasks_attempted,
)
from selfchallenge.reproduce.experiment import Experiment, read_experiment, read_scale
from selfchallenge.reproduce.plan import Asked, plan
from selfchallenge.reproduce.plots import draw
from selfchallenge.reproduce.repeat import repeat
from selfchallenge.reproduce.result import rows
from selfchallenge.reproduce.tell import conditions, result_text
from selfchallenge.task import CodeAsTask

pytest.importorskip("torch")
sys.path.append(str(Path(__file__).parents[1] / "models"))
from tiny_model import save_tiny

pytestmark = pytest.mark.timeout(900)  # an experiment is many runs

NAME = "table3"
BENCHMARKS = Path(__file__).parents[4] / "shared/benchmarks"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The filter ablation at its tiniest, run to the end."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, repeat(NAME, "tiny", Asked(out), Silent())


def played(name, **roles):
    """A scale whose roles others play."""
    scale = read_scale(name)
    return scale.model_copy(update={"names": {**scale.names, **roles}})


def by_arm(found):
    return {row["arm"]: row for row in found["rows"]}


def test_every_arm_is_run_and_measured(whole):
    _, found = whole
    arms = by_arm(found)
    assert list(arms) == ["zero-shot", "PAE", "no filter", "SCA"]
    assert {row["state"] for row in arms.values()} == {"done"}
    for row in arms.values():
        low, high = row["measures"]["pass@1"]["ci95"]
        assert low <= row["measures"]["pass@1"]["value"] <= high
    for name, row in arms.items():
        assert {*row["paired"]} == {"zero-shot", "SCA"} - {name}
        assert fmean(row["rates"].values()) == pytest.approx(
            row["measures"]["pass@1"]["value"], abs=1e-4
        )
    there, back = arms["SCA"]["paired"]["zero-shot"], arms["zero-shot"]["paired"]["SCA"]
    assert (there["gained"], there["lost"]) == (back["lost"], back["gained"])


def test_the_table_is_written_in_words_and_in_json(whole):
    out, found = whole
    assert json.loads((out / "table3.json").read_text()) == found
    text = (out / "table3.md").read_text()
    assert found["title"] in text
    assert "paper's pass@1" in text
    assert "the scores mean nothing" in text
    assert "our held-out tasks" in text
    assert not (out / "table3.svg").exists()


def test_a_finished_experiment_repeats_nothing(whole, monkeypatch):
    out, found = whole

    def never(*_, **__):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(running, "open_loop", never)
    assert repeat(NAME, "tiny", Asked(out), Silent()) == found


def test_less_memory_repeats_no_finished_cell(whole, monkeypatch):
    out, found = whole
    monkeypatch.setattr(running, "open_loop", None)
    less = Asked(out, changes={"batch": 3, "rft": {"micro_tokens": 700}})
    again = repeat(NAME, "tiny", less, Silent())
    assert again["rows"] == found["rows"]
    assert again["changes"] == {"batch": "3", "rft.micro_tokens": "700"}


def test_other_settings_are_refused_where_cells_were_run(whole):
    out, _ = whole
    with pytest.raises(UsageError, match="was run with rollouts = 4, not 9"):
        repeat(NAME, "tiny", Asked(out, changes={"rollouts": 9}), Silent())


def test_other_settings_of_an_arm_that_is_not_run_are_refused_before_anything_is(
    whole, monkeypatch
):
    out, _ = whole
    monkeypatch.setattr("selfchallenge.reproduce.repeat.run_cells", pytest.fail)
    asked = Asked(out, seeds=2, changes={"rollouts": 9}, arms=("SCA",))
    with pytest.raises(UsageError, match="was run with rollouts = 4, not 9"):
        repeat(NAME, "tiny", asked, Silent())


def test_a_result_says_what_was_changed_and_what_was_learnt_from(whole, tmp_path):
    _, found = whole
    learnt = {row["arm"]: row["learnt_from"] for row in found["rows"]}
    assert learnt["zero-shot"] is None
    assert learnt["SCA"]["attempts"] == 4 * learnt["SCA"]["tasks"] > 0
    assert found["changes"] == {}
    text = result_text(read_experiment(NAME), "", found["rows"])
    assert f"{learnt['SCA']['attempts']:.0f} attempts at {learnt['SCA']['tasks']:.0f} tasks" in text
    changes = {"temperature": 0.9, "rft": {"rank": 2}, "writer": "paper"}
    said = conditions("tiny", read_scale("tiny"), Asked(tmp_path, changes=changes), [])
    assert "With --set temperature=0.9 --set rft.rank=2 --set writer=paper." in said


def test_shared_tasks_and_attempts_are_made_once(whole):
    out, _ = whole
    folders = {path.parent.parent.name for path in (out / "cells").rglob("episodes.jsonl")}
    assert folders == {"own-attempts-pae", "own-attempts-sca", "own-attempts-no-filter"}


def test_a_stopped_experiment_goes_on_where_it_was(tmp_path, monkeypatch):
    asked, made = Asked(tmp_path), []
    original = running._go_through

    def stopping(loop, stage):
        made.append(stage)
        if len(made) == 3:
            raise ModelError("the server is gone")
        original(loop, stage)

    monkeypatch.setattr(running, "_go_through", stopping)
    with pytest.raises(ModelError):
        repeat("table2", "tiny", asked, Silent())
    cells = plan(read_experiment("table2"), "tiny", read_scale("tiny"), asked)
    assert [state_of(cell)[0] for cell in cells[:4]] == ["done", "done", "begun", "owed"]
    so_far = by_arm(json.loads((tmp_path / "table2.json").read_text()))
    assert (so_far["PAE"]["state"], so_far["the full gate"]["state"]) == ("done", "owed")
    found = repeat("table2", "tiny", asked, Silent())
    assert len(made) == len(cells) + 1
    shown = by_arm(found)
    assert shown["PAE"]["measures"]["yield"]["value"] == 1.0
    assert 0 < shown["the full gate"]["measures"]["yield"]["value"] <= 1.0
    assert shown["the full gate"]["paper"] == {}


def test_arms_that_are_not_asked_for_stay_owed(tmp_path):
    asked = Asked(tmp_path / "out", arms=("zero-shot",))
    arms = by_arm(repeat(NAME, "tiny", asked, Silent()))
    assert {name: row["state"] for name, row in arms.items()} == {
        "zero-shot": "done",
        "PAE": "owed",
        "no filter": "owed",
        "SCA": "owed",
    }


def test_an_empty_stage_is_a_result_and_the_others_go_on(tmp_path):
    # Nobody's silence is rewarded: PAE has nothing to learn from, the other arms have.
    silent = {"names": {"judge": "scripted:silent"}}
    asked = Asked(tmp_path, changes={**silent, "tasks": 3, "rollouts": 2})
    found = by_arm(repeat(NAME, "tiny", asked, Silent()))
    assert found["PAE"]["state"].startswith("failed: none of the")
    assert found["PAE"]["measures"] == {}
    assert found["SCA"]["state"] == "done"
    text = (tmp_path / "table3.md").read_text()
    assert "failed: none of the" in text


def test_what_builds_on_a_failure_is_left_out_and_says_so(tmp_path):
    asked = Asked(tmp_path, changes={"challenger_model": "scripted:silent"})
    found = by_arm(repeat(NAME, "tiny", asked, Silent()))
    assert "builds on own-attempts-sca" in found["SCA"]["state"]
    assert found["zero-shot"]["state"] == "done"
    cells = plan(read_experiment(NAME), "tiny", read_scale("tiny"), asked)
    (left,) = (cell for cell in cells if cell.arm == "SCA")
    assert state_of(left)[0] == "failed"
    # Once the cell that failed is tried again, those that build on it are owed, and run.
    (note,) = tmp_path.glob("cells/*/own-attempts-sca/*/cell.json")
    told = json.loads(note.read_text())
    assert told["failed"]
    assert told["fix"]
    assert json.loads((left.folder / "cell.json").read_text())["left_out"] == str(note.parent)
    note.unlink()
    assert state_of(left)[0] == "owed"
    note.write_text(json.dumps(told | {"failed": ""}))
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "_run", lambda cell, _: tried.append(cell.arm))
        run_cells(cells, Silent())
    assert "SCA" in tried
    assert "own attempts, SCA" not in tried


def test_the_paper_s_scale_asks_for_the_benchmarks(tmp_path):
    with pytest.raises(UsageError, match="benchmarks") as error:
        repeat("figure3", "paper", Asked(tmp_path), Silent())
    assert "data get m3tooleval" in error.value.fix
    assert not (tmp_path / "cells").exists()


def test_a_benchmark_s_data_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="the data of m3tooleval is not there"):
        repeat("figure3", "small", Asked(tmp_path / "out", data=tmp_path), Silent())
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks' data is not here")
@pytest.mark.parametrize(("environment", "tasks"), [("calculation", 48), ("airline", 30)])
def test_with_the_benchmarks_data_they_are_what_is_tested_on(tmp_path, environment, tasks):
    asked = Asked(tmp_path, seeds=1, changes={"trials": 1}, data=BENCHMARKS)
    experiment, scale = read_experiment("table1"), read_scale("small")
    scripts = {"model": "scripted:oracle", "challenger_model": "scripted:challenger"}
    cells = [
        replace(cell, settings=replace(cell.settings, **scripts))
        for cell in plan(experiment, "small", scale, asked)
    ]
    chosen = [c for c in cells if (c.arm, c.environment) == ("zero-shot", environment)]
    run_cells(chosen, Silent())
    (found,) = [
        one
        for one in rows(experiment, scale, asked, cells)
        if (one["arm"], one["environment"]) == ("zero-shot", environment)
    ]
    assert found["measures"]["pass@1"]["n"] == tasks
    assert found["measures"]["pass@1"]["value"] == 1.0
    assert not (chosen[0].folder / "scores.jsonl").exists()
    run_cells(chosen, Silent())


def test_a_gate_that_lets_nothing_through_has_a_yield_of_nothing(tmp_path, monkeypatch):
    original = running._go_through

    def nothing(loop, stage):
        if loop.settings.gate == "full":
            raise StageError("no candidate was accepted")
        original(loop, stage)

    monkeypatch.setattr(running, "_go_through", nothing)
    found = by_arm(repeat("table2", "tiny", Asked(tmp_path), Silent()))
    row = found["the full gate"]
    assert row["state"] == "failed: no candidate was accepted"
    assert row["measures"]["yield"]["value"] == 0.0
    assert found["verifier"]["measures"]["yield"]["value"] > 0


def test_the_policies_that_were_kept_are_points_of_a_curve(tmp_path):
    save_tiny(tmp_path / "model", max_position_embeddings=8192)
    changes = {
        "challenger_model": "scripted:challenger",
        "agent": {"max_tokens": 8, "max_steps": 1},
        "ppo": {"iterations": 3, "keep": 1, "tasks": 2, "group": 2, "max_length": 8192},
    }  # fmt: skip
    experiment = read_experiment("figure3")
    scale = played("tiny", student=str(tmp_path / "model"))
    asked = Asked(tmp_path / "out", changes=changes)
    cells = plan(experiment, "tiny", scale, asked)
    chosen = [cell for cell in cells if cell.arm in ("own attempts", "zero-shot", "PPO")]
    run_cells(chosen, Silent())
    found = {row["arm"]: row for row in rows(experiment, scale, asked, cells)}
    assert [point["rollouts"] for point in found["zero-shot"]["curve"]] == [0]
    assert [point["rollouts"] for point in found["PPO"]["curve"]] == [4, 8, 12]
    assert found["RFT"]["curve"] == []
    last = found["PPO"]["curve"][-1]
    assert last["value"] == found["PPO"]["measures"]["pass@1"]["value"]
    told = result_text(experiment, "", list(found.values()))
    assert re.search(r"\| PPO \| 8 \| \d", told)
    drawn = draw(experiment, "tiny", list(found.values()))
    assert f"PPO {last['value']:.1%}" in drawn
    run_cells(chosen, Silent())


def test_what_an_offline_training_kept_is_no_point_of_a_curve(tmp_path):
    save_tiny(tmp_path / "model", max_position_embeddings=8192)
    changes = {"agent": {"max_tokens": 8, "max_steps": 1}, "rft": {"keep": 1, "max_length": 8192}}
    experiment, scale = read_experiment("figure3"), read_scale("tiny")
    cells = plan(experiment, "tiny", scale, Asked(tmp_path / "out", changes=changes))
    (rft,) = (cell for cell in cells if cell.arm == "RFT")
    (rft.folder / "model.steps" / "1").mkdir(parents=True)
    trained = replace(rft, settings=replace(rft.settings, model=str(tmp_path / "model")))
    assert kept_policies(trained) == {}


def test_attempts_of_earlier_rounds_count_as_learnt_from(tmp_path):
    scale, asked = read_scale("tiny"), Asked(tmp_path)
    cells = plan(read_experiment("calculation"), "tiny", scale, asked)
    first, second = (c for c in cells if c.arm in ("first round", "RFT, two rounds"))
    for cell, made in ((first, 3), (second, 2)):
        cell.folder.mkdir(parents=True)
        settings = {"aimed_at": cell.settings.aimed_at}
        (cell.folder / "run.json").write_text(json.dumps({"format": 1, "settings": settings}))
        lines = [json.dumps({"task": f"{made}/{n // 2}", "attempt": n % 2}) for n in range(made)]
        (cell.folder / "episodes.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert (len(tasks_attempted(first)), len(tasks_attempted(second))) == (3, 5)
    assert running._learnt_from(second) == {"tasks": 3, "attempts": 5}


def test_a_seed_that_failed_is_named_and_the_others_count(tmp_path):
    asked = Asked(tmp_path, seeds=2)
    experiment, scale = read_experiment(NAME), read_scale("tiny")
    cells = plan(experiment, "tiny", scale, asked)
    zero = [cell for cell in cells if cell.arm == "zero-shot"]
    run_cells(zero[:1], Silent())
    row = rows(experiment, scale, asked, cells)[0]
    assert row["state"] == "owed in 1 of 2 seeds"
    assert row["state"] in result_text(experiment, "", [row])
    run_cells(zero, Silent())
    note = json.loads((zero[1].folder / "cell.json").read_text())
    (zero[1].folder / "cell.json").write_text(json.dumps(note | {"failed": "the loss is NaN"}))
    row = rows(experiment, scale, asked, cells)[0]
    assert row["state"] == "failed in 1 of 2 seeds: the loss is NaN"
    assert len(row["measures"]["pass@1"]["seeds"]) == 1
    assert row["state"] in result_text(experiment, "", [row])


# -- telling and drawing, without running anything


def figure(value, seeds=(), n=10, **more):
    ends = list(proportion_interval([value] * n)) if 0 < value < 1 else [0.0, 0.3]
    return {"value": value, "ci95": ends, "n": n, "seeds": list(seeds), **more}


def row(arm, **measures):
    return {
        "arm": arm, "environment": "calculation", "state": "done", "measures": measures,
        "paper": {"pass@1": 0.203}, "paired": {}, "learnt_from": {"tasks": 30.0, "attempts": 180.0},
        "sandbox_faults": 0,
    }  # fmt: skip


def test_a_row_holds_ours_the_paper_s_and_the_seeds():
    experiment = read_experiment("figure3")
    found = row("zero-shot", **{"pass@1": figure(0.25, (0.2, 0.3))})
    found["paired"] = {"RFT": {"difference": -0.05, "ci95": [-0.1, 0.01], "p_value": 0.1234}}
    text = result_text(experiment, "small", [found])
    assert "|  | -5.0 (-10.0 to +1.0; p = 0.12) |" in text
    assert re.search(
        r"\| zero-shot \| calculation \| 180 attempts at 30 tasks \| 25\.0 \(.*"
        r"seeds 20\.0, 30\.0 \| 20\.3 ",
        text,
    )


@pytest.mark.parametrize(
    "name", ["calculation", "figure3", "figure4", "figure5", "figure6", "figure7"]
)
def test_every_figure_is_drawn_also_before_anything_was_measured(name):
    experiment = read_experiment(name)
    drawn = [row(arm.name) for arm in experiment.arms if arm.shown]
    for found in (drawn, [one | {"measures": measured(i)} for i, one in enumerate(drawn)]):
        svg = draw(experiment, "small", found)
        assert svg.startswith("<svg")
        assert svg.count("<svg") == svg.count("</svg>") == 1
        assert "nan" not in svg


def measured(number):
    spread = {"1": 3, "4": number + 1}
    return {"pass@1": figure(0.1 * (number % 9)), "length": figure(0.5, spread=spread)}


def test_curves_say_what_each_arm_came_to_and_which_are_owed():
    experiment = read_experiment("calculation")
    point = {"rollouts": 150.0, **figure(0.2)}
    drawn = [
        row("PPO") | {"curve": [point, {"rollouts": 600.0, **figure(39 / 110)}]},
        row("GRPO") | {"state": "owed", "curve": []},
    ]
    svg = draw(experiment, "small", drawn)
    assert "PPO 35.5%" in svg
    assert "GRPO: owed" in svg
    assert svg == draw(experiment, "small", drawn)  # no date, no random names


def test_what_draws_a_figure_is_asked_for_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="matplotlib is not installed"):
        repeat("figure3", "tiny", Asked(tmp_path / "out"), Silent())
    assert not (tmp_path / "out").exists()


def test_hostile_names_are_escaped():
    experiment = read_experiment("figure3").model_copy(update={"title": "<script>"})
    assert isinstance(experiment, Experiment)
    assert "<script>" not in draw(experiment, "small", [row("<b>", **{"pass@1": figure(0.2)})])


def test_averages_over_other_environments_have_no_number_of_the_paper(tmp_path):
    experiment, scale = read_experiment("table4"), read_scale("tiny")
    asked = Asked(tmp_path)
    found = rows(experiment, scale, asked, plan(experiment, "tiny", scale, asked))
    averages = [one for one in found if one["environment"] == "average"]
    assert [one["paper"] for one in averages] == [{}] * 3


def test_averages_need_every_environment(tmp_path):
    experiment, scale = read_experiment("table1"), read_scale("small")
    asked = Asked(tmp_path)
    found = rows(experiment, scale, asked, plan(experiment, "small", scale, asked))
    averages = [one for one in found if one["environment"] == "average"]
    assert len(averages) == 6
    assert all(one["state"] == "owed" and one["measures"] == {} for one in averages)
    assert averages[0]["paper"] == {"pass@1": 0.12, "pass@4": 0.279}


def test_difficulty_is_the_lines_of_a_solution():
    from selfchallenge.reproduce.result import length

    task = CodeAsTask(
        environment="library", instruction="x", verifier="v",
        solution="a = 1\n\n# a note\nanswer = a\n", failures=("1", "2", "3"),
    )  # fmt: skip
    assert length(task) == 2


def test_a_cell_that_a_dead_sandbox_ended_is_made_again(tmp_path, monkeypatch):
    original = running._go_through

    def dead(loop, stage):
        raise SpoiltError("all 12 attempts were ended by the sandbox")

    monkeypatch.setattr(running, "_go_through", dead)
    with pytest.raises(SpoiltError, match="ended by the sandbox"):
        repeat("table2", "tiny", Asked(tmp_path), Silent())
    assert not list(tmp_path.rglob("cell.json"))
    monkeypatch.setattr(running, "_go_through", original)
    assert (
        by_arm(repeat("table2", "tiny", Asked(tmp_path), Silent()))["verifier"]["state"] == "done"
    )


def test_what_a_stage_advises_is_kept_with_why_it_failed(tmp_path, monkeypatch):
    def diverged(loop, stage):
        raise StageError("the loss is NaN", fix="a lower learning rate")

    monkeypatch.setattr(running, "_go_through", diverged)
    cells = plan(read_experiment("table2"), "tiny", read_scale("tiny"), Asked(tmp_path))
    told = Told()
    run_cells(cells[:1], told)
    note = json.loads((cells[0].folder / "cell.json").read_text())
    assert (note["failed"], note["fix"]) == ("the loss is NaN", "a lower learning rate")
    assert any("a lower learning rate" in line for line in told.said)


class Told(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_a_test_that_cannot_be_made_is_no_result_of_the_cell(tmp_path, monkeypatch):
    original = running._go_through

    def busy(loop, stage):
        if stage == "before":
            raise StageError("1 test tasks cannot be solved by their own solution")
        original(loop, stage)

    monkeypatch.setattr(running, "_go_through", busy)
    asked = Asked(tmp_path, arms=("zero-shot",))
    with pytest.raises(StageError, match="their own solution"):
        repeat(NAME, "tiny", asked, Silent())
    assert not list(tmp_path.rglob("cell.json"))
    monkeypatch.setattr(running, "_go_through", original)
    assert by_arm(repeat(NAME, "tiny", asked, Silent()))["zero-shot"]["state"] == "done"


def test_cells_that_were_tested_on_other_tasks_are_not_put_into_one_table(whole, monkeypatch):
    out, _ = whole
    asked = Asked(out)
    experiment, scale = read_experiment(NAME), read_scale("tiny")
    cells = plan(experiment, "tiny", scale, asked)
    original = result._outcomes

    def fewer(cell):
        found = original(cell)
        return found if cell.arm == "zero-shot" else dict(list(found.items())[1:])

    monkeypatch.setattr(result, "_outcomes", fewer)
    with pytest.raises(UsageError, match=r"PAE, .* on other tasks than zero-shot, "):
        rows(experiment, scale, asked, cells)


def test_attempts_that_the_sandbox_ended_are_named_beside_the_score():
    found = row("zero-shot", **{"pass@1": figure(0.25)}) | {"sandbox_faults": 2}
    text = result_text(read_experiment("figure3"), "small", [found])
    assert "; 2 attempts ended by the sandbox count as failed |" in text


def test_a_score_counts_the_attempts_that_the_sandbox_ended(whole):
    out, _ = whole
    experiment, scale = read_experiment(NAME), read_scale("tiny")
    cells = plan(experiment, "tiny", scale, Asked(out))
    (zero,) = (cell for cell in cells if cell.arm == "zero-shot")
    file = zero.folder / "summary.json"
    kept = file.read_text()
    summary = json.loads(kept)
    summary["before"]["sandbox_faults"] += 3
    file.write_text(json.dumps(summary))
    try:
        found = rows(experiment, scale, Asked(out), cells)
    finally:
        file.write_text(kept)
    assert {one["arm"]: one["sandbox_faults"] for one in found} == {
        "zero-shot": 3,
        "PAE": 0,
        "no filter": 0,
        "SCA": 0,
    }
