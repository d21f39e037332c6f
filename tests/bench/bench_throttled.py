"""A job and batches while S3, DynamoDB and SQS refuse nearly every third request, on the deployed local stack.

    make bench

Prints the time beside the same work without throttling, and what befell the requests. `THROTTLED_SEED=7` deals other
fates.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp
import pytest

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from tests.bench.bench_jobs import JOB_MAX_MS
from tests.support.crowd import Seen, assert_right, batch
from tests.support.local_jobs import assert_job_right, ended, results_of, submitted
from tests.support.local_stack import Aws, Gateway
from tests.support.throttled_aws import HAND, throttled_aws
from volcengine_client.clock import SystemClock

SEED = os.environ.get("THROTTLED_SEED", "1")
MEAN_MS = 500
JOB_TASKS, CALLERS, TASKS = 500, 2, 20
THROTTLED = 6
CLOCK = SystemClock()


@pytest.mark.timeout(0)
async def test_a_job_of_five_hundred_and_batches_through_throttled_aws(
    stack: Stack, gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    for throttled in (None, 0, THROTTLED):
        if throttled is None:
            await gateway.warm(CALLERS)
            line = await _spoken(stack, gateway, simulator, session)
            print(f"\nunthrottled: {line}")  # noqa: T201
            continue
        async with throttled_aws(stack, seed=SEED, throttled=throttled) as way:
            await gateway.warm(CALLERS)
            line = await _spoken(stack, gateway, simulator, session)
        print(f"{throttled / HAND:.0%} refused, 5% late, 5% lost: {line}\n  {way.told()}")  # noqa: T201


async def _spoken(stack: Stack, gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession) -> str:
    """Speak a job and batches beside it; return how long that took."""
    job_tasks = batch(0, JOB_TASKS)
    batches = [batch(caller, TASKS) for caller in range(1, 1 + CALLERS)]
    await simulator.order(mean_ms=MEAN_MS, reset=True)

    async def timed(speaking: asyncio.Task[object]) -> float:
        began_ms = CLOCK.monotonic_ms()
        await speaking
        return (CLOCK.monotonic_ms() - began_ms) / 1_000

    async def job_spoken() -> str:
        address = await submitted(gateway, job_tasks)
        await ended(gateway, address, within_ms=JOB_MAX_MS)
        return address

    posted = [asyncio.ensure_future(gateway.speak(tasks)) for tasks in batches]
    working = asyncio.ensure_future(job_spoken())
    batch_s, job_s = await asyncio.gather(timed(asyncio.gather(*posted)), timed(working))  # type: ignore[arg-type]
    seen = Seen.of(await simulator.record(), Aws(stack).secret()["volcengine_tts_appid"])
    await assert_job_right(session, job_tasks, await results_of(gateway, working.result()))
    for tasks, posting in zip(batches, posted, strict=True):
        await asyncio.to_thread(assert_right, tasks, posting.result().json["results"])
    seen.assert_kept([task["text"] for tasks in (job_tasks, *batches) for task in tasks])
    return (
        f"job of {JOB_TASKS} {job_s:.1f} s, {CALLERS} batches of {TASKS} {batch_s:.1f} s; each text bought once, "
        f"peak {seen.gauge['peak']}, refused {sum(seen.gauge['refusals'].values())}"
    )
