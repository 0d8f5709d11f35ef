"""A local model through transformers, with a decoding loop of its own (CPU or GPU).

The budget is a laptop's, so nothing is computed twice: the beginning that prompts share, the
conversation before this turn, and equal prompts are read once; finished rows leave the batch at
once and waiting ones take their place; logits exist only where a token is drawn; on a processor
with bfloat16 the linear layers use it. The whole vocabulary is sampled, and the ids and
log-probabilities handed out are those that were drawn (paper, section 2: the policy; design,
"token truth").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfchallenge.errors import ModelError
from selfchallenge.models.attention import Prefix, Slots, attending, window_of
from selfchallenge.models.base import Completion, Numbered, Prompt, Sampling, Take, all_replies
from selfchallenge.models.decoding import Ending, Reply, draw
from selfchallenge.models.freed import freed_memory_kept, return_freed_memory
from selfchallenge.models.packed import PackedLinears
from selfchallenge.models.pretrained import Dtype, computes_low, end_ids, find_device, load
from selfchallenge.models.rendering import render
from selfchallenge.models.reuse import Ids, Memory, Start

KEPT_BYTES = 3 * 2**30
"""Keys and values that are kept between calls at most. Of half a billion weights these are some 40
conversations of 6,000 ids beyond what they share; where they do not fit, turns read them again."""
PREFILL = 2048
"""New ids that one forward pass reads at most, padding within the attention counted."""


@dataclass
class _Batch:
    """Replies under way: `live[i]` is computed in slot `i`.

    Attributes:
        waiting: those that were taken and have no slot yet, with where to start reading.
        rows: slots that there are, from the first prompts on.
    """

    ending: Ending
    temperature: float
    live: list[Reply] = field(default_factory=list)
    waiting: deque[tuple[Reply, Start]] = field(default_factory=deque)
    slots: Slots | None = None
    rows: int = 0

    @property
    def free(self) -> int:
        """Slots without a reply."""
        return self.rows - len(self.live)

    @property
    def held(self) -> Slots:
        """The slots, which are there once anything was let in."""
        assert self.slots is not None
        return self.slots

    @property
    def few(self) -> int:
        """Replies that are let in together at least: it keeps their reading efficient."""
        return max(1, self.rows // 4)

    @property
    def wants_more(self) -> bool:
        """Whether there is room, and nobody waits for it."""
        return not self.waiting and self.free >= self.few


class TransformersModel:
    """Model back end over a causal language model of transformers.

    Attributes:
        name: as written on the command line.
        module: the transformers model; float32 on a CPU. Whoever changes its weights calls
            `forget()` before the next `generate`.
        tokenizer: its tokenizer, with a chat template.
        device: where it is.
        window: ids of prompt and reply together at most.
        batch: conversations that are continued at once.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        adapters: Sequence[Path] = (),
        name: str = "",
        device: str = "auto",
        dtype: Dtype = "auto",
        threads: int | None = None,
        batch: int = 40,
    ) -> None:
        """Load weights from a local folder or a hub id.

        Args:
            path: folder or hub id of the model.
            adapters: folders of LoRA adapters to be added into its weights, one after the other.
            name: as written on the command line; `path` by default.
            device: `auto` takes a GPU when there is one.
            dtype: what it computes in; `auto` is bfloat16 where the device has instructions for
                it. On a CPU the weights of `module` stay float32 either way.
            threads: of torch on a CPU, for the whole process; None leaves them as they are.
            batch: conversations that are continued at once.

        Raises:
            ModelError: the model cannot be loaded, has no chat template, or is of a kind whose
                attention this loop does not know.
            MissingExtraError: transformers or peft is not installed.
            UsageError: there is no such device.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        place = find_device(device)
        self.name = name or str(path)
        self.module, self.tokenizer = load(str(path), adapters, place, dtype)
        self.device: torch.device = self.module.device
        self.window = window_of(self.module.config) or int(self.tokenizer.model_max_length)
        self.batch = batch
        self._ends = end_ids(self.module, self.tokenizer)
        self._packed: PackedLinears | None = None
        self._memory = Memory(KEPT_BYTES, 8 * batch, self._prefix)
        self._kv_dtype = self.module.dtype
        self._check_attention()
        self._packs = place.type == "cpu" and computes_low(dtype, place)
        if self._packs:
            self._kv_dtype = torch.bfloat16

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Raises:
            ModelError: the template refuses the messages, the weights give NaN, or memory runs out.
        """
        return all_replies(self, prompts, sampling)

    def converse(self, take: Take, sampling: Sampling) -> Iterator[list[Numbered]]:
        """Reply to every prompt that `take` gives (`base.Conversing`).

        Raises:
            ModelError: as `generate` does.
        """
        batch = _Batch(Ending.of(sampling, self._ends, self.window), sampling.temperature)
        taken = 0
        with freed_memory_kept():
            while True:
                idle = not (batch.live or batch.waiting)
                prompts = take(idle) if idle or batch.wants_more else ()
                if idle and not prompts:
                    return
                replies = [Reply(p, self.render(p), number=n) for n, p in enumerate(prompts, taken)]
                taken += len(replies)
                try:
                    with self._computing():
                        ended = self._step(batch, replies)
                except torch.OutOfMemoryError as error:
                    self.forget()
                    raise self._full(batch.rows or min(self.batch, taken)) from error
                if ended:
                    yield [(r.number, r.completion(self.tokenizer, self._ends)) for r in ended]

    def _full(self, together: int) -> ModelError:
        """What to say of so many conversations that do not fit into memory."""
        fix = "have shorter ones (--set agent.max_steps=N, agent.max_tokens), or a smaller model"
        if together > 1:
            fix = (
                f"the same command goes on with fewer, --set batch={together // 2}; where it takes "
                "no --set, selfchallenge challenge ENV --out DIR --set batch=N says so to the run"
            )
        return ModelError(
            f"out of memory with {together} conversations at once",
            where=f"{self.name} on {self.device}",
            fix=fix,
        )

    def render(self, prompt: Prompt) -> Ids:
        """The ids that the model reads for a prompt."""
        return render(self.tokenizer, prompt, self._ends)

    def forget(self) -> None:
        """Drop everything that was computed from the present weights."""
        self._memory.forget()
        self._packed = None
        return_freed_memory()

    def close(self) -> None:
        """Give the caches back; the weights go with the object."""
        self.forget()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """The module is ready for forward passes without gradients."""
        if self._packs and self._packed is None:
            self._packed = PackedLinears(self.module)
        with torch.inference_mode(), self._packed.in_use() if self._packed else nullcontext():
            yield

    def _step(self, batch: _Batch, replies: Sequence[Reply]) -> list[Reply]:
        """Let new replies in and draw a token of each that is under way; those that ended."""
        ended = [reply for reply in replies if len(reply.given) >= self.window]
        for reply in ended:
            reply.finish = "context"
        planned = self._planned([reply for reply in replies if reply.finish is None])
        batch.waiting += planned
        if planned and batch.slots is None:
            longest = max(len(reply.given) - start.shared for reply, start in planned)
            batch.rows = min(self.batch, len(planned))
            batch.slots = Slots(self.module, batch.rows, longest, self._kv_dtype)
        live, waiting = batch.live, batch.waiting
        if waiting and (not live or batch.free >= min(len(waiting), batch.few)):
            first = len(live)
            ended += self._advance(batch, first, self._admit(batch))
        if live:
            new = [[reply.ids[-1]] for reply in live]
            ended += self._advance(batch, 0, self._forward(batch.held, 0, new))
        return ended

    def _planned(self, replies: Sequence[Reply]) -> list[tuple[Reply, Start]]:
        """Replies with where to start reading, equal prompts side by side."""
        if not replies:
            return []
        groups: dict[Ids, list[Reply]] = {}
        for reply in replies:
            groups.setdefault(reply.given, []).append(reply)
        contexts = [(ids, members[0].prompt.context) for ids, members in groups.items()]
        planned = []
        for members, start in zip(groups.values(), self._memory.starts(contexts), strict=True):
            for reply in members:
                reply.cached = start.length
                planned.append((reply, start))
        return planned

    def _admit(self, batch: _Batch) -> Tensor:
        """Let the next replies in, read their prompts; logits after each [replies, vocabulary]."""
        slots, live, waiting = batch.held, batch.live, batch.waiting
        newcomers = [waiting.popleft() for _ in range(min(batch.free, len(waiting)))]
        distinct: dict[Ids, tuple[list[Reply], Start]] = {}
        for reply, start in newcomers:
            distinct.setdefault(reply.given, ([], start))[0].append(reply)
        # Rows of like length are read together, so that little is padded.
        order = sorted(distinct, key=lambda ids: len(ids) - distinct[ids][1].length)
        first = len(live)
        for ids in order:
            start = distinct[ids][1]
            slots.add(start.prefix, start.own)
            live.append(distinct[ids][0][0])
        new = [ids[distinct[ids][1].length :] for ids in order]
        logits = self._read(slots, first, new)
        copies = [(row, twin) for row, ids in enumerate(order) for twin in distinct[ids][0][1:]]
        for row, twin in copies:
            slots.copy(first + row)
            live.append(twin)
        rows = [*range(len(order)), *(row for row, _ in copies)]
        return logits[torch.tensor(rows, device=logits.device)]

    def _read(self, slots: Slots, first: int, new: Sequence[Ids]) -> Tensor:
        """Read new ids of the rows from `first` on; logits after the last one of each."""
        found: list[Tensor] = []
        begin = 0
        while begin < len(new):
            end = begin + 1
            while end < len(new) and len(new[end]) * (end + 1 - begin) <= PREFILL:
                end += 1
            longest = max(map(len, new[begin:end]))
            step = longest if end - begin > 1 else PREFILL
            for at in range(0, longest, step):
                piece = [list(ids[at : at + step]) for ids in new[begin:end]]
                logits = self._forward(slots, first + begin, piece)
            found.append(logits)
            begin = end
        return torch.cat(found)

    def _forward(self, slots: Slots, first: int, new: Sequence[list[int]]) -> Tensor:
        """One pass over new ids of a run of rows; logits after each row's last, [rows, vocab]."""
        positions, ends = slots.begin(first, [len(ids) for ids in new])
        flat = torch.tensor([i for ids in new for i in ids], device=self.device)
        with attending(self.module, slots):
            out = self.module(
                input_ids=flat[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=ends,
            )
        logits: Tensor = out.logits[0]
        return logits

    def _advance(self, batch: _Batch, first: int, logits: Tensor) -> list[Reply]:
        """Draw a token for the replies from `first` on; those that end leave, and are returned."""
        slots, live, ended = batch.held, batch.live, list[Reply]()
        numbers = [reply.uniform() for reply in live[first:]]
        tokens, logprobs = draw(logits, batch.temperature, numbers)
        drawn = list(zip(range(first, len(live)), tokens, logprobs, strict=True))
        for row, token, logprob in reversed(drawn):  # the last row moves where one leaves
            reply = live[row]
            if reply.take(token, logprob, self.tokenizer, batch.ending):
                ids = (*reply.given, *reply.ids[:-1])
                self._memory.keep(ids, slots.prefixes[row], slots.own(row))
                slots.drop(row)
                live[row] = live[-1]
                live.pop()
                ended.append(reply)
        return ended

    def _prefix(self, ids: Ids, shorter: Prefix | None) -> Prefix:
        """Read a shared beginning."""
        known = 0 if shorter is None else len(shorter.ids)
        slots = Slots(self.module, 1, len(ids) - known, self._kv_dtype)
        slots.add(shorter)
        self._read(slots, 0, [ids[known:]])
        own = slots.own(0)
        kv = own if shorter is None else torch.cat([shorter.kv, own], dim=3)
        return Prefix(ids, kv)

    def _check_attention(self) -> None:
        """Compare our attention with the module's own on a few ids.

        Raises:
            ModelError: they differ (windows, sinks, recurrent layers: not known here).
        """
        ids = tuple(range(3, 23))
        with torch.inference_mode():
            try:
                slots = Slots(self.module, 1, len(ids), self._kv_dtype)
                slots.add(self._prefix(ids[:8], None))
                ours = self._forward(slots, 0, [list(ids[8:])])
            except (AttributeError, RuntimeError, TypeError, ValueError) as error:
                raise _unknown_attention(self.module, str(error)) from error
            flat = torch.tensor([ids], device=self.device)
            theirs = self.module(input_ids=flat, use_cache=False).logits[:, -1]
            apart = (ours.float().softmax(-1) - theirs.float().softmax(-1)).abs().max().item()
        if not apart < (1e-3 if self.module.dtype == torch.float32 else 0.1):
            raise _unknown_attention(self.module, f"probabilities differ by {apart:.3g}")


def _unknown_attention(module: Any, why: str) -> ModelError:
    return ModelError(
        f"{type(module).__name__} does not attend as this loop assumes: {why}",
        fix="use a decoder with full causal attention (Qwen2.5, Qwen3, Llama 3), or serve the "
        "model and use openai:NAME@URL",
    )
