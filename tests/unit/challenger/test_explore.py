"""One executed call at a time: what is sampled, where it ends, and what stands in for a refusal."""

import random
from pathlib import Path

import pytest

from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.explore import Exploration, Explorer, ExploreSettings
from selfchallenge.challenger.shapes import SHAPES
from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.models.base import Prompt
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.sandbox.host import Sandbox

STORE = '''
from selfchallenge import Environment, ToolError, tool

ORDERS = {"#W12": {"order_id": "#W12", "owner_id": "ada_7"}}
OWNERS = {"ada_7": {"owner_id": "ada_7", "email": "ada@example.org"}}


class Store(Environment):
    label = "store"

    @tool
    def get_order(self, order_id: str) -> dict[str, str]:
        """Return an order."""
        if order_id not in ORDERS:
            raise ToolError("order not found")
        return ORDERS[order_id]

    @tool
    def get_owner(self, owner_id: str) -> dict[str, str]:
        """Return an owner."""
        if owner_id not in OWNERS:
            raise ToolError("owner not found")
        return OWNERS[owner_id]

    @tool
    def echo(self, text: str) -> str:
        """Return a text as it is, and a dot."""
        return text + "."

    @tool
    def cancel(self, order_id: str, reason: str) -> str:
        """Cancel an order."""
        if order_id not in ORDERS:
            raise ToolError("order not found")
        return reason + " it is"

    @tool
    def tell(self, text: str) -> str:
        """Tell somebody."""
        return "They were told."

    @tool
    def figure(self, expression: str) -> float:
        """Return the value of a sum."""
        return float(sum(float(part) for part in expression.split("+")))

    @tool
    def refuse(self, order_id: str) -> str:
        """Refuse an order."""
        raise ToolError("refused")

    @tool
    def count_orders(self) -> int:
        """Return the number of orders."""
        return len(ORDERS)

    @classmethod
    def seeds(cls) -> list[str]:
        return ["s1"]

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        return "owner 'ada_7' of order '#W12'"
'''


@pytest.fixture
def store(tmp_path: Path) -> type[Environment]:
    (tmp_path / "store.py").write_text(STORE)
    return load_environment(f"{tmp_path / 'store.py'}:Store")


def explored(
    store: type[Environment], reply: str, names: list[str], shape: str, seed: int = 0
) -> Exploration:
    """An exploration with some of the tools, by a model that completes every call alike.

    `SEED` in the reply stands for the seed of the prompt, another one for each sample.
    """

    def complete(prompt: Prompt) -> str:
        return reply.replace("SEED", str(prompt.seed))

    with Sandbox() as sandbox:
        explorer = Explorer(
            ScriptedModel("alike", complete), store, sandbox, Coverage(), ExploreSettings()
        )
        e = explorer.start(0, "s1", random.Random(seed))
        e.shape = SHAPES[shape]
        e.tools = tuple(tool for tool in e.tools if tool.name in names)
        explorer.explore([e])
    return e


def test_a_call_ends_at_a_comment_behind_it_and_not_at_a_sign_in_a_text(
    store: type[Environment],
) -> None:
    e = explored(store, "#W12') # the order", ["get_order"], "single")
    assert [step.source for step in e.draft.steps] == ["r1 = get_order('#W12')"]
    assert [step.author for step in e.draft.steps] == ["model"]


@pytest.mark.parametrize("reply", ["W12')", "#W13')", "order W12')"])
def test_a_text_of_the_subject_stands_in_for_a_refused_one(
    store: type[Environment], reply: str
) -> None:
    e = explored(store, reply, ["get_order"], "single")
    assert [step.source for step in e.draft.steps] == ["r1 = get_order('#W12')"]
    assert [step.author for step in e.draft.steps] == ["program"]
    assert e.refused == []


def test_the_first_text_of_a_call_is_the_one_replaced(store: type[Environment]) -> None:
    e = explored(store, "12', reason='late')", ["cancel"], "single")
    assert [step.source for step in e.draft.steps] == ["r1 = cancel('#W12', reason='late')"]


@pytest.mark.parametrize(
    ("reply", "name"), [("W12", "get_order"), ("W12', 'extra')", "get_order"), ("", "echo")]
)
def test_nothing_stands_in_for_what_is_no_call(
    store: type[Environment], reply: str, name: str
) -> None:
    e = explored(store, reply, [name], "single")
    assert e.draft.steps == ()
    assert e.failed


def test_a_text_that_is_the_same_whatever_is_asked_is_no_step(store: type[Environment]) -> None:
    assert explored(store, "xSEED')", ["tell"], "single").draft.steps == ()
    assert explored(store, "x')", ["tell"], "single").draft.steps == ()
    e = explored(store, "#W12')", ["get_order", "tell"], "chain of 2")
    assert [step.tool.name for step in e.draft.steps] == ["get_order"], "told an earlier result"
    assert len(explored(store, "xSEED')", ["echo"], "single").draft.steps) == 1


def test_what_reads_like_what_was_given_is_no_step(store: type[Environment]) -> None:
    assert explored(store, "12')", ["figure"], "single").draft.steps == ()
    assert len(explored(store, "1 + 2')", ["figure"], "single").draft.steps) == 1


def test_text_that_python_reads_and_cannot_write_is_no_call(store: type[Environment]) -> None:
    assert explored(store, "', " + "-" * 4000 + "1)", ["echo"], "single").draft.steps == ()


def test_only_first_values_are_replaced_not_what_flows_on(store: type[Environment]) -> None:
    e = explored(store, "#W12')", ["get_order", "refuse"], "chain of 2", seed=3)
    assert all("refuse" not in step.source for step in e.draft.steps)


def test_a_call_that_runs_is_left_as_the_model_wrote_it(store: type[Environment]) -> None:
    e = explored(store, "W12')", ["echo"], "single")
    assert [step.source for step in e.draft.steps] == ["r1 = echo('W12')"]


def test_a_tool_without_parameters_is_called_without_a_word_of_the_model(
    store: type[Environment],
) -> None:
    e = explored(store, "1)", ["count_orders"], "single")
    assert [step.source for step in e.draft.steps] == ["r1 = count_orders()"]
    assert e.tokens == 0


def test_a_result_tends_to_go_to_the_tool_that_names_it(store: type[Environment]) -> None:
    names = ["get_order", "get_owner", "echo"]
    chains = [
        [step.source for step in explored(store, "#W12')", names, "chain of 2", seed).draft.steps]
        for seed in range(30)
    ]
    orders = [made[1] for made in chains if "get_order(" in made[0] and len(made) == 2]
    meant = [second for second in orders if second == "r2 = get_owner(r1['owner_id'])"]
    assert len(orders) >= 10
    assert len(orders) / 2 < len(meant) < len(orders)
