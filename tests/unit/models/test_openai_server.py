from contextlib import ExitStack

import pytest
from fake_server import FakeServer, completion, failure

from selfchallenge.errors import ModelError, UsageError
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.openai import OpenAIModel


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    with ExitStack() as stack:

        def start(answer, **options):
            server = stack.enter_context(FakeServer(answer).running())
            model = OpenAIModel("fake", server.url, **options)
            stack.callback(model.close)
            return model, server

        yield start


def ask(text="hello", **options):
    return Prompt((Message("system", "be kind"), Message("user", text)), **options)


def test_a_request_carries_everything(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    model, server = serve(lambda body, n: (200, completion("hi", cached=4)))
    said = model.generate([ask(seed=5)], Sampling(0.5, 32))[0]
    assert (said.text, said.finish, said.token_ids) == ("hi", "stop", ())
    assert (said.prompt_tokens, said.completion_tokens) == (7, 7)
    assert server.requests == [
        {
            "model": "fake",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "hello"},
            ],
            "temperature": 0.5,
            "seed": 5,
            "max_tokens": 32,
        }
    ]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in model.name


def test_without_a_key_none_is_sent(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model, server = serve(lambda body, n: (200, completion("hi")))
    model.generate([ask()], Sampling())
    assert server.headers[0]["Authorization"] == "Bearer none"


def test_replies_come_in_the_order_of_the_prompts(serve):
    model, _ = serve(lambda body, n: (200, completion(body["messages"][-1]["content"])))
    texts = [f"text {i}" for i in range(30)]
    said = model.generate([ask(text) for text in texts], Sampling())
    assert [c.text for c in said] == texts


@pytest.mark.parametrize("repeated", ["def f(", ""])
def test_a_beginning_is_continued_or_taken_off(serve, repeated):
    model, server = serve(lambda body, n: (200, completion(f"{repeated}x): return x")))
    said = model.generate([ask(begin="def f(")], Sampling())[0]
    assert said.text == "x): return x"
    assert server.requests[0]["messages"][-1] == {"role": "assistant", "content": "def f("}
    assert server.requests[0]["continue_final_message"] is True
    assert server.requests[0]["add_generation_prompt"] is False


def test_a_stop_pattern_cuts_the_text(serve):
    model, _ = serve(lambda body, n: (200, completion("a\n```py\nx\n```\nmore", "length")))
    said = model.generate([ask()], Sampling(stop=r"```\w*\n.*?```"))[0]
    assert (said.text, said.finish) == ("a\n```py\nx\n```", "stop")


def test_length_is_told(serve):
    model, _ = serve(lambda body, n: (200, completion("and so", "length")))
    assert model.generate([ask()], Sampling())[0].finish == "length"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_repeated(serve, status):
    model, server = serve(
        lambda body, n: (status, failure("busy")) if n < 3 else (200, completion("at last"))
    )
    assert model.generate([ask()], Sampling())[0].text == "at last"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "message", "fix"),
    [
        (500, "fails: .*boom", "log"),
        (401, "refuses the key", "OPENAI_API_KEY"),
        (404, "no model 'fake'", "/models"),
        (400, "fails: .*boom", "log"),
    ],
)
def test_a_lasting_failure_is_told(serve, status, message, fix):
    model, _ = serve(lambda body, n: (status, failure("boom")), retries=1)
    with pytest.raises(ModelError, match=message) as caught:
        model.generate([ask(), ask()], Sampling())
    assert fix in caught.value.fix
    assert caught.value.where == model.url


def test_a_conversation_too_long_is_no_failure(serve):
    text = "This model's maximum context length is 4096 tokens."
    model, _ = serve(lambda body, n: (400, failure(text, "context_length_exceeded")))
    said = model.generate([ask()], Sampling())[0]
    assert (said.text, said.finish) == ("", "context")


def test_something_else_on_that_port_is_told(serve):
    model, _ = serve(lambda body, n: (200, {"hello": "world"}))
    with pytest.raises(ModelError, match="no chat completion"):
        model.generate([ask()], Sampling())


def test_no_server_is_told():
    model = OpenAIModel("fake", "http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelError, match="cannot reach"):
        model.generate([ask()], Sampling())


def test_no_prompts_no_requests():
    assert OpenAIModel("fake", "http://127.0.0.1:9/v1").generate([], Sampling()) == []


@pytest.mark.parametrize("spec", ["openai:", "openai:name", "openai:@http://x", "openai:n@x:1"])
def test_a_spec_of_another_form_is_refused(spec):
    with pytest.raises(UsageError, match="does not name"):
        OpenAIModel.from_spec(spec)


def test_a_name_may_hold_an_at_sign():
    model = OpenAIModel.from_spec("openai:org/name@v2@http://localhost:8000/v1")
    assert (model.model, model.url) == ("org/name@v2", "http://localhost:8000/v1")


def test_half_characters_do_not_get_in(serve):
    model, _ = serve(lambda body, n: (200, completion("a\ud800b \ud83d\ude00")))
    assert model.generate([ask()], Sampling())[0].text == "a\ufffdb \U0001f600"


def test_a_choice_without_a_message_is_no_completion(serve):
    answer = completion("")
    answer["choices"][0]["message"] = None
    model, _ = serve(lambda body, n: (200, answer))
    with pytest.raises(ModelError, match="no chat completion"):
        model.generate([ask()], Sampling())
