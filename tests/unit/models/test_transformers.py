import math
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import END, make_module, make_tokenizer, save_tiny

from selfchallenge.errors import ModelError, UsageError
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.transformers import TransformersModel

POLICY = "You are a careful agent. " + "Here is a tool and what it does. " * 4


def prompts(count, *, begin="", policy=POLICY):
    return [
        Prompt(
            (Message("system", policy), Message("user", f"Task {'x' * (3 * i)} {i}?")),
            begin=begin,
            seed=i,
        )
        for i in range(count)
    ]


def plain_logits(model, ids):
    with torch.inference_mode():
        return model.module(input_ids=torch.tensor([ids])).logits[0]


def assert_sampled_as_recorded(model, completion, temperature=1.0):
    """Each id's log-probability is that of the whole sequence read in one plain pass."""
    ids = (*completion.prompt_ids, *completion.token_ids)
    logits = plain_logits(model, ids)[len(completion.prompt_ids) - 1 : -1] / temperature
    expected = logits.log_softmax(-1)[range(len(completion.token_ids)), completion.token_ids]
    assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=2e-4)


def follow_up(prompt, completion, text):
    messages = (*prompt.messages, Message("assistant", completion.text), Message("user", text))
    context = (*completion.prompt_ids, *completion.token_ids)
    return Prompt(messages, context=context, known=len(prompt.messages) + 1, seed=prompt.seed + 7)


def test_greedy_is_what_a_plain_pass_finds(tiny):
    for completion in tiny.generate(prompts(9), Sampling(0.0, 12)):
        assert_sampled_as_recorded(tiny, completion)
        ids = (*completion.prompt_ids, *completion.token_ids)
        best = plain_logits(tiny, ids)[len(completion.prompt_ids) - 1 : -1].argmax(-1)
        assert best.tolist() == list(completion.token_ids)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_the_distribution_drawn_from(tiny, temperature):
    for completion in tiny.generate(prompts(7), Sampling(temperature, 20)):
        assert len(completion.logprobs) == len(completion.token_ids) == completion.completion_tokens
        assert_sampled_as_recorded(tiny, completion, temperature)


def test_a_reply_does_not_depend_on_its_company(tiny):
    together = tiny.generate(prompts(11), Sampling(1.0, 15))
    tiny.forget()
    alone = [tiny.generate([prompt], Sampling(1.0, 15))[0] for prompt in prompts(11)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


@pytest.mark.parametrize("batch", [4, 3, 1])
def test_small_batches_refill_and_keep_the_order(tiny, batch):
    whole = tiny.generate(prompts(11), Sampling(1.0, 15))
    tiny.forget()
    tiny.batch = batch
    assert [c.token_ids for c in tiny.generate(prompts(11), Sampling(1.0, 15))] == [
        c.token_ids for c in whole
    ]


@pytest.mark.parametrize(("batch", "fix"), [(4, "batch=2"), (40, "batch=3"), (1, "max_steps")])
def test_memory_that_runs_out_asks_for_less_than_there_was(tiny, monkeypatch, batch, fix):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    tiny.batch = batch
    usual = tiny.generate(prompts(6), Sampling(1.0, 15))
    with monkeypatch.context() as patched:
        patched.setattr(type(tiny), "_forward", full)
        with pytest.raises(ModelError, match=f"{min(batch, 6)} conversations at once") as error:
            tiny.generate(prompts(6), Sampling(1.0, 15))
    assert fix in error.value.fix
    again = tiny.generate(prompts(6), Sampling(1.0, 15))
    assert [c.token_ids for c in again] == [c.token_ids for c in usual]


def test_a_reply_that_has_ended_makes_room_for_a_new_prompt(tiny_folder):
    """And where a quarter of the slots is free it is asked for more, not before."""
    model = TransformersModel(tiny_folder, device="cpu", dtype="float32", batch=8)
    left, live, asked = prompts(20), [], []

    def take(waits):
        given = [left.pop(0) for _ in range(min(len(left), 8 - len(live)))]
        asked.append((waits, len(live)))
        live.extend(range(20 - len(left) - len(given), 20 - len(left)))
        return given

    for ended in model.converse(take, Sampling(1.0, 12)):
        for number, _ in ended:
            live.remove(number)
    assert not left
    assert not live
    assert asked[0] == (True, 0)
    assert all(under_way <= 6 for _, under_way in asked)
    assert any(under_way > 0 for _, under_way in asked)


def test_long_prompts_are_read_in_pieces(tiny, monkeypatch):
    whole = tiny.generate(prompts(5), Sampling(0.0, 6))
    tiny.forget()
    monkeypatch.setattr("selfchallenge.models.transformers.PREFILL", 16)
    pieces = tiny.generate(prompts(5), Sampling(0.0, 6))
    assert [c.token_ids for c in pieces] == [c.token_ids for c in whole]


def test_a_shared_beginning_is_read_once_and_kept(tiny):
    first = tiny.generate(prompts(8), Sampling(0.0, 2))
    assert all(c.prompt_tokens < 60 < len(c.prompt_ids) for c in first)
    other = Prompt((Message("system", POLICY), Message("user", "Another one.")))
    assert tiny.generate([other], Sampling(0.0, 2))[0].prompt_tokens < 60
    tiny.forget()
    assert tiny.generate([other], Sampling(0.0, 2))[0].prompt_tokens > 100


def test_one_prompt_after_another_finds_the_shared_beginning(tiny):
    tiny_policy = POLICY * 4
    read = [
        tiny.generate([prompt], Sampling(0.0, 1))[0].prompt_tokens
        for prompt in prompts(3, policy=tiny_policy)
    ]
    assert read[0] > 512
    assert read[2] < 60


def test_equal_prompts_with_other_seeds_differ(tiny):
    prompt = prompts(1)[0]
    many = [Prompt(prompt.messages, seed=seed) for seed in range(6)]
    replies = tiny.generate(many, Sampling(1.0, 10))
    assert len({c.token_ids for c in replies}) == 6
    assert tiny.generate(many[3:4], Sampling(1.0, 10))[0].token_ids == replies[3].token_ids


def test_the_next_turn_reads_only_what_is_new(tiny):
    asked = prompts(5)
    said = tiny.generate(asked, Sampling(1.0, 9))
    again = [follow_up(p, c, "437.5") for p, c in zip(asked, said, strict=True)]
    cached = tiny.generate(again, Sampling(0.0, 9))
    assert all(c.prompt_tokens < 50 for c in cached)
    tiny.forget()
    afresh = tiny.generate(again, Sampling(0.0, 9))
    assert [c.token_ids for c in cached] == [c.token_ids for c in afresh]
    for completion in cached:
        assert_sampled_as_recorded(tiny, completion)


def test_a_context_is_taken_as_it_is(tiny):
    prompt = prompts(1)[0]
    said = tiny.generate([prompt], Sampling(1.0, 5))[0]
    context = (*said.prompt_ids, *said.token_ids)
    ids = tiny.render(follow_up(prompt, said, "more"))
    assert ids[: len(context)] == context
    after = tiny.tokenizer.decode(ids[len(context) :])
    assert after == "<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"


def test_a_sampled_end_of_turn_is_not_doubled(tiny):
    prompt = prompts(1)[0]
    start = tiny.render(prompt)
    for tail in ((65, END), (65, 256)):  # the turn's own mark, and the other end mark
        tiny._ends = frozenset({END, 256})
        messages = (*prompt.messages, Message("assistant", "A"), Message("user", "B"))
        ids = tiny.render(Prompt(messages, context=(*start, *tail), known=3))
        after = tiny.tokenizer.decode(ids[len(start) + 2 :])
        assert after == "\n<|im_start|>user\nB<|im_end|>\n<|im_start|>assistant\n"


@given(st.lists(st.text(max_size=20), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_conversation_continued_turn_by_turn_renders_like_the_whole(texts):
    from selfchallenge.models.rendering import render

    tokenizer = make_tokenizer()
    ends = frozenset({END})
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], text) for i, text in enumerate(texts)]
    if messages[-1].role == "assistant":
        messages.pop()
    context, known = (), 0
    for i, message in enumerate(messages):
        if message.role == "assistant":
            said = tuple(tokenizer(message.content, add_special_tokens=False).input_ids)
            context = (*render(tokenizer, Prompt(tuple(messages[:i]), context=context, known=known),
                               ends), *said, END)  # fmt: skip
            known = i + 1
    stepwise = render(tokenizer, Prompt(tuple(messages), context=context, known=known), ends)
    assert stepwise == render(tokenizer, Prompt(tuple(messages)), ends)


def test_a_template_that_hides_replies_is_refused(tiny):
    tiny.tokenizer.chat_template = "{{ messages[-1].content }}"
    messages = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    with pytest.raises(ModelError, match="leaves message 2 out"):
        tiny.render(Prompt(messages, context=(1, 2), known=2))


def test_a_template_that_refuses_says_so(tiny):
    tiny.tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ModelError, match="no system role"):
        tiny.generate(prompts(1), Sampling())


def test_begin_belongs_to_the_prompt(tiny):
    completion = tiny.generate(prompts(1, begin="def f("), Sampling(0.0, 8))[0]
    assert tiny.tokenizer.decode(completion.prompt_ids).endswith("assistant\ndef f(")
    assert not completion.text.startswith("def f(")


def test_the_stop_pattern_ends_a_reply_at_the_token_that_completes_it(tiny):
    free = tiny.generate(prompts(4), Sampling(1.0, 30))
    stopped = tiny.generate(prompts(4), Sampling(1.0, 30, stop=r"[a-zA-Z].*?\d"))
    matched = 0
    for long, short in zip(free, stopped, strict=True):
        assert long.token_ids[: len(short.token_ids)] == short.token_ids
        if short.finish == "stop" and short.token_ids[-1] != END:
            matched += 1
            assert short.text[-1].isdigit()
    assert matched


def test_end_of_turn_is_sampled_and_not_shown(tiny):
    tiny._ends = frozenset(range(200, 272))
    for completion in tiny.generate(prompts(6), Sampling(1.0, 200)):
        assert completion.finish == "stop"
        assert completion.token_ids[-1] in tiny._ends
        assert completion.text == tiny.tokenizer.decode(completion.token_ids[:-1])


def test_max_tokens_cuts(tiny):
    tiny._ends = frozenset()
    for completion in tiny.generate(prompts(3), Sampling(1.0, 5)):
        assert (completion.finish, len(completion.token_ids)) == ("length", 5)


def test_the_window_ends_a_reply_or_refuses_a_prompt(tiny):
    tiny._ends = frozenset()
    size = len(tiny.render(prompts(1)[0]))
    tiny.window = size + 4
    ended = tiny.generate(prompts(1), Sampling(1.0, 50))[0]
    assert (ended.finish, len(ended.token_ids)) == ("context", 4)
    tiny.window = size
    refused = tiny.generate(prompts(1), Sampling(1.0, 50))[0]
    assert (refused.finish, refused.token_ids, refused.text) == ("context", (), "")


def test_no_prompts_no_replies(tiny):
    assert tiny.generate([], Sampling()) == []


def test_kept_bytes_are_bounded(tiny):
    tiny._memory.limit = 200_000
    for begin in range(0, 40, 8):
        tiny.generate(prompts(8, policy=POLICY + str(begin)), Sampling(1.0, 9))
        held = sum(
            (kept.kv if hasattr(kept, "kv") else kept.own).nbytes
            for kept in tiny._memory._kept.values()
        )
        assert 0 < held == tiny._memory._bytes <= 200_000


def test_forget_follows_changed_weights(tiny):
    tiny.generate(prompts(4), Sampling(0.0, 4))
    with torch.no_grad():
        tiny.module.model.layers[0].mlp.up_proj.weight.mul_(-1)
    tiny.forget()
    for completion in tiny.generate(prompts(4), Sampling(0.0, 4)):
        assert_sampled_as_recorded(tiny, completion)


def test_the_module_is_left_as_it_was(tiny):
    before = tiny.module.config._attn_implementation
    tiny.generate(prompts(3), Sampling(0.0, 4))
    assert tiny.module.config._attn_implementation == before
    assert not any("forward" in vars(layer) for layer in tiny.module.modules())


def test_nan_is_an_error(tiny):
    with torch.no_grad():
        tiny.module.model.norm.weight.fill_(math.nan)
    with pytest.raises(ModelError, match="NaN"):
        tiny.generate(prompts(2), Sampling(1.0, 3))


def test_bfloat16_is_close_to_float32(tiny_folder):
    from selfchallenge.models.packed import computes_bfloat16

    if not computes_bfloat16():
        pytest.skip("this processor does not compute in bfloat16")
    low = TransformersModel(tiny_folder, device="cpu", dtype="bfloat16")
    assert low.module.dtype == torch.float32
    for completion in low.generate(prompts(6), Sampling(1.0, 10)):
        logits = plain_logits(low, (*completion.prompt_ids, *completion.token_ids))
        logits = logits[len(completion.prompt_ids) - 1 : -1].log_softmax(-1)
        expected = logits[range(len(completion.token_ids)), completion.token_ids]
        assert (torch.tensor(completion.logprobs) - expected).abs().mean() < 0.1
    assert not any("forward" in vars(layer) for layer in low.module.modules())


def test_bfloat16_where_there_is_none_is_refused(tiny_folder, monkeypatch):
    monkeypatch.setattr("selfchallenge.models.pretrained.computes_bfloat16", lambda _: False)
    with pytest.raises(UsageError, match="bfloat16"):
        TransformersModel(tiny_folder, device="cpu", dtype="bfloat16")


def test_an_adapter_is_added_to_the_weights(tiny_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(make_module(), LoraConfig(r=2, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    adapted.save_pretrained(tmp_path)
    model = TransformersModel(tiny_folder, adapters=[tmp_path], device="cpu", dtype="float32")
    ids = list(range(20))
    with torch.inference_mode():
        expected = adapted(input_ids=torch.tensor([ids])).logits
        plain = make_module()(input_ids=torch.tensor([ids])).logits
    assert torch.allclose(plain_logits(model, ids), expected[0], atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_a_folder_without_a_template_is_refused(tmp_path):
    folder = save_tiny(tmp_path, template=None)
    with pytest.raises(ModelError, match="no chat template"):
        TransformersModel(folder, device="cpu")


def test_a_folder_without_weights_is_refused(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot load"):
        TransformersModel(tmp_path, device="cpu")


def test_attention_of_another_kind_is_refused(tmp_path):
    folder = save_tiny(
        tmp_path, use_sliding_window=True, sliding_window=4, max_window_layers=0, layer_types=None
    )
    with pytest.raises(ModelError, match="does not attend"):
        TransformersModel(folder, device="cpu")


def test_what_a_sliding_window_hides_is_beyond_the_model_s_window(tmp_path):
    sliding = {"use_sliding_window": True, "max_window_layers": 1, "layer_types": None}
    model = TransformersModel(save_tiny(tmp_path, sliding_window=64, **sliding), device="cpu")
    assert model.window == 64
    assert model.generate(prompts(1), Sampling(1.0, 50))[0].finish == "context"


def test_an_unknown_device_is_refused(tiny_folder):
    with pytest.raises(UsageError, match="abacus"):
        TransformersModel(tiny_folder, device="abacus")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_agrees_with_the_cpu(tiny_folder, dtype):
    on_gpu = TransformersModel(tiny_folder, device="cuda", dtype=dtype)
    asked = prompts(6)
    said = on_gpu.generate(asked, Sampling(1.0, 10))
    again = [follow_up(p, c, "more") for p, c in zip(asked, said, strict=True)]
    cpu = TransformersModel(tiny_folder, device="cpu", dtype="float32")
    for completion in (*said, *on_gpu.generate(again, Sampling(1.0, 10))):
        logits = plain_logits(cpu, (*completion.prompt_ids, *completion.token_ids))
        logits = logits[len(completion.prompt_ids) - 1 : -1].log_softmax(-1)
        expected = logits[range(len(completion.token_ids)), completion.token_ids]
        apart = (torch.tensor(completion.logprobs) - expected).abs().max()
        assert apart < (0.15 if dtype == "bfloat16" else 0.01)


def test_seeds_are_independent_of_the_global_generator(tiny):
    random.seed(1)
    one = tiny.generate(prompts(2), Sampling(1.0, 6))
    random.seed(2)
    torch.manual_seed(5)
    two = tiny.generate(prompts(2), Sampling(1.0, 6))
    assert [c.token_ids for c in one] == [c.token_ids for c in two]
