from collections.abc import Iterator
from pathlib import Path

import pytest

from selfchallenge.environments.base import Environment
from selfchallenge.environments.loading import load_environment
from selfchallenge.sandbox.host import Sandbox, Session


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(allow_unsafe=True) as running:
        yield running


@pytest.fixture(scope="session")
def shop_class() -> type[Environment]:
    return load_environment(f"{Path(__file__).with_name('shop.py')}:Shop")


@pytest.fixture
def shop(sandbox: Sandbox, shop_class: type[Environment]) -> Iterator[Session]:
    with sandbox.session(shop_class) as session:
        yield session
