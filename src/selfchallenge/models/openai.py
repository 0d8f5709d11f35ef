"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, OpenAI.

Such servers show text and no tokens, so what they say can be judged and not trained on. Requests of
a batch run side by side; the client repeats what failed for a moment (429, 5xx, time-outs) with
growing pauses. A forced beginning travels as a last assistant message, with vLLM's two fields that
say it is to be continued; a server that ignores them and repeats the beginning has it taken off.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Self
from urllib.parse import urlsplit

from selfchallenge.errors import ModelError, UsageError
from selfchallenge.models.base import Completion, Numbered, Prompt, Sampling, Take, all_replies
from selfchallenge.models.stopping import cut

_TOO_LONG = re.compile(
    r"context_length|context (length|window|size)|too many tokens|too long", re.IGNORECASE
)

GLANCE = 0.01
"""Seconds after which it is looked again whether there is more to ask."""


class OpenAIModel:
    """Model back end over an HTTP server.

    Attributes:
        name: as written on the command line.
        model: what the server calls it.
        url: of the server, with its version: `http://localhost:8000/v1`.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key: str | None = None,
        concurrency: int = 40,
        timeout: float = 300.0,
        retries: int = 5,
    ) -> None:
        """Make a client; nothing is asked yet.

        Args:
            model: what the server calls it.
            url: of the server.
            key: by default `$OPENAI_API_KEY`, or "none" where the server needs none.
            concurrency: requests under way at once.
            timeout: seconds that one request may take.
            retries: how often a request is repeated that failed for a moment.
        """
        import openai  # noqa: PLC0415 - half a second

        self._errors = openai
        self.name = f"openai:{model}@{url}"
        self.model, self.url = model, url
        self._client = openai.OpenAI(
            base_url=url,
            api_key=key or os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout,
            max_retries=retries,
        )
        self._concurrency = concurrency

    @classmethod
    def from_spec(cls, spec: str, *, concurrency: int = 40) -> Self:
        """The model that `openai:NAME@URL` names.

        Raises:
            UsageError: it has another form.
        """
        model, _, url = spec.removeprefix("openai:").rpartition("@")
        if not model or not re.fullmatch(r"https?://[^\s/]+.*", url):
            raise UsageError(
                f"{spec!r} does not name a model and a server",
                fix="write openai:NAME@URL, for instance openai:qwen@http://localhost:8000/v1",
            )
        return cls(model, url, concurrency=concurrency)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Raises:
            ModelError: the server cannot be reached, refuses the request, or fails again and again.
        """
        return all_replies(self, prompts, sampling)

    def converse(self, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
        """Reply to every prompt that `take` gives (`base.Conversing`).

        Raises:
            ModelError: as `generate` does.
        """
        under_way: dict[Future[Completion], int] = {}
        taken = 0
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                while True:
                    prompts = take(not under_way)
                    for prompt in prompts:
                        under_way[pool.submit(self._complete, prompt, sampling)] = taken
                        taken += 1
                    if not under_way:
                        return
                    ended, _ = wait(under_way, GLANCE, FIRST_COMPLETED)
                    if ended:
                        yield sorted((under_way.pop(one), one.result()) for one in ended)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        try:
            answer = self._client.chat.completions.create(**self._request(prompt, sampling))
        except self._errors.BadRequestError as error:
            if _TOO_LONG.search(str(error)):
                return Completion(text="", finish="context")
            raise self._error(error) from error
        except self._errors.OpenAIError as error:
            raise self._error(error) from error
        choices = getattr(answer, "choices", None)
        if not choices or choices[0].message is None:
            raise ModelError(
                "the server answers something that is no chat completion",
                where=self.url,
                fix="give the URL with its version, such as http://localhost:8000/v1",
            )
        return _completion(prompt, sampling, choices[0], getattr(answer, "usage", None))

    def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        # OpenAI's own newer models know only the longer name, most other servers only the shorter.
        own = "api.openai.com" in self.url
        request: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "seed": prompt.seed,
            "max_completion_tokens" if own else "max_tokens": sampling.max_tokens,
        }
        if prompt.begin:
            messages.append({"role": "assistant", "content": prompt.begin})
            if not own:
                request["extra_body"] = {
                    "continue_final_message": True,
                    "add_generation_prompt": False,
                }
        return request

    def _error(self, error: Exception) -> ModelError:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        openai = self._errors
        if isinstance(error, openai.APIConnectionError):  # time-outs are of this kind
            what, fix = f"cannot reach the server ({lines[0]})", "start the server or mend the URL"
        elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            what, fix = f"the server refuses the key ({lines[0]})", "set OPENAI_API_KEY"
        elif isinstance(error, openai.NotFoundError):
            what = f"the server has no model {self.model!r} or no such address ({lines[0]})"
            fix = f"see what {self.url}/models lists"
        else:
            what, fix = f"the server fails: {lines[0]}", "see the server's log, then run again"
        return ModelError(what, where=self.url, fix=fix)


def answers(spec: str, seconds: float = 3.0) -> bool:
    """Whether something listens where the server of `openai:NAME@URL` should be."""
    url = urlsplit(spec.rpartition("@")[2])
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname or "", port), timeout=seconds).close()
    except OSError:
        return False
    return True


def _completion(prompt: Prompt, sampling: Sampling, choice: Any, usage: Any) -> Completion:
    whole = _whole_characters(getattr(choice.message, "content", None) or "")
    if prompt.begin and whole.startswith(prompt.begin):
        whole = whole[len(prompt.begin) :]
    text = cut(whole, sampling.stop)
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None) or 0
    return Completion(
        text=text,
        finish="length" if choice.finish_reason == "length" and text == whole else "stop",
        prompt_tokens=(usage.prompt_tokens or 0) - cached if usage else 0,
        completion_tokens=usage.completion_tokens or 0 if usage else 0,
    )


def _whole_characters(text: str) -> str:
    """Text without halves of characters, which JSON can spell and nothing else can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
