"""Duplicate removal: the same solution with other names, or nearly the same instruction.

Two tasks are duplicates when their solutions normalise to the same code, or when their instructions
share most of their word triples (MinHash estimate of the Jaccard similarity). The first accepted
task stays.
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field

from selfchallenge.task import Check, CodeAsTask

PERMUTATIONS = 64
SIMILAR = 0.85


@dataclass
class Seen:
    """Tasks accepted so far; `check` compares against them, `add` makes a task one of them."""

    solutions: dict[str, str] = field(default_factory=dict)
    sketches: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def check(self, task: CodeAsTask) -> Check:
        """Passed when no accepted task has the same solution or nearly the same instruction."""
        same = self.solutions.get(_solution_key(task))
        if same is not None:
            return Check(name="unique", passed=False, evidence=f"same solution as task {same}")
        sketch = minhash(task.instruction)
        for name, other in self.sketches:
            if similarity(sketch, other) >= SIMILAR:
                text = f"nearly the same instruction as task {name}"
                return Check(name="unique", passed=False, evidence=text)
        return Check(name="unique", passed=True, evidence=f"unlike {len(self.sketches)} others")

    def add(self, task: CodeAsTask) -> None:
        """Remember an accepted task."""
        self.solutions.setdefault(_solution_key(task), task.id)
        self.sketches.append((task.id, minhash(task.instruction)))


def normalise(source: str) -> str:
    """Source with comments, layout and the names of its own variables taken away.

    Source that does not parse is returned stripped.
    """
    try:
        tree = ast.parse(source)
        renamed = _Renamer(tree).visit(tree)
        return ast.unparse(renamed)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return source.strip()


class _Renamer(ast.NodeTransformer):
    """Renames assigned variables in the order of their first assignment."""

    def __init__(self, tree: ast.AST) -> None:
        stored = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and _is_stored(n))
        ordered = sorted(stored, key=lambda node: (node.lineno, node.col_offset))
        names = dict.fromkeys(node.id for node in ordered)
        self.names = {name: f"v{number}" for number, name in enumerate(names)}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.names.get(node.id, node.id)
        return node


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def minhash(text: str) -> tuple[int, ...]:
    """Sketch of the set of word triples of `text`, `PERMUTATIONS` numbers long."""
    words = re.findall(r"\w+", text.lower())
    triples = {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
    digests = [hashlib.blake2b(t.encode("utf-8", "replace"), digest_size=8) for t in triples]
    hashes = [int.from_bytes(digest.digest()) for digest in digests]
    return tuple(min(_permute(value, k) for value in hashes) for k in range(PERMUTATIONS))


def similarity(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Estimated Jaccard similarity of two sketches, 0 to 1."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / PERMUTATIONS


def _permute(value: int, k: int) -> int:
    return ((2 * k + 1) * 0x9E3779B97F4A7C15 * (value ^ (k * 0xBF58476D1CE4E5B9))) & (2**61 - 1)


def _solution_key(task: CodeAsTask) -> str:
    return f"{task.environment}\0{normalise(task.solution)}"
