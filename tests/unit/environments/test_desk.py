"""What retail and airline share: arithmetic without evaluation, the hash, copies, two faces."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.environments.airline import Airline
from selfchallenge.environments.desk.expressions import ALLOWED, MAX_BITS, calculate
from selfchallenge.environments.desk.expressions import CalculationError as NoValue
from selfchallenge.environments.desk.tables import state_hash
from selfchallenge.environments.loading import load_environment
from selfchallenge.environments.retail import Retail
from selfchallenge.errors import LoadError, ToolError
from selfchallenge.evaluation.suite import held_out_tasks

# -- arithmetic ------------------------------------------------------------------------------------


def ours(expression):
    try:
        return str(calculate(expression))
    except NoValue as error:
        return f"Error: {error}"


def theirs(expression):
    """What evaluating gives; only ever called with short texts over harmless characters."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(round(float(eval(expression, {"__builtins__": None}, {})), 2))
    except Exception as error:  # noqa: BLE001 - whatever Python says
        return f"Error: {error}"


@pytest.mark.parametrize(
    "expression",
    [
        "2 + 2", " 2*3", "7//2", "2**0.5", "-2**2", "1/0", "1//0", "0**-1", "(1", "1)", "", "()",
        "1 2", "007", "1.5.2", "...", "1 + ...", "()+1", "()*3", "-()", "1(2)", "1()", "1.(2)",
        "1(*2)", "1(*())", "1(**2)", "(1)(2)(3)", "()()", "1(1/0)", "(-8)**0.5", "10.0**400",
        "2**10000", "2**-2", "1e5", "a", "1\n", "9" * 400 + ".0", "9" * 5000, "-" * 300 + "1",
        "(" * 150 + "1" + ")" * 150, "(" * 250 + "1" + ")" * 250, "1" + "+1" * 700, "-" * 7000,
        "0.1+0.2", "1/3*100", "1e400", "9" * 400 + ".0 - " + "9" * 400 + ".0",
    ],
)  # fmt: skip
def test_values_and_complaints_are_those_of_python(expression):
    if set(expression) <= set(ALLOWED):
        assert ours(expression) == theirs(expression)
    else:
        assert ours(expression) == "Error: invalid characters in expression"


@given(st.lists(st.sampled_from(["1", "23", "0.5", "+", "-", "*", "/", "(", ")", " "]), max_size=9))
@settings(max_examples=300, deadline=None)
def test_any_short_expression_agrees_with_python(pieces):
    expression = "".join(pieces)
    if expression.count("**") < 2:
        assert ours(expression) == theirs(expression)


@pytest.mark.parametrize("value", [[], ["1", "+"], {"1": 2}])
def test_what_is_no_text_is_refused_as_python_does(value):
    assert ours(value) == theirs(value)


def test_what_is_not_made_of_characters_raises():
    for value, complaint in ((5, "not iterable"), ([5], "requires string"), (None, "not iterable")):
        with pytest.raises(TypeError, match=complaint):
            calculate(value)


@pytest.mark.parametrize(
    "expression", ["9**9**9", "9**9**9**9", "2**99999999", "(9**9**5)*(9**9**5)", "-9**9**9/3"]
)
def test_numbers_do_not_grow_without_end(expression):
    assert ours(expression) == "Error: int too large to convert to float"
    assert MAX_BITS > 1024, "bits of the largest float"


def test_a_calculation_has_two_faces():
    desk = Retail()
    assert desk.calculate("7 / 2") == 3.5
    assert desk.show(desk.calculate("2 + 2")) == "4.0"
    assert desk.show(math.inf) == "inf"
    with pytest.raises(ToolError, match=r"^division by zero$"):
        desk.calculate("1 / 0")


# -- the hash --------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=10,
)
TABLES = st.dictionaries(
    st.text(max_size=3),
    st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=2), VALUES, max_size=3)),
    max_size=3,
)


def hashable(value):
    """The conversion as the specification words it."""
    if isinstance(value, dict):
        return tuple((key, hashable(inner)) for key, inner in sorted(value.items()))
    if isinstance(value, list):
        return tuple(hashable(inner) for inner in value)
    return tuple(sorted(map(hashable, value))) if isinstance(value, set) else value


@given(TABLES | VALUES)
@settings(max_examples=300, deadline=None)
def test_the_hash_is_that_of_the_whole_converted_text(state):
    assert state_hash(state) == hashlib.sha256(str(hashable(state)).encode()).hexdigest()


def test_what_the_hash_tells_apart():
    def of(value):
        return state_hash({"t": {"r": value}})

    alike = [{"a": 1, "b": 2}, {"b": 2, "a": 1}]
    assert of(alike[0]) == of(alike[1])
    different = [{"a": value} for value in (1, 1.0, "1", True, None, [1, 2], [2, 1], -0.0, 0.0, 0)]
    assert len({of(value) for value in different}) == len(different)


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [Retail, Airline])
def test_instances_share_their_tables_until_they_write(world):
    before = state_hash(world.world(None))
    one, other = world(), world()
    user = world.seeds()[0]
    if world is Retail:
        one.modify_user_address(user, "1 New Road", "", "Reno", "NV", "USA", "89501")
    else:
        one.send_certificate(user, 50)
    assert one.state_hash() == state_hash(one.snapshot()) != before
    assert other.state_hash() == state_hash(other.snapshot()) == before
    assert state_hash(world.world(None)) == before


def test_what_a_tool_returns_is_a_copy():
    desk = Retail()
    before = state_hash(desk.snapshot())
    order_id = next(iter(desk.orders))
    desk.get_order_details(order_id)["items"].clear()
    desk.modify_user_address(desk.seeds()[0], *"abcdef")["address"].clear()
    assert desk.get_order_details(order_id)["items"]
    assert desk.users[desk.seeds()[0]]["address"]["zip"] == "f"
    assert state_hash(desk.snapshot()) != before


def test_passengers_and_payments_stay_the_callers():
    desk = Airline()
    user = next(u for u in desk.seeds() if desk.users[u]["payment_methods"])
    passengers, payments = [{"first_name": "A", "last_name": "B", "dob": "2000-01-01"}], []
    booked = desk.book_reservation(
        user, "SFO", "JFK", "one_way", "economy", [], passengers, payments, 0, 0, "no"
    )
    desk.cancel_reservation(booked["reservation_id"])
    assert payments == []
    passengers.clear()
    assert desk.get_reservation_details(booked["reservation_id"])["passengers"]


# -- the benchmark's face --------------------------------------------------------------------------

MISSING, MISSINGS = "missing 1 required positional argument", "required positional arguments"
UNEXPECTED = "got an unexpected keyword argument"
EXCHANGE, FIND = "exchange_delivered_order_items", "find_user_id_by_name_zip"
ARGUMENTS = [
    ("get_order_details", {}, f"GetOrderDetails.invoke() {MISSING}: 'order_id'"),
    (
        "get_order_details",
        {"order_id": "x", "extra": 1},
        f"GetOrderDetails.invoke() {UNEXPECTED} 'extra'",
    ),
    (
        EXCHANGE,
        {"order_id": "x"},
        (
            f"ExchangeDeliveredOrderItems.invoke() missing 3 {MISSINGS}: "
            "'item_ids', 'new_item_ids', and 'payment_method_id'"
        ),
    ),
    (
        FIND,
        {"zip": "1"},
        f"FindUserIdByNameZip.invoke() missing 2 {MISSINGS}: 'first_name' and 'last_name'",
    ),
    ("list_all_product_types", {"x": 1}, f"ListAllProductTypes.invoke() {UNEXPECTED} 'x'"),
    ("think", {"self": 1, "thought": "x"}, f"Think.invoke() {UNEXPECTED} 'self'"),
    (
        "think",
        {"data": 1, "thought": "x"},
        (
            "tau_bench.envs.retail.tools.think.Think.invoke() "
            "got multiple values for keyword argument 'data'"
        ),
    ),
    ("get_order_details", {"order_id": ["x"]}, "unhashable type: 'list'"),
    ("find_user_id_by_email", {"email": 5}, "'int' object has no attribute 'lower'"),
    ("calculate", {"expression": 5}, "'int' object is not iterable"),
    ("calculate", {"expression": "x"}, "invalid characters in expression"),
    ("get_user_details", {"user_id": "nobody"}, "user not found"),
]


@pytest.mark.parametrize(("name", "arguments", "complaint"), ARGUMENTS)
def test_wrong_arguments_read_as_in_the_benchmark(name, arguments, complaint):
    with Retail.open() as session:
        assert session.call(name, arguments) == f"Error: {complaint}"
        with pytest.raises(ToolError):
            session.value(name, arguments)


def test_observations_that_are_no_json():
    with Airline.open() as session:
        assert session.call("nothing", {}) == "Unknown action nothing"
        assert session.call("respond", {"content": "x"}) == "Unknown action respond"
        assert session.call("get_order_details", {"order_id": "x"}).startswith("Unknown action")
        assert session.call("think", {"thought": "hm"}) == ""
        assert session.call("transfer_to_human_agents", {"summary": "s"}) == "Transfer successful"
        assert session.call("think", {"thought": "it goes on"}) == ""
        assert session.call("calculate", {"expression": "(1 + 2) * 3"}) == "9.0"


@pytest.mark.parametrize("world", [Retail, Airline])
def test_tools_are_offered_in_the_order_of_the_alphabet(world):
    offered = world.offered(None)
    assert offered == sorted(offered)
    assert len(offered) == {Retail: 16, Airline: 14}[world]


def test_a_wrong_data_folder_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(LoadError, match="retail database cannot be read") as caught:
        load_environment(Retail, data=tmp_path)()
    assert "retail/orders.json" in str(caught.value)


def test_a_damaged_file_of_the_data_is_named(tmp_path):
    folder = tmp_path / "retail"
    folder.mkdir()
    for name in ("orders", "products", "users"):
        (folder / f"{name}.json").write_text("{}")
    (folder / "products.json").write_text('{"1": {')
    with pytest.raises(LoadError, match="retail database cannot be read") as caught:
        load_environment(Retail, data=tmp_path)()
    assert caught.value.where == str(folder / "products.json")
    (folder / "policy.md").write_bytes(b"\xff\xfe policy")
    with pytest.raises(LoadError, match="policy cannot be read") as caught:
        load_environment(Retail, data=tmp_path)
    assert caught.value.where == str(folder / "policy.md")


@pytest.mark.parametrize("world", [Retail, Airline])
def test_the_page_of_an_environment_names_its_tools_and_shows_a_task_that_exists(world):
    page = (Path(__file__).parents[3] / f"docs/environments/{world.label}.md").read_text("utf-8")
    assert [name for name in world.offered(None) if f"`{name}`" not in page] == []
    number, count = map(int, re.search(r"Held-out task (\d+) of (\d+)", page).groups())
    tasks = held_out_tasks(world)
    assert len(tasks) == count
    flat = " ".join(page.replace("\n>", " ").split())
    assert " ".join(tasks[number - 1].instruction.split()) in flat
