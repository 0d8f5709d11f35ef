"""What untrusted code may try, as pieces of code, in the groups of the design's attack list.

Each piece tries for one effect and leaves `answer = True` only when it got it; `W` holds what it
knows about the world (addresses, folders, process numbers, system call numbers). Where its success
shows outside its process, the test looks there too. Anything a piece needs is loaded in the zygote
or called through ctypes, so that what stops it is the kernel and not a failing import.
"""

from exhausting import CRASHING, GREED, HANGING, SPAWNING
from looking import LOOKING
from lying import CHEATING, LYING, POISON
from pieces import Attack
from reaching import KERNEL, REACHING

HONEST = "pay(42)\nanswer = 42"
VERIFIER = "def evaluate(answer):\n    return answer == 42 and read_balance() == 42"

THROUGH: dict[str, frozenset[str]] = {"A": frozenset(), "B": frozenset()}
"""Names of the attacks that are known to get through, by level: at the safe levels none."""

MARK = "needle-of-the-trainer"
"""Stands in the memory and the environment variables of the host, and must stay there."""

MEMORY = 192 << 20

LISTED = 30
"""Groups of the attack list."""

ATTACKS: list[Attack] = [
    *LOOKING,
    *LYING,
    *HANGING,
    *SPAWNING,
    *GREED,
    *REACHING,
    *CRASHING,
    *CHEATING,
    *KERNEL,
    *POISON,
]
