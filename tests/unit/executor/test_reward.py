"""The frame where states hold lists: what an attempt adds or takes away beyond the solution."""

from collections.abc import Iterator

import pytest

from selfchallenge.environments.base import Environment, tool
from selfchallenge.executor.reward import judge
from selfchallenge.quality.gate import check
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Path


class Desk(Environment):
    """A desk with notes; everything done at it is logged."""

    def __init__(self, seed: str | None = None) -> None:
        self.notes = ["milk", "bread", "salt"]
        self.log: list[str] = []

    @tool
    def read(self) -> list[str]:
        """Read the notes."""
        self.log.append("read")
        return self.notes

    @tool(mutates=True)
    def add(self, note: str) -> str:
        """Add a note."""
        self.log.append("add")
        self.notes.append(note)
        return "done"

    @tool(mutates=True)
    def remove(self, note: str) -> str:
        """Take a note away."""
        self.notes.remove(note)
        return "done"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as found:
        yield found


TASK = CodeAsTask(
    environment="Desk",
    instruction="Add the note tea.",
    verifier="def evaluate():\n    return 'tea' in read()",
    solution="read()\nadd('tea')",
    failures=("add('coffee')", "read()", "remove('milk')"),
)


def test_the_frame_of_a_list_says_what_may_come_and_go(sandbox: Sandbox) -> None:
    verdict = check(TASK, Desk, sandbox=sandbox)
    assert verdict.accepted, verdict.reason
    assert set(verdict.frame or ()) == {("notes", "+", 0), ("log", "+", 0), ("log", "+", 1)}


@pytest.mark.parametrize(
    ("code", "outside"),
    [
        ("read()\nadd('tea')", ()),
        ("add('tea')", ()),
        ("read()\nread()\nread()\nadd('tea')\nread()", ()),
        ("add('tea')\nremove('milk')", (("notes", 0),)),
        ("remove('bread')\nadd('tea')\nadd('bread')", (("notes", 1), ("notes", "+", 1))),
        ("add('tea')\nadd('coffee')", (("notes", "+", 1),)),
    ],
)
def test_over_acting_on_a_list_never_pays(
    sandbox: Sandbox, code: str, outside: tuple[Path, ...]
) -> None:
    verdict = check(TASK, Desk, sandbox=sandbox)
    with sandbox.session(Desk, None) as session:
        done = sandbox.execute(code, session)
        judged = judge(sandbox, session, TASK, verdict, done.answer)
    assert judged.passed
    assert judged.outside == outside
    assert judged.reward == float(not outside)


def test_a_task_that_only_reads_has_no_frame_although_reading_is_logged(sandbox: Sandbox) -> None:
    asked = TASK.model_copy(
        update={
            "instruction": "Which note stands first?",
            "verifier": "def evaluate(answer):\n    return answer == 'milk'",
            "solution": "answer = read()[0]",
            "failures": ("answer = read()[1]", "answer = read()[2]", "answer = ''"),
        }
    )
    assert check(asked, Desk, sandbox=sandbox).frame == ()
