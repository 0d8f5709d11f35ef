"""A deterministic challenger for tests and the smoke loop: it fills calls in by their types.

It reads what a model reads, the signatures and the subject, and completes the forced beginning of a
call with values of the right type from the subject, or that of a proposal with a description. It
knows nothing of any environment.
"""

from __future__ import annotations

import random
import re

from selfchallenge.challenger.propose import BEGIN, END
from selfchallenge.models.base import Prompt
from selfchallenge.models.scripted import ScriptedModel


def scripted_challenger() -> ScriptedModel:
    """The model `scripted:challenger`."""
    return ScriptedModel("challenger", _reply)


def _reply(prompt: Prompt) -> str:
    if prompt.begin == BEGIN:
        return _proposal(prompt)
    call = re.search(r"\n(?:r\d+) = (\w+)\((.*)\Z", prompt.begin)
    if call is None:
        return ""
    name, opening = call.groups()
    documentation = prompt.messages[0].content
    signature = re.search(rf"^{name}\((.*)\)(?: -> .*)?$", documentation, re.MULTILINE)
    if signature is None:
        return ")"
    rng = random.Random(prompt.seed)
    subject = prompt.messages[-1].content
    texts = re.findall(r"'([^']*)'", subject) or re.findall(r"[A-Za-z]\w*", subject)
    numbers = re.findall(r"(?<![\w'])\d+(?:\.\d+)?(?![\w'])", subject) or ["3"]
    missing = _missing(_parameters(signature.group(1)), opening)
    values = [_value(kind, texts, numbers, rng) for _, kind in missing]
    if opening == "'":
        return ", ".join([f"{rng.choice(texts)}'", *_named(missing[1:], values[1:])]) + ")"
    return ", ".join(_named(missing, values)) + ")"


def _proposal(prompt: Prompt) -> str:
    """A proposal: the description of the function that it is to take, and a number of its own."""
    shown = prompt.messages[-1].content
    focus = re.search(r"take the function (\w+)", shown)
    told = focus and re.search(rf"^{focus.group(1)}\(.*\n +(.*)", shown, re.MULTILINE)
    return f"{told.group(1) if told else 'Do something.'} It is request {prompt.seed}.\n{END}"


def _parameters(text: str) -> list[tuple[str, str]]:
    """Names and types of the required parameters, `*` kept with the name."""
    found = [part.partition(":") for part in re.split(r", (?=\*{0,2}\w+:)", text) if part]
    return [(name.strip(), kind.strip()) for name, _, kind in found if "=" not in kind]


def _missing(parameters: list[tuple[str, str]], opening: str) -> list[tuple[str, str]]:
    """Parameters that the opening leaves open; a variadic one takes one value more."""
    keyword = re.match(r"(\w+)=", opening)
    if keyword is not None:
        return [(name, kind) for name, kind in parameters if name != keyword.group(1)]
    if opening in ("", "'"):
        return parameters
    given = parameters[0] if parameters else ("", "")
    return parameters if given[0].startswith("*") else parameters[1:]


def _named(missing: list[tuple[str, str]], values: list[str]) -> list[str]:
    return [
        value if name.startswith("*") else f"{name}={value}"
        for (name, _), value in zip(missing, values, strict=True)
    ]


def _value(kind: str, texts: list[str], numbers: list[str], rng: random.Random) -> str:
    if kind.startswith(("'", '"')):
        return kind.split(" | ", maxsplit=1)[0]
    if "int" in kind and "float" not in kind:
        return str(int(float(rng.choice(numbers))) + rng.randrange(3))
    if "float" in kind:
        return rng.choice(numbers)
    return repr(rng.choice(texts))
