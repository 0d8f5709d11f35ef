"""tau-bench's tasks and reward: what replays the ground truth scores all, what idles the floor."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfchallenge.environments.airline import Airline
from selfchallenge.environments.loading import load_environment
from selfchallenge.environments.retail import Retail
from selfchallenge.errors import LoadError, UsageError
from selfchallenge.evaluation.tau_bench import (
    Action,
    BenchmarkTask,
    Grader,
    floor,
    in_process,
    outputs_given,
    read_tasks,
    replay,
    tasks_in_source,
)

FOLDER = Path(__file__).parents[4] / "shared/benchmarks/tau-bench"
needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark's files are not beside this checkout"
)
WORLDS = {"retail": Retail, "airline": Airline}
COUNTS = [
    ("retail", "test", 115, 7),
    ("retail", "dev", 20, None),
    ("retail", "train", 500, None),
    ("airline", "test", 50, 19),
]


# -- reading ---------------------------------------------------------------------------------------

SOURCE = """
from somewhere import Action, Task

TASKS_DEV = [
    Task(
        annotator="0",
        user_id="ada_1",
        instruction="You are Ada "
        "and in a hurry.",
        actions=[
            Action(name="cancel_pending_order", kwargs={"order_id": "#W1", "reason": "x"}),
            {"name": "book", "kwargs": {"people": [{"n": -1}], "paid": 1.5, "ok": True}},
        ],
        outputs=["1.50"],
    ),
    {"user_id": "bob_2", "instruction": "Nothing.", "actions": [], "outputs": []},
]
"""


def test_python_files_are_read_and_not_run(tmp_path):
    folder = tmp_path / "retail"
    folder.mkdir()
    (folder / "tasks_dev.py").write_text(SOURCE)
    first, second = read_tasks(tmp_path, "retail", "dev")
    assert first == BenchmarkTask(
        domain="retail",
        split="dev",
        index=0,
        user_id="ada_1",
        instruction="You are Ada and in a hurry.",
        actions=(
            Action("cancel_pending_order", {"order_id": "#W1", "reason": "x"}),
            Action("book", {"people": [{"n": -1}], "paid": 1.5, "ok": True}),
        ),
        outputs=("1.50",),
    )
    assert second.key == ("retail", "dev", 1)


@pytest.mark.parametrize(
    "source",
    [
        "TASKS = [Task(user_id=open('x'))]",
        "TASKS = [__import__('os')]",
        "TASKS = make()",
        "tasks = []",
        "TASKS = [Task(**fields)]",
        "TASKS = [Task('positional')]",
    ],
)
def test_what_is_no_literal_is_refused(source):
    with pytest.raises(ValueError, match=r"malformed|no list"):
        tasks_in_source(source)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UsageError, match="no split 'train' of 'airline'"):
        read_tasks(tmp_path, "airline", "train")
    with pytest.raises(LoadError, match="no test tasks of airline"):
        read_tasks(tmp_path, "airline")
    (tmp_path / "tasks_test.json").write_text('[{"user_id": "x"}]')
    with pytest.raises(LoadError, match="cannot be read: KeyError"):
        read_tasks(tmp_path, "airline")


# -- the reward ------------------------------------------------------------------------------------


def test_outputs_are_found_whatever_the_case_and_commas():
    assert outputs_given(["1000", "Yes"], ["It comes to $1,000.", "YES, it does."])
    assert not outputs_given(["1000", "yes"], ["It comes to $1,000."])
    assert outputs_given([], [])


def a_task(**changes):
    user = Retail.seeds()[0]
    address = dict.fromkeys(("address1", "address2", "city", "state", "country", "zip"), "x")
    fields = {
        "domain": "retail",
        "split": "test",
        "index": 0,
        "user_id": user,
        "instruction": "Move.",
        "actions": (
            Action("modify_user_address", {"user_id": user, **address}),
            Action("get_order_details", {"order_id": "none"}),
            Action("transfer_to_human_agents", {"summary": "never run"}),
        ),
        "outputs": ("1000",),
    }
    return BenchmarkTask(**{**fields, **changes})


def test_the_reward_asks_for_the_database_and_the_outputs():
    task, grader = a_task(), Grader(Retail)
    with Retail.open() as session:
        assert replay(task, session.call)[1:] == ["Error: order not found"]
        digest = session.digest()
    assert grader.reward(task, digest, ["that is 1,000"]) == 1.0
    assert grader.reward(task, digest, []) == 0.0
    assert grader.reward(task, grader.untouched, ["1000"]) == 0.0
    idle = a_task(index=1, actions=task.actions[1:], outputs=())
    assert floor(grader, [task, idle]) == 1


@needs_data
@pytest.mark.parametrize(("domain", "split", "count", "idle"), COUNTS)
def test_replaying_the_ground_truth_scores_all_and_idling_the_floor(domain, split, count, idle):
    world = load_environment(WORLDS[domain], data=FOLDER)
    grader, tasks = Grader(world), read_tasks(FOLDER, domain, split)
    assert len(tasks) == count
    shown = tasks if split != "train" else tasks[::5]
    for task in shown:
        desk = world()
        replay(task, in_process(desk))
        digest = grader._ledger.compare(desk.snapshot()).digest()
        assert grader.reward(task, digest, task.outputs) == 1.0, task.key
    if idle is not None:
        assert floor(grader, tasks) == idle


@needs_data
@pytest.mark.parametrize("domain", WORLDS)
def test_sessions_end_with_the_digest_that_is_expected(domain):
    world = load_environment(WORLDS[domain], data=FOLDER)
    grader = Grader(world)
    for task in read_tasks(FOLDER, domain)[:12]:
        with world.open() as session:
            replay(task, session.call)
            assert grader.reward(task, session.digest(), task.outputs) == 1.0
