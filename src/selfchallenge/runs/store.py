"""The run directory: append-only files of records that survive being killed at any point.

A record is one line, written by one call and synced. A kill can tear at most the last line; it is
cut off before the next append and simply owed again. Whole files (`run.json`, `summary.json`) are
replaced by an atomic rename. One process at a time holds the directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from pydantic import BaseModel, ValidationError

from selfchallenge.errors import RecordError, StorageError, UsageError

T = TypeVar("T", bound=BaseModel)

WITHOUT_MANIFEST = "put a copy of run.json back, or begin a new run with another --out"
FORMAT = 1
"""Of a run directory; `run.json` holds it under `format`."""

LONGEST_LINE = 16 * 2**20
"""Bytes of a line in a user's file; longer ones are rejected unread."""


class RunFiles:
    """A run's folder to look at, also while another process writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def view(cls, path: str | Path) -> RunFiles:
        """Look at a run directory without taking hold of it.

        Raises:
            UsageError: it is no run directory.
            StorageError: it was written by a version that this one cannot read.
        """
        found = RunFiles(_existing(Path(path)))
        found.check_format()
        return found

    @overload
    def read(self, name: str) -> list[dict[str, Any]]: ...
    @overload
    def read(self, name: str, kind: type[T]) -> list[T]: ...
    def read(self, name: str, kind: type[T] | None = None) -> list[T] | list[dict[str, Any]]:
        """All whole records of a file, in order; a torn last line is left out.

        Raises:
            RecordError: a line before the last is malformed: somebody else wrote to the file.
            StorageError: the file cannot be read.
        """
        lines = self._lines(name)
        file = self.path / name
        return [_parse(line, kind, file, number) for number, line in lines if line.strip()]

    def scan(self, name: str) -> Iterator[dict[str, Any]]:
        """Like `read`, but one record at a time, for files that need not fit into memory."""
        for number, line in self._lines(name):
            if line.strip():
                yield _parse(line, None, self.path / name, number)

    def _lines(self, name: str) -> Iterator[tuple[int, bytes]]:
        file = self.path / name
        if not file.exists():
            return
        with storage(file), file.open("rb") as handle:
            number, last = 0, b""
            for line in handle:
                if last:
                    yield number, last
                number, last = number + 1, line
            if _whole(last):
                yield number, last

    def read_json(self, name: str) -> Any:
        """The value of a whole file, None when there is none.

        Raises:
            RecordError: the file holds no JSON.
            StorageError: the file cannot be read.
        """
        file = self.path / name
        if not file.exists():
            return None
        with storage(file):
            data = file.read_bytes()
        try:
            return json.loads(data)
        except ValueError as error:
            raise RecordError(
                f"not JSON: {error}",
                where=str(file),
                fix=WITHOUT_MANIFEST if name == "run.json" else "delete the file and run again",
            ) from error

    def check_format(self) -> None:
        """Refuse a run whose `run.json` has another format than this version writes.

        Raises:
            StorageError: its format is another.
        """
        manifest = self.read_json("run.json")
        found = manifest.get("format") if isinstance(manifest, dict) else "unknown"
        if manifest is not None and found != FORMAT:
            raise StorageError(
                f"this run directory has format {found}, this version reads format {FORMAT}",
                where=str(self.path / "run.json"),
                fix="use the version of selfchallenge that wrote it, or another --out",
            )


class RunDirectory(RunFiles):
    """A run's folder, held exclusively from `open` to `close` (a context manager)."""

    def __init__(self, path: Path, lock: int) -> None:
        super().__init__(path)
        self._lock = lock
        self._mended: set[str] = set()

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Self:
        """Take hold of a run directory.

        Raises:
            UsageError: it does not exist and is not to be created, or is no run directory.
            StorageError: another process holds it, it cannot be written, or it was written by a
                version that this one cannot read.
        """
        path = Path(path) if create else _existing(Path(path))
        with storage(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                _hold(lock, path)
                found = cls(path, lock)
                found.check_format()
            except BaseException:
                os.close(lock)
                raise
        return found

    def append(self, name: str, record: BaseModel | Mapping[str, Any]) -> None:
        """Add one record as one synced line.

        Raises:
            StorageError: the disk is full or the file cannot be written; the file then ends with
                the last whole line.
        """
        line = _line(record)
        file = self.path / name
        with storage(file):
            self._mend(name)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(handle).st_size
            try:
                _write_all(handle, line)
                os.fsync(handle)
            except BaseException:
                # Half a line must not be left for the next append, not even by Ctrl-C.
                self._mended.discard(name)
                os.ftruncate(handle, size)
                raise
            finally:
                os.close(handle)

    def write_json(self, name: str, value: Any) -> None:
        """Replace a whole file, atomically.

        Raises:
            StorageError: the disk is full or the file cannot be written.
        """
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.path / name, text.encode("utf-8", "surrogatepass"))

    def close(self) -> None:
        """Let go of the directory; closing twice is fine."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _mend(self, name: str) -> None:
        """Cut a torn last line off, once a process and file."""
        file = self.path / name
        if name in self._mended or not file.exists():
            return
        with file.open("rb+") as handle:
            handle.truncate(_whole(handle.read()))
        self._mended.add(name)


class Onlooker(RunDirectory):
    """A run's folder for those of several processes that do not write: one of them does."""

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Self:
        """Look at a run directory; what is added to it is left to the process that holds it.

        Raises:
            UsageError: it is no run directory.
            StorageError: it was written by a version that this one cannot read.
        """
        del create
        found = cls(_existing(Path(path)), lock=-1)
        found.check_format()
        return found

    def append(self, name: str, record: BaseModel | Mapping[str, Any]) -> None:
        """Left to the other."""

    def write_json(self, name: str, value: Any) -> None:
        """Left to the other."""


def _existing(path: Path) -> Path:
    if not (path / "run.json").exists():
        raise UsageError(
            "this is no run directory", where=str(path), fix="selfchallenge run ENV --out DIR"
        )
    return path


def _hold(lock: int, path: Path) -> None:
    """Lock the file, or say which process did; the lock goes with the process, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise StorageError(
            f"process {holder or '?'} is using this run directory",
            where=str(path),
            fix="wait for it to end, or give another --out",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _whole(data: bytes) -> int:
    """How many bytes of a file of records are whole lines; only what stands last can be torn."""
    end = data.rfind(b"\n") + 1
    begin = data.rfind(b"\n", 0, max(end - 1, 0)) + 1
    try:
        json.loads(data[begin:end])
    except ValueError:
        # When a whole machine goes down, a line can keep its length and lose its content.
        return begin
    return end


def replace_file(file: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new content and nothing between.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with storage(file):
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn an error of the file system at `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            "the disk is full" if full else f"cannot use this file: {error.strerror or error}",
            where=str(path),
            fix="free some space; the same command then goes on where it was"
            if full
            else "check the path and its permissions",
        ) from error


def read_records(path: str | Path, kind: type[T]) -> Iterator[tuple[int, T | RecordError]]:
    """Every line of a user's file: its number, and the record or what is wrong with it.

    Raises:
        UsageError: there is no such file.
        StorageError: it cannot be read.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise UsageError("no such file", where=str(path), fix="give a file with one JSON a line")
    with storage(path), path.open("rb") as handle:
        number = 0
        while line := handle.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
                while (rest := handle.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield number, _wrong("longer than 16 MiB", path, number)
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, _record(line, kind, path, number)
            else:
                yield number, _wrong("an empty line", path, number)


def _record(line: bytes, kind: type[T], path: Path, number: int) -> T | RecordError:
    try:
        record: T = _parse(line, kind, path, number)
    except RecordError as error:
        return error
    if b"\\ud" in line.lower() and not _encodable(record):
        return _wrong("half a character: a lone surrogate escape such as \\ud800", path, number)
    return record


def _encodable(record: BaseModel) -> bool:
    try:
        json.dumps(record.model_dump(mode="json"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse(line: bytes, kind: Any, path: Path, number: int) -> Any:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _wrong(f"not UTF-8: {error.reason}", path, number) from error
    except (ValueError, RecursionError) as error:
        raise _wrong(f"not JSON: {error}", path, number) from error
    if not isinstance(value, dict):
        raise _wrong("not a JSON object", path, number)
    if kind is None:
        return value
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "record"
        raise _wrong(first["msg"], path, number, field) from error


def _wrong(what: str, path: Path, number: int, field: str = "") -> RecordError:
    where = f"{path}, line {number}" + (f", field {field}" if field else "")
    return RecordError(what, where=where, fix="mend the line or take it out")


def _line(record: BaseModel | Mapping[str, Any]) -> bytes:
    value = record.model_dump(mode="json") if isinstance(record, BaseModel) else record
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
