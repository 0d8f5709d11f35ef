"""The simulated user of retail and airline: knows the instruction and tells it bit by bit.

A language model plays it (`ModelUser`), or a script (`ScriptedUser`), which needs no second model
and always says the same. When an attempt fails, `fault` says whether the user is to blame: it made
something up, it left before it had told what was needed, or it went round in circles. Such failures
carry a label, so that training can leave them out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

import jinja2

from selfchallenge.models.base import Message, Model, Prompt, Sampling

STOP = "###STOP###"
GREETING = "Hi! How can I help you today?"
"""What the user's first message replies to."""
PORTIONS = 4
"""In how many messages a scripted user tells its instruction."""
CONSENT = "Yes, please."
"""What a scripted user says to a question once everything is told."""
CIRCLES = 3
"""Equal messages in a row after which a user is taken to have lost the thread."""


@dataclass
class Talk:
    """What was said so far between a user and an agent.

    Attributes:
        instruction: what the user wants; the agent never sees it.
        said: the user's messages, the first replies to the greeting.
        heard: the agent's messages, the greeting first.
        seed: random seed of this conversation.
        tokens: what the user's model read and wrote so far.
    """

    instruction: str
    said: list[str]
    heard: list[str]
    seed: int = 0
    tokens: int = 0


class User(Protocol):
    """Who talks to the agents.

    Attributes:
        name: how it is written in records.
    """

    name: str

    def reply(self, talks: Sequence[Talk]) -> list[str]:
        """The next message of the user of each talk; one that holds `STOP` ends it."""
        ...


class ModelUser:
    """A language model that plays the user; its sampling temperature is 1 unless told."""

    def __init__(self, model: Model, *, temperature: float = 1.0, max_tokens: int = 200) -> None:
        self.name = model.name
        self._model = model
        self._sampling = Sampling(temperature=temperature, max_tokens=max_tokens)

    def reply(self, talks: Sequence[Talk]) -> list[str]:
        """One message for each talk, sampled in one batch.

        Raises:
            ModelError: the model failed.
        """
        prompts = [Prompt(messages=_messages(talk), seed=_seed(talk)) for talk in talks]
        found = self._model.generate(prompts, self._sampling) if prompts else []
        for talk, one in zip(talks, found, strict=True):
            talk.tokens += one.prompt_tokens + one.completion_tokens
        # A message with the mark in it ends the talk, whatever else it says (as in tau-bench).
        return [STOP if STOP in one.text else one.text.strip() for one in found]


def _seed(talk: Talk) -> int:
    return talk.seed * 1000 + len(talk.said)


def _messages(talk: Talk) -> tuple[Message, ...]:
    """The talk as the user's model sees it: there the agent is the one who asks."""
    source = files("selfchallenge.executor").joinpath("prompts/user.md.j2").read_text("utf-8")
    # The prompt is text for a model, not markup for a browser.
    template = jinja2.Environment(autoescape=False).from_string(source)  # noqa: S701
    messages = [Message("system", template.render(instruction=talk.instruction))]
    for i, heard in enumerate(talk.heard):
        messages.append(Message("user", heard or "(silence)"))
        if i < len(talk.said):
            messages.append(Message("assistant", talk.said[i]))
    return tuple(messages)


class ScriptedUser:
    """A user without a model: tells its instruction in portions and then takes its leave.

    An agent that asks a question once everything is told is answered with consent; after
    `patience` answers of that kind, or when the agent asks nothing, the talk is over.
    """

    name = "scripted:user"

    def __init__(self, *, portions: int = PORTIONS, patience: int = 3) -> None:
        self._portions, self._patience = portions, patience

    def reply(self, talks: Sequence[Talk]) -> list[str]:
        """The next portion of each talk."""
        return [self._next(talk) for talk in talks]

    def _next(self, talk: Talk) -> str:
        parts = portions(talk.instruction, self._portions)
        told = len(talk.said)
        if told < len(parts):
            return parts[told]
        asked = talk.heard[-1].rstrip().endswith("?")
        if asked and told < len(parts) + self._patience:
            return CONSENT
        return STOP


def played_by(spec: str, load: Callable[[str], Model]) -> User | None:
    """The user that `--user-model` names: nobody, the script, or a model that `load` finds."""
    if not spec:
        return None
    return ScriptedUser() if spec == ScriptedUser.name else ModelUser(load(spec))


def portions(instruction: str, count: int) -> list[str]:
    """The instruction as its user says it, in at most `count` pieces of whole sentences."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'#])", instruction.strip())
    size = -(-len(sentences) // count)
    chunks = [" ".join(sentences[i : i + size]) for i in range(0, len(sentences), size)]
    return [_first_person(chunk) for chunk in chunks]


_PERSONS = (
    (r"\b[Yy]ou are\b", "I am"),
    (r"\b[Yy]ou're\b", "I'm"),
    (r"\b[Yy]ou've\b", "I've"),
    (r"\b[Yy]ou'd\b", "I'd"),
    (r"\b[Yy]ou'll\b", "I'll"),
    (r"\byourself\b", "myself"),
    (r"\bYour\b", "My"),
    (r"\byours\b", "mine"),
    (r"\byour\b", "my"),
    (r"\b[Yy]ou\b", "I"),
)


def _first_person(text: str) -> str:
    for pattern, replacement in _PERSONS:
        text = re.sub(pattern, replacement, text)
    return text


# -- whose fault a failure is ----------------------------------------------------------------------

_TELLING = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w|#?\w*\d(?:[\w-]*\w)?")
"""Words that name something: addresses of mail, and what has a digit in it."""
SHORTEST = 4
"""Characters of such a word; shorter ones are counts and days, which are said in many ways."""


def _unwritten(text: str) -> str:
    """The text without what is a matter of writing: 1,000 and 1000, 20 and 20th, 11 am and 11am."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return re.sub(r"(?<=\d)\s?(?:st|nd|rd|th|am|pm)\b", "", text, flags=re.IGNORECASE)


def fault(talk: Talk, needed: Iterable[str] = (), *, ended: bool) -> str:
    """What the user did wrong in a talk that failed; empty when nothing is found.

    Args:
        talk: the whole conversation.
        needed: values that the task cannot be done without; those that the instruction holds must
            have been told.
        ended: whether it was the user who ended the talk.
    """
    known = _unwritten(" ".join([talk.instruction, *talk.heard])).lower()
    said = _unwritten(" ".join(talk.said))
    named = [word for word in _TELLING.findall(said) if len(word) >= SHORTEST]
    invented = next((word for word in named if word.lower() not in known), None)
    if invented:
        return f"invented {invented}"
    last = talk.said[-CIRCLES:]
    if len(last) == CIRCLES and len(set(last)) == 1 and last[0] != STOP:
        return "went round in circles"
    told = said.lower()
    kept = [
        value
        for value in needed
        if value in talk.instruction and _unwritten(value).lower() not in told
    ]
    if ended and kept:
        return f"left without telling {kept[0]}"
    if ended and not any(text for text in talk.said if STOP not in text):
        return "left without a word"
    return ""
