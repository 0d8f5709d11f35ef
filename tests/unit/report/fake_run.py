"""A made-up run that looks like a real one: the same file layout, records and proportions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from unittest.mock import patch

from selfchallenge.episode import Episode, StopReason
from selfchallenge.evaluation.summary import summarise
from selfchallenge.runs.store import FORMAT, RunDirectory
from selfchallenge.task import Check, CodeAsTask, Verdict

SYSTEM = """You work out small calculations for people, with the functions below.

These Python functions are available:

caesar_decode(message: str, shift: int) -> str
    Decode a message in which every letter was moved forward by `shift` places.
reverse_string(text: str) -> str
    Reverse a string.
convert_currency(amount: float, rate: float) -> float
    Convert an amount with an exchange rate.
estimate_final_value(amount: float, tariff: float, tax: float) -> float
    Price of a trade after tariff and tax.

Reply with one short thought and then one block of Python that calls the functions and prints
what you need.
"""
WORDS = [
    "harvest",
    "lantern",
    "copper",
    "meadow",
    "signal",
    "orchard",
    "falcon",
    "winter",
    "anchor",
]


def heldout_tasks(number: int = 110) -> dict[str, CodeAsTask]:
    """Test tasks of the made-up environment, by id."""
    rng = random.Random("heldout")
    tasks = [_task(rng, f"heldout-{n}", kind=n % 4, level=n // 4) for n in range(number)]
    return {task.id: task for task in tasks}


def write_fake_run(path: Path, candidates: int = 96, rollouts: int = 4, seed: int = 7) -> Path:
    """Write a whole run into `path`."""
    rng = random.Random(seed)
    # A thousand synced lines would take seconds.
    with patch("os.fsync"), RunDirectory.open(path, create=True) as run:
        run.write_json("run.json", manifest())
        accepted = _write_candidates(run, rng, candidates)
        _write_scores(run, rng)
        _write_rollouts(run, rng, accepted, rollouts)
        losses = [0.62 * 0.87**step + 0.05 + rng.random() * 0.04 for step in range(1, 25)]
        steps = [
            {"step": step, "loss": loss, "tokens": 300 + 7 * step, "seconds": 7.5}
            for step, loss in enumerate(losses, 1)
        ]
        (path / "model").mkdir()
        run.write_json("model/training.json", {"steps": steps})
        stages = {
            "challenge": (512.4, 48211),
            "evaluate noop": (1.2, 0),
            "evaluate before": (88.0, 9120),
            "rollout": (241.7, 31877),
            "train": (180.3, 9300),
            "evaluate after": (61.9, 6022),
        }
        for stage, (seconds, tokens) in stages.items():
            run.append("stages.jsonl", {"stage": stage, "seconds": seconds, "tokens": tokens})
        run.write_json("summary.json", summarise(run))
    return path


def manifest() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "environment": "calculation",
        "spelled": "calculation",
        "data": None,
        "settings": {
            "model": "default",
            "challenger_model": "",
            "writer": "staged",
            "gate": "full",
            "algorithm": "rft",
            "seed": 0,
        },
        "seed": 0,
        "isolation": "A",
        "started": "2026-11-01T14:05:11+0000",
        "python": "3.11.7",
        "machine": "Linux-6.1-x86_64",
        "versions": {"selfchallenge": "0.1.0", "torch": "2.13.0"},
    }


def make_task(instruction: str, solution: str, answer: object, **meta: Any) -> CodeAsTask:
    return CodeAsTask(
        environment="calculation",
        seed=str(meta.pop("seed", "message_decoder-3")),
        instruction=instruction,
        verifier=f"def evaluate(answer):\n    return type(answer) is {type(answer).__name__} "
        f"and answer == {answer!r}\n",
        solution=solution,
        failures=(solution + "answer = None\n", "answer = 0\n", f"answer = [{answer!r}]\n"),
        meta=meta,
    )


def make_verdict(task: CodeAsTask, failed: str = "", evidence: str = "") -> Verdict:
    checks = []
    for name in ("unique", "solution_runs", "verifier_runs", "solution_passes", "uses_tools"):
        if name == failed:
            checks.append(Check(name=name, passed=False, evidence=evidence))
            break
        checks.append(Check(name=name, passed=True, evidence="evaluate returned True"))
    reason = f"dropped: {failed}: {evidence}" if failed else "kept: all 5 checks passed"
    return Verdict(
        id=task.id,
        accepted=not failed,
        isolation="A",
        gate="full",
        checks=tuple(checks),
        reason=reason,
        frame=(),
        tools=("caesar_decode", "reverse_string"),
        answer_type="str",
        seconds=0.213,
    )


def make_episode(
    task: CodeAsTask, phase: str = "train", attempt: int = 0, *, passed: bool, text: str = ""
) -> Episode:
    code = task.solution if passed else "print(caesar_decode('unknown', 0))\n"
    said = text or "I decode the message and print it."
    shown = "'harvest'" if passed else "Error: the shift must be between 1 and 25"
    turns = (
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": task.instruction},
        {"role": "assistant", "content": f"{said}\n```python\n{code}print(answer)\n```"},
        {"role": "user", "content": shown},
        {"role": "assistant", "content": "harvest" if passed else "I could not find it."},
    )
    return Episode(
        phase=phase,
        task=task.id,
        attempt=attempt,
        model="default",
        seed=attempt,
        turns=turns,
        answer="harvest" if passed else None,
        stop=StopReason.ANSWER if passed else StopReason.STEPS,
        reward=float(passed),
        passed=passed,
        evidence="evaluate passed, within the frame and grounded"
        if passed
        else "evaluate returned False",
        calls=(
            {"tool": "caesar_decode", "arguments": ["kduyhvw", 3], "ok": passed, "result": shown},
        ),
        prompt_tokens=412,
        completion_tokens=64 if passed else 212,
        seconds=1.8,
        isolation="A",
    )


def _write_candidates(run: RunDirectory, rng: random.Random, number: int) -> list[CodeAsTask]:
    accepted = []
    for n in range(number):
        line = {"candidate": n, "seed": f"message_decoder-{n % 9}", "writer": "staged"}
        line |= {"tokens": rng.randint(300, 900), "seconds": round(rng.uniform(3, 9), 2)}
        fate = rng.random()
        if fate < 0.12:
            evidence = "none of 8 drafts led a blind attempt to the answer 'harvest'"
            stage = rng.choice(["instruction", "instruction", "explore"])
            run.append(
                "candidates.jsonl", line | {"task": None, "failed": stage, "evidence": evidence}
            )
            continue
        task = _task(rng, f"message_decoder-{n % 9}", kind=n % 4, level=n // 4)
        record = task.model_dump(mode="json")
        run.append("candidates.jsonl", line | {"task": record, "failed": None, "evidence": ""})
        failed, evidence = _failure(rng, fate)
        verdict = make_verdict(task, failed, evidence)
        if not failed:
            run.append("tasks.jsonl", task)
            accepted.append(task)
        run.append("verdicts.jsonl", {"candidate": n, "verdict": verdict.model_dump(mode="json")})
    return accepted


def _failure(rng: random.Random, fate: float) -> tuple[str, str]:
    if fate > 0.42:
        return "", ""
    if fate < 0.28:
        return "unique", "same solution as task 3b1c9a77d0e21f44"
    if fate < 0.38:
        trace = (
            "Traceback (most recent call last):\n"
            '  File "solution", line 2, in <module>\n'
            "ToolError: the shift must be between 1 and 25"
        )
        return "solution_runs", trace
    return rng.choice(["solution_passes", "uses_tools"]), "evaluate returned False"


def _task(rng: random.Random, seed: str, kind: int, level: int) -> CodeAsTask:
    word, other = rng.sample(WORDS, 2)
    shift, amount, rate = rng.randint(2, 24), rng.randint(12, 990), rng.randint(2, 40) / 8
    meta = {"writer": "staged", "tokens": rng.randint(300, 900), "seed": seed}
    if kind == 0:
        return make_task(
            f"Every letter of '{word}{level}' was moved {shift} places forward before it was "
            "sent. What did the message say, read backwards?",
            f"plain = caesar_decode('{word}{level}', {shift})\nanswer = reverse_string(plain)\n",
            word[::-1],
            **meta,
        )
    if kind == 1:
        return make_task(
            f"I have {amount} euros and the bank gives {rate} crowns for one. How many crowns is "
            "that?",
            f"answer = convert_currency({amount}, {rate})\n",
            amount * rate,
            **meta,
        )
    if kind == 2:
        return make_task(
            f"Write '{word} {other} {level}' from right to left.",
            f"answer = reverse_string('{word} {other} {level}')\n",
            f"{word} {other} {level}"[::-1],
            **meta,
        )
    return make_task(
        f"A crate of {other}s is worth {amount} dollars. First the tariff of {level + 3} % is "
        f"added, then {shift} % tax on the sum. I also owe a fixed fee, which is the larger of "
        f"{shift} and {level}. What does it come to in the end?",
        f"price = estimate_final_value({amount}, {level + 3}, {shift})\n"
        f"fee = maximum_value({shift}, {level})\nanswer = add(price, fee)\n",
        round(amount * 1.1, 2),
        **meta,
    )


def _write_scores(run: RunDirectory, rng: random.Random) -> None:
    for phase, chance in {"noop": 0.0, "before": 0.21, "after": 0.64}.items():
        for task in heldout_tasks().values():
            run.append("scores.jsonl", make_episode(task, phase, passed=rng.random() < chance))


def _write_rollouts(
    run: RunDirectory, rng: random.Random, tasks: list[CodeAsTask], most: int
) -> None:
    for attempt in range(most):
        for task in tasks:
            episode = make_episode(task, "train", attempt, passed=rng.random() < 0.34)
            run.append("episodes.jsonl", episode)
