"""Nothing that a model writes ends a run: every attempt becomes an episode."""

from typing import Any

import pytest

from selfchallenge.environments.base import Environment, tool
from selfchallenge.episode import Episode, StopReason
from selfchallenge.executor.agent import AgentSettings, Assignment
from selfchallenge.executor.batch import rollout
from selfchallenge.executor.reward import judge
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.quality.gate import derive_reference
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask


class Notebook(Environment):
    """A notebook."""

    def __init__(self, seed: str | None = None) -> None:
        self.notes: list[Any] = []
        self.reads = 0

    @tool
    def count(self, hint: str = "") -> int:
        """Return how many notes there are."""
        self.reads += 1
        return len(self.notes)

    @tool(mutates=True)
    def add(self, note: Any) -> None:
        """Add a note."""
        self.notes.append(note)


TASK = CodeAsTask(
    environment="Notebook",
    instruction="Add the note 'milk'.",
    verifier="def evaluate():\n    return count() == 1",
    solution="add('milk')",
    failures=["count()", "add('milk'); add('milk')", "answer = 'milk'"],
)
DEEP = "x = 1\nfor _ in range(98):\n    x = [x]\nadd(x)"
FORCED = "import os\nos._exit(0)"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as found:
        yield found


def attempt(sandbox: Sandbox, *replies: str) -> Episode:
    """The episode in which a model gives these replies, then `done`."""

    def reply(prompt: Any) -> str:
        turn = sum(message.role == "assistant" for message in prompt.messages)
        return replies[turn] if turn < len(replies) else "done"

    model = ScriptedModel("garbage", reply)
    reference = derive_reference(TASK, Notebook, sandbox)
    assert reference.accepted
    settings = AgentSettings(max_steps=4)
    [episode] = rollout(model, [Assignment(TASK, reference)], Notebook, sandbox, settings=settings)
    return episode


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\x1b[2J\u202e",
        "```",
        "```python",
        "```python\n```",
        "```python\r\nprint(1)\r\n```",
        "```python\n" + "(" * 500 + "\n```",
        "```python\n" + "x = 1\n" * 5000 + "```",
        "{'a': " * 200,
        "9" * 5000,
        f"```python\n{FORCED}\n```",
        "```python\nadd(int('9' * 4300))\nadd(int('9' * 4300))\n```",
        f"```python\n{DEEP}\n```",
        "```python\ncount(b'\\xff')\n```",
        "```python\ncount({b'\\xff': (float('nan'), {1})})\n```",
        "'\\ud800'",
        "{'\\ud800': 1e999}",
    ],
)
def test_any_reply_becomes_an_episode_without_reward(sandbox, text):
    episode = attempt(sandbox, text)
    assert episode.reward == 0.0
    assert isinstance(Episode.model_validate_json(episode.model_dump_json()), Episode)


def test_an_attempt_that_breaks_the_state_says_so(sandbox):
    episode = attempt(sandbox, f"```python\n{DEEP}\n```")
    assert episode.stop is StopReason.SANDBOX
    assert "cannot show its state" in episode.evidence
    assert attempt(sandbox, "```python\nadd('milk')\n```").reward == 1.0


def test_reading_that_is_too_long_to_be_repeated_is_forgiven_nothing(sandbox):
    reference = derive_reference(TASK, Notebook, sandbox)
    with sandbox.session(Notebook) as session:
        session.call("add", ["milk"])
        for _ in range(2):
            with sandbox.cell(session) as cell:
                cell.run("for _ in range(8):\n    count('x' * 900_000)")
        with sandbox.cell(session) as cell:
            cell.run("for _ in range(8):\n    count('x' * 900_000)")
        assert any(call.arguments is None for call in session.trace())
        verdict = judge(sandbox, session, TASK, reference, None)
    assert verdict.passed
    assert verdict.outside == (("reads",),)
    assert verdict.reward == 0.0
