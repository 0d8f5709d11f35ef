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
from typing import Any, Literal

import torch
from torch import Tensor

from selfchallenge.errors import MissingExtraError, ModelError, UsageError, boundary
from selfchallenge.models.attention import Prefix, Slots, attending, window_of
from selfchallenge.models.base import Completion, Prompt, Sampling
from selfchallenge.models.decoding import Ending, Reply, draw
from selfchallenge.models.freed import freed_memory_kept, return_freed_memory
from selfchallenge.models.packed import PackedLinears, computes_bfloat16
from selfchallenge.models.quiet import without_future_warnings
from selfchallenge.models.rendering import render
from selfchallenge.models.reuse import Ids, Memory, Start

KEPT_BYTES = 3 * 2**30
"""Keys and values that are kept between calls at most. Of half a billion weights these are some 40
conversations of 6,000 ids beyond what they share; where they do not fit, turns read them again."""
PREFILL = 2048
"""New ids that one forward pass reads at most, padding within the attention counted."""

Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass
class _Batch:
    """Replies under way: `live[i]` is computed in slot `i`."""

    slots: Slots
    ending: Ending
    temperature: float
    live: list[Reply] = field(default_factory=list)


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
        place = _device(device)
        self.name = name or str(path)
        self.module, self.tokenizer = _load(str(path), adapters, place, dtype)
        self.device: torch.device = self.module.device
        self.window = window_of(self.module.config) or int(self.tokenizer.model_max_length)
        self.batch = batch
        self._ends = _end_ids(self.module, self.tokenizer)
        self._packed: PackedLinears | None = None
        self._memory = Memory(KEPT_BYTES, self._prefix)
        self._kv_dtype = self.module.dtype
        self._check_attention()
        self._packs = place.type == "cpu" and _low(dtype, place)
        if self._packs:
            self._kv_dtype = torch.bfloat16

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Raises:
            ModelError: the template refuses the messages, the weights give NaN, or memory runs out.
        """
        replies = [Reply(prompt, self.render(prompt)) for prompt in prompts]
        for reply in replies:
            if len(reply.given) >= self.window:
                reply.finish = "context"
        waiting = [reply for reply in replies if reply.finish is None]
        if waiting:
            try:
                with freed_memory_kept(), self._computing():
                    self._decode(waiting, sampling)
            except torch.OutOfMemoryError as error:
                self.forget()
                raise self._full(min(self.batch, len(waiting))) from error
        return [reply.completion(self.tokenizer, self._ends) for reply in replies]

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

    def _decode(self, replies: Sequence[Reply], sampling: Sampling) -> None:
        """Sample all replies to their ends."""
        waiting = deque(self._planned(replies))
        longest = max(
            len(reply.given) - (0 if start.prefix is None else len(start.prefix.ids))
            for reply, start in waiting
        )
        slots = Slots(self.module, min(self.batch, len(waiting)), longest, self._kv_dtype)
        ending = Ending.of(sampling, self._ends, self.window)
        batch = _Batch(slots, ending, sampling.temperature)
        live = batch.live
        while waiting or live:
            free = self.batch - len(live)
            # Letting a few in at a time keeps their reading efficient.
            if waiting and (not live or free >= min(len(waiting), max(1, self.batch // 4))):
                first = len(live)
                self._advance(batch, first, self._admit(batch, waiting, free))
            if live:
                new = [[reply.ids[-1]] for reply in live]
                self._advance(batch, 0, self._forward(slots, 0, new))

    def _planned(self, replies: Sequence[Reply]) -> list[tuple[Reply, Start]]:
        """Replies with where to start reading, equal prompts side by side."""
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

    def _admit(self, batch: _Batch, waiting: deque[tuple[Reply, Start]], free: int) -> Tensor:
        """Let the next replies in, read their prompts; logits after each [replies, vocabulary]."""
        slots, live = batch.slots, batch.live
        newcomers = [waiting.popleft() for _ in range(min(free, len(waiting)))]
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

    def _advance(self, batch: _Batch, first: int, logits: Tensor) -> None:
        """Draw a token for the replies from `first` on; those that end leave."""
        slots, live = batch.slots, batch.live
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


def _device(wanted: str) -> torch.device:
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if gpu else "cpu") if wanted == "auto" else wanted)
    except RuntimeError as error:
        raise UsageError(f"no device is called {wanted!r}", fix="use auto, cpu or cuda") from error
    if device.type == "cuda" and not gpu:
        raise UsageError("torch sees no GPU", where=f"device {wanted}", fix="use device cpu")
    return device


def _low(dtype: Dtype, device: torch.device) -> bool:
    """Whether to compute in bfloat16.

    Raises:
        UsageError: it was asked for and the device has no instructions for it.
    """
    can = computes_bfloat16(device.type)
    if dtype == "bfloat16" and not can:
        raise UsageError("this device does not compute in bfloat16", fix="use dtype float32")
    return can and dtype != "float32"


def _load(
    path: str, adapters: Sequence[Path], device: torch.device, dtype: Dtype
) -> tuple[Any, Any]:
    try:
        from transformers import (  # noqa: PLC0415 - seconds
            AutoModelForCausalLM,
            AutoTokenizer,
            utils,
        )
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "train") from error
    low = _low(dtype, device) and device.type != "cpu"
    utils.logging.disable_progress_bar()
    fix = "give a local folder of a model, or check the hub id and the network"
    with boundary(ModelError, f"cannot load model {path}", where=path, fix=fix):
        tokenizer = AutoTokenizer.from_pretrained(path)
        _require_template(tokenizer, path)
        module = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.bfloat16 if low else torch.float32
        )
        for adapter in adapters:
            module = _adapted(module, adapter)
    return module.to(device).eval().requires_grad_(requires_grad=False), tokenizer


def _require_template(tokenizer: Any, path: str) -> None:
    if not tokenizer.chat_template:
        raise ModelError(
            "the model has no chat template",
            where=path,
            fix="use an instruction-tuned model, or put its chat_template.jinja into the folder",
        )


def _adapted(module: Any, adapter: Path) -> Any:
    """The module with an adapter added into its weights."""
    try:
        from peft import PeftModel  # noqa: PLC0415 - an extra, seldom needed
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    with without_future_warnings():
        return PeftModel.from_pretrained(module, str(adapter)).merge_and_unload()


def _end_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a reply: those of the generation config and the tokenizer's own."""
    found = module.generation_config.eos_token_id
    ids = found if isinstance(found, list) else [found]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)
