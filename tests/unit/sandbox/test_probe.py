"""Which level is found on machines that lack something, and what is said about it."""

import errno
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfchallenge.sandbox import isolation, seccomp
from selfchallenge.sandbox import probe as room
from selfchallenge.sandbox.probe import Layer, ProbeReport, probe

SOURCES = str(Path(room.__file__).parents[2])
COLUMN = seccomp.ARCHITECTURES.get(platform.machine(), (0, 0))[1]
UNSHARE = [seccomp.numbers(seccomp._KILLED, COLUMN)["unshare"], -1, errno.EPERM]
LANDLOCK = [444, -1, errno.ENOSYS]
LANDLOCK_OFF = [444, -1, errno.EOPNOTSUPP]
SECCOMP = [{0: 157, 1: 167}[COLUMN], 22, errno.EINVAL]
SYS_ADMIN, SETUID = 21, 7

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to take capabilities away")
everything = pytest.mark.skipif(probe().level != "A", reason=f"needs level A: {probe()}")


def crippled(**missing: Any) -> dict[str, Any]:
    """The report of a probe in a process that lacks something."""
    script = (
        f"import sys, json, dataclasses; sys.path.insert(0, {SOURCES!r});"
        "from selfchallenge.sandbox.probe import probe;"
        "print(json.dumps(dataclasses.asdict(probe())))"
    )
    then = [sys.executable, "-c", script]
    config = {"isolation": isolation.__file__, "then": then, "missing": missing}
    command = [sys.executable, str(Path(__file__).with_name("confined.py")), json.dumps(config)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.stdout, done.stderr.decode()
    report = json.loads(done.stdout)
    report["layers"] = {layer["name"]: layer for layer in report["layers"]}
    return report


@everything
def test_a_whole_machine() -> None:
    report = crippled()
    assert report["level"] == "A"
    assert all(report["layers"][name]["active"] for name in room._LAYERS)
    assert all(canary["stopped"] for canary in report["canaries"])


@everything
def test_an_ordinary_user_gets_everything() -> None:
    assert crippled(uid=1000)["level"] == "A"


@everything
@pytest.mark.parametrize("uid", [0, 1000])
def test_without_namespaces(uid: int) -> None:
    report = crippled(uid=uid, denied=[UNSHARE])
    assert report["level"] == "B"
    missing = report["layers"]["namespaces"]
    assert not missing["active"]
    assert "EPERM" in missing["reason"]
    assert "user namespaces" in missing["remedy"]
    assert report["layers"]["landlock"]["active"]


@everything
@root
def test_root_of_a_container_without_the_right_to_mount() -> None:
    assert crippled(dropped=[SYS_ADMIN])["level"] == "A"
    assert crippled(dropped=[SYS_ADMIN], denied=[UNSHARE])["level"] == "B"


@everything
@root
def test_root_that_may_not_change_its_uid() -> None:
    report = crippled(dropped=[SYS_ADMIN, SETUID], denied=[UNSHARE])
    assert report["level"] == "B"
    assert not report["layers"]["uid"]["active"]
    assert "uid 0" in report["layers"]["uid"]["reason"]


@everything
@pytest.mark.parametrize(
    ("denied", "said"), [(LANDLOCK, "ENOSYS"), (LANDLOCK_OFF, "not supported")]
)
def test_without_landlock(denied: list[int], said: str) -> None:
    report = crippled(denied=[denied])
    assert report["level"] == "C"
    missing = report["layers"]["landlock"]
    assert not missing["active"]
    assert said in missing["reason"]
    assert "lsm=" in missing["remedy"]
    assert all(canary["stopped"] for canary in report["canaries"])


@everything
def test_without_seccomp() -> None:
    report = crippled(denied=[SECCOMP])
    assert report["level"] == "D"
    assert "EINVAL" in report["layers"]["seccomp"]["reason"]
    assert report["layers"]["limits"]["active"]
    assert not all(canary["stopped"] for canary in report["canaries"])


@everything
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86_64 can pose as another machine")
def test_on_an_unknown_architecture() -> None:
    report = crippled(machine32=True)
    assert report["level"] == "D"
    assert "no table for i686" in report["layers"]["seccomp"]["reason"]


# -- the rules of the report -----------------------------------------------------------------------

CLEAN = {"honest": "through", "uid": 65534, "landlock": 7}
STOPPED = dict.fromkeys(("read /etc/passwd", "fork", "too much memory"), "stopped")


def reported(monkeypatch: pytest.MonkeyPatch, seen: dict[str, dict[str, Any]]) -> ProbeReport:
    monkeypatch.setattr(room, "_attempt", lambda level, _: seen[level])
    return probe.__wrapped__()


def layer(report: ProbeReport, name: str) -> Layer:
    return next(found for found in report.layers if found.name == name)


def test_a_level_through_which_something_got_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaking = {**CLEAN, "canaries": {**STOPPED, "fork": "through"}}
    report = reported(
        monkeypatch, {"A": leaking, "B": leaking, "C": {**CLEAN, "canaries": STOPPED}}
    )
    assert report.level == "C"
    assert layer(report, "namespaces").reason == "got through: fork"
    assert not layer(report, "landlock").active


def test_a_level_that_breaks_honest_code_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {**CLEAN, "honest": "ended by SIGSYS", "canaries": STOPPED}
    report = reported(monkeypatch, {"A": broken, "B": {**CLEAN, "canaries": STOPPED}})
    assert report.level == "B"
    assert "honest code was ended by SIGSYS" in layer(report, "namespaces").reason


def test_what_may_read_files_is_no_c(monkeypatch: pytest.MonkeyPatch) -> None:
    readable = {**CLEAN, "canaries": {**STOPPED, "read /etc/passwd": "through"}}
    report = reported(monkeypatch, dict.fromkeys("ABCD", readable))
    assert report.level == "D"
    assert "read /etc/passwd" in layer(report, "seccomp").reason


def test_nothing_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = {**CLEAN, "canaries": dict.fromkeys(STOPPED, "through")}
    report = reported(monkeypatch, dict.fromkeys("ABCD", open_))
    assert report.level == "X"
    assert not any(found.active for found in report.layers)
    assert str(report).startswith("isolation level X\n  namespaces: got through")


def test_another_system_is_told_to_use_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    report = probe.__wrapped__()
    assert report.level == "X"
    assert "Linux container" in str(report)


def test_a_process_that_dies_is_no_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    report = probe.__wrapped__()
    assert report.level == "X"
    assert "ended with 1" in layer(report, "namespaces").reason


def test_no_level_above_the_one_asked_for_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_attempt", lambda *_: {**CLEAN, "canaries": STOPPED})
    assert probe.__wrapped__("B").level == "B"
    assert not layer(probe.__wrapped__("B"), "namespaces").active
