"""The fourteen tools of tau-bench's airline desk, with its checks in its order.

The semantics are those of `sierra-research/tau-bench` (MIT licence), written anew from a
description and tested against recordings. Its known quirks are kept, because scores depend on them:
a change of flights leaves the reservation's cabin as it was, no tool takes seats away, and the
second leg of a connection over midnight shows the prices of the first date. Nothing is validated
beyond what is written here: values of wrong types go through, or raise where they are first used.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, ClassVar, Literal

from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from selfchallenge.environments.airline.demonstrations import DEMONSTRATION
from selfchallenge.environments.airline.material import material
from selfchallenge.environments.airline.state import AIRPORTS, USERS, generate
from selfchallenge.environments.base import Demonstration, tool
from selfchallenge.environments.desk.desk import HELD_OUT_WORLD, Desk
from selfchallenge.environments.desk.tables import Database, Record, Table, copied
from selfchallenge.errors import ToolError

NOW = "2024-05-15T15:00:00"
NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
"""Ids of what is booked; the last one is given again when all are taken."""
NEW_CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
INSURANCE, BAG = 30, 50

Cabin = Literal["basic_economy", "economy", "business"]


class Leg(TypedDict):
    """A flight on a date (YYYY-MM-DD)."""

    flight_number: str
    date: str


class Passenger(TypedDict):
    """Somebody who flies; the date of birth is YYYY-MM-DD."""

    first_name: str
    last_name: str
    dob: str


class Payment(TypedDict):
    """What one payment method pays."""

    payment_id: str
    amount: float


class Airline(Desk):  # noqa: D101 - its text lies beside this file
    __doc__ = files(__package__).joinpath("policy.md").read_text("utf-8")

    label = "airline"
    tables: ClassVar[tuple[str, ...]] = ("flights", "reservations", "users")
    customers: ClassVar[int] = USERS
    """Of the generated world; a subclass may have more or fewer."""

    @classmethod
    def generate(cls, world: str) -> Database:
        """The generated airline of this name."""
        return generate(world, USERS if world == HELD_OUT_WORLD else cls.customers)

    @classmethod
    def seeds(cls) -> list[str]:
        """Ids of the users that have reservations."""
        users = cls.world(None)["users"]
        return [user for user, record in users.items() if record["reservations"]]

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
    def flights(self) -> Table:
        """Flights by number."""
        return self._tables["flights"]

    @property
    def reservations(self) -> Table:
        """Reservations by id."""
        return self._tables["reservations"]

    @property
    def users(self) -> Table:
        """Users by id."""
        return self._tables["users"]

    # -- reading -----------------------------------------------------------------------------------

    @tool
    def get_user_details(self, user_id: str) -> dict[str, Any]:
        """Look up a user: name, membership, payment methods by id, and reservation ids."""
        if user_id not in self.users:
            raise ToolError("user not found")
        return _shown(self.users[user_id])

    @tool
    def get_reservation_details(self, reservation_id: str) -> dict[str, Any]:
        """Look up a reservation: user, flights, cabin, passengers, payments and bags."""
        if reservation_id not in self.reservations:
            raise ToolError("user not found")  # the benchmark's words
        return _shown(self.reservations[reservation_id])

    @tool
    def list_all_airports(self) -> dict[str, str]:
        """List all airports: the city of each three-letter code."""
        return dict(AIRPORTS)

    @tool
    def search_direct_flight(
        self, origin: str, destination: str, date: str
    ) -> list[dict[str, Any]]:
        """List the flights between two airports that can be booked on a date (YYYY-MM-DD)."""
        found = []
        for flight in self.flights.values():
            if flight["origin"] == origin and flight["destination"] == destination:
                dates = flight["dates"]
                if date in dates and dates[date]["status"] == "available":
                    found.append(_shown({**_timetable(flight), **dates[date]}))
        return found

    @tool
    def search_onestop_flight(
        self, origin: str, destination: str, date: str
    ) -> list[list[dict[str, Any]]]:
        """List the pairs of connecting flights between two airports, starting on a date."""
        found = []
        for first, second in self._connections(origin, destination):
            # Before the times are compared: a date that is none raises also where they do not fit.
            overnight = "+1" in first["scheduled_arrival_time_est"]
            date_2 = f"2024-05-{int(date[-2:]) + 1}" if overnight else date
            if first["scheduled_arrival_time_est"] > second["scheduled_departure_time_est"]:
                continue
            if _available(first, date) and date_2 in second["dates"]:
                if second["dates"][date_2]["status"] != "available":
                    continue
                leg = {**_timetable(first), **first["dates"][date], "date": date}
                # The benchmark looks the second leg up on the first date.
                leg_2 = {**_timetable(second), **second["dates"][date], "date": date_2}
                found.append([_shown(leg), _shown(leg_2)])
        return found

    # -- changing ----------------------------------------------------------------------------------

    @tool(mutates=True)
    def book_reservation(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: Literal["one_way", "round_trip"],
        cabin: Cabin,
        flights: list[Leg],
        passengers: list[Passenger],
        payment_methods: list[Payment],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: Literal["yes", "no"],
    ) -> dict[str, Any]:
        """Book flights for a user.

        A flight has flight_number and date, a passenger first_name, last_name and dob, a payment
        payment_id and amount. Insurance costs 30 a passenger and each bag that is not free 50; the
        payments must add up to the total price.
        """
        if user_id not in self.users:
            raise ToolError("user not found")
        number = next((i for i in NEW_RESERVATIONS if i not in self.reservations), "HATHAV")
        legs = copy.deepcopy(flights)
        total = 0
        for leg in legs:
            total += self._quote(leg, cabin, passengers)
        if insurance == "yes":
            total += INSURANCE * len(passengers)
        total += BAG * nonfree_baggages
        self._check_payments(self.users[user_id], payment_methods, total)
        user = self.own("users", user_id)
        for payment in payment_methods:
            _charge(user, payment["payment_id"], payment["amount"])
        reservation = {
            "reservation_id": number,
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": legs,
            "passengers": copied(passengers),
            "payment_history": copied(payment_methods),
            "created_at": NOW,
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
        }
        self.add("reservations", number, reservation)
        user["reservations"].append(number)
        return _shown(reservation)

    @tool(mutates=True)
    def cancel_reservation(self, reservation_id: str) -> dict[str, Any]:
        """Cancel a whole reservation; its payments are booked back."""
        self._reservation(reservation_id)
        reservation = self.own("reservations", reservation_id)
        history = reservation["payment_history"]
        refunds = [{"payment_id": p["payment_id"], "amount": -p["amount"]} for p in history]
        history.extend(refunds)
        reservation["status"] = "cancelled"
        return _shown(reservation)

    @tool(mutates=True)
    def update_reservation_flights(
        self, reservation_id: str, cabin: Cabin, flights: list[Leg], payment_id: str
    ) -> dict[str, Any]:
        """Replace the flights of a reservation, or price them in another cabin.

        Name all flights (flight_number and date), also those that stay. The method pays, or gets
        back, the difference.
        """
        reservation = self._reservation(reservation_id)
        travellers = reservation["passengers"]
        legs: Any = copy.deepcopy(flights)
        due = 0
        for leg in legs:
            kept = _kept(reservation, cabin, leg)
            if kept is None:
                due += self._quote(leg, cabin, travellers)
            else:
                due += kept["price"] * len(travellers)
                leg.update({key: kept[key] for key in ("price", "origin", "destination")})
        due -= sum(leg["price"] for leg in reservation["flights"]) * len(travellers)
        method = self._method(reservation, payment_id, due)
        reservation = self.own("reservations", reservation_id)
        if method["source"] == "gift_card":
            _charge(self.own("users", reservation["user_id"]), payment_id, due)
        reservation["flights"] = legs
        if due != 0:
            reservation["payment_history"].append({"payment_id": payment_id, "amount": due})
        return _shown(reservation)

    @tool(mutates=True)
    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> dict[str, Any]:
        """Set the number of bags of a reservation; the method pays 50 for each new one not free."""
        reservation = self._reservation(reservation_id)
        due = BAG * max(0, nonfree_baggages - reservation["nonfree_baggages"])
        method = self._method(reservation, payment_id, due)
        reservation = self.own("reservations", reservation_id)
        reservation["total_baggages"] = total_baggages
        reservation["nonfree_baggages"] = nonfree_baggages
        if method["source"] == "gift_card":
            _charge(self.own("users", reservation["user_id"]), payment_id, due)
        if due != 0:
            reservation["payment_history"].append({"payment_id": payment_id, "amount": due})
        return _shown(reservation)

    @tool(mutates=True)
    def update_reservation_passengers(
        self, reservation_id: str, passengers: list[Passenger]
    ) -> dict[str, Any]:
        """Replace the passengers of a reservation by as many others.

        A passenger has first_name, last_name and dob.
        """
        reservation = self._reservation(reservation_id)
        if len(passengers) != len(reservation["passengers"]):
            raise ToolError("number of passengers does not match")
        reservation = self.own("reservations", reservation_id)
        reservation["passengers"] = copied(passengers)
        return _shown(reservation)

    @tool(mutates=True)
    def send_certificate(self, user_id: str, amount: float) -> str:
        """Give a user a travel certificate of this amount."""
        if user_id not in self.users:
            raise ToolError("user not found")
        for number in NEW_CERTIFICATES:
            if number not in self.users[user_id]["payment_methods"]:
                methods = self.own("users", user_id)["payment_methods"]
                methods[number] = {"source": "certificate", "amount": amount, "id": number}
                return f"Certificate {number} added to user {user_id} with amount {amount}."
        # The benchmark's own run breaks here.
        raise ToolError("no more certificates can be sent to this user")

    def _reservation(self, reservation_id: str) -> Record:
        if reservation_id not in self.reservations:
            raise ToolError("reservation not found")
        return self.reservations[reservation_id]

    def _connections(self, origin: str, destination: str) -> Iterator[tuple[Record, Record]]:
        for first in self.flights.values():
            if first["origin"] == origin:
                for second in self.flights.values():
                    onward = first["destination"] == second["origin"]
                    if onward and second["destination"] == destination:
                        yield first, second

    def _quote(self, leg: Any, cabin: str, passengers: Any) -> Any:
        """Check that all can fly this leg, write its price and route into it; its cost for all."""
        number = leg["flight_number"]
        if number not in self.flights:
            raise ToolError(f"flight {number} not found")
        flight = self.flights[number]
        if leg["date"] not in flight["dates"]:
            raise ToolError(f"flight {number} not found on date {leg['date']}")
        day = flight["dates"][leg["date"]]
        if day["status"] != "available":
            raise ToolError(f"flight {number} not available on date {leg['date']}")
        if day["available_seats"][cabin] < len(passengers):
            raise ToolError(f"not enough seats on flight {number}")
        leg["price"] = day["prices"][cabin]
        leg["origin"] = flight["origin"]
        leg["destination"] = flight["destination"]
        return leg["price"] * len(passengers)

    @staticmethod
    def _check_payments(user: Record, payments: Any, total: Any) -> None:
        methods = user["payment_methods"]
        for payment in payments:
            method, amount = payment["payment_id"], payment["amount"]
            if method not in methods:
                raise ToolError(f"payment method {method} not found")
            limited = methods[method]["source"] in ("gift_card", "certificate")
            if limited and methods[method]["amount"] < amount:
                raise ToolError(f"not enough balance in payment method {method}")
        paid = sum(payment["amount"] for payment in payments)
        if paid != total:
            raise ToolError(
                f"payment amount does not add up, total price is {total}, but paid {paid}"
            )

    def _method(self, reservation: Record, payment_id: str, due: Any) -> Record:
        methods: Table = self.users[reservation["user_id"]]["payment_methods"]
        if payment_id not in methods:
            raise ToolError("payment method not found")
        method = methods[payment_id]
        if method["source"] == "certificate":
            raise ToolError("certificate cannot be used to update reservation")
        if method["source"] == "gift_card" and method["amount"] < due:
            raise ToolError("gift card balance is not enough")
        return method


def _shown(record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = copied(record)
    return shown


def _timetable(flight: Record) -> Record:
    return {key: value for key, value in flight.items() if key != "dates"}


def _available(flight: Record, date: str) -> bool:
    return date in flight["dates"] and flight["dates"][date]["status"] == "available"


def _kept(reservation: Record, cabin: str, leg: Any) -> Record | None:
    """The leg as it is in the reservation already, in the same cabin."""
    for flown in reservation["flights"]:
        if (
            flown["flight_number"] == leg["flight_number"]
            and flown["date"] == leg["date"]
            and cabin == reservation["cabin"]
        ):
            found: Record = flown
            return found
    return None


def _charge(user: Record, payment_id: str, amount: Any) -> None:
    """Take the amount off a gift card; a certificate is used up, a credit card bears all."""
    methods = user["payment_methods"]
    if methods[payment_id]["source"] == "gift_card":
        methods[payment_id]["amount"] -= amount
    elif methods[payment_id]["source"] == "certificate":
        del methods[payment_id]
