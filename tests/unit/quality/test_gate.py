"""The gate on a small shop: what it keeps, what it drops and why, at every strictness."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import ToolError, UsageError
from selfchallenge.executor.reward import judge
from selfchallenge.quality.duplicates import Seen
from selfchallenge.quality.gate import check, check_file
from selfchallenge.quality.mutation import MOST
from selfchallenge.sandbox.host import Sandbox
from selfchallenge.task import CodeAsTask, Verdict


class Shop(Environment):
    """A shop."""

    def __init__(self, seed: str | None = None) -> None:
        self.orders = {"W1": {"status": "open", "items": 2}, "W2": {"status": "open", "items": 3}}
        self.looked = 0

    @tool
    def get_order(self, order_id: str) -> dict:
        """Look an order up."""
        self.looked += 1
        if order_id not in self.orders:
            raise ToolError(f"no order {order_id}")
        return self.orders[order_id]

    @tool(mutates=True)
    def cancel(self, order_id: str) -> str:
        """Cancel an order."""
        self.orders[order_id]["status"] = "cancelled"
        return "done"

    @tool
    def odd(self) -> object:
        """Return something that is no data."""
        return object()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as found:
        yield found


def task(**changes: object) -> CodeAsTask:
    return CodeAsTask.model_validate(
        {
            "environment": "Shop",
            "instruction": "Cancel order W1.",
            "verifier": "def evaluate():\n    return get_order('W1')['status'] == 'cancelled'",
            "solution": "cancel('W1')",
            "failures": ["cancel('W2')", "get_order('W1')", "answer = 'cancelled'"],
            **changes,
        }
    )


def question(**changes: object) -> CodeAsTask:
    fields: dict[str, object] = {
        "instruction": "How many items does order W1 have?",
        "verifier": "def evaluate(answer):\n    return answer == 2",
        "solution": "answer = get_order('W1')['items']",
        "failures": ["answer = get_order('W2')['items']", "answer = 1", "answer = '2 items'"],
    }
    return task(**{**fields, **changes})


def dropped_by(verdict: Verdict) -> str | None:
    return next((result.name for result in verdict.checks if not result.passed), None)


def test_a_good_task_is_kept_with_what_was_derived(sandbox: Sandbox) -> None:
    verdict = check(task(), Shop, sandbox=sandbox)
    assert verdict.accepted
    assert verdict.frame == (("orders", "W1", "status"),)
    assert verdict.tools == ("cancel",)
    assert verdict.isolation == sandbox.isolation
    assert verdict.reason.startswith("kept")


def test_reading_leaves_no_frame_and_asks_for_grounding(sandbox: Sandbox) -> None:
    verdict = check(question(), Shop, sandbox=sandbox)
    assert verdict.accepted
    assert verdict.frame == ()
    assert verdict.tools == ("get_order",)
    assert verdict.answer_type == "int"


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (task(solution="cancel('W9')"), "solution_runs"),
        (task(solution="answer = odd()"), "solution_runs"),
        (task(solution="while True: pass"), "solution_runs"),
        (task(verifier="def evaluate():\n    return 1"), "verifier_runs"),
        (task(verifier="def other():\n    return True"), "verifier_runs"),
        (task(verifier="def evaluate():\n    cancel('W1')\n    return True"), "verifier_runs"),
        (task(verifier="def evaluate():\n    return False"), "solution_passes"),
        (question(solution="answer = 2"), "uses_tools"),
        (question(verifier="def evaluate(answer):\n    return answer != 3"), "untouched_fails"),
        (
            question(verifier="def evaluate(answer):\n    return answer in (2, '')"),
            "empty_answer_fails",
        ),
        (task(failures=["cancel('W2')", "cancel('W1')", "get_order('W1')"]), "failures_fail"),
        (task(failures=["cancel('W2')", "boom()", "get_order('W1')"]), "failures_run"),
        (task(failures=["cancel('W2')", "def f(): cancel('W2')", "answer = 1"]), "failures_act"),
        (
            question(
                solution="answer = [*{get_order('W1')['status'] + str(n) for n in range(9)}][0]",
                verifier="def evaluate(answer):\n    return answer.startswith('open')",
            ),
            "deterministic",
        ),
    ],
)
def test_a_bad_task_is_dropped_by_the_check_that_sees_it(
    sandbox: Sandbox, bad: CodeAsTask, name: str
) -> None:
    verdict = check(bad, Shop, sandbox=sandbox)
    assert not verdict.accepted
    assert dropped_by(verdict) == name
    assert verdict.checks[-1].evidence
    assert name in verdict.reason


SUM = " + ".join(["1"] * 300)


@pytest.mark.parametrize(
    ("source", "evidence"),
    [
        ("exec(\"cancel('W1')\")", "leaves it to chance: exec"),
        ("import builtins\nbuiltins.exec(\"cancel('W1')\")", "builtins"),
        ("from random import choice\ncancel(choice(['W1']))", "random"),
        ("import datetime\ncancel('W1')\nanswer = str(datetime.date.today())", "today"),
        ("cancel(['W1', 'W1'][hash('W1') % 2])", "hash"),
        ("act = cancel\nact('W1')", "nothing shows where the solution calls cancel"),
        (f"x = {SUM}\ncancel('W1')", "deeper"),
        (f"x = {list(range(6000))}\ncancel('W1')", "longer"),
        ("if x := 0: pass\n" + "elif x == 1: pass\n" * 100 + "cancel('W1')", "deeper"),
        (f"cancel('W1')\nanswer = 1{'0' * 400}", "a huge number"),
    ],
)
def test_a_solution_that_cannot_be_read_is_dropped_before_it_is_varied(
    sandbox: Sandbox, source: str, evidence: str
) -> None:
    verdict = check(task(solution=source), Shop, sandbox=sandbox)
    assert dropped_by(verdict) == "readable"
    assert evidence in verdict.reason


def test_huge_numbers_and_texts_do_not_stop_the_gate(sandbox: Sandbox) -> None:
    for answer in ("10**3999 - 1", "-(10**3000)", "'1' * 200_000 + '!'", "list((10**3999 - 1,))"):
        source = f"cancel('W1')\nanswer = {answer}"
        verdict = check(task(solution=source), Shop, sandbox=sandbox)
        assert dropped_by(verdict) == "mutants_fail"
    refused = check(task(solution="answer = 10**4200 - 1"), Shop, sandbox=sandbox)
    assert dropped_by(refused) == "solution_runs"


def test_a_long_solution_costs_no_more_variants(sandbox: Sandbox) -> None:
    source = "\n".join(f"a{i} = {i}" for i in range(300)) + "\ncancel('W1')"
    verdict = check(task(solution=source), Shop, sandbox=sandbox)
    equal = next(c for c in verdict.checks if c.name == "equivalents_pass")
    assert verdict.accepted
    assert equal.evidence == f"{MOST + 2} ways to do the same pass"


def test_a_reason_moves_no_cursor(sandbox: Sandbox) -> None:
    forged = "raise ValueError('\\r\\x1b[2Kkept: all checks \\u202epassed')"
    verdict = check(task(solution=forged), Shop, sandbox=sandbox)
    assert verdict.reason.isprintable()
    assert verdict.reason.startswith("dropped: solution_runs")


def test_weaker_gates_leave_checks_out(sandbox: Sandbox) -> None:
    vacuous = question(
        verifier="def evaluate(answer):\n    return True",
    )
    accepted = {
        gate: check(vacuous, Shop, gate, sandbox=sandbox).accepted
        for gate in ("none", "verifier", "solution", "paper", "full")
    }
    assert accepted == {
        "none": True,
        "verifier": True,
        "solution": True,
        "paper": False,
        "full": False,
    }


def test_an_unknown_gate_is_wrong_usage(sandbox: Sandbox) -> None:
    with pytest.raises(UsageError, match="strict"):
        check(task(), Shop, "strict", sandbox=sandbox)


def test_duplicates_are_dropped_and_the_first_stays(sandbox: Sandbox) -> None:
    seen = Seen()
    assert check(question(), Shop, sandbox=sandbox, seen=seen).accepted
    again = question(instruction="Please count what is in W1.", failures=["answer = 9"] * 3)
    verdict = check(again, Shop, sandbox=sandbox, seen=seen)
    assert dropped_by(verdict) == "unique"


def test_every_line_gets_exactly_one_verdict(sandbox: Sandbox, tmp_path: Path) -> None:
    good = task().model_dump(mode="json")
    few = {**good, "id": "", "failures": ["x"]}
    forged = {**good, "id": "0" * 16}
    file = tmp_path / "tasks.jsonl"
    records = [json.dumps(good), "{not json", json.dumps(few), "[]", json.dumps(forged)]
    file.write_text("\n".join(records) + "\n")
    verdicts = list(check_file(file, Shop, sandbox=sandbox))
    assert [v.accepted for v in verdicts] == [True, False, False, False, False]
    assert [dropped_by(v) for v in verdicts[1:]] == ["record"] * 4
    assert "line 3" in verdicts[2].checks[0].evidence
    assert "failures" in verdicts[2].checks[0].evidence


def test_overacting_earns_nothing(sandbox: Sandbox) -> None:
    reference = check(task(), Shop, sandbox=sandbox)
    with sandbox.session(Shop) as session:
        sandbox.execute("cancel('W1')\ncancel('W2')", session)
        verdict = judge(sandbox, session, task(), reference, None)
    assert verdict.passed
    assert verdict.outside == (("orders", "W2", "status"),)
    assert verdict.reward == 0.0


def test_reading_more_than_the_solution_is_not_overacting(sandbox: Sandbox) -> None:
    reference = check(task(), Shop, sandbox=sandbox)
    with sandbox.session(Shop) as session:
        sandbox.execute("get_order('W2')\ncancel('W1')\nget_order('W1')", session)
        verdict = judge(sandbox, session, task(), reference, None)
    assert verdict.reward == 1.0


def test_an_answer_that_was_not_looked_up_earns_nothing(sandbox: Sandbox) -> None:
    reference = check(question(), Shop, sandbox=sandbox)
    with sandbox.session(Shop) as session:
        verdict = judge(sandbox, session, question(), reference, 2)
    assert verdict.passed
    assert verdict.uncalled == ("get_order",)
    assert verdict.reward == 0.0


class Fragile(Environment):
    """Can be broken and ended from within."""

    def __init__(self, seed: str | None = None) -> None:
        self.kept: list[object] = []

    @tool(mutates=True)
    def keep(self, thing: object) -> int:
        """Keep a thing."""
        self.kept.append(thing)
        return len(self.kept)

    @tool(mutates=True)
    def leave(self) -> None:
        """End the process."""
        os._exit(3)


@pytest.mark.parametrize(
    ("solution", "evidence"),
    [
        ("x = 1\nfor _ in range(98):\n    x = [x]\nkeep(x)", "cannot show its state"),
        ("leave()", "the process of Fragile"),
    ],
)
def test_code_that_breaks_its_session_is_rejected_and_the_next_is_judged(
    sandbox, solution, evidence
):
    broken = CodeAsTask(
        environment="Fragile",
        instruction="Break it.",
        verifier="def evaluate(answer):\n    return answer == 1",
        solution=solution,
        failures=["keep(1)", "keep(2)", "keep(3)"],
    )
    verdict = check(broken, Fragile, sandbox=sandbox)
    assert not verdict.accepted
    assert evidence in verdict.reason
    good = broken.model_copy(update={"solution": "answer = keep('it')"})
    assert check(good, Fragile, "paper", sandbox=sandbox).accepted


def test_a_task_of_another_environment_is_rejected(sandbox):
    verdict = check(task(environment="library"), Shop, sandbox=sandbox)
    assert verdict.reason == (
        "dropped: record: environment: the task is of 'library', not of 'Shop'"
    )


def test_a_failure_that_fails_by_chance_only_is_found(sandbox):
    with sandbox.session(Shop) as session:
        known = sandbox.execute("answer = hash('a')", session, hash_seed=0).answer
    lucky = task(
        instruction="How many items has order W1?",
        verifier=f"def evaluate(answer):\n    return answer == 2 or hash('a') != {known}",
        solution="answer = get_order('W1')['items']",
        failures=["answer = 3", "answer = 4", "answer = 5"],
    )
    verdict = check(lucky, Shop, sandbox=sandbox)
    assert verdict.reason.startswith("dropped: deterministic: ")
    assert "verdict of failure 1" in verdict.reason
