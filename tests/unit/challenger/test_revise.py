"""The paper's writer: what it makes of any reply, and of a checker's evidence."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfchallenge.challenger.revise import PaperSettings, PaperWriter, parse_task
from selfchallenge.environments.library import Library
from selfchallenge.models.base import Prompt
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask

TASK = """
<instruction>How many books has member m01 borrowed? Answer with a number.</instruction>
<verifier>
```python
def evaluate(answer):
    return answer == {expected}
```
</verifier>
<solution>answer = len(get_member('m01')['name'])</solution>
<failure>answer = -1</failure>
<failure>answer = 'none'</failure>
<failure>answer = get_member('m01')['name']</failure>
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as found:
        yield found


def writer(sandbox: Sandbox, replies: list[str]) -> PaperWriter:
    left = list(replies)

    def reply(_: Prompt) -> str:
        return left.pop(0) if left else ""

    return PaperWriter(ScriptedModel("author", reply), Library, sandbox, PaperSettings(turns=1))


@given(st.text())
def test_any_reply_is_a_task_or_says_what_is_missing(reply: str) -> None:
    found = parse_task(reply, "library", None)
    assert isinstance(found, CodeAsTask) or found


@pytest.mark.parametrize("garbage", ["", "\x00", "<instruction>", "```python\n(((", "9" * 9000])
def test_garbage_is_a_recorded_failure(sandbox: Sandbox, garbage: str) -> None:
    [candidate] = writer(sandbox, [garbage] * 3).write([0], ["m01"])
    assert candidate.task is None
    assert candidate.failed == "format"
    assert "the reply has no block instruction" in candidate.evidence


def test_a_rejected_task_is_written_again_on_the_checkers_evidence(sandbox: Sandbox) -> None:
    with sandbox.session(Library) as session:
        name = session.value("get_member", ["m01"])["name"]
    wrong, right = TASK.format(expected=-1), TASK.format(expected=len(name))
    made = writer(sandbox, ["```python\nprint(1)\n```", wrong, right])
    [candidate] = made.write([0], ["m01"])
    assert candidate.failed is None
    assert candidate.task is not None
    assert f"answer == {len(name)}" in candidate.task.verifier
    asked = made.model.prompts[-1].messages[-1].content
    assert "solution_passes" in asked
    assert candidate.task.meta["tokens"] == candidate.tokens > 0
