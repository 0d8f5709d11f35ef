"""The toy of the documentation and the tests: a small lending library."""

from selfchallenge.environments.library.tools import Library

__all__ = ["Library"]
