"""The deployed local stack for this suite: brought up once a run, when the first test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from tests.support.local_stack import Aws, Gateway, rules_kept, stack_of_stage


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Stage `local` with the simulated upstream, its account and its limit of 10."""
    with stack_of_stage("local") as up:
        yield up


@pytest.fixture(scope="session")
def quick_stack() -> Iterator[Stack]:
    """Stage `test`: the same with small times, so that a killed participant's slots are back in seconds."""
    with stack_of_stage("test") as up:
        yield up


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as connections:
        yield connections


@pytest.fixture
def aws(stack: Stack) -> Aws:
    return Aws(stack)


@pytest.fixture
def gateway(stack: Stack, session: aiohttp.ClientSession) -> Gateway:
    return Gateway(stack, session)


@pytest.fixture
async def simulator(stack: Stack, session: aiohttp.ClientSession) -> AsyncIterator[Simulator]:
    """The simulator with an empty record; the rules that a test changes are put back after it."""
    async with rules_kept(Simulator(stack.upstream_url, session)) as client:
        yield client


@pytest.fixture
def quick_gateway(quick_stack: Stack, session: aiohttp.ClientSession) -> Gateway:
    return Gateway(quick_stack, session)


@pytest.fixture
async def quick_simulator(quick_stack: Stack, session: aiohttp.ClientSession) -> AsyncIterator[Simulator]:
    async with rules_kept(Simulator(quick_stack.upstream_url, session)) as client:
        yield client
