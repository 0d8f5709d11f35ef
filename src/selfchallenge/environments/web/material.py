"""Starting material for exploration: a page of the seed's site, with what it says and links to."""

from __future__ import annotations

import random

from selfchallenge.environments.web.state import HOME, Pages, links

SHOWN = 3


def material(pages: Pages, seed: str) -> str:
    """Addresses that belong together and one fact of theirs, in one line; the same for a seed."""
    rng = random.Random(f"web/material/{seed}")
    page = rng.choice([url for url in _reachable(pages) if url != HOME])
    near = [url for url in dict.fromkeys(links(pages[page])) if url in pages and url != page]
    near = rng.sample(near, min(len(near), SHOWN))
    facts = [line for line in pages[page].split("\n") if ": " in line and "[Clickable" not in line]
    parts = [f"page {page!r}"]
    if near:
        parts.append(f"which links to {' and '.join(map(repr, near))}")
    if facts:
        parts.append(f"says {_unquoted(rng.choice(facts))}")
    return ", ".join(parts)


def _unquoted(text: str) -> str:
    # Addresses alone stand in quotes, so that nothing else is taken for one.
    return text.replace("'", "")


def _reachable(pages: Pages) -> list[str]:
    found = [HOME]
    for page in found:
        found += [url for url in dict.fromkeys(links(pages[page])) if url in pages.keys() - found]
    return found
