"""The desk of a shop: orders, products, customers (tau-bench retail; paper, section 5.1)."""

from selfchallenge.environments.desk.tables import state_hash
from selfchallenge.environments.retail.tools import Retail

__all__ = ["Retail", "state_hash"]
