"""A local model through transformers, with a decoding loop of its own (CPU or GPU).

What the loop is for is the budget of a laptop: the shared beginning of all prompts is computed once
and kept; the keys and values of a conversation are kept for its next turn; equal prompts are read
once; finished rows leave the batch; sampling ends at the stop pattern. The whole vocabulary is
sampled, and the ids and log-probabilities are those that were drawn (token truth).
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfchallenge.errors import MissingExtraError, ModelError, boundary
from selfchallenge.models.base import Completion, Message, Prompt, Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from selfchallenge.models.attention import Prefix

SHORTEST_PREFIX = 48
"""A shared beginning below this many ids is not worth keeping apart."""
KEPT_PREFIXES = 16
KEPT_BYTES = 2**30
PREFILL_TOKENS = 3072
"""Ids of padded prompt computed at once; bounds the memory of a prefill."""
SENTINEL = "\u2603\u2603"


@dataclass
class _Row:
    """One distinct prompt of a batch and the replies being sampled for it."""

    ids: tuple[int, ...]
    prefix: Prefix | None = None
    start: int = 0
    kept: Tensor | None = None


@dataclass
class _Reply:
    """One reply under way."""

    prompt: Prompt
    row: _Row
    rng: random.Random
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish: Literal["stop", "length", "context"] = "length"


class TransformersModel:
    """Model back end over a causal language model of transformers.

    Attributes:
        name: as written on the command line.
        module: the transformers model (the learner trains adapters on it).
        tokenizer: its tokenizer.
        device: where it is.
        context_length: ids of prompt and reply together at most.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        adapter: Path | None = None,
        name: str = "",
        batch: int = 40,
    ) -> None:
        """Load weights from a local folder or a hub id.

        Args:
            path: folder or hub id of the model.
            adapter: folder of a LoRA adapter to be merged into it.
            name: as written on the command line; `path` by default.
            batch: rows computed at once.

        Raises:
            ModelError: the model cannot be loaded or has no chat template.
            MissingExtraError: torch or transformers are not installed.
        """
        self.name = name or str(path)
        self.batch = batch
        self.module, self.tokenizer = _load(str(path), adapter)
        self.device = self.module.device
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"model {self.name} has no chat template",
                where=str(path),
                fix="use an instruction-tuned model, or add chat_template.jinja to its folder",
            )
        self.context_length = int(self.module.config.max_position_embeddings)
        self._ends = _end_ids(self.module, self.tokenizer)
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._talks: OrderedDict[tuple[int, ...], tuple[Prefix | None, Tensor]] = OrderedDict()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        import torch  # noqa: PLC0415 - an extra

        replies: list[_Reply] = []
        rows: dict[tuple[int, ...], _Row] = {}
        for prompt in prompts:
            ids = self.render(prompt)
            row = rows.setdefault(ids, _Row(ids))
            replies.append(_Reply(prompt, row, random.Random(prompt.seed)))
        with torch.inference_mode():
            fitting = [r for r in replies if self._fits(r)]
            self._find_prefixes([row for row in rows.values() if len(row.ids) > 1])
            fitting.sort(key=lambda r: (id(r.row.prefix), len(r.row.ids) - r.row.start))
            read = {id(r): self._owed(r) for r in replies}
            for begin in range(0, len(fitting), self.batch):
                self._decode(fitting[begin : begin + self.batch], sampling)
        return [self._completion(reply, read[id(reply)]) for reply in replies]

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        """The ids that the model reads for a prompt: its context as it is, the rest rendered anew."""
        if not prompt.context:
            text = self._template(prompt.messages, generate=True) + prompt.begin
            return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
        spoken = list(prompt.messages)
        last = prompt.known - 1
        spoken[last] = Message(spoken[last].role, SENTINEL)
        text = self._template(spoken, generate=True).rpartition(SENTINEL)[2] + prompt.begin
        ids = list(self.tokenizer(text, add_special_tokens=False).input_ids)
        if ids and prompt.context[-1] == ids[0] and ids[0] in self._ends:
            ids = ids[1:]
        return (*prompt.context, *ids)

    def forget(self) -> None:
        """Drop everything computed with the present weights; call it after they changed."""
        self._prefixes.clear()
        self._talks.clear()

    def close(self) -> None:
        """Give the caches back."""
        self.forget()

    def _template(self, messages: Sequence[Message], *, generate: bool) -> str:
        plain = [{"role": m.role, "content": m.content} for m in messages]
        text: str = self.tokenizer.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=generate
        )
        return text

    def _fits(self, reply: _Reply) -> bool:
        if len(reply.row.ids) < self.context_length:
            return True
        reply.finish = "context"
        return False

    def _owed(self, reply: _Reply) -> int:
        row = reply.row
        return len(row.ids) - row.start - (len(row.prefix.ids) if row.prefix else 0)

    def _find_prefixes(self, rows: Sequence[_Row]) -> None:
        """What of each row is computed already: its conversation so far, or a shared beginning."""
        fresh: list[_Row] = []
        for row in rows:
            if not self._continue_talk(row):
                fresh.append(row)
        for row in fresh:
            row.prefix = self._longest_prefix(row.ids)
        groups: dict[tuple[int, ...], list[_Row]] = {}
        for row in fresh:
            if row.prefix is None:
                groups.setdefault(row.ids[:SHORTEST_PREFIX], []).append(row)
        for group in groups.values():
            ids = _common([row.ids for row in group])
            if len(group) > 1 and len(ids) >= SHORTEST_PREFIX:
                prefix = self._compute_prefix(ids)
                for row in group:
                    row.prefix = prefix

    def _continue_talk(self, row: _Row) -> bool:
        for length in sorted({len(key) for key in self._talks}, reverse=True):
            kept = self._talks.get(row.ids[:length]) if length < len(row.ids) else None
            if kept is not None:
                row.prefix, row.kept = kept
                row.start = int(row.kept.shape[3])
                return True
        return False

    def _longest_prefix(self, ids: tuple[int, ...]) -> Prefix | None:
        best: Prefix | None = None
        for key, prefix in self._prefixes.items():
            if len(key) < len(ids) and ids[: len(key)] == key and (
                best is None or len(key) > len(best.ids)
            ):
                best = prefix
        if best is not None:
            self._prefixes.move_to_end(best.ids)
        return best

    def _compute_prefix(self, ids: tuple[int, ...]) -> Prefix:
        from selfchallenge.models.attention import Prefix, empty_rows  # noqa: PLC0415

        rows = empty_rows(self.module, [(None, 1)], len(ids))
        self._forward(rows, [list(ids)])
        prefix = Prefix(ids, rows.kv[:, :, 0, :, : len(ids)].contiguous())
        self._prefixes[ids] = prefix
        while len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        return prefix

    def _forward(self, rows: Any, new: list[list[int]]) -> Tensor:
        """Read new ids (ragged) into `rows`; hidden state of each row's last one `[rows, width]`."""
        import torch  # noqa: PLC0415

        from selfchallenge.models.attention import attending  # noqa: PLC0415

        longest = max(map(len, new))
        ids = torch.zeros((len(new), longest), dtype=torch.long)
        for number, row in enumerate(new):
            ids[number, : len(row)] = torch.tensor(row)
        counts = torch.tensor([len(row) for row in new])
        positions = rows.prepare(longest)
        with attending(self.module, rows):
            hidden = self.module.model(
                input_ids=ids.to(self.device), position_ids=positions, use_cache=False
            ).last_hidden_state
        rows.commit(counts.to(self.device))
        last: Tensor = hidden[torch.arange(len(new)), counts - 1]
        return last

    def _prefill(self, replies: Sequence[_Reply]) -> tuple[Any, Tensor]:
        """Rows that hold every prompt, one a reply, and the hidden state after each."""
        import torch  # noqa: PLC0415

        distinct = list({id(r.row): r.row for r in replies}.values())
        parts: list[Any] = []
        hidden: list[Tensor] = []
        for chunk in _chunks(distinct, self._length):
            part = self._rows_of(chunk)
            new = [self._new_ids(row) for row in chunk]
            hidden.append(self._forward(part, new))
            parts.append(part)
        rows = _joined(parts)
        where = {id(row): number for number, row in enumerate(distinct)}
        index = torch.tensor([where[id(r.row)] for r in replies], device=self.device)
        last = torch.cat(hidden)
        if len(replies) != len(distinct):
            rows.kv, rows.lengths = rows.kv[:, :, index], rows.lengths[index]
        rows.groups = _grouped([r.row for r in replies])
        return rows, last[index]

    def _new_ids(self, row: _Row) -> list[int]:
        done = row.start + (len(row.prefix.ids) if row.prefix else 0)
        return list(row.ids[done:])

    def _length(self, row: _Row) -> int:
        return len(self._new_ids(row))

    def _rows_of(self, chunk: Sequence[_Row]) -> Any:
        import torch  # noqa: PLC0415

        from selfchallenge.models.attention import empty_rows  # noqa: PLC0415

        room = max(row.start + self._length(row) for row in chunk)
        rows = empty_rows(self.module, _grouped(chunk), room)
        for number, row in enumerate(chunk):
            if row.kept is not None:
                rows.kv[:, :, number, :, : row.start] = row.kept
        rows.lengths = torch.tensor([row.start for row in chunk], device=self.device)
        return rows

    def _decode(self, replies: list[_Reply], sampling: Sampling) -> None:
        """Sample all replies to their ends, finished ones leaving the batch."""
        import torch  # noqa: PLC0415

        stop = re.compile(sampling.stop, re.DOTALL) if sampling.stop else None
        rows, hidden = self._prefill(replies)
        live: list[_Reply | None] = list(replies)
        for _ in range(sampling.max_tokens):
            drawn = self._draw(self.module.lm_head(hidden), live, sampling.temperature)
            for number, reply in enumerate(live):
                if reply is not None and self._ended(reply, stop, sampling):
                    self._keep_talk(reply, rows, number)
                    live[number] = None
            staying = [number for number, reply in enumerate(live) if reply is not None]
            if not staying:
                return
            if len(staying) <= len(live) * 3 // 4:
                rows.select(torch.tensor(staying, device=self.device))
                live = [live[number] for number in staying]
                drawn = [drawn[number] for number in staying]
            hidden = self._forward(rows, [[token] for token in drawn])

    def _draw(
        self, logits: Tensor, live: Sequence[_Reply | None], temperature: float
    ) -> list[int]:
        import torch  # noqa: PLC0415

        scaled = logits.float() / (temperature or 1.0)
        logprobs = scaled.log_softmax(-1)
        if temperature == 0:
            drawn = logits.argmax(-1)
        else:
            numbers = [reply.rng.random() if reply else 0.5 for reply in live]
            points = torch.tensor(numbers, device=logits.device)[:, None]
            sums = logprobs.exp().cumsum(-1)
            drawn = torch.searchsorted(sums, points * sums[:, -1:]).squeeze(-1)
            drawn = drawn.clamp(max=logits.shape[-1] - 1)
        chosen = logprobs.gather(-1, drawn[:, None]).squeeze(-1).tolist()
        tokens: list[int] = drawn.tolist()
        for reply, token, logprob in zip(live, tokens, chosen, strict=True):
            if reply is not None:
                reply.ids.append(token)
                reply.logprobs.append(logprob)
        return tokens

    def _ended(self, reply: _Reply, stop: re.Pattern[str] | None, sampling: Sampling) -> bool:
        if reply.ids[-1] in self._ends:
            reply.finish = "stop"
            return True
        reply.text = self.tokenizer.decode(reply.ids, skip_special_tokens=True)
        if stop is not None and stop.search(reply.text):
            reply.finish = "stop"
            return True
        if len(reply.row.ids) + len(reply.ids) >= self.context_length:
            reply.finish = "context"
            return True
        return len(reply.ids) >= sampling.max_tokens

    def _keep_talk(self, reply: _Reply, rows: Any, number: int) -> None:
        """Keep what was computed of a conversation; its last id has not been read yet."""
        if reply.prompt.begin:
            return
        length = int(rows.lengths[number])
        ids = (*reply.row.ids, *reply.ids[:-1])
        self._talks[ids] = (reply.row.prefix, rows.kv[:, :, number, :, :length].clone())
        taken = sum(kv.numel() * kv.element_size() for _, kv in self._talks.values())
        while taken > KEPT_BYTES:
            _, (_, kv) = self._talks.popitem(last=False)
            taken -= kv.numel() * kv.element_size()

    def _completion(self, reply: _Reply, read: int) -> Completion:
        return Completion(
            text=reply.text,
            finish=reply.finish,
            token_ids=tuple(reply.ids),
            logprobs=tuple(reply.logprobs),
            prompt_ids=reply.row.ids,
            prompt_tokens=read,
            completion_tokens=len(reply.ids),
        )


def _load(path: str, adapter: Path | None) -> tuple[Any, Any]:
    try:
        import torch  # noqa: PLC0415
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "train") from error
    gpu = torch.cuda.is_available()
    fix = "give a local folder of a model, or check the hub id and the network"
    with boundary(ModelError, f"cannot load model {path}", where=path, fix=fix):
        tokenizer = AutoTokenizer.from_pretrained(path)
        module = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.bfloat16 if gpu else torch.float32
        )
        if adapter is not None:
            from peft import PeftModel  # noqa: PLC0415

            module = PeftModel.from_pretrained(module, str(adapter)).merge_and_unload()
    return module.to("cuda" if gpu else "cpu").eval(), tokenizer


def _end_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    found = module.generation_config.eos_token_id
    ids = found if isinstance(found, list) else [found]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


def _common(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Longest common beginning that leaves every row something of its own."""
    first, last = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    length = next((i for i in range(most) if first[i] != last[i]), most)
    return first[:length]


def _chunks(rows: Sequence[_Row], length: Any) -> list[list[_Row]]:
    """Consecutive rows whose padded prompts stay below `PREFILL_TOKENS`."""
    chunks: list[list[_Row]] = []
    longest = 0
    for row in rows:
        longest = max(longest, length(row))
        if not chunks or longest * (len(chunks[-1]) + 1) > PREFILL_TOKENS:
            chunks.append([])
            longest = length(row)
        chunks[-1].append(row)
    return chunks


def _grouped(rows: Sequence[_Row]) -> list[tuple[Prefix | None, int]]:
    groups: list[tuple[Prefix | None, int]] = []
    for row in rows:
        if groups and groups[-1][0] is row.prefix:
            groups[-1] = (row.prefix, groups[-1][1] + 1)
        else:
            groups.append((row.prefix, 1))
    return groups


def _joined(parts: Sequence[Any]) -> Any:
    """One batch of several, padded to the widest."""
    import torch  # noqa: PLC0415

    if len(parts) == 1:
        return parts[0]
    widest = max(part.kv.shape[4] for part in parts)
    first = parts[0]
    first.kv = torch.cat(
        [
            torch.nn.functional.pad(part.kv, (0, 0, 0, widest - part.kv.shape[4]))
            for part in parts
        ],
        dim=2,
    )
    first.lengths = torch.cat([part.lengths for part in parts])
    return first
