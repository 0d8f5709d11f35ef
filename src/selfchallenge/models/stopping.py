"""Where a reply ends: the stop pattern, applied to a text that is already whole."""

from __future__ import annotations

import re


def cut(text: str, pattern: str) -> str:
    """The shortest beginning of `text` that matches `pattern`, else all of it.

    This is where a model that is watched character by character would have been stopped.
    """
    if not pattern:
        return text
    stop = re.compile(pattern, re.DOTALL)
    ends = range(1, len(text) + 1)
    return next((text[:end] for end in ends if stop.search(text[:end])), text)
