"""What holds for every suite: no network but this machine's own, no test that hangs, no blocked event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings
from pytest_socket import socket_allow_hosts

os.environ.pop("COLUMNS", None)  # what is shown must not be as wide as the terminal of whoever runs the tests

TESTS = Path(__file__).parent
# Seconds until a test counts as hanging; the other suites have pyproject's.
HANGING_S = {"unit": 20, "model": 300}
# Code whose blocking calls fail a test when they are made on the event loop.
NEVER_BLOCKING = ["volcengine_client", "volcengine_gateway"]

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


@pytest.fixture(autouse=True)
def _nothing_blocks_the_event_loop() -> Iterator[None]:
    with blockbuster_ctx(NEVER_BLOCKING) as watch:
        for call in watch.functions.values():
            # Once, before the first request: the self-hosted server reads its `.env`.
            call.can_block_in("volcengine_gateway/server.py", "_settings")
            # By its name: whoever calls it in an event loop, a notebook, wants to wait.
            call.can_block_in("volcengine_client/client.py", "generate_batch_sync")
        yield
