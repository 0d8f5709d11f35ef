"""The sixteen tools of tau-bench's retail desk, with its checks in its order.

The semantics are those of `sierra-research/tau-bench` (MIT licence), written anew from a
description and tested against recordings. Nothing is validated beyond what is written here: values
of wrong types go through, or raise where they are first used, as they do there.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, ClassVar, Literal

from selfchallenge.environments.base import Demonstration, tool
from selfchallenge.environments.desk.desk import HELD_OUT_WORLD, Desk
from selfchallenge.environments.desk.tables import Database, Record, Table, copied
from selfchallenge.environments.retail.demonstrations import DEMONSTRATION
from selfchallenge.environments.retail.material import material
from selfchallenge.environments.retail.state import USERS, generate
from selfchallenge.errors import ToolError

REASONS = ("no longer needed", "ordered by mistake")


class Retail(Desk):  # noqa: D101 - its text lies beside this file
    __doc__ = files(__package__).joinpath("policy.md").read_text("utf-8")

    label = "retail"
    tables: ClassVar[tuple[str, ...]] = ("orders", "products", "users")
    customers: ClassVar[int] = USERS
    """Of the generated world; a subclass may have more or fewer."""

    @classmethod
    def generate(cls, world: str) -> Database:
        """The generated shop of this name."""
        return generate(world, USERS if world == HELD_OUT_WORLD else cls.customers)

    @classmethod
    def seeds(cls) -> list[str]:
        """Ids of the users that have orders."""
        return [user for user, record in cls.world(None)["users"].items() if record["orders"]]

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        """A user with the ids that a task about them can start from."""
        return material(cls.world(seed), seed)

    @classmethod
    def demonstration(cls, seed: str | None) -> Demonstration | None:
        """One worked example."""
        del seed
        return DEMONSTRATION

    @property
    def orders(self) -> Table:
        """Orders by id."""
        return self._tables["orders"]

    @property
    def products(self) -> Table:
        """Products by id."""
        return self._tables["products"]

    @property
    def users(self) -> Table:
        """Users by id."""
        return self._tables["users"]

    # -- reading -----------------------------------------------------------------------------------

    @tool
    def find_user_id_by_email(self, email: str) -> str:
        """Find the id of a user by email address."""
        for user_id, user in self.users.items():
            if user["email"].lower() == email.lower():
                return user_id
        raise ToolError("user not found")

    @tool
    def find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:  # noqa: A002 - the benchmark's name
        """Find the id of a user by first name, last name and zip code."""
        for user_id, user in self.users.items():
            name = user["name"]
            if (
                name["first_name"].lower() == first_name.lower()
                and name["last_name"].lower() == last_name.lower()
                and user["address"]["zip"] == zip
            ):
                return user_id
        raise ToolError("user not found")

    @tool
    def get_user_details(self, user_id: str) -> dict[str, Any]:
        """Look up a user: name, address, email, payment methods by id, and order ids."""
        return _found(self.users, user_id, "user not found")

    @tool
    def get_order_details(self, order_id: str) -> dict[str, Any]:
        """Look up an order (ids begin with '#'): user, address, items, status and payments."""
        return _found(self.orders, order_id, "order not found")

    @tool
    def get_product_details(self, product_id: str) -> dict[str, Any]:
        """Look up a product: its variants by item id, with options, price and availability."""
        return _found(self.products, product_id, "product not found")

    @tool
    def list_all_product_types(self) -> dict[str, str]:
        """List the names of all products with their product ids."""
        return dict(sorted((p["name"], p["product_id"]) for p in self.products.values()))

    # -- pending orders ----------------------------------------------------------------------------

    @tool(mutates=True)
    def cancel_pending_order(
        self, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]
    ) -> dict[str, Any]:
        """Cancel a pending order and refund what was paid, gift cards at once."""
        self._in_status(order_id, "pending", "non-pending order cannot be cancelled")
        if reason not in REASONS:
            raise ToolError("invalid reason")
        order = self.own("orders", order_id)
        refunds = []
        for paid in order["payment_history"]:
            method = paid["payment_method_id"]
            refunds.append(_transaction("refund", paid["amount"], method))
            if "gift_card" in method:
                self._credit(order, method, paid["amount"])
        order["status"] = "cancelled"
        order["cancel_reason"] = reason
        order["payment_history"].extend(refunds)
        return _shown(order)

    @tool(mutates=True)
    def modify_pending_order_address(
        self,
        order_id: str,
        address1: str,
        address2: str,
        city: str,
        state: str,
        country: str,
        zip: str,  # noqa: A002 - the benchmark's name
    ) -> dict[str, Any]:
        """Change the address that a pending order is sent to."""
        self._in_status(order_id, "pending", "non-pending order cannot be modified")
        order = self.own("orders", order_id)
        order["address"] = _address(address1, address2, city, state, country, zip)
        return _shown(order)

    @tool(mutates=True)
    def modify_pending_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Swap items of a pending order for other variants of the same products; works only once.

        New ids stand in the order of the old ones. The method pays, or gets back, the difference.
        """
        order = self._in_status(order_id, "pending", "non-pending order cannot be modified")
        due = self._difference(order, item_ids, new_item_ids)
        method = self._method(order, payment_method_id)
        if method["source"] == "gift_card" and method["balance"] < due:
            raise ToolError("insufficient gift card balance to pay for the new item")
        order = self.own("orders", order_id)
        kind = "payment" if due > 0 else "refund"
        order["payment_history"].append(_transaction(kind, abs(due), payment_method_id))
        if method["source"] == "gift_card":
            self._credit(order, payment_method_id, -due)
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=False):
            item = _item(order, item_id)
            variant = self.products[item["product_id"]]["variants"][new_item_id]
            item["item_id"] = new_item_id
            item["price"] = variant["price"]
            item["options"] = dict(variant["options"])
        order["status"] = "pending (item modified)"
        return _shown(order)

    @tool(mutates=True)
    def modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> dict[str, Any]:
        """Pay a pending order with another method of the user instead of the present one."""
        order = self._in_status(order_id, "pending", "non-pending order cannot be modified")
        method = self._method(order, payment_method_id)
        history = order["payment_history"]
        if len(history) > 1 or history[0]["transaction_type"] != "payment":
            raise ToolError("there should be exactly one payment for a pending order")
        amount, former = history[0]["amount"], history[0]["payment_method_id"]
        if former == payment_method_id:
            raise ToolError("the new payment method should be different from the current one")
        if method["source"] == "gift_card" and method["balance"] < amount:
            raise ToolError("insufficient gift card balance to pay for the order")
        order = self.own("orders", order_id)
        order["payment_history"].append(_transaction("payment", amount, payment_method_id))
        order["payment_history"].append(_transaction("refund", amount, former))
        if method["source"] == "gift_card":
            self._credit(order, payment_method_id, -amount)
        if "gift_card" in former:
            self._credit(order, former, amount)
        return _shown(order)

    # -- delivered orders --------------------------------------------------------------------------

    @tool(mutates=True)
    def return_delivered_order_items(
        self, order_id: str, item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Ask for the return of items of a delivered order.

        The refund goes to the method that the order was paid with, or to a gift card of the user.
        """
        order = self._in_status(order_id, "delivered", "non-delivered order cannot be returned")
        self._method(order, payment_method_id)
        original = order["payment_history"][0]["payment_method_id"]
        if "gift_card" not in payment_method_id and payment_method_id != original:
            raise ToolError(
                "payment method should be either the original payment method or a gift card"
            )
        if _surplus(order, item_ids):
            raise ToolError("some item not found")
        order = self.own("orders", order_id)
        order["status"] = "return requested"
        order["return_items"] = sorted(item_ids)
        order["return_payment_method_id"] = payment_method_id
        return _shown(order)

    @tool(mutates=True)
    def exchange_delivered_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Ask for the exchange of items of a delivered order for variants of the same products.

        New ids stand in the order of the old ones. The method will pay, or get, the difference.
        """
        order = self._in_status(order_id, "delivered", "non-delivered order cannot be exchanged")
        due = round(self._difference(order, item_ids, new_item_ids), 2)
        method = self._method(order, payment_method_id)
        if method["source"] == "gift_card" and method["balance"] < due:
            raise ToolError("insufficient gift card balance to pay for the price difference")
        order = self.own("orders", order_id)
        order["status"] = "exchange requested"
        order["exchange_items"] = sorted(item_ids)
        order["exchange_new_items"] = sorted(new_item_ids)
        order["exchange_payment_method_id"] = payment_method_id
        order["exchange_price_difference"] = due
        return _shown(order)

    # -- users -------------------------------------------------------------------------------------

    @tool(mutates=True)
    def modify_user_address(
        self,
        user_id: str,
        address1: str,
        address2: str,
        city: str,
        state: str,
        country: str,
        zip: str,  # noqa: A002 - the benchmark's name
    ) -> dict[str, Any]:
        """Change the default address of a user."""
        if user_id not in self.users:
            raise ToolError("user not found")
        user = self.own("users", user_id)
        user["address"] = _address(address1, address2, city, state, country, zip)
        return _shown(user)

    def _in_status(self, order_id: str, status: str, refusal: str) -> Record:
        if order_id not in self.orders:
            raise ToolError("order not found")
        if self.orders[order_id]["status"] != status:
            raise ToolError(refusal)
        return self.orders[order_id]

    def _method(self, order: Record, payment_method_id: str) -> Record:
        methods: Table = self.users[order["user_id"]]["payment_methods"]
        if payment_method_id not in methods:
            raise ToolError("payment method not found")
        return methods[payment_method_id]

    def _difference(self, order: Record, item_ids: list[str], new_item_ids: list[str]) -> Any:
        """What the new items cost more than the old ones, unrounded."""
        surplus = _surplus(order, item_ids)
        if surplus:
            raise ToolError(f"{surplus[0]} not found")
        if len(item_ids) != len(new_item_ids):
            raise ToolError("the number of items to be exchanged should match")
        due = 0
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=False):
            item = _item(order, item_id)
            variants = self.products[item["product_id"]]["variants"]
            if new_item_id not in variants or not variants[new_item_id]["available"]:
                raise ToolError(f"new item {new_item_id} not found or available")
            due += variants[new_item_id]["price"] - item["price"]
        return due

    def _credit(self, order: Record, gift_card: str, amount: float) -> None:
        card = self.own("users", order["user_id"])["payment_methods"][gift_card]
        card["balance"] = round(card["balance"] + amount, 2)


def _found(table: Table, key: str, refusal: str) -> dict[str, Any]:
    if key not in table:
        raise ToolError(refusal)
    return _shown(table[key])


def _shown(record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = copied(record)
    return shown


def _surplus(order: Record, item_ids: list[str]) -> list[str]:
    """The first of `item_ids` that is named more often than it was ordered, if any."""
    ordered = [item["item_id"] for item in order["items"]]
    for item_id in item_ids:
        if item_ids.count(item_id) > ordered.count(item_id):
            return [item_id]
    return []


def _item(order: Record, item_id: str) -> Record:
    found: list[Record] = [item for item in order["items"] if item["item_id"] == item_id]
    return found[0]


def _transaction(kind: str, amount: float, method: str) -> Record:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method}


def _address(
    address1: str, address2: str, city: str, state: str, country: str, zip_code: str
) -> Record:
    return {
        "address1": address1,
        "address2": address2,
        "city": city,
        "state": state,
        "country": country,
        "zip": zip_code,
    }
