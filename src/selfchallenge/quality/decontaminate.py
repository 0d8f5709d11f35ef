"""Keeping test tasks out of the training tasks: hashes of what must not be written again.

The pipeline hands the held-out and benchmark tasks in; what is kept of them are hashes of word
n-grams, of normalised calls and of seeds, from which no task can be read back (design, section 4).
No task is trained on that is about a part of the world kept for tests: a tenth of the seeds, by
hash, and those that a test task is about (paper.md: the paper's share users with its tests).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from selfchallenge.quality.duplicates import normalise
from selfchallenge.task import Check, CodeAsTask

WORDS = 8
"""Words in a row that two instructions may not share."""
CALLS = 2
"""Calls that a solution must make for its list of calls to be telling."""
TRAIN_SHARE = 0.9
"""Share of the seeds that tasks are written about; the rest is kept for tests."""


def is_training_seed(seed: str) -> bool:
    """Whether a seed is none of those kept for tests: a split by hash, the same everywhere."""
    bucket = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) / 2**32
    return bucket < TRAIN_SHARE


@dataclass(frozen=True)
class Held:
    """Hashes of the tasks that are tested on.

    Attributes:
        phrases: of the word n-grams of their instructions.
        solutions: of their normalised solutions and lists of calls.
        seeds: of the parts of the world that they are about.
    """

    phrases: frozenset[str] = frozenset()
    solutions: frozenset[str] = frozenset()
    seeds: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        instructions: Iterable[str],
        solutions: Iterable[str] = (),
        seeds: Iterable[str] = (),
    ) -> Self:
        """The hashes of test tasks."""
        return cls(
            frozenset(gram for text in instructions for gram in phrases(text)),
            frozenset(found for source in solutions for found in solution_keys(source)),
            frozenset(map(_hash, seeds)),
        )

    def spares(self, seed: str) -> bool:
        """Whether tasks may be written about a seed."""
        return is_training_seed(seed) and _hash(seed) not in self.seeds

    def check(self, task: CodeAsTask) -> Check:
        """Passed when the task shares no phrase, solution or part of the world with a test task."""
        if task.seed is not None and not self.spares(task.seed):
            evidence = f"seed {task.seed!r} is kept for tests"
        elif not self.phrases.isdisjoint(phrases(task.instruction)):
            evidence = f"shares {WORDS} words in a row, or all, with a test task's instruction"
        elif not self.solutions.isdisjoint(solution_keys(task.solution)):
            evidence = "makes the calls of a test task"
        else:
            return Check(name="unseen", passed=True, evidence="like no test task")
        return Check(name="unseen", passed=False, evidence=evidence)


def phrases(text: str) -> set[str]:
    """Hashes of the runs of `WORDS` words in a text; of the whole text when it is shorter."""
    words = re.findall(r"\w+", text.lower())
    starts = range(max(1, len(words) - WORDS + 1))
    return {_hash(" ".join(words[start : start + WORDS])) for start in starts}


def solution_keys(source: str) -> set[str]:
    """Hashes of a solution: normalised, and its calls with their literals, sorted.

    Whether an argument is given by keyword makes no difference. Nothing to do, as some benchmark's
    tasks have it and tasks without code, is like no other solution.
    """
    plain = normalise(source)
    if not plain.strip():
        return set()
    found = {_hash(plain)}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return found
    calls = sorted(filter(None, map(_plain_call, ast.walk(tree))))
    return found | ({_hash(";".join(calls))} if len(calls) >= CALLS else set())


def _plain_call(node: ast.AST) -> str | None:
    """A call whose arguments are all literals, as text; None for anything else."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    try:
        values = [repr(ast.literal_eval(value)) for value in given]
    # Not all that looks like one is a value: `{[]: 1}`, or a number too long to be written.
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None
    return f"{node.func.id}({', '.join(values)})"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:20]
