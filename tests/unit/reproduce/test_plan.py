"""The declarative files, the cells they become, and what cells are expected to cost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import UsageError
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.reproduce.estimate import Work, estimate, work_of
from selfchallenge.reproduce.experiment import experiment_names, read_experiment, read_scale
from selfchallenge.reproduce.plan import Asked, Cell, chosen, plan
from selfchallenge.reproduce.repeat import foresee
from selfchallenge.reproduce.tell import plan_text
from selfchallenge.settings import overlay, preset

ROOT = Path(__file__).parents[3]
SCALES = ("tiny", "small", "paper")
EXPERIMENTS = [
    "calculation", "figure3", "figure4", "figure5", "figure6", "figure7",
    "retail", "table1", "table2", "table3", "table4", "table5",
]  # fmt: skip


@pytest.fixture
def oracle(tmp_path):
    file = tmp_path / "oracle.jsonl"
    file.write_text("")
    return file


def cells_of(name, scale, asked):
    return plan(read_experiment(name), scale, read_scale(scale), asked)


def test_the_experiments_are_those_of_the_command():
    assert experiment_names() == EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_experiment_becomes_cells_that_build_on_earlier_ones(name, scale, tmp_path, oracle):
    cells = cells_of(name, scale, Asked(tmp_path, oracle=oracle))
    folders = [cell.folder for cell in cells]
    assert len(folders) == len(set(folders)) > 0
    for place, cell in enumerate(cells):
        assert set(cell.needs) <= set(folders[:place])
        assert {*cell.settings.learn_from} <= {str(folder) for folder in cell.needs}
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_a_plan_has_tokens_and_hours_and_what_they_rest_on(name, scale, tmp_path):
    found = foresee(name, scale, Asked(tmp_path / "out"))
    assert found["owed"]["tokens"]["sampled"] > 0
    assert all(hours > 0 for hours in found["owed"]["hours"].values())
    text = plan_text(found)
    assert "GPU-hours" in text
    assert found["rests_on"]["source"] in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_paper_s_numbers_stand_at_rows_that_are_shown(name):
    experiment = read_experiment(name)
    shown = [arm for arm in experiment.arms if arm.shown]
    assert any(arm.paper for arm in shown)
    for arm in experiment.arms:
        assert set(arm.paper) <= {*experiment.environments, "average"}
        told = {measure for values in arm.paper.values() for measure in values}
        assert told <= set(experiment.measures)
        assert arm in shown or not arm.paper
    assert {*experiment.baselines} <= {arm.name for arm in shown}


def test_the_averages_of_table_1_are_those_of_its_environments():
    # The paper rounds each of them.
    for arm in read_experiment("table1").arms:
        for measure, average in arm.paper.get("average", {}).items():
            own = [arm.paper[e][measure] for e in read_experiment("table1").environments]
            assert abs(sum(own) / 4 - average) < 0.11


def test_the_paper_s_scale_is_the_paper_s_setting(tmp_path):
    cells = cells_of("table1", "paper", Asked(tmp_path))
    own = [cell for cell in cells if cell.arm == "own attempts, SCA"]
    assert [cell.environment for cell in own] == ["calculation", "web", "retail", "airline"]
    for cell in own:
        asked = cell.settings
        assert asked.model == "meta-llama/Llama-3.1-8B-Instruct"
        assert (asked.tasks, asked.tasks * asked.rollouts) == (800, 12_000)
        assert (asked.writer, asked.gate, asked.rft.epochs) == ("paper", "paper", 6)


def test_offline_arms_share_attempts_and_online_ones_tasks(tmp_path):
    cells = {cell.arm: cell for cell in cells_of("figure3", "small", Asked(tmp_path, seeds=1))}
    source = cells["own attempts"].folder
    assert cells["RFT"].settings.learn_from == cells["DPO"].settings.learn_from == (str(source),)
    assert cells["PPO"].settings.tasks_from == cells["GRPO"].settings.tasks_from == str(source)


def test_one_set_of_candidates_serves_the_gates(tmp_path):
    cells = cells_of("table2", "small", Asked(tmp_path))
    gates = {c.settings.gate for c in cells if c.settings.tasks_from}
    assert gates == {"verifier", "solution", "paper", "full"}
    assert len({c.settings.tasks_from for c in cells} - {""}) == 1


def test_joint_training_learns_from_every_environment_once_a_seed(tmp_path):
    cells = cells_of("table4", "small", Asked(tmp_path, seeds=2))
    joint = [cell for cell in cells if cell.arm == "joint training"]
    assert [cell.seed for cell in joint] == [0, 1]
    assert len(joint[0].settings.learn_from) == 4
    tested = [cell for cell in cells if cell.arm == "all environments"]
    assert len(tested) == 8
    assert {cell.settings.model for cell in tested} == {str(one.folder / "model") for one in joint}


def test_an_arm_without_its_file_is_left_out_and_named(tmp_path, oracle):
    without = foresee("figure6", "tiny", Asked(tmp_path))
    assert without["left_out"] == ["written by hand"]
    assert "--oracle-tasks" in plan_text(without)
    cells = cells_of("figure6", "tiny", Asked(tmp_path, oracle=oracle))
    assert str(oracle) in {cell.settings.tasks_from for cell in cells}


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"changes": {"epochs": 3}}, "no setting epochs"),
        ({"changes": {"names": {"pupil": "m"}}}, "no role 'pupil'"),
        ({"changes": {"names": "m"}}, "a role takes a model"),
        ({"oracle": "nowhere.jsonl"}, "no such file"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_run(tmp_path, asked, what):
    if "oracle" in asked:
        asked = {"oracle": tmp_path / asked["oracle"]}
    with pytest.raises(UsageError, match=what):
        foresee("table1", "tiny", Asked(tmp_path / "out", **asked))


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UsageError) as error:
        foresee("table9", "tiny", Asked(tmp_path))
    assert "figure3" in error.value.fix
    with pytest.raises(UsageError) as error:
        foresee("table1", "huge", Asked(tmp_path))
    assert "small" in error.value.fix


def test_settings_of_the_user_hold_for_every_cell(tmp_path):
    cells = cells_of("table3", "small", Asked(tmp_path, seeds=1, changes={"batch": 3}))
    assert {cell.settings.batch for cell in cells} == {3}


def test_a_role_can_be_given_to_another_model(tmp_path):
    names = {"teacher": "openai:big@http://localhost:1"}
    found = foresee("table5", "small", Asked(tmp_path, seeds=1, changes={"names": names}))
    assert "openai:big@http://localhost:1" in plan_text(found)
    assert "default-1.5b" in plan_text(foresee("table5", "small", Asked(tmp_path, seeds=1)))


@pytest.mark.parametrize(
    ("name", "times", "said"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 14, "counts as 7 billion weights, as its name says"),
        ("models/mine-v2b", 1, "counts as 0.5 billion weights, its name does not say"),
    ],
)
def test_a_model_of_another_size_costs_more(tmp_path, name, times, said):
    usual = foresee("table3", "small", Asked(tmp_path, seeds=1))
    found = foresee(
        "table3", "small", Asked(tmp_path, seeds=1, changes={"names": {"student": name}})
    )
    for device, hours in found["owed"]["hours"].items():
        assert hours == pytest.approx(times * usual["owed"]["hours"][device], rel=0.02)
    assert said in plan_text(found)


def test_who_writes_counts_as_large_as_its_name_says(tmp_path):
    def hours(**names):
        asked = Asked(tmp_path, seeds=1, changes={"names": names})
        cells = {c["cell"]: c["hours"] for c in foresee("figure5", "small", asked)["cells"]}
        return next(iter(cells["teacher, written, retail, seed 0"].values()))

    assert hours(teaching_writer="x/Big-70B") == pytest.approx(70 / 1.5 * hours(), rel=0.05)
    assert hours(teacher="x/Big-70B") == hours()


def test_the_paper_s_users_tell_tasks_in_training_as_at_the_test(tmp_path):
    cells = cells_of("table1", "paper", Asked(tmp_path, seeds=1))
    student = read_scale("paper").names["student"]
    told = {
        cell.environment: (cell.settings.user_model, cell.settings.agent.policy) for cell in cells
    }
    assert told["retail"] == told["airline"] == (student, False)
    assert told["calculation"] == told["web"] == ("", True)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "writes"),
    [
        ("calculation", "own attempts"),
        ("calculation", "RFT, two rounds"),
        ("table3", "own attempts, SCA"),
        ("figure5", "student, written"),
    ],
)
def test_what_is_not_to_be_filtered_was_not_revised_by_the_filter(tmp_path, name, writes, scale):
    found = next(c for c in cells_of(name, scale, Asked(tmp_path)) if c.arm == writes)
    assert found.settings.paper.revisions == 0
    assert found.settings.gate == "none" or found.settings.quality.revisions == 0


@pytest.mark.parametrize("environment", ["calculation", "web", "retail", "airline"])
def test_attempts_at_a_small_scale_are_short_enough_to_be_learnt_from(tmp_path, environment):
    opening_tokens = 2187  # of airline with tau-bench's data, the longest, by the default tokenizer
    for cell in cells_of("table1", "small", Asked(tmp_path)):
        if cell.environment == environment:
            assert cell.settings.rft.max_length > opening_tokens + 4 * 160


def test_two_rounds_write_tasks_of_their_own(tmp_path):
    cells = cells_of("calculation", "paper", Asked(tmp_path, seeds=2))
    seeds = {(c.arm, c.seed): c.settings.seed for c in cells}
    again = [seeds["RFT, two rounds", n] for n in (0, 1)]
    assert not {*again} & {seeds["own attempts", 0], *(seeds["first round", n] for n in (0, 1))}
    assert len({*again}) == 2


@pytest.mark.parametrize("environment", ["calculation", "web", "retail", "airline"])
def test_estimates_count_the_held_out_tasks_that_there_are(environment):
    tests = read_scale("small").basis.tests
    assert tests[environment] == len(held_out_tasks(load_environment(environment)))


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(1, 1e6))
def test_hours_add_up_and_grow_with_the_work(read, written, trained):
    basis = read_scale("paper").basis
    one, more = Work(8, read, written, trained), Work(8, 2 * read, 2 * written, 2 * trained)
    (single,) = estimate([one], basis).hours.values()
    (double,) = estimate([one, one], basis).hours.values()
    assert double == pytest.approx(2 * single)
    assert more.hours(basis.devices[0]) == pytest.approx(double)


def test_an_estimate_counts_attempts_as_the_run_would_make_them(tmp_path):
    scale = read_scale("paper")
    cells = cells_of("figure3", "paper", Asked(tmp_path, seeds=1))
    by_arm = {cell.arm: cell for cell in cells}
    made = work_of(by_arm["own attempts"], cells, scale)
    assert made[1].written == 12_000 * scale.basis.attempt_written
    online = work_of(by_arm["PPO"], cells, scale)
    assert online[0].written == 47 * 256 * scale.basis.attempt_written


def test_the_measured_run_comes_out_within_a_factor_of_two(tmp_path):
    demo = json.loads((ROOT / "docs/results/demo-2026-11-21.json").read_text())
    attempts = demo["episodes"]["count"] + demo["hinted"]["count"]
    asked = overlay(preset("laptop"), {"rollouts": round(attempts / demo["tasks"]["accepted"])})
    stages = ("challenge", "roll_out", "train", "before", "after")
    cell = Cell("demo", "calculation", 0, tmp_path, stages, asked, ())
    scale = read_scale("small")
    expected = estimate(work_of(cell, [cell], scale), scale.basis)
    cores = scale.basis.devices[1].name
    assert 0.5 < 3600 * expected.hours[cores] / demo["seconds"] < 2
    assert 0.5 < expected.written / demo["cost"]["tokens"] < 2


def test_the_seeds_are_the_experiment_s(tmp_path):
    with pytest.raises(UsageError, match="the seed is the experiment's") as error:
        foresee("figure3", "tiny", Asked(tmp_path, changes={"seed": 7}))
    assert "--seeds" in error.value.fix


@pytest.mark.parametrize(
    ("name", "changes", "what", "fix"),
    [
        ("table4", {"model": "x"}, "the model is the experiment's", "names.student"),
        ("figure4", {"algorithm": "ppo"}, "the algorithm is the experiment's", "--algorithm"),
        ("figure4", {"tasks": 40}, "tasks is what the arm", "leave it"),
        ("table3", {"judge_model": "x"}, "judge_model is what the arm 'own attempts, PAE'", "ROLE"),
        ("calculation", {"grpo": {"iterations": 9}}, "grpo.iterations is what the arm 'GRPO'", ""),
    ],
)
def test_what_arms_differ_by_is_not_changed_for_all(tmp_path, name, changes, what, fix):
    with pytest.raises(UsageError, match=what) as error:
        foresee(name, "small", Asked(tmp_path, changes=changes))
    assert fix in error.value.fix


def test_flags_without_a_use_are_refused(tmp_path, oracle):
    with pytest.raises(UsageError, match="no arm learns"):
        foresee("table1", "tiny", Asked(tmp_path, oracle=oracle))
    with pytest.raises(UsageError, match="no benchmark's user"):
        foresee("table1", "tiny", Asked(tmp_path, user_model="openai:x@http://localhost"))


def test_attempts_that_see_the_solution_and_kept_policies_are_counted(tmp_path):
    cells = cells_of("calculation", "small", Asked(tmp_path, seeds=1))
    scale = read_scale("small")
    sampled = {c.arm: estimate(work_of(c, cells, scale), scale.basis).written for c in cells}
    plain = next(c for c in cells if c.arm == "own attempts, hints")
    without = replace(plain, settings=replace(plain.settings, hinted=0))
    less = estimate(work_of(without, cells, scale), scale.basis).written
    assert less < sampled["own attempts, hints"] < 2 * less
    assert sampled["GRPO"] > sampled["own attempts, no filter"] + 4 * 110 * 100


def test_what_no_arm_is_about_can_be_changed(tmp_path):
    changes = {"grpo": {"clip_low": 0.1}, "batch": 9}
    for cell in cells_of("calculation", "small", Asked(tmp_path, changes=changes)):
        assert (cell.settings.grpo.clip_low, cell.settings.batch) == (0.1, 9)


def test_an_arm_that_lacks_its_file_says_so_when_it_is_asked_for(tmp_path):
    with pytest.raises(UsageError, match="'written by hand' needs hand-written tasks") as refused:
        foresee("figure6", "tiny", Asked(tmp_path, arms=("written by hand",)))
    assert "--oracle-tasks" in refused.value.fix


def test_with_the_benchmarks_their_tasks_are_counted(tmp_path):
    scale, sampled = read_scale("small"), {}
    for data in (None, tmp_path):
        cells = cells_of("retail", "small", Asked(tmp_path, seeds=1, data=data))
        (cell,) = (one for one in cells if one.arm == "zero-shot")
        sampled[data] = estimate(work_of(cell, cells, scale), scale.basis).written
    assert sampled[tmp_path] / sampled[None] == 115 / scale.basis.tests["retail"]


def test_who_plays_the_user_is_said_not_to_be_counted(tmp_path):
    said = "tokens of the model that plays the user"
    assert said not in plan_text(foresee("figure3", "paper", Asked(tmp_path)))
    assert said in plan_text(foresee("table1", "paper", Asked(tmp_path)))


def test_a_judge_s_successes_are_what_is_learnt_from(tmp_path):
    scale = read_scale("small")
    cells = cells_of("table3", "small", Asked(tmp_path, seeds=1))
    trained = {c.arm: estimate(work_of(c, cells, scale), scale.basis).trained for c in cells}
    ratio = scale.basis.judge_accepts / scale.basis.solved
    assert trained["PAE"] / trained["no filter"] == pytest.approx(ratio)


def test_some_arms_are_run_with_what_they_build_on(tmp_path):
    cells = cells_of("calculation", "small", Asked(tmp_path, seeds=2))
    assert chosen(cells, ()) == cells
    found = [(cell.arm, cell.seed) for cell in chosen(cells, ["RFT, hints", "zero-shot"])]
    assert found == [
        ("zero-shot", 0),
        ("own attempts", 0),
        ("own attempts, hints", 0),
        ("RFT, hints", 0),
        ("zero-shot", 1),
        ("RFT, hints", 1),
    ]
    foreseen = foresee("calculation", "small", Asked(tmp_path, seeds=2, arms=("DPO",)))
    assert len(foreseen["cells"]) == 3


def test_an_arm_that_there_is_not_is_answered_with_those_that_there_are(tmp_path):
    with pytest.raises(UsageError, match="no arm 'rft'") as refused:
        foresee("table5", "small", Asked(tmp_path, arms=("rft",)))
    assert refused.value.where == "--arm"
    assert "'zero-shot'" in str(refused.value.fix)
