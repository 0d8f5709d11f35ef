"""Benchmarks' data from checkouts: read and never executed, checked, written as it is read here."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import checkouts
import pytest

from selfchallenge import cli
from selfchallenge.environments.loading import load_environment
from selfchallenge.errors import LoadError, UsageError
from selfchallenge.evaluation import getting
from selfchallenge.evaluation.getting import get, source
from selfchallenge.evaluation.listing import LIMIT, Listing, UnreadableError
from selfchallenge.evaluation.m3tooleval import read_questions
from selfchallenge.evaluation.tau2 import read_tau2
from selfchallenge.evaluation.tau_bench import Action, read_tasks


def test_m3tooleval_is_read_and_not_executed(tmp_path):
    got = get("m3tooleval", tmp_path / "data", checkouts.code_act(tmp_path / "checkout"))
    assert got.files == (
        "LICENSE", "SOURCE.json", "tasks.json", "travel.json", "web_metadata.json",
        "web_pages.json",
    )  # fmt: skip
    expected = {
        question.name.partition("/")[2]: question.expected
        for name in ("calculation", "web")
        for question in read_questions(got.folder, name)
    }
    assert expected == {
        "backwards": "hello",
        "shortest": 2,
        "most": "T",
        "both": [3.0, 3.3],
        "there": 80,
        "price_of_old_bell": 1.5,
        "total_0": 2.0,
        "people_in_sales": 2,
    }
    assert (got.folder / "LICENSE").read_text() == checkouts.LICENCE
    with load_environment("web", got.folder).open() as session:
        assert "Bells" in session.call("view")
    with load_environment("calculation", got.folder).open("travel_planner") as session:
        assert len(session.value("find_flights", ["A", "B", "2020-01-01"])) == 2


def test_tau_bench_is_written_as_it_is_read(tmp_path):
    got = get("tau-bench", tmp_path / "data", checkouts.tau_bench(tmp_path / "checkout"))
    assert "retail/tasks_test.json" in got.files
    assert {path for path in got.missing if "dev" in path or "train" in path} == set(got.missing)
    [task] = read_tasks(got.folder, "airline")
    assert task.actions == (Action("get_user_details", {"user_id": "ada_1"}),)
    world = load_environment("retail", got.folder)
    assert world.__doc__ == "# Rules of retail\n"
    with world.open() as session:
        assert '"Ada"' in session.call("get_user_details", {"user_id": "ada_1"})


def test_tau2_is_read_from_a_folder_and_from_a_wheel(tmp_path):
    folder = checkouts.tau2(tmp_path / "unpacked")
    wheel = tmp_path / "tau2.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
    first, second = (get("tau2", tmp_path / p.name[:3], p) for p in (folder, wheel))
    assert first.files == second.files
    tasks, left_out = read_tau2(second.folder, "airline", frozenset({"think"}))
    assert [(task.key, task.instruction) for task in tasks] == [
        (("airline", "tau2", 0), "You are Ada. You want out.")
    ]
    assert tasks[0].outputs == ("12",)
    assert len(left_out) == 4
    assert sorted(place for places in left_out.values() for place in places) == [1, 2, 3, 4]


def test_what_is_not_the_pinned_content_is_named(tmp_path):
    got = get("m3tooleval", tmp_path / "data", checkouts.code_act(tmp_path / "checkout"))
    assert len(got.differing) == len(source("m3tooleval").hashes) == 8
    kept = json.loads((got.folder / "SOURCE.json").read_text())
    assert kept["at"] == source("m3tooleval").version
    assert sorted(kept["differing"]) == sorted(got.differing)
    tasks = (got.folder / "tasks.json").read_bytes()
    assert kept["sha256"]["tasks.json"] == hashlib.sha256(tasks).hexdigest()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository that stands for the public one, with hashes that fit."""
    folder = checkouts.code_act(tmp_path / "public")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    )
    known = source("m3tooleval")
    hashes = {
        path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in known.hashes
    }
    known = replace(known, place=folder.as_uri(), version=found.stdout.strip(), hashes=hashes)
    monkeypatch.setattr(getting.Source, "repository", True)
    monkeypatch.setattr(getting, "source", lambda _: known)
    return known


def test_a_clone_of_the_pinned_commit_is_read(tmp_path, repository):
    got = get("m3tooleval", tmp_path / "data")
    assert (got.differing, got.missing) == ((), ())
    assert len(read_questions(got.folder, "web")) == 3


def test_a_clone_that_differs_is_refused(tmp_path, repository, monkeypatch):
    hashes = {**repository.hashes, "LICENSE": "0" * 64}
    monkeypatch.setattr(getting, "source", lambda _: replace(repository, hashes=hashes))
    with pytest.raises(LoadError, match="is not what it was: LICENSE"):
        get("m3tooleval", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_repository_that_cannot_be_had_is_said(tmp_path, repository, monkeypatch):
    monkeypatch.setattr(getting, "source", lambda _: replace(repository, version="0" * 40))
    with pytest.raises(LoadError, match="cannot be downloaded"):
        get("m3tooleval", tmp_path / "data")


def test_what_is_wrong_with_a_place_is_said(tmp_path):
    with pytest.raises(UsageError, match="no data called"):
        get("gsm8k", tmp_path)
    with pytest.raises(UsageError, match="nothing there"):
        get("tau-bench", tmp_path / "data", tmp_path / "nowhere")
    with pytest.raises(LoadError, match="there are no tasks of tau-bench"):
        get("tau-bench", tmp_path / "data", tmp_path)
    with pytest.raises(UsageError, match="this is no folder"):
        get("tau-bench", Path(__file__), checkouts.tau_bench(tmp_path / "checkout"))
    (tmp_path / "x.whl").write_text("no wheel")
    with pytest.raises(LoadError, match="no wheel"):
        get("tau2", tmp_path / "data", tmp_path / "x.whl")


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    place = checkouts.code_act(tmp_path / "checkout")
    with pytest.raises(SystemExit) as end:
        cli.main(["data", "get", "m3tooleval", "--to", str(tmp_path / "d"), "--from", str(place)])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "6 files of m3tooleval" in said
    assert said.count("not the pinned content") == 8
    assert "with the licence" in said


def test_the_command_says_that_there_is_no_licence(tmp_path, capsys):
    place = checkouts.code_act(tmp_path / "checkout")
    (place / "LICENSE").unlink()
    with pytest.raises(SystemExit):
        cli.main(["data", "get", "m3tooleval", "--to", str(tmp_path / "d"), "--from", str(place)])
    said = capsys.readouterr().out
    assert "WITHOUT the licence" in said
    assert "not there: LICENSE" in said


# -- reading listings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "open('x')",
        "__import__('os')",
        "().__class__",
        "'x'.format(1)",
        "unknown",
        "[i for i in range(9)]",
        "'x' * 10 ** 9",
        "'x' * 9999999",
        "f'{1!r}'",
        "(lambda: [0] * 999999 * 999999)()",
        "sum([1 for a in [0] * 999 for b in [0] * 999])",
        "await_me",
    ],
)
def test_other_forms_are_refused(value):
    listing = Listing()
    with pytest.raises(UnreadableError):
        listing.read(f"TASKS = [Task(name='a', instruction='b', expected_output={value})]", {})


def test_reading_ends():
    listing = Listing()
    loop = "items = [0] * 9999\nfor a in items:\n    for b in items:\n        c = b\n"
    with pytest.raises(UnreadableError, match=str(LIMIT)):
        listing.read(loop, {})


def test_a_file_without_tasks_is_refused():
    listing = Listing()
    listing.read("import os\nx = os.getcwd()\nTASKS = 3\n", {})
    assert "x" not in listing.names
    with pytest.raises(UnreadableError, match="no list of tasks"):
        listing.tasks()
