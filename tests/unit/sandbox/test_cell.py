"""How code is run, shown and judged in a cell; everything goes through the sandbox."""

import pytest

from selfchallenge.sandbox.host import Limits


def run(sandbox, session, code, **options):
    return sandbox.execute(code, session, **options)


def test_output_answer_and_the_echo_of_the_last_expression(sandbox, shop):
    done = run(sandbox, shop, "print('one')\nanswer = {(1, 2): {3}}\nanswer")
    assert (done.status, done.ok, done.error) == ("done", True, None)
    assert done.output == "one\n{(1, 2): {3}}\n"
    assert done.answer == {(1, 2): {3}}


@pytest.mark.parametrize("code", ["x = 1", "None", "print('')", "", "# nothing", "def f(): pass"])
def test_nothing_is_echoed_without_a_value(sandbox, shop, code):
    done = run(sandbox, shop, code)
    assert done.ok
    assert done.output.strip() == ""
    assert done.answer is None


def test_the_echo_is_str_and_not_repr(sandbox, shop):
    assert run(sandbox, shop, "'text'").output == "text\n"


def test_standard_error_is_output_too(sandbox, shop):
    assert run(sandbox, shop, "import sys\nprint('x', file=sys.stderr)").output == "x\n"


def test_a_traceback_shows_the_payloads_own_frames(sandbox, shop):
    code = "def divide(a):\n    return a / 0\n\nprint('before')\ndivide(1)\n"
    failed = run(sandbox, shop, code)
    assert (failed.status, failed.output, failed.answer) == ("error", "before\n", None)
    assert failed.error.startswith("Traceback (most recent call last):\n")
    assert 'File "<code>", line 5, in <module>\n    divide(1)' in failed.error
    assert 'File "<code>", line 2, in divide\n    return a / 0' in failed.error
    assert failed.error.endswith("ZeroDivisionError: division by zero\n")
    assert failed.error.count("File ") == 2


def test_a_syntax_error_names_line_and_text(sandbox, shop):
    failed = run(sandbox, shop, "x = 1\nx = = 2\n")
    assert failed.status == "error"
    assert "line 2" in failed.error
    assert "SyntaxError" in failed.error


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('x')", "BaseException: x"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "E"),
        ("class E(Exception):\n    def __str__(self): return 3\nraise E", "E"),
        ("class E(BaseException):\n    __module__ = property()\nraise E", "E"),
        ("raise Exception('\\ud800')", "Exception"),
        ("import traceback\ntraceback.format_list = None\n1/0", "ZeroDivisionError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("input('name?')", "nobody to ask"),
        ("x = 'y' * 100000\nraise ValueError(x)", "yyy"),
        ("class R:\n    def __str__(self): raise ValueError('no text')\nR()", "no text"),
    ],
)
def test_every_way_to_fail_is_an_error_with_a_text(sandbox, shop, code, named):
    failed = run(sandbox, shop, code)
    assert failed.status == "error"
    assert named in failed.error
    assert len(failed.error) <= 8192


def test_output_is_capped(sandbox, shop):
    flood = run(sandbox, shop, "for _ in range(3000): print('x' * 1000)\nanswer = 1")
    assert flood.ok
    assert flood.answer == 1
    assert 65536 <= len(flood.output) < 65700
    assert flood.output.endswith("[output cut]\n")
    small = run(sandbox, shop, "print('x' * 1000)", limits=Limits(output=10))
    assert small.output == "x" * 10 + "\n... [output cut]\n"


@pytest.mark.parametrize("value", ["object()", "print", "1j", "float", "open", "'\\ud800'"])
def test_an_answer_that_is_no_data_is_an_error(sandbox, shop, value):
    failed = run(sandbox, shop, f"answer = {value}")
    assert failed.status == "error"
    assert failed.error.startswith("answer is not plain data: ")
    assert failed.answer is None


def test_a_large_answer_is_an_error_of_the_code(sandbox, shop):
    failed = run(sandbox, shop, "print('kept')\nanswer = 'x' * (2 << 20)")
    assert (failed.status, failed.output) == ("error", "kept\n")
    assert "answer is not plain data" in failed.error


def test_an_answer_left_before_an_error_is_still_told(sandbox, shop):
    failed = run(sandbox, shop, "answer = 5\n1/0")
    assert (failed.status, failed.answer) == ("error", 5)


def test_classes_and_dataclasses_work_as_in_a_script(sandbox, shop):
    code = (
        "from __future__ import annotations\nimport dataclasses, typing\n"
        "@dataclasses.dataclass\nclass P:\n    x: int\n    y: P | None = None\n"
        "if __name__ == '__main__':\n"
        "    answer = [dataclasses.asdict(P(1, P(2))), len(typing.get_type_hints(P))]\n"
    )
    assert run(sandbox, shop, code).answer == [{"x": 1, "y": {"x": 2, "y": None}}, 2]


def test_usual_modules_are_there(sandbox, shop):
    names = "math json re datetime collections itertools functools statistics string random decimal"
    names += " fractions textwrap operator heapq bisect copy typing time ast traceback"
    names += " zoneinfo zlib hashlib"
    code = f"for name in {names.split()!r}: __import__(name)\n"
    code += "answer = datetime.datetime.strptime('2024', '%Y').year if 'datetime' in dir() else 0"
    assert run(sandbox, shop, "import datetime\n" + code).answer == 2024


def test_chance_is_seeded_by_the_caller(sandbox, shop):
    code = "import random\nanswer = random.random()"
    first = run(sandbox, shop, code, seed=1).answer
    assert run(sandbox, shop, code, seed=1).answer == first
    assert run(sandbox, shop, code, seed=2).answer != first


def test_the_hash_seed_is_another_one(sandbox, shop, shop_class):
    code = "answer = [hash('text'), hash_of('text')]"
    with sandbox.session(shop_class, hash_seed=1) as other:
        here, there = run(sandbox, shop, code), run(sandbox, other, code, hash_seed=1)
        assert here.answer == run(sandbox, shop, code).answer
        assert here.answer[0] != there.answer[0]
        assert here.answer[1] != there.answer[1]


# -- tools -----------------------------------------------------------------------------------------


def test_tools_take_positions_and_keywords(sandbox, shop):
    code = (
        "answer = [get_order('W1')['status'], cancel_order('W1', reason='mistake')['status'],\n"
        "          cancel_order(order_id='W2')['status'], total(1, 2.5)]"
    )
    done = run(sandbox, shop, code)
    assert done.answer == ["open", "cancelled: mistake", "cancelled: late", 3.5]
    assert [(call.tool, call.arguments) for call in shop.trace()] == [
        ("get_order", ["W1"]),
        ("cancel_order", {"*": ["W1"], "reason": "mistake"}),
        ("cancel_order", {"order_id": "W2"}),
        ("total", [1, 2.5]),
    ]
    assert shop.changed() == (("orders", "W1", "status"), ("orders", "W2", "status"))


def test_a_tool_error_can_be_caught_by_name(sandbox, shop):
    code = "try:\n    get_order('W9')\nexcept ToolError as e:\n    answer = str(e)\n"
    assert run(sandbox, shop, code).answer == "no order W9"
    assert run(sandbox, shop, "get_order('W9')").error.endswith("\nToolError: no order W9\n")


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("value", "ValueError", "a bad value"),
        ("key", "KeyError", "'absent'"),
        ("odd", "OddError", "odd"),
        ("unicode", "UnicodeDecodeError", "why"),
        ("system", "SystemExit", "leaving"),
    ],
)
def test_other_errors_of_tools_keep_their_names(sandbox, shop, how, kind, text):
    code = (
        f"try:\n    fail({how!r})\nexcept Exception as e:\n    answer = [type(e).__name__, str(e)]"
    )
    name, message = run(sandbox, shop, code).answer
    assert name == kind
    assert text in message


def test_wrong_calls_are_type_errors(sandbox, shop):
    code = (
        "answer = []\n"
        "for call in (lambda: get_order(), lambda: get_order('a', 'b'), lambda: get_order(x=1)):\n"
        "    try: call()\n    except TypeError as e: answer.append(str(e))\n"
    )
    answer = run(sandbox, shop, code).answer
    assert len(answer) == 3
    assert all("get_order" in text for text in answer)


def test_results_are_plain_data(sandbox, shop):
    code = "answer = [give(what) for what in ('item', 'invoice', 'tuple', 'iterator')]"
    assert run(sandbox, shop, code).answer == [
        {"name": "cup", "colour": "red"},
        {"due": "2024-05-01", "items": ["cup"]},
        (1, {2}, b"3", {4: float("inf")}),
        [0, 1, 4],
    ]
    failed = run(sandbox, shop, "give('object')")
    assert (
        "TypeError: the result of give(): a value of type object is not plain data" in failed.error
    )


def test_what_iterates_crosses_as_a_list(sandbox, shop):
    code = (
        "answer = [echo(n for n in range(3)), echo(range(2)), echo(map(str, [1])), "
        "echo({'a': 1}.keys()), echo({'a': 1}.values()), echo({'a': 1}.items()), "
        "echo(zip([1], [2]))]"
    )
    assert run(sandbox, shop, code).answer == [
        [0, 1, 2],
        [0, 1],
        ["1"],
        ["a"],
        [1],
        [("a", 1)],
        [(1, 2)],
    ]


def test_a_tool_with_the_name_of_a_builtin_does_not_hide_it(sandbox, shop):
    code = "answer = [max(3, 4), max(['aaa', 'b'], key=len), max([1, 2], key=lambda v: -v)]"
    assert run(sandbox, shop, code).answer == [4, "aaa", 1]
    assert [call.arguments for call in shop.trace()] == [[3, 4]]
    assert "TypeError: echo() takes plain data only" in run(sandbox, shop, "echo(len)").error


def test_large_results_cross_and_are_left_out_of_the_trace(sandbox, shop):
    assert run(sandbox, shop, "answer = len(give('large'))").answer == 300_000
    assert [(call.ok, call.result) for call in shop.trace()] == [(True, None)]


def test_a_large_argument_is_an_error_of_the_code(sandbox, shop):
    failed = run(sandbox, shop, "echo('x' * (2 << 20))")
    assert "TypeError: echo() takes plain data only" in failed.error
    assert shop.trace() == ()


def test_the_number_of_calls_is_capped(sandbox, shop):
    code = "answer = 0\nwhile True:\n    view()\n    answer += 1\n"
    failed = run(sandbox, shop, code, limits=Limits(wall=20.0))
    assert (failed.status, failed.answer) == ("error", 1000)
    assert "more than 1000 tool calls" in failed.error
    assert len(shop.trace()) == 1000


def test_the_bytes_of_calls_are_capped(sandbox, shop):
    code = "text, answer = 'x' * 900_000, 0\nwhile True:\n    echo(text)\n    answer += 1"
    failed = run(sandbox, shop, code, limits=Limits(wall=20.0))
    assert (failed.status, failed.answer) == ("error", 9)


# -- verifiers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verifier", "passed", "returned"),
    [
        ("def evaluate(answer): return answer == (1, 'a')", True, "True"),
        ("def evaluate(): return True", True, "True"),
        ("def evaluate(answer, strict=True): return strict", True, "True"),
        ("evaluate = lambda answer: answer is not None", True, "True"),
        ("def evaluate(answer): return False", False, "False"),
        ("def evaluate(answer): return 1", False, "1 (int)"),
        ("def evaluate(answer): return 'yes'", False, "'yes' (str)"),
        ("def evaluate(answer): pass", False, "None"),
        ("def evaluate(answer): return [True]", False, "[True] (list)"),
        (
            "class T(int):\n  __eq__ = lambda s, o: True\ndef evaluate(a): return T(1)",
            False,
            "1 (T)",
        ),
    ],
)
def test_only_true_passes(sandbox, shop, verifier, passed, returned):
    said = sandbox.evaluate(verifier, (1, "a"), shop)
    assert (said.passed, said.status, said.error, said.returned) == (passed, "done", None, returned)


@pytest.mark.parametrize(
    ("verifier", "text"),
    [
        ("def evaluate(answer): assert answer == 2", "AssertionError"),
        ("def check(answer): return True", "defines no function evaluate"),
        ("evaluate = True", "defines no function evaluate"),
        ("def evaluate(answer): return", None),
        ("def evaluate(:", "SyntaxError"),
        ("def evaluate(a, b): return True", "TypeError"),
        ("def evaluate(answer): raise SystemExit(0)", "SystemExit"),
        ("def evaluate(answer): return get_order('W9')", "ToolError: no order W9"),
    ],
)
def test_an_error_never_passes(sandbox, shop, verifier, text):
    said = sandbox.evaluate(verifier, 1, shop)
    assert not said.passed
    if text is not None:
        assert (said.status, said.returned) == ("error", "")
        assert text in said.error


def test_a_verifier_reads_and_cannot_write(sandbox, shop):
    run(sandbox, shop, "cancel_order('W1')")
    digest, trace = shop.digest(), shop.trace()
    reading = "def evaluate(): return get_order('W1')['status'] == 'cancelled: late'"
    writing = "def evaluate():\n    cancel_order('W2')\n    return True"
    assert sandbox.evaluate(reading, None, shop).passed
    refused = sandbox.evaluate(writing, None, shop)
    assert not refused.passed
    assert "cancel_order() changes the state; a verifier may only read" in refused.error
    assert (shop.digest(), shop.trace()) == (digest, trace)


@pytest.mark.parametrize(
    "expression",
    [
        "time.time()",
        "time.sleep(1)",
        "time.perf_counter()",
        "time.clock_gettime_ns(0)",
        "time.thread_time()",
        "time.process_time_ns()",
        "time.asctime()",
        "os.times()",
        "__import__('posix').urandom(1)",
        "random.random()",
        "random.choice([1])",
        "random.Random()",
        "random.SystemRandom()",
        "datetime.datetime.now()",
        "datetime.datetime.utcnow()",
        "datetime.date.today()",
        "uuid.uuid4()",
        "os.urandom(1)",
        "secrets.token_hex()",
    ],
)
def test_clock_and_chance_raise_in_a_verifier(sandbox, shop, expression):
    modules = "import datetime, os, random, secrets, time, uuid\n"
    said = sandbox.evaluate(f"{modules}def evaluate():\n    {expression}\n    return True", 0, shop)
    assert not said.passed
    assert "may not use the clock or chance" in said.error


def test_dates_and_seeded_chance_stay_in_a_verifier(sandbox, shop):
    verifier = """
import datetime, random, uuid
from datetime import date, timedelta

def evaluate():
    when = datetime.datetime.fromisoformat("2024-02-28T10:00:00")
    assert isinstance(when, datetime.datetime)
    assert isinstance(when.date(), datetime.date)
    assert isinstance(when, datetime.date)
    assert not isinstance("2024", datetime.date)
    assert when.date() + timedelta(days=2) == date(2024, 3, 1)
    assert datetime.datetime.strptime("2024-02-28", "%Y-%m-%d") < when
    assert random.Random(1).random() == random.Random(1).random()
    return str(uuid.UUID(int=1)).endswith("1")
"""
    said = sandbox.evaluate(verifier, None, shop)
    assert said.passed, said.error


def test_each_evaluation_is_a_process_of_its_own(sandbox, shop):
    verifier = (
        "import math\n"
        "def evaluate():\n    seen = hasattr(math, 'x')\n    math.x = 1\n    return not seen"
    )
    assert all(sandbox.evaluate(verifier, None, shop).passed for _ in range(3))


def test_an_answer_that_cannot_cross_never_passes(sandbox, shop):
    said = sandbox.evaluate("def evaluate(answer): return True", object(), shop)
    assert not said.passed
    assert said.status == "error"
    assert "not plain data" in said.error
