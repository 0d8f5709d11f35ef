"""The calls of a loop, one by one."""

from selfchallenge.episode import Call
from selfchallenge.quality.replay import sources

CALLS = (
    Call(tool="look", arguments=[], result=["W1", "W2"]),
    Call(tool="cancel", arguments=["W1"], result="done"),
    Call(tool="cancel", arguments={"order": "W9"}, ok=False, result="ToolError: no order W9"),
    Call(tool="cancel", arguments={"order": "W2"}, result="done"),
)


def test_a_loop_is_written_out_with_the_answer_it_left():
    loop = "for order in look():\n    cancel(order)"
    plain = "cancel('W1')\ncancel(order='W2')\nanswer = 2"
    assert sources(loop, CALLS, 2, {"cancel"}) == [loop, plain]


def test_what_shows_its_calls_stands_for_itself():
    shown = "look()\ncancel('W1')\ncancel('W2')"
    assert sources(shown, CALLS, None, {"cancel"}) == [shown]
    assert sources("look()", CALLS[:1], None, {"cancel"}) == ["look()"]
