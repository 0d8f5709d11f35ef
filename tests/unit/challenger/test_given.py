"""Tasks that were written elsewhere: read from a file or a run, never ones that are tested on."""

import json

import pytest

from selfchallenge.challenger.given import given
from selfchallenge.environments.library import Library
from selfchallenge.errors import RecordError, UsageError
from selfchallenge.evaluation.suite import held_out_file, held_out_tasks
from selfchallenge.evaluation.tested import held_of
from selfchallenge.task import CodeAsTask


def own_task(number=0):
    return CodeAsTask(
        environment="library",
        instruction=f"How many letters has the word number {number} of my own riddle?",
        verifier="def evaluate(answer):\n    return answer == 3\n",
        solution=f"answer = 3 + {number} - {number}",
        failures=("answer = 1", "answer = 2", "answer = 4"),
    )


def write(path, tasks):
    path.write_text("".join(task.model_dump_json() + "\n" for task in tasks))
    return path


def test_a_file_gives_its_tasks_in_their_order(tmp_path):
    tasks = [own_task(n) for n in range(4)]
    found = given(write(tmp_path / "mine.jsonl", tasks), held_of(Library))
    written = list(found.write([1, 3, 9], [None]))
    assert [(one.candidate, one.task) for one in written] == [(1, tasks[1]), (3, tasks[3])]
    assert {one.writer for one in written} == {"given"}


def test_held_out_tasks_are_never_handed_on():
    found = given(held_out_file(Library), held_of(Library))
    assert len(found.candidates) == len(held_out_tasks(Library)) > 5
    assert all(one.task is None and one.failed == "unseen" for one in found.candidates)
    assert all(one.evidence for one in found.candidates)


def test_a_line_that_is_no_task_is_named(tmp_path):
    file = write(tmp_path / "mine.jsonl", [own_task()])
    file.write_text(file.read_text() + json.dumps({"environment": "library"}) + "\n")
    with pytest.raises(RecordError) as error:
        given(file, held_of(Library))
    assert "line 2" in error.value.where


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        given(tmp_path / "none.jsonl", held_of(Library))
    with pytest.raises(UsageError, match="no run directory"):
        given(tmp_path, held_of(Library))
