"""The text browser of M3ToolEval over a site: five lines at a time, links, going back.

The semantics are those of `xingyaowww/code-act`, scripts/eval/m3tooleval (MIT licence), written
anew from a description; its calculator by `eval` parses arithmetic here.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, ClassVar

from selfchallenge.environments.base import Demonstration, Environment, tool
from selfchallenge.environments.calculation.arithmetic import compute
from selfchallenge.environments.web.demonstrations import DEMONSTRATION
from selfchallenge.environments.web.material import material
from selfchallenge.environments.web.state import HOME, ITEMS, PEOPLE, POSTS, Pages, generate, load

WINDOW = 5
"""Lines that are shown at once."""
SITES = 300
HELD_OUT = "heldout-"
"""Seeds that begin so see a generated site of their own, with and without data."""


class Web(Environment):  # noqa: D101 - its text lies beside this file
    __doc__ = files(__package__).joinpath("policy.md").read_text("utf-8")

    label = "web"
    size: ClassVar[tuple[int, int, int]] = (ITEMS, PEOPLE, POSTS)
    """Things, people and articles of a generated site; a subclass may have more or fewer."""

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self._pages = self.site(seed)
        self._page = HOME
        self._history: list[str] = []
        self._offset = 0

    @classmethod
    def seeds(cls) -> list[str]:
        """One site each; with data, one starting point each on the same site."""
        return [f"site-{n:04}" for n in range(SITES)]

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        """A page of the seed's site to start from, with links of its."""
        return material(cls.site(seed), seed)

    @classmethod
    def demonstration(cls, seed: str | None) -> Demonstration | None:
        """One worked example."""
        del seed
        return DEMONSTRATION

    @classmethod
    def site(cls, seed: str | None) -> Pages:
        """The pages that a session with this seed sees; shared, and only read.

        They come from the data folder when there is one. A held-out seed always sees the generated
        site of the held-out tasks.
        """
        if seed is not None and seed.startswith(HELD_OUT):
            return generate("heldout", items=30, people=18, posts=16)
        if cls.data is not None:
            return load(cls.data)
        items, people, posts = cls.size
        return generate(seed or "open", items=items, people=people, posts=posts)

    def snapshot(self) -> Any:
        """Nothing: a site does not change, and where somebody reads is no part of it."""
        return {}

    def show(self, value: Any) -> str:
        """Results are shown as Python's `str` writes them."""
        return str(value)

    def show_error(self, name: str, error: Exception) -> str:
        """A failed call is shown as the text of its exception."""
        del name
        return str(error) or type(error).__name__

    @tool
    def click_url(self, url: str) -> str:
        """Open the page with this address, and show its beginning."""
        url = url.replace("'", "")
        if url not in self._pages:
            return "[URL not found.]"
        self._history.append(self._page)
        return self._open(url)

    @tool
    def go_to_previous_page(self) -> str:
        """Go back to the page that was open before this one, and show its beginning."""
        if not self._history:
            return "[No previous page.]"
        return self._open(self._history.pop())

    @tool
    def scroll_down(self) -> str:
        """Show the next lines of the page."""
        if self._offset + WINDOW >= len(self._lines):
            return "[Reached the bottom of the page.]\n"
        self._offset += WINDOW
        return self.view()

    @tool
    def scroll_up(self) -> str:
        """Show the lines of the page before these."""
        if self._offset <= 0:
            return "[Reached the top of the page.]\n"
        self._offset -= WINDOW
        return self.view()

    @tool
    def view(self) -> str:
        """Show the lines of the page that are in view once more."""
        count = len(self._lines)
        parts = count // WINDOW + 1 if count > WINDOW else 1
        edge = "-" * 10
        head = f"[Web Page Name: {self._page}]\n[Viewing page {self._offset // WINDOW + 1} of "
        shown = "\n".join(self._lines[self._offset : self._offset + WINDOW])
        return f"{edge}\n{head}{parts}]\n\n{shown}\n{edge}"

    @tool
    def calculator(self, expression: str) -> float | str:
        """Return the value of an arithmetic expression given as text."""
        try:
            return compute(expression)
        except (ValueError, ArithmeticError):
            return f"Failed to evaluate expression: {expression}"

    @property
    def _lines(self) -> list[str]:
        return self._pages[self._page].split("\n")

    def _open(self, url: str) -> str:
        self._page, self._offset = url, 0
        return f"[Opened page: {url}]\n{self.view()}"
