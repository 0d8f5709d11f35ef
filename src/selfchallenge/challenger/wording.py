"""Puts a draft into words: one phrase a call, the flow of data resolved, nothing invented.

A small model that writes an instruction freely invents figures and leaks results; a draft made by
program from the executed calls is faithful. What the model contributes are *phrases*, one a tool
and several to choose from, with a slot for each parameter; the program fills the slots.
"""

from __future__ import annotations

import ast
import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selfchallenge.challenger.draft import Draft, Step, bind
from selfchallenge.environments.base import ToolSpec

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
OPERATORS: Mapping[type, str] = {
    ast.Add: "plus",
    ast.Sub: "minus",
    ast.Mult: "times",
    ast.Div: "divided by",
}


@dataclass(frozen=True)
class Phrase:
    """How a person asks for one call: text with a `{slot}` for each parameter that is given."""

    tool: str
    text: str

    @property
    def slots(self) -> frozenset[str]:
        """Names of the parameters it speaks of."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.text) if name)


@dataclass
class PhraseBook:
    """Phrases by tool; a tool without a fitting one is asked for by its documentation."""

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
        return rng.choice([*fitting, *fitting, documented(tool, given, rng.choice(ASKING))])


ASKING = ("Find", "Work out", "Tell me", "Determine", "Get", "Give me", "I need")
"""How a person asks for what a tool is documented to return."""


def documented(tool: ToolSpec, given: Sequence[str], asking: str = "Find") -> Phrase:
    """The first sentence of a tool's documentation with its parameters named after it."""
    first = re.split(r"[.;:(](?:\s|$)|\s\(", tool.description.strip() or tool.name)[0].strip()
    sentence = first.replace("{", "(").replace("}", ")")
    sentence = re.sub(r"^(Returns?|Gets?|Gives?|Finds?|Computes?|Calculates?)\b", asking, sentence)
    return Phrase(tool.name, f"{sentence}: {_named(given)}" if given else sentence)


def valid_phrase(text: str, tool: ToolSpec, given: Sequence[str]) -> Phrase | None:
    """A phrase made of a model's line, None when it does not keep to the form.

    It must have a slot for each given parameter, once, or none at all (then they are named after
    it), hold no figure and no quoted value of its own, and not name the function.
    """
    text = text.strip().strip('"').rstrip(".?!: ").strip()
    try:
        slots = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:
        return None
    bare = re.sub(r"\{\w+\}", "", text)
    wrong = (
        (slots and sorted(slots) != sorted(given))
        or re.search(r"[\d{}`\"=_*/]|'\w+'", bare) is not None
        or re.search(rf"\b{tool.name}\b", text) is not None
        or not 2 <= len(bare.split()) <= 24
        or not text.isascii()
    )
    if wrong:
        return None
    return Phrase(tool.name, text if slots else f"{text}: {_named(given)}")


def _named(given: Sequence[str]) -> str:
    if len(given) == 1:
        return f"{{{given[0]}}}"
    return ", ".join(f"{name.replace('_', ' ')} {{{name}}}" for name in given)


def word_draft(draft: Draft, book: PhraseBook, rng: random.Random) -> str | None:
    """The instruction of a draft; None when an expression of it has no words."""
    sentences: list[str] = []
    for step in draft.steps:
        said = _say_step(step, draft.steps, book, rng)
        if said is None:
            return None
        sentences.append(said)
    question = _question(draft, rng)
    if question is None:
        return None
    return _join(sentences, question, rng)


def _say_step(
    step: Step, steps: Sequence[Step], book: PhraseBook, rng: random.Random
) -> str | None:
    bound = bind(step.tool, step.arguments)
    if bound is None:
        return None
    here = steps.index(step)
    said: dict[str, str] = {}
    for name, nodes in bound.items():
        words = [say(node, steps, here) for node in nodes]
        if any(word is None for word in words):
            return None
        said[name] = _listing([word for word in words if word is not None])
    return book.choose(step.tool, list(bound), rng).text.format_map(said)


def say(node: ast.expr, steps: Sequence[Step], here: int) -> str | None:
    """An expression in words, seen from step number `here`; None when there are none for it."""
    if isinstance(node, ast.Starred):
        inner = say(node.value, steps, here)
        return None if inner is None else f"the values of {inner}"
    if isinstance(node, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.UnaryOp):
        return _say_literal(node)
    if isinstance(node, ast.Name):
        return _refer(node.id, steps, here)
    if isinstance(node, ast.Subscript):
        return _say_part(node, steps, here)
    if isinstance(node, ast.Call):
        return _say_length(node, steps, here)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = say(node.left, steps, here), say(node.right, steps, here)
        return f"{left} {OPERATORS[type(node.op)]} {right}" if left and right else None
    return None


def _say_literal(node: ast.expr) -> str | None:
    try:
        return repr(ast.literal_eval(node))
    except ValueError:
        return None


def _say_part(node: ast.Subscript, steps: Sequence[Step], here: int) -> str | None:
    if not isinstance(node.slice, ast.Constant):
        return None
    whole = say(node.value, steps, here)
    if whole is None:
        return None
    key = node.slice.value
    if isinstance(key, int):
        where = ORDINALS[key] if 0 <= key < len(ORDINALS) else f"number {key + 1}"
        return f"the {where} entry of {whole}"
    return (
        f"the {str(key).replace('_', ' ')} of {whole}"
        if len(str(key)) > 1
        else (f"the {key!r} entry of {whole}")
    )


def _say_length(node: ast.Call, steps: Sequence[Step], here: int) -> str | None:
    if not (isinstance(node.func, ast.Name) and node.func.id == "len" and len(node.args) == 1):
        return None
    whole = say(node.args[0], steps, here)
    return None if whole is None else f"the length of {whole}"


def _refer(variable: str, steps: Sequence[Step], here: int) -> str | None:
    position = next((i for i, step in enumerate(steps) if step.variable == variable), None)
    if position is None or position >= here:
        return None
    if len(steps) == 1 or (position == here - 1 and here < len(steps)):
        return "the result"
    if position == len(steps) - 1:
        return "the last result"
    return f"the {ORDINALS[position]} result"


def _question(draft: Draft, rng: random.Random) -> str | None:
    """What to answer with; empty when the task asks for no answer."""
    if not draft.answer:
        return ""
    node = ast.parse(draft.answer, mode="eval").body
    end = len(draft.steps)
    if isinstance(node, ast.Name) and node.id == draft.steps[-1].variable:
        return rng.choice(_PLAIN_QUESTIONS if end == 1 else _LAST_QUESTIONS)
    if isinstance(node, ast.Compare):
        return _comparison(node, draft, end)
    if isinstance(node, ast.List):
        items = [say(item, draft.steps, end) for item in node.elts]
        if any(item is None for item in items):
            return None
        return f"Answer with a Python list of {_listing([i for i in items if i is not None])}"
    said = say(node, draft.steps, end)
    return (
        None
        if said is None
        else rng.choice(("What is {}?", "Answer with {}", "Tell me {}")).format(said)
    )


def _comparison(node: ast.Compare, draft: Draft, end: int) -> str | None:
    left, right = (say(part, draft.steps, end) for part in (node.left, node.comparators[0]))
    if left is None or right is None:
        return None
    how = "equal to" if isinstance(node.ops[0], ast.Eq) else "greater than"
    return f"Is {left} {how} {right}? Answer True or False"


_PLAIN_QUESTIONS = ("What is the result?", "Answer with the result", "Give me just the result", "")
_LAST_QUESTIONS = (
    "What is the final result?",
    "Answer with the last result",
    "Tell me what comes out at the end",
    "Give me the final value",
)


def _join(sentences: list[str], question: str, rng: random.Random) -> str:
    style = rng.choice(("then", "numbered", "commas")) if len(sentences) > 1 else "then"
    if style == "numbered":
        lines = [f"({i}) {_lower(s)}" for i, s in enumerate(sentences, 1)]
        text = "Do the following: " + "; ".join(lines) + "."
    elif style == "commas":
        text = _upper(", then ".join(_lower(s) for s in sentences)) + "."
    else:
        rest = [
            f"{rng.choice(('Then', 'Next,', 'After that,'))} {_lower(s)}." for s in sentences[1:]
        ]
        text = " ".join([f"{_upper(sentences[0])}.", *rest])
    end = question if not question or question.endswith("?") else f"{question}."
    return f"{text} {end}".strip()


def _listing(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
