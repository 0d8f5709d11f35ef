"""Which of several processes this one is, as torchrun and `accelerate launch` say it; no torch."""

from __future__ import annotations

import os

from selfchallenge.errors import UsageError


def count() -> int:
    """How many processes train together; 1 unless a launcher started this one."""
    # Schedulers set WORLD_SIZE alone, for the whole job.
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """This one's number, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the one that writes and speaks."""
    return rank() == 0


def require_plain(what: str) -> None:
    """Refuse sharded weights for what reads them as they are.

    Raises:
        UsageError: the launcher was told to shard them.
    """
    for name, spelled in (("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed")):
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("1", "true"):
            raise UsageError(
                f"{spelled} does not go with {what}",
                where="accelerate launch",
                fix="launch plain data-parallel processes (accelerate launch --multi_gpu), or use "
                "--engine trl with rft, distill or dpo",
            )


def require_one(command: str) -> None:
    """Refuse to do in several processes what is done in one.

    Raises:
        UsageError: a launcher started several.
    """
    if count() > 1:
        raise UsageError(
            f"{command} is done by one process, and {count()} were launched",
            fix="make tasks and attempts with `selfchallenge challenge` and `rollout`, and launch "
            "only the training: accelerate launch -m selfchallenge train DIR",
        )
