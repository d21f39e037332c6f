"""What holds for every suite: no network but this machine's own, and no test that hangs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_socket import socket_allow_hosts

TESTS = Path(__file__).parent
# Seconds until a test counts as hanging; the other suites have pyproject's.
HANGING_S = {"unit": 20, "model": 300}

# No example fails for being slow: this machine may be busy.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def pytest_sessionstart() -> None:
    """Say that there is no event loop yet, or pytest-asyncio lets asyncio make one that nobody closes."""
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each suite its own bound, unless a test has one of its own."""
    for item in items:
        suite = item.path.relative_to(TESTS).parts[0]
        if suite in HANGING_S and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(HANGING_S[suite]))


@pytest.fixture(autouse=True)
def _only_this_machine() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)
