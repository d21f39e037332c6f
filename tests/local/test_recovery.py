"""Participants that die or freeze in the middle of a batch: stage `test`, whose times are small."""

from __future__ import annotations

import asyncio

import psutil

from infra.local.lifecycle import Stack
from infra.local.simulator import Record, Simulator
from infra.local.waiting import until
from tests.support.crowd import ClientProcess, Seen, assert_honest, assert_right, batch
from tests.support.local_stack import Aws, Gateway
from volcengine_client.clock import SystemClock
from volcengine_client.limits import TEST_TIMES

LIMIT, MEAN_MS = 10, 500
ONE_CALL_MS = 2_000  # a wait of this length holds a call and a look at the table
CLOCK = SystemClock()


async def seen_of(simulator: Simulator, stack: Stack) -> Seen:
    return Seen.of(await simulator.record(), Aws(stack).secret()["volcengine_tts_appid"])


async def all_slots_are_busy(simulator: Simulator, stack: Stack) -> None:
    async def are_busy() -> bool:
        record = await simulator.record()
        return record.calls != [] and (await seen_of(simulator, stack)).gauge["in_flight"] == LIMIT

    await until(are_busy, what="every slot is busy", within_ms=20_000, clock=CLOCK)


def now_ms(record: Record) -> int:
    """Return the upstream's clock: monotonic time, as ours on the same machine."""
    assert record.report["since_ms"] <= CLOCK.monotonic_ms()
    return CLOCK.monotonic_ms()


async def test_a_killed_function_takes_no_slot_with_it(
    quick_stack: Stack, quick_gateway: Gateway, quick_simulator: Simulator
) -> None:
    """I1 and I2: its calls still count upstream, so its slots stay shut, and are back within the bound."""
    await quick_simulator.order(mean_ms=MEAN_MS, reset=True)
    doomed = asyncio.create_task(quick_gateway.speak(batch(0, 200)))
    await all_slots_are_busy(quick_simulator, quick_stack)
    tasks = batch(1, 240)
    survivor = await ClientProcess.start(quick_stack, tasks, times=TEST_TIMES, timeout_ms=25_000)
    await survivor.go()

    async def both_speak() -> bool:
        return any(call["text"].startswith("Caller 1,") for call in (await quick_simulator.record()).calls)

    await until(both_speak, what="both speak", within_ms=10_000, clock=CLOCK)
    for function in quick_gateway.speaking():
        function.kill()
    killed_at_ms = now_ms(await quick_simulator.record())
    answer, results = await asyncio.gather(doomed, survivor.results())
    await survivor.end()
    seen = await seen_of(quick_simulator, quick_stack)

    assert answer.status >= 500
    await asyncio.to_thread(assert_honest, tasks, results)
    assert seen.gauge["refusals"] == {}
    assert seen.gauge["peak"] == LIMIT
    began_ms = [call["began_at_ms"] for call in seen.calls if call["began_at_ms"] > killed_at_ms]
    assert min(began_ms) - killed_at_ms <= ONE_CALL_MS, "the others go on at once"
    steps = [(at_ms, count) for at_ms, count in seen.gauge["steps"] if at_ms > killed_at_ms]
    fewest_at_ms = min(steps, key=lambda step: step[1] if step[0] < killed_at_ms + TEST_TIMES.lease_ms else LIMIT)[0]
    full_at_ms = next(at_ms for at_ms, count in steps if at_ms > fewest_at_ms and count == LIMIT)
    assert full_at_ms - killed_at_ms <= TEST_TIMES.recovery_ms + ONE_CALL_MS, "its slots are back"


async def test_a_frozen_client_starts_nothing_on_slots_that_it_lost(
    quick_stack: Stack, quick_simulator: Simulator
) -> None:
    """I1: frozen beyond its lease while another took its slots; thawed, it joins anew and ends its batch."""
    await quick_simulator.order(mean_ms=MEAN_MS, reset=True)
    frozen_tasks, other_tasks = batch(2, 60), batch(3, 320)
    frozen = await ClientProcess.start(quick_stack, frozen_tasks, times=TEST_TIMES)
    other = await ClientProcess.start(quick_stack, other_tasks, times=TEST_TIMES)
    await frozen.go()
    await all_slots_are_busy(quick_simulator, quick_stack)
    process = psutil.Process(frozen.process.pid)
    process.suspend()
    suspended_at_ms = CLOCK.monotonic_ms()
    await other.go()

    async def has_taken_over() -> bool:
        seen = await seen_of(quick_simulator, quick_stack)
        is_past = CLOCK.monotonic_ms() - suspended_at_ms > TEST_TIMES.recovery_ms
        return is_past and seen.gauge["in_flight"] == LIMIT

    await until(has_taken_over, what="the other has all slots", within_ms=25_000, clock=CLOCK)
    process.resume()
    results = await asyncio.gather(frozen.results(), other.results())
    await asyncio.gather(frozen.end(), other.end())
    seen = await seen_of(quick_simulator, quick_stack)

    assert seen.gauge["refusals"] == {}
    assert seen.gauge["peak"] == LIMIT
    await asyncio.to_thread(assert_right, other_tasks, results[1])
    assert await asyncio.to_thread(assert_honest, frozen_tasks, results[0]) == len(frozen_tasks)


async def test_a_hundred_texts_through_a_broken_upstream(
    quick_stack: Stack, quick_gateway: Gateway, quick_simulator: Simulator
) -> None:
    """I4: every task ends as its own audio or as an honest error."""
    faults = ("3003", "3005", "3031", "html502", "cut", "empty", "broken", "truncated")
    await quick_gateway.warm(1)
    await quick_simulator.order(mean_ms=400, faults=dict.fromkeys(faults, 0.05), reset=True)
    tasks = batch(4, 100)
    answer = await quick_gateway.speak(tasks)
    seen = await seen_of(quick_simulator, quick_stack)

    assert answer.status == 200
    assert await asyncio.to_thread(assert_honest, tasks, answer.json["results"]) >= 95
    assert seen.gauge["peak"] <= LIMIT
    assert seen.gauge["refusals"] == {}
