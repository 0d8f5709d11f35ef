"""What every model back end keeps, over all that ship."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling, converse

sys.path.append(str(Path(__file__).parents[1] / "unit" / "models"))


@contextmanager
def scripted(folder):
    from selfchallenge.models.scripted import ScriptedModel

    yield ScriptedModel("twice", lambda prompt: f"{prompt.messages[-1].content} again. " * 20)


@contextmanager
def transformers(folder):
    from tiny_model import save_tiny

    from selfchallenge.models.transformers import TransformersModel

    model = TransformersModel(save_tiny(folder), device="cpu", dtype="float32")
    yield model
    model.close()


@contextmanager
def openai(folder):
    from fake_server import FakeServer, completion

    from selfchallenge.models.openai import OpenAIModel

    def answer(body, _):
        text = f"{body['messages'][1]['content']} again. " * 20
        cut = text[: body["max_tokens"]]
        return 200, completion(cut, "stop" if cut == text else "length")

    with FakeServer(answer).running() as server:
        model = OpenAIModel("fake", server.url)
        yield model
        model.close()


BACK_ENDS = {"scripted": scripted, "transformers": transformers, "openai": openai}


@pytest.fixture(params=sorted(BACK_ENDS), scope="module")
def model(request, tmp_path_factory):
    with BACK_ENDS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


def ask(text, **options):
    return Prompt((Message("system", "Be brief."), Message("user", text)), **options)


def test_it_is_a_model_with_a_name(model):
    assert isinstance(model, Model)
    assert model.name


def test_one_completion_per_prompt_in_order(model):
    asked = [ask(f"number {i}", seed=i) for i in range(7)]
    sampling = Sampling(1.0, 24)
    together = model.generate(asked, sampling)
    assert len(together) == 7
    assert all(isinstance(completion, Completion) for completion in together)
    alone = [model.generate([prompt], sampling)[0].text for prompt in asked]
    assert [completion.text for completion in together] == alone


@pytest.mark.parametrize("portion", [1, 3, 9])
def test_prompts_may_come_while_others_are_replied_to(model, portion):
    asked = [ask(f"number {i}", seed=i) for i in range(9)]
    sampling = Sampling(1.0, 24)
    left, owed = list(asked), set()

    def take(waits):
        assert not (waits and owed), "it waits for prompts while replies are owed"
        given, left[:] = left[:portion], left[portion:]
        owed.update(range(len(asked) - len(left) - len(given), len(asked) - len(left)))
        return given

    found = {}
    for ended in converse(model, take, sampling):
        assert ended
        for number, completion in ended:
            owed.remove(number)
            found[number] = completion.text
    assert not owed
    assert [found[n] for n in range(9)] == [c.text for c in model.generate(asked, sampling)]


def test_a_caller_that_has_enough_leaves_the_model_as_it_was(model):
    asked = [ask(f"number {i}", seed=i) for i in range(4)]
    portions = iter([asked, ()])
    made = converse(model, lambda _: next(portions, ()), Sampling(1.0, 24))
    next(made)
    made.close()
    alone = model.generate(asked[:1], Sampling(1.0, 24))
    assert alone == model.generate(asked[:1], Sampling(1.0, 24))


def test_no_prompts_no_completions(model):
    assert model.generate([], Sampling()) == []


def test_the_same_question_and_seed_give_the_same_reply(model):
    first, second = (model.generate([ask("a", seed=3)], Sampling(1.0, 20))[0] for _ in "ab")
    assert first.text == second.text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_max_tokens_bounds_the_reply(model, temperature):
    said = model.generate([ask("a")], Sampling(temperature, 4))[0]
    assert said.finish in ("length", "stop")
    assert len(said.token_ids) <= 4
    assert len(said.text) <= 40


def test_a_reply_ends_where_the_pattern_matches(model):
    import re

    sampling = Sampling(1.0, 60, stop=r"\w.*?[.\d]")
    for said in model.generate([ask(f"a{i}", seed=i) for i in range(6)], sampling):
        found = re.search(sampling.stop, said.text, re.DOTALL)
        if found:
            assert said.finish == "stop"
            assert found.end() == len(said.text)


def test_the_beginning_is_no_part_of_the_text(model):
    said = model.generate([ask("a", begin="\u00a7begin\u00a7")], Sampling(0.0, 12))[0]
    assert "\u00a7begin" not in said.text


def test_tokens_are_all_there_or_not_at_all(model):
    for said in model.generate([ask(f"a{i}", seed=i) for i in range(5)], Sampling(1.0, 12)):
        assert len(said.logprobs) == len(said.token_ids)
        assert bool(said.prompt_ids) == bool(said.token_ids)
        assert all(logprob <= 0 for logprob in said.logprobs)
        assert said.completion_tokens >= len(said.token_ids)
        assert said.prompt_tokens > 0 or said.prompt_ids


def test_a_conversation_goes_on_from_the_ids_it_was_given(model):
    asked = ask("a", begin="so")
    said = model.generate([asked], Sampling(1.0, 12))[0]
    messages = (*asked.messages, Message("assistant", f"so{said.text}"), Message("user", "b"))
    context = (*said.prompt_ids, *said.token_ids)
    known = 3 if context else 0
    again = model.generate([Prompt(messages, context=context, known=known)], Sampling(1.0, 12))[0]
    assert again.prompt_ids[: len(context)] == context
    assert len(again.prompt_ids) > len(context) or not context


def test_any_text_can_be_said(model):
    odd = "\x00 \ud7ff \U0001f600 <|im_end|> \u202e {{ x }} ```"
    assert len(model.generate([ask(odd), ask("")], Sampling(1.0, 8))) == 2


def test_closing_twice_is_fine(model):
    model.close()
    model.close()
