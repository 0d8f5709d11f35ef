"""Masks cover exactly what was sampled, whatever the chat template puts around it.

The published templates of model families as TRL ships them, and those of four families reduced to
what conversations without native tool calls reach, over a byte-level tokenizer; episodes are
random, with replies that hold anything a model may write.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from selfchallenge.episode import FIRST_REPLY, Episode, StopReason, Turn
from selfchallenge.executor.actions import parse_action
from selfchallenge.learner.samples import samples_from
from selfchallenge.learner.teaching import in_tokens_of
from selfchallenge.models.base import Message, Prompt
from selfchallenge.models.rendering import render

END = {
    "qwen2.5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "llama3.1": "<|eot_id|>",
    "mistral": "</s>",
}
if (trl := find_spec("trl")) is not None:
    PUBLISHED = Path(trl.origin).parent / "chat_templates"
    QWEN, LLAMA = ("qwen2_5", "qwen3", "qwen3_instruct_2507"), ("llama3", "llama3_1", "llama3_2")
    END |= {f"{name}, published": "<|im_end|>" for name in QWEN}
    END |= {f"{name}, published": "<|eot_id|>" for name in LLAMA}
MARKS = (
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<s>", "</s>", "[INST]", "[/INST]",
)  # fmt: skip


def make_tokenizer(family):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(MARKS))
    bos = "<s>" if family == "mistral" else "<|begin_of_text|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=END[family], pad_token="<s>"
    )
    name, _, published = family.partition(", ")
    folder = PUBLISHED if published else Path(__file__).with_name("templates")
    tokenizer.chat_template = (folder / f"{name}.jinja").read_text()
    return tokenizer


TOKENIZERS = {family: make_tokenizer(family) for family in END}

text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]) | st.sampled_from("\n `<>|/"),
    min_size=1,
    max_size=20,
)
THOUGHTS = st.sampled_from(["", "<think>\nhm\n</think>\n\n"])
steps = st.lists(st.tuples(THOUGHTS, text, st.booleans(), text), min_size=1, max_size=4)


def attempt(tokenizer, replies):
    """An episode as the executor records it, and the stretches that were sampled in it."""
    end = tokenizer.eos_token_id
    messages = [Message("system", "tools"), Message("user", "task")]
    turns = [Turn(role=m.role, content=m.content) for m in messages]
    context, known, sampled = (), 0, []
    for thought, reply, ended, observation in replies:
        content = thought + reply
        given = render(tokenizer, Prompt(tuple(messages), context=context, known=known), (end,))
        ids = tuple(tokenizer(content, add_special_tokens=False).input_ids)
        ids += (end,) if ended else ()
        turns.append(
            Turn(
                role="assistant",
                content=content,
                token_ids=given[len(context) :] + ids,
                logprobs=(-1.0,) * len(ids),
            )
        )
        turns.append(Turn(role="user", content=observation))
        messages += [Message("assistant", content), Message("user", observation)]
        context, known = given + ids, len(messages) - 1
        sampled.append(ids)
    return episode(turns), sampled


def episode(turns):
    return Episode(
        phase="train",
        task="t",
        attempt=0,
        model="m",
        seed=0,
        turns=turns,
        stop=StopReason.STEPS,
        reward=1.0,
        passed=True,
        meta={FIRST_REPLY: 2},
    )


def trained_stretches(sample):
    stretches, last = [], False
    for token, trained in zip(sample.ids, sample.mask, strict=True):
        if trained:
            stretches = stretches if last else [*stretches, ()]
            stretches[-1] += (token,)
        last = trained
    return stretches


@pytest.mark.parametrize("family", sorted(END))
@settings(deadline=None, max_examples=40)
@given(replies=steps)
def test_exactly_the_sampled_tokens_are_trained(family, replies):
    tokenizer = TOKENIZERS[family]
    made, sampled = attempt(tokenizer, replies)
    (sample,) = samples_from([made], 100_000).samples
    assert trained_stretches(sample) == sampled
    assert len(sample.logprobs) == sum(map(len, sampled))
    observations = [observation.strip() for *_, observation in replies[:-1]]
    given_text = tokenizer.decode(
        [i for i, trained in zip(sample.ids, sample.mask, strict=True) if not trained]
    )
    assert all(observation in given_text for observation in observations)


@pytest.mark.parametrize("family", sorted(END))
@settings(deadline=None, max_examples=40)
@given(replies=steps)
def test_a_teachers_words_are_trained_and_nothing_else(family, replies):
    tokenizer = TOKENIZERS[family]
    made, _ = attempt(tokenizer, replies)
    silent = [turn.model_copy(update={"token_ids": (), "logprobs": ()}) for turn in made.turns]
    (retold,) = in_tokens_of(tokenizer, [episode(silent)])
    (sample,) = samples_from([retold], 100_000).samples
    said = [thought + reply for thought, reply, *_ in replies]
    # A reply with a block of code was ended by its block, any other by the mark of the template.
    words = [words + ("" if parse_action(words) else END[family]) for words in said]
    assert [tokenizer.decode(ids) for ids in trained_stretches(sample)] == words


@pytest.mark.parametrize("family", sorted(END))
def test_the_conversation_reads_as_the_template_writes_it(family):
    tokenizer = TOKENIZERS[family]
    made, _ = attempt(tokenizer, [("", "one", True, "Output:\n1"), ("", "two", True, "x")])
    (sample,) = samples_from([made], 100_000).samples
    plain = [{"role": t.role, "content": t.content} for t in made.turns[:-1]]
    whole = tokenizer.apply_chat_template(plain, tokenize=False)
    read = tokenizer.decode(sample.ids)
    if family.startswith(
        "qwen3"
    ):  # it writes an empty thought before the last reply, which no model said
        whole = whole.replace("<think>\n\n</think>\n\n", "")
    if family == "mistral":
        # It moves the system text to the last request as that goes on, and has a reply begin with
        # a space, which a model would have sampled.
        whole, read = (text.replace("tools\n\n", "") for text in (whole, read))
        whole = whole.replace("[/INST] ", "[/INST]")
    assert read == whole.rstrip("\n")
