"""The gate against tasks with planted defects: half of its benchmark, and what is committed."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks/gate"


@pytest.fixture(scope="module")
def measure():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("measure")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def committed():
    return json.loads((FOLDER / "results.json").read_text())


@pytest.mark.timeout(900)
def test_defects_are_caught_and_good_tasks_kept(measure, committed):
    rows = measure.measure(measure.drafts(), every=2)
    found = measure.summary(rows)
    assert found["tasks"] >= 100
    assert found["caught"]["full"] >= 0.95, found["misses"]
    assert found["good_lost"]["full"] <= 0.05, found["lost"]
    # The paper's filter sees the same kinds of defect as in the whole set, and no other.
    for label, row in found["dropped"].items():
        whole = committed["dropped"][label]
        assert row["paper"] / row["tasks"] == whole["paper"] / whole["tasks"], label


def test_what_is_committed_meets_the_goal(measure, committed):
    drafts = list(measure.drafts())
    assert committed["tasks"] == len(drafts) >= 200
    assert committed["caught"]["full"] >= 0.95
    assert committed["good_lost"]["full"] <= 0.05
    assert len({draft.label for draft in drafts}) >= 18


@pytest.mark.parametrize("name", ["results", "second"])
def test_the_tables_in_the_docs_are_the_measured_ones(measure, name):
    page = FOLDER.parents[1] / "docs/how-to/read-a-verdict.md"
    found = json.loads((FOLDER / f"{name}.json").read_text())
    assert measure.as_table(found) in page.read_text("utf-8")


@pytest.mark.timeout(300)
def test_the_second_set_is_judged_as_committed(measure):
    """Every fifth task of it, and what is missed today is missed by name."""
    second = json.loads((FOLDER / "second.json").read_text())
    missed = {(row["label"], row["family"]) for kind in ("misses", "lost") for row in second[kind]}
    tasks = list(measure.SETS["second"]())
    assert second["tasks"] == len(tasks) == 40
    for row in measure.measure(tasks[::5]):
        wrong = row["full"]["accepted"] != (row["label"] == measure.GOOD)
        assert wrong == ((row["label"], row["family"]) in missed), row
