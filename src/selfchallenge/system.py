"""Which operating systems this runs on; asked before anything that exists on only some of them."""

import sys

from selfchallenge.errors import UsageError


def require_system() -> None:
    """Refuse Windows, which has neither what isolates code nor the modules to ask for it.

    Raises:
        UsageError: this is Windows.
    """
    if sys.platform == "win32":
        raise UsageError(
            "Windows has nothing that isolates Python code the way selfchallenge needs it",
            fix="run it in a Linux container (docker run -it python:3.11 ...) or in WSL 2",
        )
