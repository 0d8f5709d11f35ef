"""Databases as tables of records: loaded once, shared by all instances, hashed as tau-bench does.

An instance starts with the tables that everybody shares and copies a record before it writes to it,
so that a fresh database costs microseconds. The hash is that of the benchmark (SHA-256 of the whole
database, converted and written as text), put together from texts of records that are kept.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import marshal
import pickle
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
    found: Database = {}
    for table in tables:
        file = place / f"{table}.json"
        with boundary(LoadError, f"the {name} database cannot be read", where=str(file), fix=fix):
            found[table] = json.loads(file.read_text("utf-8"))
            if not all(isinstance(record, dict) for record in dict(found[table]).values()):
                raise ValueError("it holds something that is no record")
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

Texts = dict[str, dict[str, bytes]]
"""Key and record as the hash sees them, by table and key."""


def state_hash(state: Any) -> str:
    """SHA-256 of a database as tau-bench computes it, in hex.

    The order of lists counts and that of keys does not; `1`, `1.0` and `"1"` differ.
    """
    if isinstance(state, dict) and all(isinstance(table, dict) for table in state.values()):
        return hash_of_texts(texts_of(state))
    return hashlib.sha256(str(_hashable(state)).encode("utf-8")).hexdigest()


def texts_of(database: Database) -> Texts:
    """What the hash of a database is put together from."""
    return {
        name: dict(zip(table, entry_texts(list(table.items())), strict=True))
        for name, table in database.items()
    }


def hash_of_texts(texts: Texts) -> str:
    """The hash of the database that has these texts."""
    digest = hashlib.sha256(b"(")
    for i, name in enumerate(sorted(texts)):
        entries = texts[name]
        digest.update(b"%b(%b, (" % (b", " if i else b"", _text(name)))
        digest.update(b", ".join([entries[key] for key in sorted(entries)]))
        digest.update(b",))" if len(entries) == 1 else b"))")
    digest.update(b",)" if len(texts) == 1 else b")")
    return digest.hexdigest()


def entry_texts(entries: list[tuple[Any, Any]]) -> list[bytes]:
    """Keys with their records as they stand in the text that is hashed.

    Writing a record as a pickle, which is only compared and never read, is much quicker than
    converting it, and most records of a database were converted before.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 4)
    pickler.fast = True  # without references equal values are written in equal bytes
    ends = [0]
    for entry in entries:
        pickler.dump(entry)
        ends.append(buffer.tell())
    written = buffer.getvalue()
    if len(_kept) > KEPT_RECORDS:
        _kept.clear()
    texts = []
    for i, entry in enumerate(entries):
        form = written[ends[i] : ends[i + 1]]
        text = _kept.get(form)
        if text is None:
            text = _kept[form] = _text((entry[0], _hashable(entry[1])))
        texts.append(text)
    return texts


_kept: dict[bytes, bytes] = {}


def _text(value: Any) -> bytes:
    return repr(value).encode("utf-8")


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, set):
        return tuple(sorted(_hashable(item) for item in value))
    return value
