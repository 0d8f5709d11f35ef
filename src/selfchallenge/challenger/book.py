"""Phrases: how a person names what a call gives, or asks for what it changes.

For a reading tool a phrase is a noun phrase, "the number of days from {start} to {end}", so that
one can stand inside another; for a tool that changes the state it is a request. They come from the
tool's documentation and, where they survive a round trip (`phrases.py`), from the model.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selfchallenge.environments.base import ToolSpec

DETERMINED = ("the ", "a ", "an ")
INDIRECT = ("whether ", "how ", "which ", "what ", "when ", "who ")


@dataclass(frozen=True)
class Phrase:
    """Text with a `{slot}` for each parameter that is given."""

    tool: str
    text: str

    @property
    def slots(self) -> frozenset[str]:
        """Names of the parameters it speaks of."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.text) if name)

    @property
    def nests(self) -> bool:
        """It can stand inside another phrase: a plain noun phrase without values named after it."""
        return self.text.startswith(DETERMINED) and ", for " not in self.text


@dataclass
class PhraseBook:
    """Phrases by tool; a tool without a fitting one is spoken of by its documentation."""

    phrases: dict[str, list[Phrase]] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, list[str]]:
        """Texts by tool, and under `tried` the calls that phrases were looked for."""
        texts = {tool: [p.text for p in kept] for tool, kept in self.phrases.items()}
        return {**texts, "tried": sorted(self.tried)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Sequence[str]]) -> PhraseBook:
        """The book that `to_json` wrote."""
        phrases = {
            tool: [Phrase(tool, text) for text in texts]
            for tool, texts in stored.items()
            if tool != "tried"
        }
        return cls(phrases, set(stored.get("tried", ())))

    def add(self, phrase: Phrase) -> None:
        """Keep a phrase, once."""
        kept = self.phrases.setdefault(phrase.tool, [])
        if phrase not in kept:
            kept.append(phrase)

    def choose(self, tool: ToolSpec, given: Sequence[str], rng: random.Random) -> Phrase:
        """A phrase that speaks of exactly the given parameters."""
        fitting = [p for p in self.phrases.get(tool.name, ()) if p.slots == frozenset(given)]
        return rng.choice([*fitting, *fitting, documented(tool, given)])


def documented(tool: ToolSpec, given: Sequence[str]) -> Phrase:
    """The first sentence of a tool's documentation with its parameters named after it."""
    first = re.split(r"[.;:(](?:\s|$)|\s\(", tool.description.strip() or tool.name)[0].strip()
    sentence = first.replace("{", "(").replace("}", ")")
    sentence = sentence[:1].lower() + sentence[1:]
    if not tool.mutates:
        verb = r"(returns?|gets?|gives?|finds?|computes?|calculates?|lists?|looks? up)\s+"
        named = re.sub(f"^{verb}", "", sentence)
        if named == sentence:
            sentence = f"what you get if you {sentence}"
        else:
            sentence = named if named.startswith((*DETERMINED, *INDIRECT)) else f"the {named}"
    return Phrase(tool.name, f"{sentence}, for {_named(given)}" if given else sentence)


def valid_phrase(text: str, tool: ToolSpec, given: Sequence[str]) -> Phrase | None:
    """A phrase made of a model's line, None when it does not keep to the form.

    It must have a slot for each given parameter, once, hold no figure and no quoted value of its
    own, and not name the function; for a reading tool it must be a noun phrase.
    """
    text = text.strip().strip('"').rstrip(".?!: ").strip()
    try:
        slots = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:
        return None
    text = text[:1].lower() + text[1:]
    bare = re.sub(r"\{\w+\}", "", text)
    wrong = (
        sorted(slots) != sorted(given)
        or re.search(r"[\d{}`\"=_*/:]|'\w+'", bare) is not None
        or re.search(rf"\b{tool.name}\b", text) is not None
        or not 2 <= len(bare.split()) <= 24
        or not text.isascii()
        or (not tool.mutates and not text.startswith((*DETERMINED, *INDIRECT)))
    )
    return None if wrong else Phrase(tool.name, text)


def _named(given: Sequence[str]) -> str:
    if len(given) == 1:
        return f"{{{given[0]}}}"
    words = [f"{name.replace('_', ' ')} {{{name}}}" for name in given]
    return f"{', '.join(words[:-1])} and {words[-1]}"
