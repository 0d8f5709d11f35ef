"""An attempt in conversation: what is an action, what is said, and how it ends."""

from __future__ import annotations

import pytest

from selfchallenge.environments.base import policy_of
from selfchallenge.environments.library import Library
from selfchallenge.environments.retail import Retail
from selfchallenge.episode import FIRST_REPLY, USER_FAULT, StopReason
from selfchallenge.errors import UsageError
from selfchallenge.evaluation.conversations import needed_values
from selfchallenge.evaluation.sets import SetOptions, desk_set
from selfchallenge.evaluation.suite import held_out_tasks, references
from selfchallenge.evaluation.tau_bench import Action, BenchmarkTask
from selfchallenge.executor.agent import OUTPUT, AgentSettings, Assignment, Attempt
from selfchallenge.executor.batch import rollout
from selfchallenge.executor.talk import (
    API_OUTPUT,
    TalkRules,
    parse_call,
    talk_prompt,
    texts_in,
    told_by,
)
from selfchallenge.executor.user import PORTIONS, STOP, ModelUser, ScriptedUser, portions
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.sandbox.host import Sandbox

USER = Retail.seeds()[0]
ADDRESS = {
    "address1": "1 Long Road",
    "address2": "",
    "city": "Reno",
    "state": "NV",
    "country": "USA",
    "zip": "89501",
}
MOVE = Action("modify_user_address", {"user_id": USER, **ADDRESS})
TASK = BenchmarkTask(
    domain="retail",
    split="test",
    index=0,
    user_id=USER,
    instruction=f"Your user id is {USER}. You moved to 1 Long Road, Reno, NV 89501, USA.",
    actions=(MOVE,),
    outputs=("1000",),
)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as box:
        yield box


def attempt(sandbox, replies, *, actions="code", user=None, steps=15, task=TASK):
    """The episode of an agent that gives these replies in turn, and the last for ever after."""
    told = iter(replies)
    last = [""]

    def reply(_):
        last[0] = next(told, last[0])
        return last[0]

    options = SetOptions(actions=actions, steps=steps)
    player = None if user is None else ModelUser(ScriptedModel("user", lambda _: user))
    chosen = desk_set(Retail, [task], options, player, {})
    settings = AgentSettings(max_steps=steps, max_tokens=5000)
    [episode] = rollout(
        ScriptedModel("agent", reply),
        [Assignment(*chosen.pairs[0])],
        Retail,
        sandbox,
        settings=settings,
        ways=chosen.ways,
    )
    return episode


CODE = f"I move it.\n```python\nmodify_user_address(**{MOVE.kwargs!r})\n```"
CALL = f'Action: {{"name": "modify_user_address", "arguments": {MOVE.kwargs!r}}}\n'.replace(
    "'", '"'
)


@pytest.mark.parametrize(("action", "form"), [(CODE, "code"), (CALL, "json")])
def test_acting_and_telling_is_rewarded(sandbox, action, form):
    episode = attempt(sandbox, ["Go on.", action, "It is 1,000."], actions=form)
    assert (episode.stop, episode.reward, episode.task) == (StopReason.USER, 1.0, "retail/test/0")
    assert [call.tool for call in episode.calls] == ["modify_user_address"]
    assert USER_FAULT not in episode.meta
    assert TASK.instruction not in {turn.content for turn in episode.turns}


def test_each_half_alone_is_not(sandbox):
    assert attempt(sandbox, ["Go on.", "1000"]).evidence.startswith("the database is not")
    assert attempt(sandbox, ["Go on.", CODE, "Done."]).evidence.startswith("the user was not told")


def test_json_results_are_shown_and_oddities_are_observations(sandbox):
    odd = r'Action: {"name": "calculate", "arguments": {"expression": "\ud800"}}'
    extra = 'Action: {"name": "calculate", "arguments": {"*": 5}}'
    fine = 'Action: {"name": "calculate", "arguments": {"expression": "1 + 1"}}'
    unknown = 'Action: {"name": "fly", "arguments": {}}'
    episode = attempt(sandbox, [odd, extra, fine, unknown, "Bye."], actions="json")
    shown = [t.content for t in episode.turns if t.content.startswith(API_OUTPUT)]
    assert shown[0].startswith(f"{API_OUTPUT}Error: ")
    assert shown[1].startswith(f"{API_OUTPUT}Error: ")
    assert shown[2:] == [f"{API_OUTPUT}2.0", f"{API_OUTPUT}Unknown action fly"]
    assert episode.stop is StopReason.USER


def test_the_action_that_speaks_is_said_to_the_user(sandbox):
    speak = 'Action: {"name": "respond", "arguments": {"content": "It is 1,000."}}'
    episode = attempt(sandbox, ["Go on.", CALL, speak], actions="json")
    assert (episode.reward, episode.answer) == (1.0, "It is 1,000.")
    assert [call.tool for call in episode.calls] == ["modify_user_address"]


def test_handing_over_ends_the_episode(sandbox):
    episode = attempt(sandbox, ["```python\ntransfer_to_human_agents('x')\n```"])
    assert (episode.stop, episode.reward) == (StopReason.TOOL, 0.0)


@pytest.mark.parametrize("reply", ["Hm?", "```python\nprint(1)\n```"])
def test_the_limit_of_steps_ends_it_without_a_reward(sandbox, reply):
    episode = attempt(sandbox, [reply], steps=3, task=TASK)
    assert episode.stop is StopReason.STEPS
    assert sum(turn.role == "assistant" for turn in episode.turns) == 3
    assert episode.evidence == "the conversation was not brought to an end"


@pytest.mark.parametrize(
    ("says", "blame"),
    [
        (STOP, f"left without telling {USER}"),
        ("My id is nobody_12345.", "invented nobody_12345"),
        ("Well.", "went round in circles"),
    ],
)
def test_a_failure_by_the_user_says_so(sandbox, says, blame):
    episode = attempt(sandbox, ["Hello."], user=says, steps=5)
    assert (episode.reward, episode.meta[USER_FAULT]) == (0.0, blame)
    assert episode.meta["user"] == "scripted:user"
    assert episode.meta["user_tokens"] > 0


@pytest.mark.parametrize("actions", ["code", "json"])
def test_the_policy_is_shown_or_not(actions):
    shown, hidden = (talk_prompt(Retail, None, TalkRules(actions, policy)) for policy in (1, 0))
    assert shown.endswith(hidden)
    assert len(shown) > len(hidden)
    assert "modify_user_address" in hidden


@pytest.mark.parametrize("shown", [True, False])
def test_the_agent_s_settings_leave_the_policy_out(sandbox, shown):
    settings = AgentSettings(policy=shown)
    [pair] = references(held_out_tasks(Retail)[:1], Retail, sandbox)
    given = (Assignment(*pair), Retail, sandbox, settings, "train", "m")
    told, read = told_by(ScriptedUser()).begin(*given), Attempt(*given)
    for attempt in (told, read):
        assert (policy_of(Retail) in attempt.messages[0].content) is shown
        assert "modify_user_address" in attempt.messages[0].content
    assert told.meta[FIRST_REPLY] == 1  # a judge is not shown the documentation


@pytest.mark.parametrize(
    ("reply", "call"),
    [
        ('Action: {"name": "f", "arguments": {"a": 1}}', ("f", {"a": 1})),
        ('Action: x\nAction: {"name": "f", "arguments": {}} and so on', ("f", {})),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', ("f", {"a": 1})),
        ('<tool_call>\n{"name": "f"}', ("f", {})),
        ("Hello.", None),
        ("Action: f(1)", None),
        ('Action: {"name": "f", "arguments": [1]}', None),
        ('Action: {"name": 1, "arguments": {}}', None),
        (f"Action: {'[' * 9000}", None),
    ],
)
def test_the_call_in_a_reply(reply, call):
    assert parse_call(reply) == call


def test_what_an_agent_must_learn_are_the_texts_of_the_ground_truth():
    assert needed_values(TASK) == (USER, "1 Long Road", "Reno", "89501")


# -- our own tasks, told by a user -----------------------------------------------------------------


def own_attempt(sandbox, replies, hinted=False):
    task = held_out_tasks(Library)[0]
    [pair] = references([task], Library, sandbox)
    told = iter(replies)
    assignment = Assignment(*pair, hinted=hinted)
    settings = AgentSettings(max_tokens=5000)
    agent = ScriptedModel("agent", lambda _: next(told))
    ways = told_by(ScriptedUser())
    [episode] = rollout(agent, [assignment], Library, sandbox, settings=settings, ways=ways)
    return task, episode


def test_a_task_of_ours_can_be_told_by_a_user(sandbox):
    solution = held_out_tasks(Library)[0].solution
    acts = f"```python\nanswer = None\n{solution}\nprint(answer)\n```"
    code = f"I see.\n{acts}"
    talk = len(portions(held_out_tasks(Library)[0].instruction, PORTIONS))
    _, tried = own_attempt(sandbox, ["Go on."] * (talk - 1) + [code, "Hm."])
    printed = next(t.content for t in tried.turns if t.content.startswith(OUTPUT))
    answer = printed.removeprefix(OUTPUT)
    task, episode = own_attempt(sandbox, ["Go on."] * (talk - 1) + [code, answer])
    assert (episode.stop, episode.reward, episode.task) == (StopReason.USER, 1.0, task.id)
    assert episode.meta["user"] == "scripted:user"


def test_a_solution_is_not_shown_where_a_user_tells_the_task(sandbox):
    with pytest.raises(UsageError, match="cannot be shown"):
        own_attempt(sandbox, [], hinted=True)


def test_the_texts_that_code_is_about():
    assert texts_in("f('abcd', x='abcd')\ng('no', 12345, [\"#W12\"])") == ("abcd", "#W12")
    assert texts_in("no code 'abcd' (") == texts_in("f('ab\0cd')") == ()
