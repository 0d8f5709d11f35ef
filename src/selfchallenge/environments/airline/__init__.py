"""The desk of an airline: flights, reservations, customers (tau-bench airline; paper, 5.1)."""

from selfchallenge.environments.airline.tools import Airline
from selfchallenge.environments.desk.tables import state_hash

__all__ = ["Airline", "state_hash"]
