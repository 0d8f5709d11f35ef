"""The paper's writer: what it makes of any reply, and of a checker's evidence."""

from collections.abc import Callable, Iterator
from dataclasses import replace

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

    return writer_with(sandbox, reply)


def writer_with(sandbox: Sandbox, reply: Callable[[Prompt], str]) -> PaperWriter:
    settings = PaperSettings(turns=1, wave=3)
    return PaperWriter(ScriptedModel("author", reply), Library, sandbox, settings)


def test_another_run_draws_other_tasks(sandbox: Sandbox) -> None:
    drawn = []
    for seed in (0, 0, 1):
        made = writer(sandbox, ["nothing"])
        list(replace(made, run_seed=seed).write(range(4), ["m01"]))
        drawn.append([prompt.seed for prompt in made.model.prompts])
        assert len(set(drawn[-1])) == len(drawn[-1])
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


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


def test_every_conversation_of_a_wave_keeps_to_its_own_subject(sandbox: Sandbox) -> None:
    """Some look around and some do not, some are revised and some are not: nothing is mixed up."""

    def reply(prompt: Prompt) -> str:
        opening = prompt.messages[0].content
        number = next(n for n in range(1, 6) if f"m0{n}" in opening.rpartition("Subject:")[2])
        said = prompt.messages[-1].content
        if "Explore" in said:
            return f"```python\nprint({number})\n```" if number % 2 else "no code"
        if number % 2:
            assert prompt.messages[2].content.startswith(f"{number}\n")
        good = number != 4 and (number != 3 or "rejected" in said)
        source = f"answer = len(get_member('m0{number}')['name'])"
        task = TASK.replace("answer = len(get_member('m01')['name'])", source)
        return task.format(expected="len(get_member('m01')['name'])") if good else "nothing"

    made = writer_with(sandbox, reply)
    found = list(made.write(range(5), [f"m0{n}" for n in range(1, 6)]))
    assert [c.candidate for c in found] == [0, 1, 2, 3, 4]
    assert [c.seed for c in found] == ["m01", "m02", "m03", "m04", "m05"]
    assert [c.failed for c in found] == [None, None, None, "format", None]
    for n, c in enumerate(found, 1):
        assert c.task is None or f"get_member('m0{n}')" in c.task.solution


def test_code_that_breaks_its_session_costs_no_other_candidate(sandbox: Sandbox) -> None:
    good = TASK.format(expected="len(get_member('m01')['name'])")

    def reply(prompt: Prompt) -> str:
        first = "m01" in prompt.messages[0].content.rpartition("Subject:")[2]
        if len(prompt.messages) == 1:
            return "```python\nimport os\nos._exit(3)\n```" if first else "no code"
        return good

    found = list(writer_with(sandbox, reply).write(range(2), ["m01", "m02"]))
    assert [c.failed for c in found] == [None, None]
