"""The account of time and tokens."""

import contextlib

from selfchallenge.runs import cost
from selfchallenge.runs.cost import timed
from selfchallenge.runs.store import RunDirectory


def test_all_tokens_are_accounted_for(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "EVERY", 0.0)
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        with timed(run, "rollout") as tick:
            tick(3)
            tick(4)
        records = run.read("stages.jsonl")
    assert [r["tokens"] for r in records] == [3, 4, 0]
    assert {r["stage"] for r in records} == {"rollout"}
    assert all(r["seconds"] >= 0 for r in records)


def test_short_work_is_one_record(tmp_path):
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        with timed(run, "train") as tick:
            tick()
            tick(5)
        assert [r["tokens"] for r in run.read("stages.jsonl")] == [5]


def test_what_failed_work_cost_is_kept(tmp_path):
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        with contextlib.suppress(ZeroDivisionError), timed(run, "train") as tick:
            tick(2)
            raise ZeroDivisionError
        assert [r["tokens"] for r in run.read("stages.jsonl")] == [2]
