"""Jobs on the deployed local stack in real time, at the sizes that are promised.

    make bench

Prints how busy the slots were from the first call to the last, pool writes a call, the workers' memory, what single
requests waited for beside a job, and what sudden ends of the workers cost.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

import aiohttp
import psutil
import pytest

from infra.local.lifecycle import Stack
from infra.local.simulator import Simulator
from infra.local.waiting import until
from tests.support.crowd import Seen, batch
from tests.support.local_jobs import assert_job_right, ended, pool_writes, results_of, submitted, told
from tests.support.local_stack import Aws, Gateway
from volcengine_client.clock import SystemClock

MEAN_MS = 500
TASKS = 2_000
KILLS, KILLED_TASKS = 3, 500
LIMIT = 10
JOB_MAX_MS = 900_000
CLOCK = SystemClock()
MIB = 1024 * 1024


class Memory:
    """The largest that any worker was, while it is watched."""

    def __init__(self, gateway: Gateway) -> None:
        self.peak_bytes = 0
        self._gateway = gateway

    async def watch(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            for function in await asyncio.to_thread(self._gateway.speaking):
                try:
                    self.peak_bytes = max(self.peak_bytes, function.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            await asyncio.sleep(1)


def busy_of_all(seen: Seen) -> float:
    """Return the share of slot time that was used, from the first call's beginning to the last one's end."""
    first_ms, last_ms = seen.calls[0]["began_at_ms"], seen.gauge["last_end_at_ms"]
    used_ms = sum(call["ended_at_ms"] - call["began_at_ms"] for call in seen.calls)
    share: float = used_ms / (seen.limit * (last_ms - first_ms))
    return share


async def job_beside(
    count: int, *, stack: Stack, gateway: Gateway, simulator: Simulator, is_disturbed: bool
) -> tuple[Seen, dict[str, Any], float, list[int], float]:
    """Run a job of so many tasks; return what was seen, the job, pool writes a call, waits and the memory."""
    aws = Aws(stack)
    tasks = batch(1, count)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    writes = pool_writes(aws)
    memory = Memory(gateway)
    watching = asyncio.create_task(memory.watch())
    address = await submitted(gateway, tasks)
    waits_ms: list[int] = []
    caller = 100
    while is_disturbed and not (await told(gateway, address))["ended_at_ms"]:
        caller += 1
        answer = await gateway.speak(batch(caller, 1))
        assert answer.status == 200, answer.text
        waits_ms.append(answer.json["pool"]["waited_ms"])
        await asyncio.sleep(1)
    job = await ended(gateway, address, within_ms=JOB_MAX_MS)
    watching.cancel()
    seen = Seen.of(await simulator.record(), aws.secret()["volcengine_tts_appid"])
    texts = {task["text"] for task in tasks}
    assert {text for text, counts in seen.gauge["texts"].items() if counts["bought"] == 1} >= texts
    assert (job["state"], job["done"]) == ("done", count)
    return seen, job, (pool_writes(aws) - writes) / len(seen.calls), waits_ms, memory.peak_bytes / MIB


@pytest.mark.timeout(0)
async def test_a_job_of_two_thousand(
    stack: Stack, gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    tasks = batch(1, TASKS)
    aws = Aws(stack)
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    writes = pool_writes(aws)
    address = await submitted(gateway, tasks)
    job = await ended(gateway, address, within_ms=JOB_MAX_MS)
    seen = Seen.of(await simulator.record(), aws.secret()["volcengine_tts_appid"])
    seen.assert_kept([task["text"] for task in tasks])
    await assert_job_right(session, tasks, await results_of(gateway, address))
    print(  # noqa: T201
        f"\njob of {TASKS}: busy {busy_of_all(seen):.1%} from first to last call, "
        f"{(pool_writes(aws) - writes) / TASKS:.3f} pool writes a call, peak {seen.gauge['peak']}, "
        f"refused {sum(seen.gauge['refusals'].values())}, {(job['ended_at_ms'] - job['started_at_ms']) / 1_000:.0f} s"
    )


@pytest.mark.timeout(0)
async def test_single_requests_beside_a_job(stack: Stack, gateway: Gateway, simulator: Simulator) -> None:
    await gateway.warm(1)
    seen, _, writes, waits_ms, _ = await job_beside(
        TASKS // 2, stack=stack, gateway=gateway, simulator=simulator, is_disturbed=True
    )
    print(  # noqa: T201
        f"\n{len(waits_ms)} requests beside a job of {TASKS // 2}: median wait {statistics.median(waits_ms):.0f} "
        f"ms, longest {max(waits_ms)} ms; calls of {MEAN_MS} ms; busy {busy_of_all(seen):.1%}; "
        f"{writes:.3f} pool writes a call; refused {sum(seen.gauge['refusals'].values())}"
    )


@pytest.mark.timeout(0)
async def test_memory_of_the_worker_is_flat(stack: Stack, gateway: Gateway, simulator: Simulator) -> None:
    peaks_mib = {}
    for count in (500, 5_000):
        _, _, _, _, peaks_mib[count] = await job_beside(
            count, stack=stack, gateway=gateway, simulator=simulator, is_disturbed=False
        )
    print(  # noqa: T201
        f"\nworker's memory: {peaks_mib[500]:.0f} MiB for 500 tasks, {peaks_mib[5_000]:.0f} MiB for 5,000: "
        f"{peaks_mib[5_000] / peaks_mib[500]:.2f}"
    )


@pytest.mark.timeout(0)
async def test_sudden_ends_of_every_worker(
    quick_stack: Stack, quick_gateway: Gateway, quick_simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    tasks = batch(1, KILLED_TASKS)
    await quick_simulator.order(mean_ms=MEAN_MS, reset=True)
    address = await submitted(quick_gateway, tasks)
    for kill in range(1, KILLS + 1):

        async def is_under_way(wanted: int = 100 * kill) -> bool:
            return len((await quick_simulator.record()).calls) >= wanted

        await until(is_under_way, what="the job goes on", within_ms=JOB_MAX_MS, clock=CLOCK)
        for function in quick_gateway.speaking():
            function.kill()
    job = await ended(quick_gateway, address, within_ms=JOB_MAX_MS)
    app_id = Aws(quick_stack).secret()["volcengine_tts_appid"]
    seen = Seen.of(await quick_simulator.record(), app_id)
    bought = sum(counts["bought"] for counts in seen.gauge["texts"].values())
    await assert_job_right(session, tasks, await results_of(quick_gateway, address))
    print(  # noqa: T201
        f"\n{KILLS} sudden ends during a job of {KILLED_TASKS}: {job['done']} results, {bought - KILLED_TASKS} bought "
        f"twice (at most {KILLS * LIMIT}), peak {seen.gauge['peak']}, refused {sum(seen.gauge['refusals'].values())}, "
        f"{(job['ended_at_ms'] - job['started_at_ms']) / 1_000:.0f} s"
    )


@pytest.mark.timeout(0)
async def test_a_batch_that_is_too_long_for_its_request(
    gateway: Gateway, simulator: Simulator, session: aiohttp.ClientSession, aws: Aws
) -> None:
    await gateway.warm(1)
    tasks = batch(1, 300)
    await simulator.order(mean_ms=2 * MEAN_MS, reset=True)
    began_ms = CLOCK.monotonic_ms()
    answer = await gateway.speak(tasks)
    took_ms = CLOCK.monotonic_ms() - began_ms
    results = answer.json["results"]
    address = answer.json["job"]["status_url"]
    await ended(gateway, address, within_ms=JOB_MAX_MS)
    seen = Seen.of(await simulator.record(), aws.secret()["volcengine_tts_appid"])
    seen.assert_kept([task["text"] for task in tasks])
    await assert_job_right(session, tasks, await results_of(gateway, address))
    print(  # noqa: T201
        f"\nbatch of 300: answer after {took_ms / 1_000:.1f} s with {sum(not r['pending'] for r in results)} results, "
        f"{sum(bool(r['audio_url']) for r in results)} by address; the job finished the rest, none bought twice"
    )
