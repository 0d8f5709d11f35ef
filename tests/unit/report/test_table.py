"""The table at the end of a run."""

import pytest
from fake_run import manifest, write_fake_run
from rich.console import Console

from selfchallenge.evaluation.summary import summarise
from selfchallenge.report.table import summary_table
from selfchallenge.runs.store import RunDirectory, RunFiles


def shown(summary, width=100):
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture():
        console.print(summary_table(summary))
    return console.export_text()


@pytest.fixture(scope="session")
def summary(tmp_path_factory):
    return RunFiles.view(write_fake_run(tmp_path_factory.mktemp("table"))).read_json("summary.json")


def test_the_table_holds_the_figures(summary):
    text = shown(summary)
    tasks = summary["tasks"]
    assert f"{tasks['accepted']} of {tasks['attempted']} (" in text
    assert f"unique {summary['rejections']['unique']}" in text
    assert f"{100 * summary['after']['pass@1']:.1f}" in text
    assert f"{summary['paired']['gained']} gained, {summary['paired']['lost']} lost" in text
    assert "Time: rollout" in text
    assert "clear of the noise" in text


def test_many_reasons_are_summed_up(summary):
    reasons = {f"check{i}": 10 - i for i in range(9)}
    text = shown({**summary, "rejections": reasons})
    assert "check3 7, other 20" in text
    assert "check4" not in text


def test_a_run_that_has_measured_nothing_has_a_table(tmp_path):
    with RunDirectory.open(tmp_path, create=True) as run:
        run.write_json("run.json", manifest())
        text = shown(summarise(run))
    assert "0 of 0" in text
    assert "Pass@1" not in text


def test_a_narrow_terminal_loses_no_figure(summary):
    text = shown(summary, width=40)
    assert f"{100 * summary['after']['pass@1']:.1f}" in text
