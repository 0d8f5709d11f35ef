"""Every attack, at every safe level, as a solution, as an action and as a verifier.

Three things are asserted of each: how it ends, that nothing it did is a pass, and that the next
honest job on the same worker succeeds.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from arsenal import ATTACKS, HONEST, LISTED, MARK, MEMORY, THROUGH, VERIFIER
from pieces import Attack
from victims import Victims

from selfchallenge.environments.base import Environment
from selfchallenge.executor.reward import judge
from selfchallenge.sandbox.host import Execution, Limits, Sandbox, Session
from selfchallenge.task import CodeAsTask, Verdict

LIMITS = Limits(wall=30.0, cpu=20, memory=MEMORY)
SHORT = replace(LIMITS, wall=0.25)
ERROR_LIMIT = 1 << 14
CLEAN = (
    """
import builtins, json, os, random, sys
assert not hasattr(builtins, "poisoned") and "POISON" not in os.environ
assert json.loads(json.dumps({"a": 1})) == {"a": 1} and 3 + 4 == 7
assert random.Random(1).random() != random.random() and "/nowhere" not in sys.path
assert read_history() == [["open", 0]] and kept() == [0]
"""
    + HONEST
)
HASHED = "import random\nanswer = [hash('text'), random.random()]"


TASK = CodeAsTask(
    environment="Bank",
    instruction="Pay 42 in and say what the balance is.",
    verifier=VERIFIER,
    solution=HONEST,
    failures=("answer = 42", "pay(41)\nanswer = 42", "pay(42)"),
)
REFERENCE = Verdict(
    id=TASK.id,
    accepted=True,
    isolation="-",
    gate="full",
    checks=(),
    frame=(("balance",),),
    tools=("pay",),
)


def _name(attack: Attack) -> str:
    return f"{attack.group:02}-{attack.name.replace(' ', '-')}"


def _expected(attack: Attack, sandbox: Sandbox) -> bool:
    return attack.name in THROUGH[sandbox.isolation]


def _check(done: Execution, attack: Attack, sandbox: Sandbox, limits: Limits) -> None:
    assert done.status in attack.ends.split(), done.error
    assert re.search(attack.says, done.error or ""), done.error
    assert (done.answer is True) == _expected(attack, sandbox)
    assert MARK not in f"{done.error}{done.output}{done.answer}"
    assert len(done.output) <= limits.output + 64
    assert len(done.error or "") <= ERROR_LIMIT


def _next_job_succeeds(sandbox: Sandbox, session: Session, hashed: object) -> None:
    done = sandbox.execute(CLEAN, session)
    assert done.answer == 42, done.error
    assert sandbox.execute(HASHED, session).answer == hashed


@pytest.fixture(scope="module")
def hashed(sandbox: Sandbox, bank: type[Environment]) -> object:
    """What a job sees of the hash seed and the random seed before any attack."""
    with sandbox.session(bank) as session:
        return sandbox.execute(HASHED, session).answer


def test_every_group_of_the_list_is_there() -> None:
    assert {attack.group for attack in ATTACKS} == set(range(1, LISTED + 1))
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=_name)
def test_as_a_solution(
    attack: Attack, sandbox: Sandbox, session: Session, victims: Victims, hashed: object
) -> None:
    before = victims.processes()
    limits = SHORT if attack.quick else LIMITS
    done = sandbox.execute(victims.told(attack.code), session, limits=limits)

    _check(done, attack, sandbox, limits)
    victims.check(before)
    assert judge(sandbox, session, TASK, REFERENCE, done.answer).reward == 0
    assert session.state()["balance"] == 0
    assert session.state()["history"] == [["open", 0]]
    _next_job_succeeds(sandbox, session, hashed)


@pytest.mark.parametrize("attack", ATTACKS, ids=_name)
def test_as_an_action(
    attack: Attack, sandbox: Sandbox, session: Session, victims: Victims, hashed: object
) -> None:
    before = victims.processes()
    limits = SHORT if attack.quick else LIMITS
    with sandbox.cell(session, limits=limits) as cell:
        assert cell.run("answer = 7", LIMITS).answer == 7
        done = cell.run(victims.told(f"del answer\n{attack.code}"))
        # A process that forged its result may be gone, or found out only now.
        assert cell.run("answer = 1", LIMITS).status in ("done", "crashed", "violation")

    _check(done, attack, sandbox, limits)
    victims.check(before)
    assert session.state()["balance"] == 0
    _next_job_succeeds(sandbox, session, hashed)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.judges], ids=_name)
def test_as_a_verifier(
    attack: Attack, sandbox: Sandbox, session: Session, victims: Victims
) -> None:
    before = victims.processes()
    code = victims.told(attack.code) + "\ndef evaluate(_):\n    return answer is True\n"
    limits = SHORT if attack.quick else LIMITS
    judged = sandbox.evaluate(code, 42, session, limits=limits)

    assert judged.passed == _expected(attack, sandbox)
    assert MARK not in f"{judged.error}{judged.returned}"
    victims.check(before)
    assert session.state()["balance"] == 0
    session.value("pay", [42])
    assert sandbox.evaluate(VERIFIER, 42, session).passed
