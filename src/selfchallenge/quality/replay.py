"""A solution as the plain list of the changing calls that it made: what a loop hides from mutation.

`for order in late: cancel(order)` is one call in the source and many in the environment's trace. A
verifier that looks at the first of them passes every change of the source that keeps the loop; a
mutant of the plain list leaves out the second one alone (design, section 4: mutants of the
*executed* solution).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from typing import Any

from selfchallenge.episode import Call
from selfchallenge.quality.mutation import tool_calls, written


def sources(
    source: str, calls: Sequence[Call], answer: Any, mutating: Collection[str]
) -> list[str]:
    """A solution, and the plain list of its changing calls where it shows fewer than it made.

    Args:
        source: the solution.
        calls: what it called, by the environment's trace.
        answer: what it left.
        mutating: names of the tools that may change the state.
    """
    acted = [call for call in calls if call.ok and call.tool in mutating]
    if len(acted) <= len(tool_calls(ast.parse(source), frozenset(mutating))):
        return [source]
    return [source, "\n".join([*map(written, acted), f"answer = {answer!r}"])]
