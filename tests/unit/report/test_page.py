"""The page is whole, holds what the run holds, and shows hostile text as text."""

import json
import math
import re
import shutil
from html.parser import HTMLParser

import pytest
from fake_run import (
    heldout_tasks,
    make_episode,
    make_task,
    make_verdict,
    manifest,
    write_fake_run,
)

from selfchallenge.errors import RecordError, StorageError, UsageError
from selfchallenge.report import gather as gathering
from selfchallenge.report.gather import EPISODES, Step, gather
from selfchallenge.report.page import CURVE_POINTS, curve, write_report
from selfchallenge.runs.store import RunDirectory, RunFiles

FILES = [
    "candidates.jsonl",
    "verdicts.jsonl",
    "tasks.jsonl",
    "episodes.jsonl",
    "scores.jsonl",
    "stages.jsonl",
    "summary.json",
]
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self._inside = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return write_fake_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def run(tmp_path):
    with RunDirectory.open(tmp_path / "run", create=True) as opened:
        opened.write_json("run.json", manifest())
        yield opened


def page_of(run, **arguments):
    return Reader(write_report(run, **arguments).read_text("utf-8"))


def test_a_whole_run_shows_its_figures(whole):
    text = page_of(whole, heldout=heldout_tasks()).text
    summary = json.loads((whole / "summary.json").read_text())
    for phase in ("before", "after"):
        assert f"{100 * summary[phase]['pass@1']:.1f}\u00a0%" in text
    assert f"{summary['paired']['gained']} gained" in text
    assert "clear of the noise" in text
    assert "This run has not finished" not in text
    assert "Doing nothing" in text
    assert "Loss 0.6" in text


def test_the_page_asks_for_nothing_from_outside(whole):
    page = page_of(whole, heldout=heldout_tasks())
    urls = [v for _, attributes in page.elements for k, v in attributes.items() if k == "href"]
    assert all(url.startswith("#") for url in urls)
    loading = {"link", "img", "iframe", "object", "embed", "video", "audio", "source", "base"}
    assert not loading & {tag for tag, _ in page.elements}
    assert all("src" not in attributes for _, attributes in page.elements)
    assert all("style" not in attributes for _, attributes in page.elements)
    [policy] = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_every_mark_that_is_linked_to_is_there_once(whole):
    page = page_of(whole, heldout=heldout_tasks())
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert {link for link in links if not link.startswith("find=")} <= set(ids)


def test_every_accepted_task_and_rejection_is_there(whole):
    view = gather(RunFiles.view(whole), {})
    page = page_of(whole)
    for item in view.accepted:
        assert item.task.instruction in page.text
        assert item.task.id in page.text
    assert len(view.rejected) == sum(view.funnel.reasons.values())
    assert view.funnel.written == len(view.accepted) + len(view.rejected) + view.funnel.unchecked
    for reason in view.funnel.reasons:
        assert reason in page.text


def test_a_large_run_shows_a_sample_and_says_so(whole):
    view = gather(RunFiles.view(whole), heldout_tasks())
    assert view.shown <= EPISODES < view.episodes
    assert {change: len(pairs) for change, pairs in view.pairs.items()} == {
        change: min(most, view.changes[change]) for change, most in gathering.PAIRS.items()
    }
    assert all(pair.before["phase"] == "before" for pair in view.pairs["gained"])
    assert [p.after["passed"] for p in view.pairs["lost"]] == [False] * len(view.pairs["lost"])
    text = page_of(whole).text
    assert f"This page holds {view.shown} of {view.episodes:,} episodes" in text


def test_more_tasks_than_fit_are_counted(whole, monkeypatch):
    monkeypatch.setattr("selfchallenge.report.page.CARDS", 5)
    view = gather(RunFiles.view(whole), {})
    text = page_of(whole).text
    assert f"5 of {len(view.accepted)} shown" in text
    assert f"5 of {len(view.rejected)} shown" in text


@pytest.mark.parametrize("present", range(len(FILES)))
def test_a_run_that_stopped_anywhere_has_a_page(whole, tmp_path, present):
    run = tmp_path / "run"
    run.mkdir()
    for name in ["run.json", *FILES[:present]]:
        shutil.copy(whole / name, run / name)
    text = page_of(run, heldout=heldout_tasks()).text
    assert "This run has not finished" in text
    assert "Pass@1 on" not in text


@pytest.mark.parametrize("absent", FILES)
def test_a_page_without_any_one_file(whole, tmp_path, absent):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / absent).unlink()
    assert "calculation" in page_of(run).text


def test_a_run_before_its_manifest_has_a_page(tmp_path):
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        assert "Still to come: candidates, accepted tasks" in page_of(run).text


def test_hostile_text_stays_text_wherever_it_stands(run):
    task = make_task(HOSTILE, f"answer = {HOSTILE!r}\n", HOSTILE, seed=HOSTILE, writer=HOSTILE)
    other = make_task("Second.", f"# {HOSTILE}\nanswer = 1\n", 1)
    verdict = make_verdict(other, "solution_runs", HOSTILE).model_dump(mode="json")
    lines = [
        {"candidate": 0, "seed": HOSTILE, "task": task.model_dump(mode="json"), "failed": None},
        {"candidate": 1, "seed": None, "task": other.model_dump(mode="json"), "failed": None},
        {"candidate": 2, "seed": None, "task": None, "failed": HOSTILE, "evidence": HOSTILE},
    ]
    for line in lines:
        run.append("candidates.jsonl", line)
    run.append("verdicts.jsonl", {"candidate": 1, "verdict": verdict})
    run.append("tasks.jsonl", task)
    run.append("episodes.jsonl", make_episode(task, passed=True, text=HOSTILE))
    for phase, passed in (("before", False), ("after", True)):
        run.append("scores.jsonl", make_episode(task, phase, passed=passed, text=HOSTILE))
    run.write_json("run.json", {**manifest(), "environment": HOSTILE, "machine": HOSTILE})
    page = page_of(run, heldout={task.id: task})
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not any(key.startswith("on") for _, found in page.elements for key in found)
    assert page.text.count("<script>") > 8


def test_text_that_is_no_text_can_be_shown(run):
    refused = {"candidate": 0, "task": None, "failed": "format"}
    run.append("candidates.jsonl", refused | {"evidence": "half \ud800 a character\x00"})
    assert "half ? a character" in page_of(run).text


def test_enormous_texts_are_cut(run):
    task = make_task("x" * 100_000, "answer = 1\n" * 50_000, 1)
    run.append("tasks.jsonl", task)
    file = write_report(run)
    assert file.stat().st_size < 250_000
    assert "characters left out" in file.read_text("utf-8")


def test_a_finished_training_is_read_from_the_model(run):
    (run.path / "model").mkdir()
    steps = [
        {"step": step, "steps": 2, "loss": loss, "tokens": 10, "seconds": 1.0}
        for step, loss in ((1, 0.5), (2, math.inf))
    ]
    run.write_json("model/training.json", {"steps": steps})
    assert gather(run, {}).steps == [Step(1, 0.5, 10, 1.0)]
    assert " in 1 step over 10 tokens" in page_of(run).text


def test_rollouts_with_the_solution_shown_appear_only_where_there_are_some(run):
    task = make_task("Say one.", "answer = 1", 1)
    episode = make_episode(task, "train", passed=True).model_dump(mode="json")
    run.append("episodes.jsonl", episode)
    assert "solution shown" not in page_of(run).text
    run.append("episodes.jsonl", {**episode, "attempt": 1, "meta": {"hinted": True}})
    assert "Rollouts with the solution shown" in page_of(run).text


def test_a_curve_fits_its_frame_and_is_thinned():
    steps = [Step(i, 2.0 - i / 5000, 1, 1.0) for i in range(5000)]
    found = curve(steps)
    assert len(found) <= CURVE_POINTS
    assert (found[0][0], found[-1][0]) == (0, 100)
    assert all(0 <= y <= 100 for _, y in found)
    assert curve([Step(1, 0.0, 1, 1.0)]) == [(0.0, 100.0)]
    assert curve([]) == []


def test_the_page_is_rewritten_in_place(whole):
    first = write_report(whole).read_bytes()
    assert write_report(whole).read_bytes() == first
    assert re.findall(rb"</html>\s*$", first)


def test_a_folder_that_is_no_run_has_no_page(tmp_path):
    with pytest.raises(UsageError, match="no run directory"):
        write_report(tmp_path)


def test_a_damaged_run_is_named(run):
    (run.path / "candidates.jsonl").write_text('{"candidate": 1}{\n{}\n')
    with pytest.raises(RecordError, match=r"candidates\.jsonl, line 1"):
        write_report(run)


def test_a_page_that_cannot_be_written_is_an_error(whole, tmp_path):
    shutil.copy(whole / "run.json", tmp_path / "run.json")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError):
        write_report(tmp_path)


def test_each_part_of_a_task_names_who_wrote_it(run):
    authors = {
        "arguments": "model",
        "verifier": "program",
        "failures": ["program", "model", "model"],
    }
    run.append("tasks.jsonl", make_task("Add.", "answer = 3\n", 3, authors=authors))
    text = page_of(run).text
    for line in ("arguments by model", "verifier by program", "failures by program, model"):
        assert line in text


def test_a_comparison_of_another_version_may_lack_its_number_of_tasks(run):
    paired = {"difference": 0.1, "ci95": [0.01, 0.2], "p_value": 0.01, "gained": 2, "lost": 0}
    run.write_json("summary.json", {"paired": paired})
    assert "clear of the noise" in page_of(run).text
