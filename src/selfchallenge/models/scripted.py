"""A deterministic model: a Python function writes the replies. Public, for tests and small loops.

It keeps the whole contract of a model that shows its tokens (ids, log-probabilities, forced
beginnings, stop patterns, continued contexts), so that masks and training can be exercised without
weights. Its tokens are bytes: ids 0 to 255 are those of the UTF-8 text, `END` ends a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selfchallenge.errors import UsageError
from selfchallenge.models.base import Completion, Prompt, Sampling
from selfchallenge.models.stopping import cut

Script = Callable[[Prompt], str]

END = 256
"""Id of the end-of-turn mark."""


class ScriptedModel:
    """A model whose replies are computed by `reply`, one prompt at a time and in order.

    Attributes:
        name: `scripted:NAME`.
        prompts: every prompt that it was given, for tests to look at.
    """

    def __init__(self, name: str, reply: Script) -> None:
        """Make a model of a function.

        Args:
            name: how it is called in records, with or without the leading `scripted:`.
            reply: the whole reply to a prompt, without the prompt's `begin`.
        """
        self.name = f"scripted:{name.removeprefix('scripted:')}"
        self.prompts: list[Prompt] = []
        self._reply = reply

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order; the temperature changes nothing."""
        self.prompts += prompts
        return [self._complete(prompt, sampling) for prompt in prompts]

    def close(self) -> None:
        """Nothing to give back."""

    def _complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        whole = self._reply(prompt)
        text = cut(whole, sampling.stop)
        ids = list(text.encode("utf-8", "replace"))
        if text == whole:
            ids.append(END)
        cut_short = len(ids) > sampling.max_tokens
        ids = ids[: sampling.max_tokens]
        given = render(prompt)
        return Completion(
            text=bytes(i for i in ids if i != END).decode("utf-8", "ignore"),
            finish="length" if cut_short else "stop",
            token_ids=tuple(ids),
            logprobs=(0.0,) * len(ids),
            prompt_ids=given,
            prompt_tokens=len(given) - len(prompt.context),
            completion_tokens=len(ids),
        )


def render(prompt: Prompt) -> tuple[int, ...]:
    """Pseudo ids of a prompt: its context, the messages that are new, the forced beginning."""
    ids = list(prompt.context)
    if ids and ids[-1] != END:
        ids.append(END)
    for message in prompt.messages[prompt.known :]:
        ids += f"<{message.role}>{message.content}".encode("utf-8", "replace")
        ids.append(END)
    ids += f"<assistant>{prompt.begin}".encode("utf-8", "replace")
    return tuple(ids)


_scripts: dict[str, Callable[[], Script]] = {
    "echo": lambda: lambda prompt: prompt.messages[-1].content,
    "silent": lambda: lambda prompt: "",  # noqa: ARG005 - a script takes a prompt
}


def register_script(name: str, factory: Callable[[], Script]) -> None:
    """Make `scripted:NAME` known; `factory` gives a fresh script to each model of that name."""
    _scripts[name] = factory


def named_script(name: str) -> ScriptedModel:
    """The model that `scripted:NAME` stands for.

    Raises:
        UsageError: no script has that name.
    """
    if name not in _scripts:
        raise UsageError(
            f"no script is called {name!r}",
            where=f"scripted:{name}",
            fix=f"use one of {', '.join(sorted(_scripts))}; in a run also oracle (to solve tasks) "
            "and challenger (to write them)",
        )
    return ScriptedModel(name, _scripts[name]())
