"""Where a reply ends: the stop pattern, applied to `begin` plus the text so far."""

from __future__ import annotations

import re


def cut(begin: str, text: str, pattern: str) -> str:
    """The shortest beginning of `text` that, after `begin`, matches `pattern`; else all of it.

    This is where a model that is watched character by character would have been stopped; a pattern
    that matches `begin` alone stops after the first character.
    """
    if not pattern:
        return text
    stop = re.compile(pattern, re.DOTALL)
    ends = range(1, len(text) + 1)
    return next((text[:end] for end in ends if stop.search(begin + text[:end])), text)
