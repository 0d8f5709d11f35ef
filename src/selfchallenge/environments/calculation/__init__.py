"""Four small worlds of computing tools: messages, plant DNA, trade and travel (paper, 5.1)."""

from selfchallenge.environments.calculation.tools import Calculation

__all__ = ["Calculation"]
