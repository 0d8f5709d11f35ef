from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from arsenal import MARK
from victims import HERE, Victims, listen

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.sandbox.host import Sandbox, Session
from selfchallenge.sandbox.probe import probe


@pytest.fixture(scope="session")
def bank() -> type[Environment]:
    return load_environment(f"{HERE / 'bank.py'}:Bank")


@pytest.fixture(scope="session", params=("A", "B", "C"))
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    found = probe(request.param)
    if found.level != request.param:
        pytest.skip(f"level {request.param} cannot be had here: {found}")
    with (
        pytest.MonkeyPatch.context() as patch,
        Sandbox(level=request.param, minimum=request.param) as running,
    ):
        patch.setenv("SELFCHALLENGE_TEST_SECRET", MARK)
        yield running


@pytest.fixture
def session(sandbox: Sandbox, bank: type[Environment]) -> Iterator[Session]:
    with sandbox.session(bank) as opened:
        yield opened


@pytest.fixture(scope="session")
def victims(
    sandbox: Sandbox, bank: type[Environment], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victims]:
    folder = tmp_path_factory.mktemp("open")
    folder.chmod(0o777)
    (folder / "existing").write_text("before")
    with ExitStack() as stack:
        listeners = listen(tmp_path_factory.mktemp("listeners"), stack)
        other = stack.enter_context(sandbox.session(bank))
        found = Victims(stack.enter_context(sandbox.cell(other)), listeners, folder)
        assert found.world["sibling"] > 0
        yield found
