"""One reply under way: drawing its tokens, reading its text, knowing when it ends."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from selfchallenge.errors import ModelError
from selfchallenge.models.base import Completion, Prompt, Sampling

_WIDTH = 512
"""Ids that are summed up together when a token is drawn."""


@dataclass(frozen=True)
class Ending:
    """What ends a reply.

    Attributes:
        ids: end-of-turn marks.
        stop: pattern to be found in the text, None without one.
        max_tokens: sampled ids at most.
        window: ids of prompt and reply together at most.
    """

    ids: frozenset[int]
    stop: re.Pattern[str] | None
    max_tokens: int
    window: int

    @classmethod
    def of(cls, sampling: Sampling, ids: frozenset[int], window: int) -> Self:
        """The endings that a request asks for."""
        stop = re.compile(sampling.stop, re.DOTALL) if sampling.stop else None
        return cls(ids, stop, sampling.max_tokens, window)


@dataclass
class Reply:
    """What is being sampled for one prompt.

    Attributes:
        prompt: what is asked.
        given: ids of the prompt.
        cached: how many of them were served from a cache.
        number: of the prompt, in the order of asking.
    """

    prompt: Prompt
    given: tuple[int, ...]
    cached: int = 0
    number: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish: Literal["stop", "length", "context"] | None = None
    _read: int = 0
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.prompt.seed)

    def uniform(self) -> float:
        """The next random number of this sample, in [0, 1)."""
        return self._rng.random()

    def take(self, token: int, logprob: float, tokenizer: Any, ending: Ending) -> bool:
        """One more token; whether the reply has ended with it."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in ending.ids:
            self.finish = "stop"
            return True
        self._listen(tokenizer)
        if ending.stop is not None and ending.stop.search(self.text):
            self.finish = "stop"
        elif len(self.ids) >= ending.max_tokens:
            self.finish = "length"
        elif len(self.given) + len(self.ids) >= ending.window:
            self.finish = "context"
        return self.finish is not None

    def _listen(self, tokenizer: Any) -> None:
        """Let `text` grow by the characters that are complete."""
        # The ids before `_read` have given their text; two of them are read again because a
        # decoder may treat the first id of a text differently.
        start = max(0, self._read - 2)
        before = tokenizer.decode(self.ids[start : self._read], skip_special_tokens=True)
        both = tokenizer.decode(self.ids[start:], skip_special_tokens=True)
        if not both.endswith("\ufffd"):  # else a character is still incomplete
            self.text += both[len(before) :]
            self._read = len(self.ids)

    def completion(self, tokenizer: Any, ends: Collection[int]) -> Completion:
        """What is handed out."""
        spoken = self.ids[:-1] if self.ids and self.ids[-1] in ends else self.ids
        return Completion(
            text=tokenizer.decode(spoken, skip_special_tokens=True) if spoken else "",
            finish=self.finish or "length",
            token_ids=tuple(self.ids),
            logprobs=tuple(self.logprobs),
            prompt_ids=self.given,
            prompt_tokens=len(self.given) - self.cached,
            completion_tokens=len(self.ids),
        )


def draw(
    logits: Tensor, temperature: float, uniforms: Sequence[float]
) -> tuple[list[int], list[float]]:
    """One token a row, from the whole vocabulary.

    Args:
        logits: [rows, vocabulary].
        temperature: 0 takes the most likely token.
        uniforms: a number in [0, 1) for each row, which alone decides what is drawn.

    Returns:
        Ids, and the log-probability (natural) of each at that temperature (1 for greedy).

    Raises:
        ModelError: the logits are not finite.
    """
    scaled = logits.float() if temperature in (0, 1) else logits.float() / temperature
    chances = torch.softmax(scaled, -1)
    ids = scaled.argmax(-1) if temperature == 0 else _inverse(chances, uniforms)
    drawn = chances.gather(-1, ids[:, None]).squeeze(-1).log().tolist()
    if any(value != value for value in drawn):  # noqa: PLR0124 - NaN
        raise ModelError(
            "the model gives numbers that are none (NaN)",
            fix="check the adapter or the training that it comes from; try dtype float32",
        )
    tokens: list[int] = ids.tolist()
    return tokens, drawn


def _inverse(chances: Tensor, uniforms: Sequence[float]) -> Tensor:
    """The first id whose cumulative chance exceeds the number: first its block, then the id."""
    rows, size = chances.shape
    full = size - size % _WIDTH
    blocks = chances[:, :full].view(rows, -1, _WIDTH).sum(-1)
    blocks = torch.cat([blocks, chances[:, full:].sum(-1, keepdim=True)], 1).double()
    edges = blocks.cumsum(1)
    points = torch.tensor(uniforms, dtype=torch.double, device=chances.device)[:, None]
    points = points.clamp(max=1 - 1e-9) * edges[:, -1:]
    block = torch.searchsorted(edges, points, right=True).clamp_(max=edges.shape[1] - 1)
    rest = points - (edges - blocks).gather(1, block)
    places = block * _WIDTH + torch.arange(_WIDTH, device=chances.device)
    inside = chances.gather(1, places.clamp(max=size - 1)).double()
    inside[places >= size] = 0
    sums = inside.cumsum(1)
    # Rounding may put the point past the block's last chance; then that last one is meant.
    last = (sums < sums[:, -1:]).sum(1, keepdim=True)
    place = torch.minimum(torch.searchsorted(sums, rest, right=True), last)
    return (block * _WIDTH + place).clamp(max=size - 1).view(rows)
