"""A web site behind a text browser: shop, staff and journal (M3ToolEval; paper, section 5.1)."""

from selfchallenge.environments.web.tools import Web

__all__ = ["Web"]
