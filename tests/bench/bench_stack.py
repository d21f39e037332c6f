"""The deployed local stack in real time: ten callers with twenty tasks of a second each, through every door.

    make bench

Prints, for each door: how busy the slots were until work ran short, the upstream's peak and refusals, the longest
wait of any caller for its first call, and the whole time. Then the gateway's own time for one task on an idle stack.
"""

from __future__ import annotations

import asyncio
import statistics
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
from volcengine_client.clock import SystemClock
from volcengine_client.limits import DEFAULT_TIMES

CALLERS, TASKS, MEAN_MS = 10, 20, 1_000
ONE_TASK_COUNT = 30
CLOCK = SystemClock()

Batches = Sequence[Sequence[Task]]


@pytest.fixture
def batches() -> Batches:
    """Ten callers with twenty new texts each; every other one repeats its ids."""
    return [batch(caller, TASKS, is_repeating_ids=caller % 2 == 1) for caller in range(CALLERS)]


async def tell(
    name: str, simulator: Simulator, app_id: str, since_ms: int, batches: Batches, answers: Sequence[Results]
) -> None:
    """Print one door's line, and make sure that it is worth printing."""
    seen = Seen.of(await simulator.record(), app_id)
    texts = [task["text"] for tasks in batches for task in tasks]
    bought = sum(counts["bought"] for counts in seen.gauge["texts"].values())
    waits_ms = [seen.first_wait_ms(tasks, since_ms=since_ms) for tasks in batches]
    for tasks, results in zip(batches, answers, strict=True):
        await asyncio.to_thread(assert_right, tasks, results)
    refused = sum(seen.gauge["refusals"].values())
    print(  # noqa: T201
        f"\n{name:<28} busy {seen.busy():6.1%}  peak {seen.gauge['peak']}  refused {refused}  texts {len(texts)}"
        f"  bought {bought}  first wait at most {max(waits_ms) / 1_000:.2f} s"
        f"  whole {(seen.gauge['last_end_at_ms'] - since_ms) / 1_000:.1f} s"
    )


async def begin(simulator: Simulator) -> int:
    """Let the upstream forget, and return the instant."""
    await simulator.order(mean_ms=MEAN_MS, reset=True)
    since_ms: int = (await simulator.record()).report["since_ms"]
    return since_ms


async def test_gateway(gateway: Gateway, simulator: Simulator, aws: Aws, batches: Batches) -> None:
    await gateway.warm(CALLERS)
    since_ms = await begin(simulator)
    answers = await asyncio.gather(*map(through_gateway(gateway), batches))
    await tell("gateway", simulator, aws.secret()["volcengine_tts_appid"], since_ms, batches, answers)


async def test_server(
    stack: Stack, simulator: Simulator, session: aiohttp.ClientSession, aws: Aws, batches: Batches
) -> None:
    app_id = aws.secret()["volcengine_tts_appid"]
    account = {"VOLCENGINE_TTS_APPID": app_id, "VOLCENGINE_TTS_ACCESS_KEY": "k"}
    async with server({**account, "VOLCENGINE_TTS_ENDPOINT": stack.upstream_url}) as url:
        since_ms = await begin(simulator)
        answers = await asyncio.gather(*map(through_server(url, session), batches))
        await tell("self-hosted server", simulator, app_id, since_ms, batches, answers)


async def test_clients(stack: Stack, simulator: Simulator, aws: Aws, batches: Batches) -> None:
    async with client_processes(stack, batches, times=DEFAULT_TIMES) as clients:
        since_ms = await begin(simulator)
        answers = await asyncio.gather(*(client.speak() for client in clients))
        await tell("client processes", simulator, aws.secret()["volcengine_tts_appid"], since_ms, batches, answers)


async def test_mixed(stack: Stack, gateway: Gateway, simulator: Simulator, aws: Aws, batches: Batches) -> None:
    half = CALLERS // 2
    await gateway.warm(half)
    async with client_processes(stack, batches[half:], times=DEFAULT_TIMES) as clients:
        since_ms = await begin(simulator)
        posted = map(through_gateway(gateway), batches[:half])
        answers = await asyncio.gather(*posted, *(client.speak() for client in clients))
        await tell(
            "half gateway, half clients", simulator, aws.secret()["volcengine_tts_appid"], since_ms, batches, answers
        )


async def test_one_task(gateway: Gateway, simulator: Simulator) -> None:
    await gateway.warm(1)
    await simulator.order(mean_ms=200, sigma=0, reset=True)
    beyond_ms = []
    for number in range(ONE_TASK_COUNT):
        text = f"One task, {number}."
        began_at_ms = CLOCK.monotonic_ms()
        answer = await gateway.speak([{"text": text, "voice_type": "BV001_streaming"}])
        whole_ms = CLOCK.monotonic_ms() - began_at_ms
        assert answer.json["results"][0]["error"] is None
        (call,) = (await simulator.record()).calls_of(text)
        beyond_ms.append(whole_ms - (call["ended_at_ms"] - call["began_at_ms"]))
    health_ms = []
    for _ in range(ONE_TASK_COUNT):
        began_at_ms = CLOCK.monotonic_ms()
        await gateway.ask("GET", "/nowhere")
        health_ms.append(CLOCK.monotonic_ms() - began_at_ms)
    print(  # noqa: T201
        f"\none task, warm: beyond the upstream's own time, median {statistics.median(beyond_ms):.0f} ms,"
        f" of which {statistics.median(health_ms):.0f} ms for any request through the emulated API Gateway and Lambda"
        f" (least {min(beyond_ms)}, most {max(beyond_ms)} ms)"
    )
