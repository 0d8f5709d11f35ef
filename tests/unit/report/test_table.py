"""The table at the end of a run."""

import pytest
from fake_run import manifest, write_fake_run
from rich.console import Console

from selfchallenge.evaluation.summary import summarise
from selfchallenge.report.table import summary_table
from selfchallenge.runs.store import RunDirectory, RunFiles


def shown(summary, width=110):
    """Lines of the table, runs of spaces made one."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(summary_table(summary))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return RunFiles.view(write_fake_run(tmp_path_factory.mktemp("table"))).read_json("summary.json")


def test_the_table_holds_the_figures(summary):
    lines = shown(summary)
    tasks, paired = summary["tasks"], summary["paired"]
    assert f"tasks written {tasks['attempted']}" in lines
    assert any(line.startswith(f"accepted {tasks['accepted']} ") for line in lines)
    for reason, number in summary["rejections"].items():
        assert f"rejected {number} {reason}" in lines
    for phase in ("before", "after"):
        rate = f"{100 * summary[phase]['pass@1']:.1f} %"
        assert any(line.startswith(f"Pass@1 {phase} {rate} 95 % interval") for line in lines)
    text = " ".join(lines)
    assert f"{paired['gained']} newly solved, {paired['lost']} lost" in text
    assert "p < 0.0001" in text
    assert "doing nothing 0.0 %" in lines
    assert any(line.startswith("time of rollout 4 min 02 s") for line in lines)


def test_a_run_that_has_measured_nothing_has_a_table(tmp_path):
    with RunDirectory.open(tmp_path, create=True) as run:
        run.write_json("run.json", manifest())
        lines = shown(summarise(run))
    assert "tasks written 0" in lines
    assert not any("Pass@1" in line or "per accepted" in line for line in lines)


def test_an_empty_summary_has_an_empty_table():
    assert [line for line in shown({}) if line] == []


def test_a_narrow_terminal_loses_no_figure(summary):
    text = " ".join(shown(summary, width=60))
    for figure in (summary["before"]["pass@1"], summary["after"]["pass@1"]):
        assert f"{100 * figure:.1f} %" in text


def test_names_are_no_markup(summary):
    assert "rejected 3 [bold]x[/bold]" in shown({**summary, "rejections": {"[bold]x[/bold]": 3}})


def test_hinted_rollouts_have_a_line_only_where_there_are_some(summary):
    none = {**summary, "hinted": {"count": 0, "successes": 0}}
    assert not [line for line in shown(none) if "solution shown" in line]
    some = {**summary, "hinted": {"count": 8, "successes": 2}}
    assert "solution shown 8 25.0 % of them succeeded" in shown(some)
