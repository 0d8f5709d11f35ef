"""Training state on disk: written whole or not at all, so that a kill at any moment loses little.

A file or folder is written under another name, flushed to the disk and renamed. What was there
before stays until the rename, also when the disk is full.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selfchallenge.errors import StorageError, boundary

FULL = "free some disk space and run the same command again; it goes on from the last checkpoint"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, replacing what was there.

    Raises:
        StorageError: it cannot be written; the file that was there is untouched.
    """
    fresh = path.with_name(path.name + ".new")
    with boundary(StorageError, "cannot save the checkpoint", where=str(path), fix=FULL):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, Any] | None:
    """Read what `save_state` wrote; None when there is nothing.

    Raises:
        StorageError: the file is damaged.
    """
    if not path.exists():
        return None
    fix = f"remove {path.parent} to train from the start"
    with boundary(StorageError, "cannot read the checkpoint", where=str(path), fix=fix):
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


def publish(directory: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder and make it `directory` in one rename.

    Raises:
        StorageError: it cannot be written; `directory` does not exist then.
    """
    fresh = directory.with_name(directory.name + ".new")
    with boundary(StorageError, "cannot save the model", where=str(directory), fix=FULL):
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir(parents=True)
            write(fresh)
            for file in fresh.iterdir():
                _flush(file)
            fresh.rename(directory)
            _flush(directory.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(kept: Path) -> None:
    """Policies or a state of another training may be its only good ones.

    Those that were set aside before are gone.
    """
    aside = kept.with_name(f"{kept.name}.before")
    if kept.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    if kept.exists():
        kept.rename(aside)
