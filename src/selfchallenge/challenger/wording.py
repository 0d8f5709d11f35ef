"""Puts a draft into words: what each call gives is named, the flow of data resolved, none invented.

A small model that writes an instruction freely invents figures and leaks results; a draft made by
program from the executed calls is faithful. What the model contributes are *phrases* (`book.py`),
which name what a call gives; the program fills their slots, puts one into another where a result
flows on, and asks the question that the answer's expression stands for.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Sequence
from typing import Any

from selfchallenge.challenger.book import DETERMINED, PhraseBook
from selfchallenge.challenger.draft import Draft, Step, bind, names_in

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
DEEPEST = 2
"""Results named within one another at most; deeper ones get a sentence of their own."""


class Unsayable(Exception):  # noqa: N818 - not an error but an outcome
    """An expression has no words."""


def word_draft(draft: Draft, book: PhraseBook, rng: random.Random) -> str | None:
    """The instruction of a draft; None when an expression of it has no words."""
    try:
        return _Words(draft, book, rng).instruction()
    except Unsayable:
        return None


class _Words:
    """One draft with the phrases chosen for its calls."""

    def __init__(self, draft: Draft, book: PhraseBook, rng: random.Random) -> None:
        self.draft, self.rng = draft, rng
        self.steps = draft.steps
        self.bound = [_bound(step) for step in self.steps]
        self.phrases = [
            book.choose(step.tool, list(bound), rng)
            for step, bound in zip(self.steps, self.bound, strict=True)
        ]
        self.nested = self._nested() if rng.random() < 0.8 else set()

    def instruction(self) -> str:
        told = [i for i in range(len(self.steps)) if i not in self.nested]
        answer = self.draft.answer
        # A last result that is the whole answer is asked for, not told and then asked for again.
        if answer and told and answer == self.steps[told[-1]].variable == self.steps[-1].variable:
            self.nested.add(told.pop())
        sentences = [self._sentence(i) for i in told]
        question = self._question() if answer else ""
        return " ".join(filter(None, [*_in_order(sentences, self.rng), question]))

    def _nested(self) -> set[int]:
        """Calls that are named where their result is used."""
        uses = [names_in(f"f({step.arguments})") for step in self.steps]
        uses.append(names_in(self.draft.answer))
        depth: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            inner = [
                depth[j]
                for j, other in enumerate(self.steps[:i])
                if other.variable in uses[i] and j in depth
            ]
            used = sum(step.variable in names for names in uses)
            level = 1 + max(inner, default=0)
            alone = not step.tool.mutates and self.phrases[i].nests
            if alone and used == 1 and level <= DEEPEST:
                depth[i] = level
        return set(depth)

    def _sentence(self, i: int) -> str:
        said = self._name(i)
        if self.steps[i].tool.mutates:
            return said
        return f"{self.rng.choice(('find', 'work out', 'determine', 'look up'))} {said}"

    def _name(self, i: int) -> str:
        """The phrase of a call with its slots filled."""
        said = {
            name: _listing([self._say(node, i) for node in nodes])
            for name, nodes in self.bound[i].items()
        }
        text = self.phrases[i].text
        for name in (name for name, words in said.items() if words.startswith(DETERMINED)):
            text = re.sub(rf"\b(?:the|an?) (?={{{name}}})", "", text)
        return text.format_map(said)

    def _say(self, node: ast.expr, here: int) -> str:
        """An expression in words, seen from the call at place `here`."""
        match node:
            case ast.Name(id=name):
                return self._refer(name, here)
            case ast.Constant() | ast.UnaryOp() | ast.Tuple():
                return _literal(node)
            case ast.List(elts=items) | ast.Tuple(elts=items) if names_in(ast.unparse(node)):
                return _listing([self._say(item, here) for item in items])
            case ast.List() | ast.Dict():
                return _literal(node)
            case ast.Starred(value=inner):
                return f"the values of {self._say(inner, here)}"
            case ast.Subscript():
                return self._part(node, here)
            case ast.Call():
                return self._call(node, here)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return f"{self._say(left, here)} {_OPERATORS[type(op)]} {self._say(right, here)}"
            case ast.ListComp(elt=ast.Subscript(slice=ast.Constant(value=key))):
                records = self._say(node.generators[0].iter, here)
                return f"the {_key(key)} of each of {records}"
        raise Unsayable(ast.unparse(node))

    def _part(self, node: ast.Subscript, here: int) -> str:
        match node:
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="sorted"), args=[inner], keywords=[]),
                slice=place,
            ):
                most = _superlative(place, self.rng)
                match inner:
                    case ast.GeneratorExp(elt=ast.Subscript(slice=ast.Constant(value=key))):
                        records = self._say(inner.generators[0].iter, here)
                        return f"the {most} {_key(key)} among {records}"
                return f"the {most} of {self._say(inner, here)}"
            case ast.Subscript(
                value=ast.Subscript(
                    value=ast.Call(
                        func=ast.Name(id="sorted"),
                        args=[records],
                        keywords=[ast.keyword(value=ast.Lambda(body=by))],
                    ),
                    slice=place,
                ),
                slice=ast.Constant(value=key),
            ) if isinstance(by, ast.Subscript) and isinstance(by.slice, ast.Constant):
                most, figure = _superlative(place, self.rng), _key(by.slice.value)
                among = self._say(records, here)
                return f"the {_key(key)} of the one with the {most} {figure} among {among}"
            case ast.Subscript(value=whole, slice=ast.Constant(value=int(place_))):
                where = ORDINALS[place_] if 0 <= place_ < len(ORDINALS) else f"number {place_ + 1}"
                return f"the {where} entry of {self._say(whole, here)}"
            case ast.Subscript(value=whole, slice=ast.Constant(value=str(key))):
                said = self._say(whole, here)
                return f"the {_key(key)} {'entry ' if len(key) == 1 else ''}of {said}"
        raise Unsayable(ast.unparse(node))

    def _call(self, node: ast.Call, here: int) -> str:
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=name) as inner]):
                step = next(step for step in self.steps if step.variable == name)
                said = self._say(inner, here)
                if isinstance(step.value, str):
                    return f"the number of characters in {said}"
                return f"the number of {said.removeprefix('the ')}"
            case ast.Call(func=ast.Name(id="len"), args=[ast.Subscript() as inner]):
                said, reached = self._say(inner, here), self._reach(inner)
                if isinstance(reached, str):
                    return f"the number of characters in {said}"
                if isinstance(reached, list | tuple | dict):
                    return f"the number of {said.removeprefix('the ')}"
            case ast.Call(func=ast.Attribute(value=records, attr="values"), args=[]):
                return self._say(records, here)
            case ast.Call(
                func=ast.Attribute(value=ast.Name() as inner, attr="count"),
                args=[ast.Constant(value=part)],
            ):
                return f"the number of times {part!r} occurs in {self._say(inner, here)}"
            case ast.Call(
                func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.List(elts=items)]
            ):
                return f"{_listing([self._say(i, here) for i in items])}, joined by a space"
        raise Unsayable(ast.unparse(node))

    def _reach(self, node: ast.expr) -> Any:
        """The value of a part of a result; None when it is no plain part."""
        match node:
            case ast.Name(id=name):
                return next(step.value for step in self.steps if step.variable == name)
            case ast.Subscript(value=whole, slice=ast.Constant(value=key)):
                inner = self._reach(whole)
                try:
                    return None if inner is None else inner[key]
                except (KeyError, IndexError, TypeError):
                    return None
        return None

    def _refer(self, variable: str, here: int) -> str:
        position = next((i for i, s in enumerate(self.steps) if s.variable == variable), None)
        if position is None or position >= here:
            raise Unsayable(variable)
        if position in self.nested:
            return self._name(position)
        told = [i for i in range(here) if i not in self.nested]
        if len(told) == 1:
            return "the result"
        if position == told[-1]:
            return "the last result"
        return f"the {ORDINALS[told.index(position)]} result"

    def _question(self) -> str:
        """What is asked, by the form of the answer's expression."""
        node = ast.parse(self.draft.answer, mode="eval").body
        end = len(self.steps)
        match node:
            case ast.List(elts=items):
                listed = _listing([self._say(item, end) for item in items])
                return f"{self._ask()} {listed}, as a Python list in this order."
            case ast.ListComp():
                return f"{self._ask()} {self._say(node, end)}, in their order, as a Python list."
            case ast.Dict(keys=keys, values=values):
                said = _listing([self._say(value, end) for value in values])
                names = _listing([_literal(key) for key in keys if key is not None])
                return f"Give {said} as the values of a dict whose keys are {names}."
            case ast.IfExp(
                test=ast.Compare(left=left, ops=[op], comparators=[right]), body=one, orelse=other
            ):
                how = self.rng.choice(_LOWER if isinstance(op, ast.Lt) else _HIGHER)
                a, b = self._say(left, end), self._say(right, end)
                choice = f"Answer {_literal(one)} or {_literal(other)}."
                return f"Which is {how}, {a} or {b}? {choice}"
            case ast.BinOp(left=left, op=ast.Sub(), right=right) if not isinstance(
                left, ast.Constant
            ):
                a, b = self._say(left, end), self._say(right, end)
                return self.rng.choice(
                    (
                        f"How much higher is {a} than {b}?",
                        f"What is the difference between {a} and {b}?",
                        f"By how much does {a} exceed {b}?",
                    )
                )
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                taken = self._say(right, end)
                return f"What is left of {_literal(left)} after taking off {taken}?"
            case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=3)):
                return f"What is three times {self._say(left, end)}?"
            case ast.BinOp(op=ast.Add()):
                parts = [self._say(part, end) for part in _summands(node)]
                return f"What do {_listing(parts)} add up to?"
        return self._ask_for(self._say(node, end))

    def _ask_for(self, said: str) -> str:
        if said.startswith(DETERMINED):
            return self.rng.choice((f"What is {said}?", f"{self._ask()} {said}."))
        return f"{self._ask()} {said}."

    def _ask(self) -> str:
        return self.rng.choice(("Tell me", "I need to know", "Find", "Give me", "Report"))


_OPERATORS = {ast.Add: "plus", ast.Sub: "minus", ast.Mult: "times", ast.Div: "divided by"}
_LOWER, _HIGHER = ("lower", "smaller", "less"), ("higher", "larger", "more")


def _superlative(place: ast.expr, rng: random.Random) -> str:
    low = ast.unparse(place) == "0"
    return rng.choice(("lowest", "smallest") if low else ("highest", "largest"))


def _summands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summands(node.left), node.right]
    return [node]


def _bound(step: Step) -> dict[str, list[ast.expr]]:
    found = bind(step.tool, step.arguments)
    if found is None:
        raise Unsayable(step.source)
    return found


def _literal(node: ast.expr) -> str:
    try:
        return repr(ast.literal_eval(node))
    except ValueError as error:
        raise Unsayable(ast.unparse(node)) from error


def _key(key: object) -> str:
    text = str(key)
    return text.replace("_", " ") if len(text) > 1 else repr(text)


def _in_order(sentences: Sequence[str], rng: random.Random) -> list[str]:
    if len(sentences) < 2:
        return [f"{_upper(s)}." for s in sentences]
    first = rng.choice(("First", "To begin with,"))
    later = [f"{rng.choice(('Then', 'Next,', 'After that,'))} {s}." for s in sentences[1:]]
    return [f"{first} {sentences[0]}.", *later]


def _listing(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
