"""Databases as tables of records: loaded once, shared by all instances, hashed as tau-bench does.

An instance starts with the tables that everybody shares and copies a record before it writes to it,
so that a fresh database costs microseconds. The hash is that of the benchmark (SHA-256 of the whole
database, converted and written as text), put together from texts of records that are kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import marshal
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from selfchallenge.errors import LoadError, boundary

Record = dict[str, Any]
Table = dict[str, Record]
Database = dict[str, Table]

KEPT_RECORDS = 1 << 13
"""Texts of records that are kept; the benchmark's two databases have 4,350 records."""


@lru_cache(maxsize=4)
def load(folder: Path, name: str, tables: tuple[str, ...]) -> Database:
    """The database called `name` in a data folder, one JSON file a table.

    Args:
        folder: holds a folder `name` with the files, or the files themselves.
        name: of the database.
        tables: names of its tables, in order.

    Raises:
        LoadError: a file is missing, or is no table of records.
    """
    place = data_folder(folder, name)
    fix = (
        f"give a folder that holds {name}/{tables[0]}.json and its like, or leave it out to use "
        "generated tables"
    )
    with boundary(LoadError, f"the {name} database cannot be read", where=str(place), fix=fix):
        found = {table: json.loads((place / f"{table}.json").read_text("utf-8")) for table in tables}
        for table, records in found.items():
            if not all(isinstance(record, dict) for record in dict(records).values()):
                raise ValueError(f"{table}.json holds something that is no record")
        return found


def data_folder(folder: Path, name: str) -> Path:
    """Where the files of `name` lie below a data folder."""
    return folder / name if (folder / name).is_dir() else folder


def copied(value: Any) -> Any:
    """A deep copy of plain data."""
    try:
        return marshal.loads(marshal.dumps(value))  # noqa: S302 - written on the spot
    except ValueError:
        return copy.deepcopy(value)


# -- the hash --------------------------------------------------------------------------------------


def state_hash(state: Any) -> str:
    """SHA-256 of a database as tau-bench computes it, in hex.

    The order of lists counts and that of keys does not; `1`, `1.0` and `"1"` differ.
    """
    return hashlib.sha256(_database(state)).hexdigest()


def _database(state: Any) -> bytes:
    if not isinstance(state, dict):
        return _text(state)
    return _tuple(_pair(name, _table(table)) for name, table in sorted(state.items(), key=_first))


def _table(table: Any) -> bytes:
    if not isinstance(table, dict):
        return _text(table)
    return _tuple(_pair(key, _record(found)) for key, found in sorted(table.items(), key=_first))


def _record(record: Any) -> bytes:
    try:
        # Version 2 writes equal values in equal bytes, whoever else refers to them.
        return _kept(marshal.dumps(record, 2))
    except ValueError:
        return _text(record)


@lru_cache(maxsize=KEPT_RECORDS)
def _kept(written: bytes) -> bytes:
    return _text(marshal.loads(written))  # noqa: S302 - written on the spot


def _text(value: Any) -> bytes:
    return str(_hashable(value)).encode("utf-8")


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, set):
        return tuple(sorted(_hashable(item) for item in value))
    return value


def _pair(key: Any, text: bytes) -> bytes:
    return b"(%b, %b)" % (repr(key).encode("utf-8"), text)


def _tuple(parts: Iterable[bytes]) -> bytes:
    texts = list(parts)
    return b"(%b%b)" % (b", ".join(texts), b"," if len(texts) == 1 else b"")


def _first(item: tuple[Any, Any]) -> Any:
    return item[0]
