"""What holds for every unit test: chance is the same each time."""

from __future__ import annotations

import random

import pytest


@pytest.fixture(autouse=True)
def _same_chance_each_time() -> None:
    random.seed(2_718)
