"""The promise, over real processes: never over the limit, all of it used, nothing lost, nothing bought twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from tests.support.crowd import (
    Results,
    Seen,
    Task,
    assert_right,
    batch,
    client_processes,
    server,
    through_gateway,
    through_server,
)
from tests.support.local_stack import Aws, Gateway
from volcengine_client.limits import DEFAULT_TIMES

CALLERS, TASKS, MEAN_MS = 10, 20, 300  # the full size, with a mean of 1 s, is a benchmark


@pytest.fixture
def batches() -> list[list[Task]]:
    """Ten callers with twenty texts each; every other one repeats its ids."""
    return [batch(caller, TASKS, is_repeating_ids=caller % 2 == 1) for caller in range(CALLERS)]


@pytest.fixture
def app_id(aws: Aws) -> str:
    account: str = aws.secret()["volcengine_tts_appid"]
    return account


async def assert_promise(
    simulator: Simulator, app_id: str, batches: Sequence[Sequence[Task]], answers: Sequence[Results]
) -> None:
    seen = Seen.of(await simulator.record(), app_id)

    seen.assert_kept([task["text"] for tasks in batches for task in tasks])
    for tasks, results in zip(batches, answers, strict=True):
        await asyncio.to_thread(assert_right, tasks, results)


async def test_ten_callers_of_the_gateway_share_the_limit(
    gateway: Gateway, simulator: Simulator, batches: list[list[Task]], app_id: str
) -> None:
    await gateway.warm(CALLERS)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    door = through_gateway(gateway)
    answers = await asyncio.gather(*map(door, batches))

    await assert_promise(simulator, app_id, batches, answers)


async def test_ten_callers_of_a_self_hosted_server_share_the_limit(
    stack: Stack, simulator: Simulator, session: aiohttp.ClientSession, batches: list[list[Task]], app_id: str
) -> None:
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    account = {"VOLCENGINE_TTS_APPID": app_id, "VOLCENGINE_TTS_ACCESS_KEY": "k"}
    async with server({**account, "VOLCENGINE_TTS_ENDPOINT": stack.upstream_url}) as url:
        answers = await asyncio.gather(*map(through_server(url, session), batches))

    await assert_promise(simulator, app_id, batches, answers)


async def test_ten_client_processes_share_the_limit(
    stack: Stack, simulator: Simulator, batches: list[list[Task]], app_id: str
) -> None:
    async with client_processes(stack, batches, times=DEFAULT_TIMES) as clients:
        await simulator.order(mean_ms=MEAN_MS, reset=True)
        answers = await asyncio.gather(*(client.speak() for client in clients))

    await assert_promise(simulator, app_id, batches, answers)


async def test_gateway_and_client_processes_on_one_account_share_the_limit(
    stack: Stack, gateway: Gateway, simulator: Simulator, batches: list[list[Task]], app_id: str
) -> None:
    half = CALLERS // 2
    await gateway.warm(half)
    async with client_processes(stack, batches[half:], times=DEFAULT_TIMES) as clients:
        await simulator.order(mean_ms=MEAN_MS, reset=True)
        posted = map(through_gateway(gateway), batches[:half])
        answers = await asyncio.gather(*posted, *(client.speak() for client in clients))

    await assert_promise(simulator, app_id, batches, answers)


async def test_pools_of_other_accounts_are_undisturbed(gateway: Gateway, simulator: Simulator, app_id: str) -> None:
    """A caller's own credentials have a pool of their own, with their own limit."""
    await gateway.warm(4)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    foreign = {
        "volcengine_tts_appid": "another",
        "volcengine_tts_access_key": "its-key",
        "volcengine_tts_concurrency": 4,
    }
    mine, theirs = [batch(n, 2 * TASKS) for n in (0, 1)], [batch(n, TASKS) for n in (2, 3)]
    answers = await asyncio.gather(
        *map(through_gateway(gateway), mine), *map(through_gateway(gateway, credentials=foreign), theirs)
    )
    record = await simulator.record()

    Seen.of(record, app_id).assert_kept([task["text"] for tasks in mine for task in tasks])
    others = Seen.of(record, "another")
    assert others.gauge["peak"] == 4
    assert record.refused == 0
    for tasks, results in zip([*mine, *theirs], answers, strict=True):
        await asyncio.to_thread(assert_right, tasks, results)
