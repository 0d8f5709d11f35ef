"""Who thinks: the one protocol every model back end follows, and its value types.

A model turns a batch of conversations into completions. Where the back end shows tokens, the
completion carries the ids and log-probabilities that were sampled, and the next request passes the
ids of the conversation so far back in (`Prompt.context`), so that text is never tokenised twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prompt:
    """A conversation to be continued by one reply.

    Attributes:
        messages: the whole conversation so far.
        begin: forced beginning of the reply; part of the prompt, never of the completion.
        context: token ids that stand for the first `known` messages exactly as they were rendered
            and sampled; empty at the start of a conversation.
        known: how many of `messages` the ids in `context` cover.
        seed: random seed of this sample; the same prompt, sampling and seed give the same reply,
            whatever else is in the batch, up to floating-point noise.
    """

    messages: tuple[Message, ...]
    begin: str = ""
    context: tuple[int, ...] = ()
    known: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn; the whole vocabulary is sampled (top_p 1, no top_k).

    Attributes:
        temperature: 0 means greedy.
        max_tokens: at most this many tokens a reply.
        stop: regular expression (dot matches newlines), searched in the generated text (without
            `begin`); a reply ends as soon as it matches. Empty: it ends where the model ends it.
    """

    temperature: float = 0.0
    max_tokens: int = 256
    stop: str = ""


@dataclass(frozen=True)
class Completion:
    """One reply.

    Attributes:
        text: what was generated, without `begin` and without end-of-turn marks.
        finish: `stop` (ended by itself or by the stop pattern), `length` (cut at `max_tokens`), or
            `context` (prompt and reply did not fit the context window; text may be empty).
        token_ids: sampled ids, the end-of-turn mark included when it was sampled; empty when the
            back end does not show tokens.
        logprobs: log-probability (natural) of each id under the distribution it was drawn from
            (at the sampling temperature; at temperature 1 for greedy).
        prompt_ids: every id that the model read: `context`, the newly rendered messages, `begin`.
        prompt_tokens: tokens read anew for this reply (tokens served from a cache not counted).
        completion_tokens: tokens sampled.
    """

    text: str
    finish: Literal["stop", "length", "context"] = "stop"
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


@runtime_checkable
class Model(Protocol):
    """A language model that continues conversations.

    Attributes:
        name: how it is written on the command line and in records.
    """

    name: str

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Raises:
            ModelError: the back end cannot be reached or failed after its retries.
        """
        ...

    def close(self) -> None:
        """Give memory and connections back; closing twice is fine."""
        ...


Take = Callable[[bool], Sequence[Prompt]]
"""Gives prompts that are to be replied to by now. Told to wait, it gives none only when there will
be no more; otherwise it does not wait."""
Numbered = tuple[int, Completion]
"""A completion with the number of its prompt in the order of taking, from 0."""


@runtime_checkable
class Conversing(Model, Protocol):
    """A model that takes new prompts while it replies to others: none waits for the slowest."""

    def converse(self, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
        """Reply to every prompt that `take` gives; ends when there are no more.

        Replies are handed out as they end. A model on this machine's processors computes nothing
        while the caller looks at them.

        Raises:
            ModelError: as `generate` does.
        """
        ...


def converse(model: Model, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
    """What `Conversing.converse` does; of any other model, `in_waves`."""
    if isinstance(model, Conversing):
        return model.converse(take, sampling)
    return in_waves(model, take, sampling)


def all_replies(
    model: Conversing, prompts: Sequence[Prompt], sampling: Sampling
) -> list[Completion]:
    """`Model.generate` of a model that converses."""
    asked = iter([prompts])
    made = model.converse(lambda _: next(asked, ()), sampling)
    return [completion for _, completion in sorted(pair for ended in made for pair in ended)]


def in_waves(model: Model, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
    """The same with `generate`: a wave is taken when all of the last one were replied to."""
    taken = 0
    while prompts := take(True):
        yield list(enumerate(model.generate(prompts, sampling), taken))
        taken += len(prompts)


def computes_here(model: Model) -> bool:
    """Whether a model computes on this machine's processors, which the sandbox works on as well."""
    return getattr(getattr(model, "device", None), "type", None) == "cpu"
