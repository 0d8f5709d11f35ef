"""A customer-service desk: tables behind tools that have two faces.

Code gets Python values and `ToolError`; `Session.call` gives the very text that tau-bench shows an
agent, also for wrong arguments and unknown tools. So there is one implementation of a tool, and a
conversation scored by the benchmark's rules sees no difference.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

from selfchallenge.environments.base import Environment, tool
from selfchallenge.environments.desk.expressions import CalculationError, calculate
from selfchallenge.environments.desk.tables import (
    Database,
    Record,
    Texts,
    copied,
    data_folder,
    entry_texts,
    hash_of_texts,
    load,
    texts_of,
)
from selfchallenge.errors import LoadError, ToolError, boundary

HELD_OUT = "heldout-"
"""Seeds that begin so see a generated world of their own, with and without data."""
HELD_OUT_WORLD = "heldout"
"""Its name; it is the same in a subclass whose worlds are larger."""


class Desk(Environment):
    """Base of the environments `retail` and `airline`.

    Attributes:
        tables: names of the tables, each of them an attribute of an instance.
    """

    tables: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        policy = None if cls.data is None else data_folder(cls.data, cls.label) / "policy.md"
        if policy is not None and policy.is_file():
            with boundary(LoadError, "the policy cannot be read", where=str(policy)):
                cls.__doc__ = policy.read_text("utf-8")

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self._shared = self.world(seed)
        self._tables: Database = {name: dict(self._shared[name]) for name in self.tables}
        self._owned: set[tuple[str, str]] = set()

    @classmethod
    def generate(cls, world: str) -> Database:
        """The generated database of this name, the same one on every machine."""
        raise NotImplementedError

    @classmethod
    def world(cls, seed: str | None) -> Database:
        """The database that sessions with this seed start from; shared, and only read.

        It comes from the data folder when there is one. A held-out seed always sees the generated
        world of the held-out tasks.
        """
        if seed is not None and seed.startswith(HELD_OUT):
            return cls.generate(HELD_OUT_WORLD)
        if cls.data is not None:
            return load(Path(cls.data), cls.label, cls.tables)
        return cls.generate("open")

    @classmethod
    def offered(cls, seed: str | None) -> list[str]:
        """All tools, in the order of the alphabet."""
        return sorted(super().offered(seed))

    def snapshot(self) -> Any:
        """The database."""
        return self._tables

    def show(self, value: Any) -> str:
        """Texts and numbers are shown bare, everything else as JSON."""
        return str(value) if isinstance(value, str | float) else json.dumps(value)

    def show_error(self, name: str, error: Exception) -> str:
        """A refusal, or what Python says of a failed call of the benchmark's function."""
        if name not in self.offered(self.seed):
            return f"Unknown action {name}"
        text = str(error)
        if isinstance(error, TypeError):
            text = _as_invoked(self.label, name, text)
        return f"Error: {text}"

    def state_hash(self) -> str:
        """The benchmark's hash of the database; only records that were written are read for it."""
        texts = {name: dict(known) for name, known in _texts_of(self._shared).items()}
        for table, key in self._owned:
            texts[table][key] = entry_texts([(key, self._tables[table][key])])[0]
        return hash_of_texts(texts)

    def own(self, table: str, key: str) -> Record:
        """A record to write to: from here on this instance's own copy.

        Raises:
            KeyError: there is no such record.
        """
        records = self._tables[table]
        if (table, key) not in self._owned:
            records[key] = copied(records[key])
            self._owned.add((table, key))
        return records[key]

    def add(self, table: str, key: str, record: Record) -> None:
        """Put a new record into a table, in place of any that is there."""
        self._tables[table][key] = record
        self._owned.add((table, key))

    @tool
    def calculate(self, expression: str) -> float:
        """Return the value, rounded to two digits, of an expression of numbers, + - * / and ()."""
        try:
            return calculate(expression)
        except CalculationError as error:
            raise ToolError(str(error)) from None

    @tool
    def think(self, thought: str) -> str:
        """Write a thought down; nothing is looked up and nothing changes."""
        del thought
        return ""

    @tool
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the user over to a human agent, with a summary; for requests beyond the tools."""
        del summary
        return "Transfer successful"


_known: dict[int, tuple[Database, Texts]] = {}


def _texts_of(shared: Database) -> Texts:
    """Texts of a shared database, made once; it is kept with them, so that its id stays its own."""
    if id(shared) not in _known:
        _known[id(shared)] = shared, texts_of(shared)
    return _known[id(shared)][1]


def _as_invoked(label: str, name: str, text: str) -> str:
    """Python's complaint about arguments as it reads for the benchmark's `ToolName.invoke`."""
    invoked = "".join(part.capitalize() for part in name.split("_")) + ".invoke()"
    found = re.fullmatch(rf"(?:\w+\.)+{re.escape(name)}\(\) (.*)", text, re.DOTALL)
    if found is None:
        return text
    complaint = found[1].replace(
        "got multiple values for argument 'self'", "got an unexpected keyword argument 'self'"
    )
    if complaint == "got an unexpected keyword argument 'data'":
        # There it is the name of the parameter that holds the database.
        place = f"tau_bench.envs.{label}.tools.{name}"
        return f"{place}.{invoked} got multiple values for keyword argument 'data'"
    return f"{invoked} {complaint}"
