"""Participants as processes of their own, each with a bad way to the table; some are killed, frozen or cut off.

Ways delay, cut and stall by a seed, which is printed: `CUT_WAYS_SEED=7 pytest tests/local/test_cut_ways.py -s` deals
every process the same fates again, request by request, as far as processes run alike. `CUT_WAYS_ROUNDS=30` plays as
many rounds, each with the next seed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from infra.local.waiting import until
from tests.support.crowd import Seen, Task, assert_honest, assert_right, batch
from tests.support.cutting_proxy import CuttingProxy, Fate
from tests.support.pool_process import CLOCK, LIMIT, Ground, PoolProcess, all_entered, pools_table
from volcengine_client.limits import READ_SLOWEST_MS, TABLE_TIMEOUT_MS, TEST_TIMES

FIRST_SEED = int(os.environ.get("CUT_WAYS_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("CUT_WAYS_ROUNDS", "1")))
MEAN_MS = 400
# Before it takes what is free, a waiter on a bad way may have to ask a few times.
LOOK_MS = 3 * TABLE_TIMEOUT_MS + READ_SLOWEST_MS
NEVER: Mapping[str, int] = {}  # no batch is due
BATCH_MAX_MS = 21_000  # the greedy ask for more than can be spoken by then


@pytest.fixture(scope="module")
def table_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pools_table(tmp_path_factory.mktemp("table")) as url:
        yield url


@pytest.fixture
async def ground(table_url: str) -> AsyncIterator[Ground]:
    async with Ground.of(table_url, mean_ms=MEAN_MS) as made:
        yield made


@asynccontextmanager
async def crowd(
    ground: Ground,
    seed: int,
    task_counts: Mapping[str, int],
    *,
    timeout_ms: Mapping[str, int] = NEVER,
    strong: str = "",
) -> AsyncIterator[tuple[dict[str, PoolProcess], dict[str, list[Task]]]]:
    """Start a process for each name, all ready, and the one that is *strong* with a share of four; end them after."""
    batches = {name: batch(number, count) for number, (name, count) in enumerate(task_counts.items())}
    async with AsyncExitStack() as stack:
        ways = [CuttingProxy(ground.table_url, seed=f"{seed}/{name}") for name in batches]
        processes = [
            PoolProcess.running(
                ground,
                await stack.enter_async_context(way),
                tasks,
                app=name,
                times=TEST_TIMES,
                timeout_ms=timeout_ms.get(name),
                weight=4 if name == strong else 1,
            )
            for way, (name, tasks) in zip(ways, batches.items(), strict=True)
        ]
        yield dict(zip(batches, await all_entered(stack, processes), strict=True)), batches


async def hold_slots(ground: Ground, processes: Iterable[PoolProcess]) -> None:
    """Return when every process holds a slot, and all slots are busy upstream."""

    async def do_hold() -> bool:
        state = await ground.state()
        if not all(one.slots_in(state) for one in processes):
            return False
        in_flight: int = (await ground.seen()).gauge["in_flight"]
        return in_flight == LIMIT

    await until(do_hold, what="everyone holds a slot", within_ms=20_000, clock=CLOCK)


async def lost_slots(ground: Ground, process: PoolProcess, *, what: str) -> tuple[int, int]:
    """Wait until others have the slots of one that is gone; returns the instant, and the latest expiry that it had."""
    last_ms = 0

    async def are_others() -> bool:
        nonlocal last_ms
        slots = process.slots_in(await ground.state())
        last_ms = max([last_ms, *slots.values()])
        return not slots

    await until(are_others, what=what, within_ms=2 * TEST_TIMES.recovery_ms, clock=CLOCK)
    return CLOCK.monotonic_ms(), last_ms


def befell(processes: Iterable[PoolProcess]) -> Counter[Fate]:
    """Return how many writes met which fate after they were applied, or on their way."""
    total: Counter[Fate] = Counter()
    for one in processes:
        for (operation, fate), count in one.way.befell.items():
            if operation == "UpdateItem":
                total[fate] += one.way.applied[operation, fate] if fate is Fate.CUT_AFTER else count
    return total


def full_again_ms(seen: Seen, since_ms: int) -> int:
    """Return how long after *since_ms* the upstream had all slots busy again, once it had had fewest."""
    steps = [(at_ms, count) for at_ms, count in seen.gauge["steps"] if at_ms > since_ms]
    fewest_at_ms = min((count, at_ms) for at_ms, count in steps if at_ms < since_ms + TEST_TIMES.lease_ms)[1]
    full_at_ms: int | None = next((at_ms for at_ms, count in steps if at_ms > fewest_at_ms and count == LIMIT), None)
    assert full_at_ms is not None, "not all slots were busy again"
    return full_at_ms - since_ms


def tell(seed: int, line: str) -> None:
    """Print what a round came to; pytest shows it when the test fails, or with -s."""
    print(f"\ncut ways, seed {seed}: {line}")  # noqa: T201


@pytest.mark.parametrize("seed", SEEDS)
async def test_batches_are_whole_and_bought_once_though_replies_of_applied_writes_are_lost(
    ground: Ground, seed: int
) -> None:
    """I1, I3, I4, I8: requests are cut off before they arrive and after they were applied, come late, and stall."""
    async with crowd(ground, seed, {f"p{number}": 20 for number in range(6)}) as (processes, batches):
        answers = await asyncio.gather(*(one.speak() for one in processes.values()))
        seen = await ground.seen()
    tell(seed, summed_up(seen, processes.values()))

    seen.assert_kept([task["text"] for tasks in batches.values() for task in tasks])
    for tasks, results in zip(batches.values(), answers, strict=True):
        await asyncio.to_thread(assert_right, tasks, results)
    assert all(befell(processes.values())[fate] for fate in Fate), "every fate befell"


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_killed_the_frozen_and_the_cut_off_take_no_slot_with_them(ground: Ground, seed: int) -> None:
    """I1, I2, I4: one is killed with several slots; others are frozen, or cut off from the table, beyond their leases.

    The thawed one ends its batch. The one cut off calls only within its lease, and is told that the table is gone.
    """
    greedy, modest = dict.fromkeys(("doomed", "short", "p1", "p2", "p3"), 150), {"frozen": 25, "cut-off": 25}
    due = dict.fromkeys(greedy, BATCH_MAX_MS)
    async with crowd(ground, seed, greedy | modest, timeout_ms=due, strong="doomed") as (processes, batches):
        doomed, frozen, short, cut_off = (processes[name] for name in ("doomed", "frozen", "short", "cut-off"))
        for one in processes.values():
            await one.go()
        await hold_slots(ground, processes.values())
        at_kill = await ground.look()
        assert at_kill.state is not None
        slot_count = len(doomed.slots_in(at_kill.state))
        cut_off.way.shut()
        cut_off_at_ms = CLOCK.monotonic_ms()
        frozen.freeze()
        short.freeze()
        killed_at_ms = doomed.kill()
        await calls_ended(ground, batches["short"])
        short.thaw()
        (back_at_ms, last_ms), *_ = await asyncio.gather(
            *(lost_slots(ground, one, what=f"others have the slots of {one.app}") for one in (doomed, frozen, cut_off))
        )
        opened_at_ms = CLOCK.monotonic_ms()
        cut_off.way.open()
        frozen.thaw()
        survivors = {name: one for name, one in processes.items() if one is not doomed}
        answers = dict(
            zip(survivors, await asyncio.gather(*(one.results() for one in survivors.values())), strict=True)
        )
        seen = await ground.seen()
    expired_ms = last_ms - at_kill.time.now_hi_ms(killed_at_ms)
    usable_ms = expired_ms + TEST_TIMES.skew_ms + TEST_TIMES.send_max_ms
    back_ms, full_ms = back_at_ms - killed_at_ms, full_again_ms(seen, killed_at_ms)
    tell(
        seed,
        f"{slot_count} slots of the killed one usable after {usable_ms} ms (bound {TEST_TIMES.recovery_ms}), taken"
        f" after {back_ms} ms, all slots busy after {full_ms} ms; {summed_up(seen, processes.values())}",
    )
    spoken = {name: await asyncio.to_thread(assert_honest, batches[name], answers[name]) for name in answers}

    assert seen.gauge["refusals"] == {}
    assert seen.gauge["peak"] == LIMIT
    assert doomed.process.returncode == -9
    assert slot_count >= 2
    assert usable_ms <= TEST_TIMES.recovery_ms
    assert back_ms <= TEST_TIMES.recovery_ms + LOOK_MS
    assert spoken["frozen"] == modest["frozen"]
    began_ms = [call["began_at_ms"] for call in calls_of(seen, batches["cut-off"])]
    own_max_ms = TEST_TIMES.lease_ms - TEST_TIMES.upstream_call_max_ms - TEST_TIMES.skew_ms + TEST_TIMES.send_max_ms
    assert not [at_ms for at_ms in began_ms if cut_off_at_ms + own_max_ms < at_ms < opened_at_ms], "the call rule"


async def calls_ended(ground: Ground, tasks: Sequence[Task]) -> None:
    """Return when the upstream is at work on none of *tasks*."""

    async def have_ended() -> bool:
        return not [call for call in calls_of(await ground.seen(), tasks) if call["ended_at_ms"] is None]

    await until(have_ended, what="the calls have ended", within_ms=10_000, clock=CLOCK)


def calls_of(seen: Seen, tasks: Sequence[Task]) -> list[dict[str, int]]:
    """Return the calls for *tasks*."""
    texts = {task["text"] for task in tasks}
    return [call for call in seen.calls if call["text"] in texts]


def summed_up(seen: Seen, processes: Iterable[PoolProcess]) -> str:
    """Return in one line what the upstream saw, and how many writes met which fate."""
    writes = befell(processes)
    fates = ", ".join(f"{writes[fate]} {fate.value}" for fate in Fate)
    refused = sum(seen.gauge["refusals"].values())
    return f"{seen.gauge['calls']} calls, peak {seen.gauge['peak']}, refused {refused}; of the writes {fates}"
