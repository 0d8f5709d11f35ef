"""What becomes of a candidate: redacted, judged, mended once, written down, and resumed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from selfchallenge.challenger.candidate import Candidate, with_verifier
from selfchallenge.challenger.revise import PaperSettings, PaperWriter
from selfchallenge.challenger.verify import told_apart
from selfchallenge.environments.base import Environment, tool
from selfchallenge.environments.library import Library
from selfchallenge.errors import ToolError
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.intake import Intake
from selfchallenge.manifest import RunSettings
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.quality.blind import Blind
from selfchallenge.quality.decontaminate import is_training_seed
from selfchallenge.quality.gate import survivors
from selfchallenge.quality.settings import GateSettings
from selfchallenge.runs.store import RunDirectory
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import Check, CodeAsTask

LAX = "def evaluate(answer):\n    return get('W1')['status'] == 'cancelled'\n"
STRICT = "def evaluate(answer):\n    return get('W1') == {'status': 'cancelled', 'why': 'late'}\n"


class Desk(Environment):
    """A desk."""

    def __init__(self, seed: str | None = None) -> None:
        self.orders = {f"W{n}": {"status": "open", "why": ""} for n in range(1, 5)}

    @classmethod
    def redact(cls, instruction: str, seed: str | None) -> str:
        return instruction.replace("(internal) ", "")

    @tool
    def get(self, order: str) -> dict[str, str]:
        """Look an order up."""
        if order not in self.orders:
            raise ToolError("no such order")
        return self.orders[order]

    @tool(mutates=True)
    def cancel(self, order: str, why: str) -> str:
        """Cancel an order."""
        self.get(order).update(status="cancelled", why=why)
        return "done"


class Reviser:
    """A writer that gives a verifier when asked."""

    def __init__(self, verifier: str) -> None:
        self.verifier, self.shown = verifier, list[str]()

    def revise(self, candidate: Candidate, evidence: Check) -> Candidate:
        self.shown.append(evidence.evidence)
        assert candidate.task is not None
        task = with_verifier(candidate.task, self.verifier, "test")
        return candidate.model_copy(update={"task": task, "tokens": candidate.tokens + 7})


def candidate(number: int = 0, verifier: str = STRICT, **changes: object) -> Candidate:
    fields = {
        "environment": "Desk",
        "instruction": "Cancel the (internal) order W1, it came late.",
        "verifier": verifier,
        "solution": "cancel('W1', 'late')",
        "failures": ["cancel('W2', 'late')", "get('W1')", "answer = 'cancelled'"],
    }
    task = CodeAsTask.model_validate({**fields, **changes})
    return Candidate(candidate=number, task=task, writer="staged", tokens=3)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as found:
        yield found


@pytest.fixture
def intake(sandbox: Sandbox, tmp_path: Path) -> Iterator[Intake]:
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        yield Intake(run, Desk, sandbox, RunSettings())


def reasons(intake: Intake) -> list[str]:
    return [line["verdict"]["reason"] for line in intake.run.read("verdicts.jsonl")]


def test_a_good_task_is_redacted_and_kept(intake):
    written = intake.take(candidate(), Reviser(STRICT))
    [kept] = intake.run.read("tasks.jsonl", CodeAsTask)
    assert kept == written.task
    assert kept.instruction == "Cancel the order W1, it came late."
    assert intake.accepted == {kept.id}


def test_a_verifier_that_lets_wrong_solutions_pass_is_mended_once(intake):
    writer = Reviser(STRICT)
    written = intake.take(candidate(verifier=LAX), writer)
    [shown] = writer.shown
    assert "instead of 'late'" in shown
    assert written.tokens == 10
    assert written.task is not None
    assert written.task.meta["revised"] == {"verifier": "test"}
    assert [t.verifier for t in intake.run.read("tasks.jsonl", CodeAsTask)] == [STRICT]
    assert len(reasons(intake)) == 1


def test_one_that_stays_lax_is_dropped_as_it_was_written(intake):
    writer = Reviser(LAX + "# again\n")
    written = intake.take(candidate(verifier=LAX), writer)
    assert len(writer.shown) == 1
    assert written.task is not None
    assert written.task.verifier == LAX
    assert written.tokens == 10
    assert reasons(intake)[0].startswith("dropped: mutants_fail")


def test_other_faults_are_not_mended(intake):
    writer = Reviser(STRICT)
    intake.take(candidate(verifier="def evaluate(answer):\n    return True\n"), writer)
    assert writer.shown == []
    assert intake.accepted == set()


def test_a_seed_that_is_kept_for_tests_is_no_training_task(intake):
    seed = next(str(n) for n in range(99) if not is_training_seed(str(n)))
    intake.take(candidate(seed=seed), Reviser(STRICT))
    assert "kept for tests" in reasons(intake)[0]


@pytest.mark.parametrize("gate", ["paper", "solution", "verifier", "none"])
def test_no_gate_lets_a_task_through_that_is_like_one_which_is_tested_on(sandbox, tmp_path, gate):
    tested = held_out_tasks(Library)[0]
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        intake = Intake(run, Library, sandbox, RunSettings(gate=gate))
        written = intake.take(Candidate(candidate=0, task=tested, writer="pae"), Reviser(STRICT))
        assert (written.task, written.failed) == (None, "unseen")
        assert run.read("verdicts.jsonl") == run.read("tasks.jsonl", CodeAsTask) == []


def test_what_was_written_and_not_judged_is_judged_on_resume(intake):
    intake.run.append("candidates.jsonl", candidate())
    intake.resume([candidate()])
    intake.resume([candidate()])
    assert len(reasons(intake)) == len(intake.run.read("tasks.jsonl")) == 1
    again = Intake(intake.run, Desk, intake.sandbox, intake.settings)
    again.take(candidate(1), Reviser(STRICT))
    assert reasons(again)[1].startswith("dropped: unique")


def test_a_task_whose_verdict_was_lost_is_no_duplicate_of_itself(intake):
    written = candidate()
    intake.run.append("candidates.jsonl", written)
    intake.run.append("tasks.jsonl", written.task)
    again = Intake(intake.run, Desk, intake.sandbox, intake.settings)
    again.resume([written])
    assert reasons(again)[0].startswith("kept")
    assert len(again.run.read("tasks.jsonl")) == 1


def test_the_program_tells_survivors_apart(sandbox):
    task = candidate(verifier=LAX).task
    assert task is not None
    wrong = survivors(task, Desk, sandbox)
    assert wrong
    mended = with_verifier(task, told_apart(task, wrong, Desk, sandbox), "program")
    assert survivors(mended, Desk, sandbox) == []


def test_the_papers_writer_shows_the_model_what_passed(sandbox):
    asked = []

    def reply(prompt):
        asked.append(prompt.messages[-1].content)
        return f"<verifier>\n```python\n{STRICT}```\n</verifier>"

    writer = PaperWriter(ScriptedModel("m", reply), Desk, sandbox, PaperSettings())
    evidence = Check(name="mutants_fail", passed=False, evidence="'early' instead of 'late'")
    revised = writer.revise(candidate(verifier=LAX), evidence)
    assert revised.task is not None
    assert revised.task.verifier.strip() == STRICT.strip()
    assert "'early' instead of 'late'" in asked[0]
    assert revised.tokens > 3


@pytest.mark.parametrize(
    ("code", "accepted"), [("cancel('W1', 'late')", True), ("get('W1')", False)]
)
def test_blind_attempts_decide_last(sandbox, tmp_path, code, accepted):
    def reply(prompt):
        done = any(message.role == "assistant" for message in prompt.messages)
        return "done" if done else f"I act.\n```python\n{code}\n```"

    blind = Blind(ScriptedModel("m", reply), attempts=2, succeeding=2)
    with RunDirectory.open(tmp_path / "run", create=True) as run:
        settings = RunSettings(quality=GateSettings(blind=2, succeeding=2))
        intake = Intake(run, Desk, sandbox, settings, blind)
        intake.take(candidate(), Reviser(STRICT))
        [line] = run.read("verdicts.jsonl")
    last = line["verdict"]["checks"][-1]
    assert (last["name"], last["passed"]) == ("blind_attempts", accepted)
    assert bool(intake.accepted) is accepted
