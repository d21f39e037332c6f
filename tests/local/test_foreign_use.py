"""Somebody outside of the pool uses three of an account's ten calls, over real processes: room is made, and told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import aiohttp

from infra.local.lifecycle import Stack
from infra.local.simulator import Record, Simulator
from infra.local.waiting import until
from tests.support.crowd import assert_right, batch, through_gateway
from tests.support.local_stack import Gateway
from volcengine_client.clock import SystemClock

APP_ID = "shared-with-strangers"  # an account, and so a pool, of its own: a cut would disturb other tests
ACCESS_KEY = "its-key"
LIMIT, STRANGERS, CALLERS, TASKS, MEAN_MS = 10, 3, 4, 40, 400
SETTLED_MS = 6_000  # after this no call is refused but one that tries whether there is room again
PAUSE_MS = 30  # before a refused stranger asks again
REFUSED_MAX, TRIED_MAX = 40, 12

logger = logging.getLogger(__name__)  # `pytest --log-cli-level=INFO` shows the figures


def calls_in(record: Record, *, ours: bool) -> list[dict[str, Any]]:
    """Return the account's calls, ours or the strangers'."""
    calls = (call for call in record.calls if call["app_id"] == APP_ID)
    return [call for call in calls if call["text"].startswith("Caller ") == ours]


def refused_ms(calls: list[dict[str, Any]], *, since_ms: int) -> list[int]:
    return [call["began_at_ms"] - since_ms for call in calls if call["outcome"] == "concurrency"]


@asynccontextmanager
async def strangers(upstream_url: str, session: aiohttp.ClientSession) -> AsyncIterator[None]:
    """Call the account past the pool, one call after another on three lines."""
    number = count()

    async def call() -> None:
        while True:
            body = {
                "app": {"appid": APP_ID, "token": "any", "cluster": "volcano_tts"},
                "user": {"uid": "stranger"},
                "audio": {"voice_type": "BV001_streaming", "encoding": "mp3"},
                "request": {"reqid": f"stranger-{next(number)}", "text": "Hello.", "operation": "query"},
            }
            headers = {"Authorization": f"Bearer;{ACCESS_KEY}"}
            async with session.post(f"{upstream_url}/api/v1/tts", json=body, headers=headers) as response:
                is_refused = response.status != 200
                await response.read()
            if is_refused:
                await SystemClock().sleep(PAUSE_MS)

    lines = [asyncio.create_task(call()) for _ in range(STRANGERS)]
    try:
        yield
    finally:
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


async def cut_pool(gateway: Gateway) -> dict[str, Any] | None:
    """Return what is told of the pool whose limit is cut; None when there is none."""
    listed = await gateway.get("/pools", headers=gateway.admin)
    name = next((pool["pool"] for pool in listed.json["pools"] if pool["cap"]), None)
    if name is None:
        return None
    told: dict[str, Any] = (await gateway.get(f"/pools/{name}", headers=gateway.admin)).json
    return told


async def test_strangers_are_given_room_and_the_operator_learns_of_them(
    stack: Stack, gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    await gateway.warm(CALLERS + 1)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    login = {
        "volcengine_tts_appid": APP_ID,
        "volcengine_tts_access_key": ACCESS_KEY,
        "volcengine_tts_concurrency": LIMIT,
    }
    batches = [batch(caller, TASKS) for caller in range(CALLERS)]
    speaking = asyncio.gather(*map(through_gateway(gateway, credentials=login), batches))

    async def is_busy() -> bool:
        return len(calls_in(await simulator.record(), ours=True)) >= 2 * LIMIT

    seen: list[dict[str, Any]] = []

    async def is_cut() -> bool:
        told = await cut_pool(gateway)
        seen.extend([told] if told and told["why_cut"] else [])
        return bool(seen)

    await until(is_busy, what="the pool is busy", within_ms=15_000, clock=SystemClock())
    async with strangers(stack.upstream_url, session):
        await until(is_cut, what="the limit is cut", within_ms=10_000, clock=SystemClock())
        answers = await speaking
    record = await simulator.record()

    for tasks, results in zip(batches, answers, strict=True):
        await asyncio.to_thread(assert_right, tasks, results)
    began_ms = min(call["began_at_ms"] for call in calls_in(record, ours=False))
    waits_ms = refused_ms(calls_in(record, ours=True), since_ms=began_ms)
    logger.info("%s calls refused after %s ms", len(waits_ms), waits_ms)
    assert len(waits_ms) <= REFUSED_MAX
    assert len([wait_ms for wait_ms in waits_ms if wait_ms > SETTLED_MS]) <= TRIED_MAX
    assert seen[0]["limit"] == LIMIT
    assert seen[0]["cap"]["n"] < LIMIT
    assert "somebody else uses the account" in seen[0]["why_cut"]
    assert ACCESS_KEY not in str(seen)
    assert "Caller " not in str(seen)
