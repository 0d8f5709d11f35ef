import pytest

from selfchallenge.errors import UsageError
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.scripted import END, ScriptedModel, named_script, register_script, render


def ask(text, **options):
    return Prompt((Message("user", text),), **options)


def test_the_function_writes_the_reply():
    model = ScriptedModel("upper", lambda prompt: prompt.messages[-1].content.upper())
    said = model.generate([ask("a"), ask("b")], Sampling(1.0))
    assert [c.text for c in said] == ["A", "B"]
    assert model.name == "scripted:upper"
    assert [p.messages[-1].content for p in model.prompts] == ["a", "b"]


def test_tokens_are_bytes_and_an_end():
    said = ScriptedModel("x", lambda prompt: "né").generate([ask("q")], Sampling())[0]
    assert said.token_ids == (*"né".encode(), END)
    assert said.logprobs == (0.0,) * 4
    assert bytes(i for i in said.prompt_ids if i != END).decode() == "<user>q<assistant>"


def test_max_tokens_cuts_between_characters():
    said = ScriptedModel("x", lambda prompt: "né").generate([ask("q")], Sampling(max_tokens=2))[0]
    assert (said.text, said.finish, len(said.token_ids)) == ("n", "length", 2)


def test_a_stop_pattern_ends_without_an_end_mark():
    model = ScriptedModel("x", lambda prompt: "one. two.")
    said = model.generate([ask("q")], Sampling(stop=r"\."))[0]
    assert (said.text, said.finish) == ("one.", "stop")
    assert END not in said.token_ids


@pytest.mark.parametrize("stop", ["", r"\."])
def test_a_context_is_continued(stop):
    model = ScriptedModel("x", lambda prompt: "one. two.")
    first = model.generate([ask("q")], Sampling(stop=stop))[0]
    context = (*first.prompt_ids, *first.token_ids)
    messages = (Message("user", "q"), Message("assistant", first.text), Message("user", "r"))
    ids = render(Prompt(messages, begin="so", context=context, known=2))
    assert ids[: len(context)] == context
    new = ids[len(context) :]
    assert new.count(END) == (1 if not stop else 2)
    assert bytes(i for i in new if i != END).decode() == "<user>r<assistant>so"


def test_named_scripts():
    assert named_script("echo").generate([ask("a")], Sampling())[0].text == "a"
    with pytest.raises(UsageError, match="nobody") as caught:
        named_script("nobody")
    assert "echo" in caught.value.fix


def test_a_registered_script_is_made_anew_for_each_model(monkeypatch):
    monkeypatch.setattr("selfchallenge.models.scripted._scripts", {})

    def counting():
        calls = []
        return lambda prompt: str(calls.append(1) or len(calls))

    register_script("count", counting)
    assert [named_script("count").generate([ask("a")], Sampling())[0].text for _ in "ab"] == [
        "1",
        "1",
    ]
