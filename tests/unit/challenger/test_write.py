"""The staged writer over tools that refuse: it turns to others, and goes on as it began."""

from pathlib import Path

import pytest

from selfchallenge.challenger.book import PhraseBook
from selfchallenge.challenger.coverage import Coverage
from selfchallenge.challenger.double import scripted_challenger
from selfchallenge.challenger.write import StagedWriter, WriterSettings
from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.quality.gate import check
from selfchallenge.sandbox.host import Sandbox

KIOSK = '''
from selfchallenge import Environment, ToolError, tool

PRICES = {"tea": 3, "milk": 2, "bread": 4, "honey": 9}


class Kiosk(Environment):
    label = "kiosk"

    @tool
    def price(self, thing: str) -> int:
        """Price of a thing.

        Args:
            thing: its name.
        """
        return PRICES[thing]

    @tool
    def letters(self, thing: str) -> int:
        """Letters of a word, and ten.

        Args:
            thing: the word.
        """
        return 10 + len(thing)

    @tool
    def ticket(self, thing: str) -> str:
        """Look a ticket up.

        Args:
            thing: what it is for.
        """
        raise ToolError("no ticket")

    @classmethod
    def seeds(cls) -> list[str]:
        return ["s1", "s2"]

    @classmethod
    def describe_seed(cls, seed: str) -> str:
        return "Things: 'tea', 'milk', 'bread', 'honey'."
'''


@pytest.fixture
def kiosk(tmp_path: Path) -> type[Environment]:
    (tmp_path / "kiosk.py").write_text(KIOSK)
    return load_environment(f"{tmp_path / 'kiosk.py'}:Kiosk")


def writer(kiosk: type[Environment], sandbox: Sandbox) -> StagedWriter:
    settings = WriterSettings(wave=5)
    return StagedWriter(
        scripted_challenger(), kiosk, sandbox, settings, Coverage(), PhraseBook.from_json({})
    )


def test_a_tool_that_always_refuses_is_not_chosen_again_and_again(
    kiosk: type[Environment],
) -> None:
    with Sandbox() as sandbox:
        staged = writer(kiosk, sandbox)
        candidates = list(staged.write(range(20), ["s1", "s2"]))
        written = [c.task for c in candidates if c.task]
        assert all(check(task, kiosk, sandbox=sandbox).accepted for task in written[:2])
    counts = staged.coverage.tools
    assert counts["ticket"] == sum(c.refused.count("ticket") for c in candidates) > 0
    assert counts["ticket"] <= max(counts["price"], counts["letters"])
    assert len(written) >= 10


def test_a_run_that_goes_on_counts_what_the_first_part_counted(kiosk: type[Environment]) -> None:
    with Sandbox() as sandbox:
        staged = writer(kiosk, sandbox)
        candidates = list(staged.write(range(10), ["s1", "s2"]))
    again = Coverage()
    for candidate in candidates:
        again.add(candidate)
    assert again == staged.coverage
