"""The retail desk on generated shops: every refusal in its order, every effect, sound tables."""

from __future__ import annotations

import json

import pytest

from selfchallenge.environments.retail import Retail, state_hash
from selfchallenge.environments.retail.state import generate
from selfchallenge.errors import ToolError


@pytest.fixture
def desk():
    return Retail()


def find(desk, status, holds=lambda order, user: True):
    """Order and user, the first that fits."""
    return next(
        (order, desk.users[order["user_id"]])
        for order in desk.orders.values()
        if order["status"] == status and holds(order, desk.users[order["user_id"]])
    )


def original(order):
    return order["payment_history"][0]["payment_method_id"]


def kind(order, source):
    return original(order).startswith(source)


def swap(desk, order, *, dearer=None):
    """An item of the order with an available variant of its product."""
    return next(
        (item, variant)
        for item in order["items"]
        for variant in desk.products[item["product_id"]]["variants"].values()
        if variant["available"]
        and variant["item_id"] != item["item_id"]
        and (dearer is None or (variant["price"] > item["price"]) is dearer)
    )


def refused(desk, text, name, *arguments):
    before = desk.state_hash()
    with pytest.raises(ToolError) as raised:
        getattr(desk, name)(*arguments)
    assert str(raised.value) == text
    assert desk.state_hash() == before


# -- reading ---------------------------------------------------------------------------------------


def test_users_are_found_whatever_the_case(desk):
    user_id, user = next(iter(desk.users.items()))
    name = user["name"]
    assert desk.find_user_id_by_email(user["email"].upper()) == user_id
    by_name = (name["first_name"].lower(), name["last_name"].upper(), user["address"]["zip"])
    assert desk.find_user_id_by_name_zip(*by_name) == user_id
    refused(desk, "user not found", "find_user_id_by_name_zip", *by_name[:2], "00000")
    refused(desk, "user not found", "find_user_id_by_email", "nobody@example.org")
    assert desk.show(user_id) == user_id


def test_records_are_shown_with_their_keys_in_order(desk):
    order = next(iter(desk.orders.values()))
    assert desk.show(desk.get_order_details(order["order_id"])) == json.dumps(order)
    names = list(desk.list_all_product_types())
    assert names == sorted(names)
    assert len(names) == 50
    refused(desk, "order not found", "get_order_details", order["order_id"].strip("#"))
    refused(desk, "product not found", "get_product_details", "1")


# -- pending orders --------------------------------------------------------------------------------


def test_cancelling(desk):
    order, user = find(desk, "pending", lambda order, _: kind(order, "gift_card"))
    number, card = order["order_id"], original(order)
    balance, paid = user["payment_methods"][card]["balance"], order["payment_history"][0]["amount"]
    refused(desk, "order not found", "cancel_pending_order", "#W0", "no")
    delivered, _ = find(desk, "delivered")
    text = "non-pending order cannot be cancelled"
    refused(desk, text, "cancel_pending_order", delivered["order_id"], "no")
    refused(desk, "invalid reason", "cancel_pending_order", number, "too late")
    found = desk.cancel_pending_order(number, "ordered by mistake")
    assert list(found)[-1] == "cancel_reason"
    assert found["status"] == "cancelled"
    assert [p["transaction_type"] for p in found["payment_history"]] == ["payment", "refund"]
    now = desk.users[order["user_id"]]["payment_methods"][card]["balance"]
    assert now == round(balance + paid, 2)
    assert isinstance(now, float)
    refused(desk, text, "cancel_pending_order", number, "ordered by mistake")


def test_the_address_of_an_order_changes_in_its_own_key_order(desk):
    order, _ = find(desk, "pending")
    new = ("1 New Road", "", "Reno", "NV", "USA", "89501")
    text = "non-pending order cannot be modified"
    delivered = find(desk, "delivered")[0]["order_id"]
    refused(desk, text, "modify_pending_order_address", delivered, *new)
    found = desk.modify_pending_order_address(order["order_id"], *new)
    keys = ["address1", "address2", "city", "state", "country", "zip"]
    assert list(found["address"]) == keys
    assert tuple(found["address"].values()) == new
    assert desk.users[order["user_id"]]["address"]["address1"] != "1 New Road"
    refused(desk, "user not found", "modify_user_address", "nobody", *new)
    assert list(desk.modify_user_address(order["user_id"], *new)["address"]) == keys


def test_moving_a_payment(desk):
    def many(order, user):
        cards = {m["source"]: m for m in user["payment_methods"].values()}
        amount = order["payment_history"][0]["amount"]
        return (
            "gift_card" in cards
            and not kind(order, "gift_card")
            and amount < cards["gift_card"]["balance"]
        )

    order, user = find(desk, "pending", many)
    number, amount = order["order_id"], order["payment_history"][0]["amount"]
    cards = [m for m in user["payment_methods"].values() if m["source"] == "gift_card"]
    card = max(cards, key=lambda found: found["balance"])
    name = "modify_pending_order_payment"
    refused(desk, "payment method not found", name, number, "paypal_1")
    text = "the new payment method should be different from the current one"
    refused(desk, text, name, number, original(order))
    left = round(card["balance"] - amount, 2)
    desk.modify_pending_order_payment(number, card["id"])
    methods = desk.users[order["user_id"]]["payment_methods"]
    assert methods[card["id"]]["balance"] == left
    text = "there should be exactly one payment for a pending order"
    refused(desk, text, name, number, original(order))
    assert desk.orders[number]["status"] == "pending"


def test_a_gift_card_that_holds_too_little(desk):
    def poor(order, user):
        methods = user["payment_methods"].values()
        amount = order["payment_history"][0]["amount"]
        return any(
            m["source"] == "gift_card" and m["balance"] < amount and m["id"] != original(order)
            for m in methods
        )

    order, user = find(desk, "pending", poor)
    amount = order["payment_history"][0]["amount"]
    card = next(
        m["id"]
        for m in user["payment_methods"].values()
        if m["source"] == "gift_card" and m["balance"] < amount and m["id"] != original(order)
    )
    text = "insufficient gift card balance to pay for the order"
    refused(desk, text, "modify_pending_order_payment", order["order_id"], card)


@pytest.mark.parametrize("dearer", [True, False])
def test_swapping_items(desk, dearer):
    order, _ = find(desk, "pending", lambda order, _: not kind(order, "gift_card"))
    number, name = order["order_id"], "modify_pending_order_items"
    item, variant = swap(desk, order, dearer=dearer)
    old, new, method = item["item_id"], variant["item_id"], original(order)
    refused(desk, "1 not found", name, number, ["1"], [new], method)
    refused(desk, f"{old} not found", name, number, [old, old], [new, new], method)
    text = "the number of items to be exchanged should match"
    refused(desk, text, name, number, [old], [], method)
    refused(desk, "new item 1 not found or available", name, number, [old], ["1"], method)
    refused(desk, "payment method not found", name, number, [old], [new], "paypal_1")
    found = desk.modify_pending_order_items(number, [old], [new], method)
    changed = next(i for i in found["items"] if i["item_id"] == new)
    assert (changed["price"], changed["options"]) == (variant["price"], variant["options"])
    last = found["payment_history"][-1]
    assert last["transaction_type"] == ("payment" if dearer else "refund")
    assert last["amount"] == abs(variant["price"] - item["price"]), "not rounded"
    assert found["status"] == "pending (item modified)"
    text = "non-pending order cannot be modified"
    refused(desk, text, name, number, [new], [old], method)


def test_nothing_to_swap_costs_a_whole_number_and_is_a_refund(desk):
    order, _ = find(desk, "pending")
    found = desk.modify_pending_order_items(order["order_id"], [], [], original(order))
    assert json.dumps(found["payment_history"][-1]["amount"]) == "0"
    assert found["payment_history"][-1]["transaction_type"] == "refund"


# -- delivered orders ------------------------------------------------------------------------------


def test_returning(desk):
    order, user = find(
        desk,
        "delivered",
        lambda order, user: len(user["payment_methods"]) > 1 and len(order["items"]) > 1,
    )
    number, name = order["order_id"], "return_delivered_order_items"
    items = [item["item_id"] for item in order["items"]]
    pending = find(desk, "pending")[0]["order_id"]
    text = "non-delivered order cannot be returned"
    refused(desk, text, name, pending, items, "paypal_1")
    refused(desk, "payment method not found", name, number, items, "paypal_1")
    for method in user["payment_methods"]:
        if "gift_card" not in method and method != original(order):
            text = "payment method should be either the original payment method or a gift card"
            refused(desk, text, name, number, ["1"], method)
    refused(desk, "some item not found", name, number, [*items, items[0]], original(order))
    found = desk.return_delivered_order_items(number, items[::-1], original(order))
    assert found["status"] == "return requested"
    assert list(found)[-2:] == ["return_items", "return_payment_method_id"]
    assert found["return_items"] == sorted(items)
    assert desk.users[order["user_id"]] == user


def test_exchanging(desk):
    order, user = find(desk, "delivered", lambda order, _: not kind(order, "gift_card"))
    number, name = order["order_id"], "exchange_delivered_order_items"
    item, variant = swap(desk, order)
    pending = find(desk, "pending")[0]["order_id"]
    text = "non-delivered order cannot be exchanged"
    refused(desk, text, name, pending, [], [], "paypal_1")
    old, new, method = item["item_id"], variant["item_id"], original(order)
    found = desk.exchange_delivered_order_items(number, [old], [new], method)
    assert found["exchange_price_difference"] == round(variant["price"] - item["price"], 2)
    assert list(found)[-4:] == [
        "exchange_items",
        "exchange_new_items",
        "exchange_payment_method_id",
        "exchange_price_difference",
    ]
    assert found["items"] == order["items"]
    assert found["payment_history"] == order["payment_history"]
    assert desk.users[order["user_id"]] == user


def test_wrong_types_raise_where_they_are_first_used(desk):
    order, _ = find(desk, "delivered")
    number, method = order["order_id"], original(order)
    for items, text in ((5, "'int' object is not iterable"), (None, "'NoneType' object")):
        with pytest.raises(TypeError, match=text):
            desk.return_delivered_order_items(number, items, method)
    with pytest.raises(AttributeError, match="'dict' object has no attribute 'count'"):
        desk.return_delivered_order_items(number, {"a": 1}, method)
    refused(desk, "some item not found", "return_delivered_order_items", number, "12", method)
    refused(desk, "1 not found", "exchange_delivered_order_items", number, "12", [], method)


# -- generated shops -------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["open", "heldout", "another"])
def test_a_generated_shop_is_sound(world):
    shop = generate(world)
    users, orders, products = shop["users"], shop["orders"], shop["products"]
    assert (len(users), len(orders), len(products)) == (500, 1000, 50)
    variants = {i: v for p in products.values() for i, v in p["variants"].items()}
    assert len(variants) == sum(len(p["variants"]) for p in products.values())
    for number, order in orders.items():
        user = users[order["user_id"]]
        paid = order["payment_history"]
        assert order["order_id"] == number in user["orders"]
        assert paid[0]["amount"] == round(sum(item["price"] for item in order["items"]), 2)
        assert all(entry["payment_method_id"] in user["payment_methods"] for entry in paid)
        assert len(paid) == (2 if order["status"] == "cancelled" else 1)
        assert bool(order["fulfillments"]) == (order["status"] in ("delivered", "processed"))
        for item in order["items"]:
            variant = variants[item["item_id"]]
            assert item["options"] == variant["options"]
            assert item["price"] == variant["price"]
            assert item["item_id"] in products[item["product_id"]]["variants"]
    assert sum(len(user["orders"]) for user in users.values()) == len(orders)


def test_worlds_are_repeatable_different_and_of_any_size():
    first = state_hash(generate("open"))
    generate.cache_clear()
    assert state_hash(generate("open")) == first != state_hash(generate("heldout"))
    small = generate("open", users=20)
    assert (len(small["users"]), len(small["orders"])) == (20, 40)


def test_a_seed_is_described_by_what_exists(desk):
    assert len(Retail.seeds()) > 300
    for seed in Retail.seeds()[:60]:
        line = Retail.describe_seed(seed)
        assert line.startswith(f"user {seed!r} ")
        assert any(repr(order) in line for order in desk.users[seed]["orders"])
    assert Retail.describe_seed("anything") == Retail.describe_seed("anything")
