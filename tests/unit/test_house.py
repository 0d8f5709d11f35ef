"""Rules of the house that no single room can keep alone."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import selfchallenge
from selfchallenge.cli import app

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
HEAVY = {"torch", "transformers", "datasets", "trl", "ray", "mcp", "openai"}

MOST_LINES, MOST_FUNCTION_LINES = 400, 60
LONG_FILES: set[str] = set()
"""Paths below src/selfchallenge that may be longer, each with its reason."""
LONG_FUNCTIONS: set[str] = set()
"""`path:function` that may be longer, each with its reason."""

VERBS = {
    "run", "challenge", "rollout", "train", "check", "eval", "report", "audit", "export",
    "reproduce", "doctor", "env", "env list", "env show", "env new", "data", "data get",
}  # fmt: skip

# In pieces, so that this file does not hold them.
FORBIDDEN = [
    "/" + "work/", "/" + "root/.", "/" + "opt/",
    "py" + "pi.org", "python" + "hosted", "registry." + "npm", "download." + "pytorch",
    "deb." + "debian",
]  # fmt: skip


def test_public_names_are_sorted_real_and_typed():
    names = selfchallenge.__all__
    assert names == sorted(names)
    assert all(getattr(selfchallenge, name) is not None for name in names)
    assert set(names) == set(selfchallenge._HOMES) == typed_names()
    assert set(names) <= set(dir(selfchallenge))


def typed_names() -> set[str]:
    """What `__init__` imports for type checkers."""
    tree = ast.parse(Path(selfchallenge.__file__).read_text("utf-8"))
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.name for node in guard.body for alias in node.names}


def test_public_names_come_from_where_they_are_said_to():
    for name, home in selfchallenge._HOMES.items():
        module = getattr(selfchallenge, name).__module__
        assert module == f"selfchallenge.{home}"


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tasks'"):
        _ = selfchallenge.Tasks


@pytest.mark.parametrize(
    "code",
    [
        "import selfchallenge",
        "import selfchallenge as s; [getattr(s, name) for name in s.__all__]",
        "import selfchallenge.cli, selfchallenge.sandbox, selfchallenge.pipeline",
    ],
)
def test_importing_loads_no_heavy_library(code):
    loaded = fresh(f"import sys, json; {code}; print(json.dumps(list(sys.modules)))")
    assert not HEAVY & {name.partition(".")[0] for name in json.loads(loaded)}


def test_a_class_imported_from_its_room_can_be_opened():
    code = (
        "from selfchallenge.environments.library import Library\n"
        "with Library.open() as session: print(session.call('get_book', ['b01']))"
    )
    assert "title" in fresh(code)


def fresh(code: str) -> str:
    """What code prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_and_functions_stay_small():
    files, functions = set(), set()
    for path in SOURCES:
        name = str(path.relative_to(ROOT / "src" / "selfchallenge"))
        text = path.read_text("utf-8")
        if len(text.splitlines()) > MOST_LINES:
            files.add(name)
        functions |= {f"{name}:{function}" for function in long_functions(text)}
    # Equal, so that an exception that is no longer needed is struck off.
    assert files == LONG_FILES
    assert functions == LONG_FUNCTIONS


def long_functions(text: str) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_FUNCTION_LINES
    }


def test_a_long_function_would_be_found():
    body = "\n".join(["    pass"] * MOST_FUNCTION_LINES)
    assert long_functions(f"def long():\n{body}\n") == {"long"}


def test_imports_run_downward():
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_tracked_files_name_no_machine_and_no_registry():
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = {
        f"{name}: {word}"
        for name in filter(None, tracked)
        if (ROOT / name).is_file()
        for word in FORBIDDEN
        if word.encode() in (ROOT / name).read_bytes()
    }
    assert not found


def test_every_source_file_says_what_it_is():
    silent = [str(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def commands(command, prefix: str = "") -> dict[str, object]:
    """Every command and group of the command line by how it is written."""
    found = {}
    for name, child in getattr(command, "commands", {}).items():
        found[f"{prefix}{name}"] = child
        found |= commands(child, f"{prefix}{name} ")
    return found


def test_the_command_line_has_the_verbs_of_the_design():
    assert set(commands(typer.main.get_command(app))) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as end:
        app([*verb.split(), "--help"], prog_name="selfchallenge")
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert f"selfchallenge {verb}" in shown
    assert "--help" in shown


def test_the_readme_example_runs(tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    code = readme.partition("```python\n")[2].partition("```")[0]
    script = tmp_path / "example.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    promised = code.strip().rpartition("# ")[2]
    assert done.stdout.strip() == promised
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
