"""One browser and one made-up run for all tests of this folder; skipped without Chromium."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit" / "report")]

from chromium import Page, find_chromium  # noqa: E402
from fake_run import heldout_tasks, make_episode, make_task, make_verdict, write_fake_run  # noqa: E402

from selfchallenge.report.page import write_report  # noqa: E402
from selfchallenge.runs.store import RunDirectory  # noqa: E402

HOSTILE = (
    "XSS<script>document.title='owned'</script></script></style></title></details></pre>"
    "<img src=https://evil.example/x onerror=\"document.title='owned'\">{{ 7 * 7 }}"
    "<a href=\"javascript:document.title='owned'\" onmouseover=alert(1)>x</a><svg onload=alert(1)>"
)


@pytest.fixture(scope="session")
def page():
    executable = find_chromium()
    if executable is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with Page(executable) as found:
        yield found


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The page of a whole run, one of whose tasks is hostile wherever a model writes."""
    path = write_fake_run(tmp_path_factory.mktemp("runs") / "run")
    task = make_task(HOSTILE, f"answer = 1  # {HOSTILE}\n", 1)
    with RunDirectory.open(path) as run:
        verdict = make_verdict(task).model_dump(mode="json")
        number = len(run.read("candidates.jsonl"))
        written = {"candidate": number, "writer": "staged", "tokens": 9, "seconds": 1.0}
        run.append("candidates.jsonl", written | {"task": task.model_dump(mode="json")})
        run.append("verdicts.jsonl", {"candidate": number, "verdict": verdict})
        failed = {"task": None, "failed": "format", "evidence": HOSTILE, "seed": HOSTILE}
        run.append("candidates.jsonl", written | failed | {"candidate": number + 1})
        run.append("tasks.jsonl", task)
        run.append("episodes.jsonl", make_episode(task, passed=True, attempt=9, text=HOSTILE))
        return write_report(run, heldout=heldout_tasks())
