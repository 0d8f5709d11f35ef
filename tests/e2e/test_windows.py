"""On Windows, which cannot isolate code, every way in ends with a message that says where to go.

No Windows is at hand: the interpreter is made to lack what it lacks there.
"""

import subprocess
import sys

import pytest

LACKING = """
import ctypes, importlib.abc, os, socket, sys

POSIX = {"fcntl", "resource", "pwd", "grp", "termios"}

class Lacking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in POSIX:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import rich.console, sysconfig, typer  # they have their own ways there
sysconfig.get_config_vars()
for name in POSIX:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Lacking())
for name in ("fork", "pidfd_open", "getuid", "geteuid"):
    delattr(os, name)
del socket.AF_UNIX
sys.platform = "win32"
"""


def on_windows(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", LACKING + code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["doctor", "run library --preset smoke", "check t.jsonl"])
def test_commands_say_where_to_go(command: str) -> None:
    done = on_windows(f"from selfchallenge.cli import main; main({command.split()!r})")
    assert done.returncode == 2
    assert "Linux container" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_library_says_where_to_go() -> None:
    done = on_windows("from selfchallenge import check")
    assert "UsageError" in done.stderr
    assert "Linux container" in done.stderr


def test_help_is_there() -> None:
    assert on_windows("from selfchallenge.cli import main; main(['--help'])").returncode == 0
