"""From messages to ids: the chat template, and only what is new of a conversation.

What was sampled stays as it was sampled. A continued conversation keeps its ids, and what the
template puts after the last reply is rendered and tokenised on its own: text that a model has
written is never tokenised again, because that may give other ids than it wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count
from typing import Any

from selfchallenge.errors import ModelError
from selfchallenge.models.base import Message, Prompt


def render(tokenizer: Any, prompt: Prompt, ends: Collection[int]) -> tuple[int, ...]:
    """The ids that a model reads for a prompt.

    Args:
        tokenizer: with a chat template.
        prompt: `context` is taken as it is; the messages after it are rendered.
        ends: ids that end a turn; one that ends the context is not repeated.

    Raises:
        ModelError: the template refuses the messages.
    """
    if not prompt.context:
        return _ids(tokenizer, _render(tokenizer, prompt.messages) + prompt.begin)
    text = _after(tokenizer, prompt.messages, prompt.known - 1) + prompt.begin
    ids = _ids(tokenizer, text)
    if ids and ids[0] in ends and prompt.context[-1] in ends:
        ids = ids[1:]
    return (*prompt.context, *ids)


def _after(tokenizer: Any, messages: Sequence[Message], last: int) -> str:
    """What the template writes after the content of message `last`."""
    said = "".join(message.content for message in messages)
    mark = next(mark for i in count() if (mark := f"reply-{i}-ends") not in said)
    marked = [*messages[:last], Message(messages[last].role, mark), *messages[last + 1 :]]
    before, found, after = _render(tokenizer, marked).rpartition(mark)
    del before
    if not found:
        raise ModelError(
            f"the chat template leaves message {last + 1} out, so the conversation cannot go on",
            fix="use a model whose template shows every reply",
        )
    return after


def _render(tokenizer: Any, messages: Sequence[Message]) -> str:
    plain = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        roles = ", ".join(message.role for message in messages)
        raise ModelError(
            f"the chat template refuses the messages: {error}",
            where=f"roles {roles}",
            fix="use a model whose template takes system, user and assistant messages",
        ) from error
    return text


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    # The template has written all special marks; the tokenizer is not to add its own.
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)
