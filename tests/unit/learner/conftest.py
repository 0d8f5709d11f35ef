"""Fixtures of the learner's tests."""

import pytest
from tiny_learner import TinyModel, make_episode


@pytest.fixture
def model():
    return TinyModel()


@pytest.fixture
def episodes():
    return [
        make_episode(f"{letter}{number}", attempt)
        for letter in "ab"
        for number in range(4)
        for attempt in range(2)
    ]
