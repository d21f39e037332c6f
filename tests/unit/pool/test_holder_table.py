"""A participant whose table is slow, refuses, or is gone; and bugs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.lagging_table import BuggyTable, Fate
from tests.support.pools import World, call, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import (
    TABLE_FAILURES_MAX,
    TABLE_RETRY_MAX_MS,
    TABLE_TIMEOUT_MS,
    PoolTimes,
)

pytestmark = IN_VIRTUAL_TIME


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.THROTTLED])
async def test_who_waits_without_a_slot_is_told_when_the_table_stays_out_of_reach(fate: Fate) -> None:
    """I4."""
    machine = World().machine()
    machine.table.fate = fate
    async with machine.holder() as holder:
        holder.want(1)
        began_at_ms = machine.clock.monotonic_ms()
        with pytest.raises(PoolTableError) as caught:
            await call(holder, machine)

        assert caught.value.retryable
        assert holder.trouble is caught.value
        assert len(machine.table.requests) == TABLE_FAILURES_MAX
        waited_ms = machine.clock.monotonic_ms() - began_at_ms
        assert waited_ms <= TABLE_FAILURES_MAX * (TABLE_TIMEOUT_MS + TABLE_RETRY_MAX_MS)


async def test_everyone_who_waits_is_told() -> None:
    machine = World().machine()
    machine.table.fate = Fate.REFUSED
    async with machine.holder() as holder:
        holder.want(5)
        told = await asyncio.gather(*(call(holder, machine) for _ in range(5)), return_exceptions=True)

        assert [type(error) for error in told] == [PoolTableError] * 5


async def test_a_refusal_for_good_is_told_at_once() -> None:
    machine = World().machine()
    machine.table.fate = Fate.REFUSED
    async with machine.holder() as holder:
        holder.want(1)
        with pytest.raises(PoolTableError) as caught:
            await call(holder, machine)

        assert not caught.value.retryable
        assert len(machine.table.requests) <= 2


async def test_one_who_waits_later_is_told_too() -> None:
    machine = World().machine()
    machine.table.fate = Fate.REFUSED
    async with machine.holder() as holder:
        holder.want(1)
        for _ in range(3):
            with pytest.raises(PoolTableError):
                await call(holder, machine)


async def test_failures_that_are_not_in_a_row_are_not_told() -> None:
    world = World()
    machine, other = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        waiter = await stack.enter_async_context(machine.holder(terms(1)))
        async with AsyncExitStack() as earlier:
            await leased(earlier, other.holder(terms(1)))
            waiter.want(1)
            waiting = asyncio.create_task(call(waiter, machine))
            for _ in range(6):
                machine.table.fates["read"] += [Fate.THROTTLED] * (TABLE_FAILURES_MAX - 1)
                await machine.clock.sleep(6_000)
                assert not machine.table.fates["read"]
            assert not waiting.done()
            assert waiter.trouble is None
        await waiting


async def test_who_has_slots_that_are_good_is_not_told() -> None:
    """Running work goes on within its leases."""
    world = World(times=PoolTimes())
    machine = world.machine()
    async with machine.holder() as holder:
        holder.want(1)
        await call(holder, machine)
        machine.table.fate = Fate.THROTTLED
        for _ in range(15):
            await call(holder, machine, call_ms=1_000)

        assert len(machine.table.requests) > TABLE_FAILURES_MAX


async def test_one_who_waits_beside_a_good_slot_is_not_told() -> None:
    """It is served when the call that runs is over."""
    machine = World(times=PoolTimes()).machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(2)
        await machine.clock.sleep(50)
        machine.table.fate = Fate.THROTTLED
        await asyncio.gather(*(call(holder, machine, call_ms=7_000) for _ in range(2)))

        assert len(machine.table.requests) > TABLE_FAILURES_MAX


async def test_one_who_no_longer_waits_is_not_told() -> None:
    machine = World().machine()
    machine.table.fate = Fate.REFUSED
    async with machine.holder() as holder:
        holder.want(2)
        gone = asyncio.create_task(call(holder, machine))
        waiting = asyncio.create_task(call(holder, machine))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(PoolTableError):
            await waiting

        assert gone.cancelled()


async def test_requests_to_a_table_in_trouble_come_less_and_less_often() -> None:
    machine = World().machine()
    machine.table.fate = Fate.THROTTLED
    async with machine.holder() as holder:
        holder.want(1)
        await machine.clock.sleep(60_000)
        machine.table.fate = None

    gaps_ms = machine.table.gaps_ms("read")
    assert max(gaps_ms[:3]) <= 250
    assert 60 <= len(gaps_ms) <= 200
    assert len(set(gaps_ms)) > 20  # jitter: those who failed together do not come back together


async def test_trouble_is_over_when_the_table_has_answered() -> None:
    machine = World().machine()
    machine.table.fates["read"] += [Fate.LOST, Fate.THROTTLED]
    async with machine.holder() as holder:
        holder.want(1)
        await machine.clock.sleep(TABLE_TIMEOUT_MS)
        assert holder.trouble is None
        await machine.clock.sleep(5)
        assert holder.trouble is not None
        await call(holder, machine)

        assert holder.trouble is None


async def test_conflicts_come_back_at_different_times() -> None:
    """Who collided once does not collide in step for ever."""
    world = World()
    machines = [world.machine() for _ in range(20)]
    began_at_ms = world.truth.now_ms()
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(leased(stack, machine.holder(terms(20))) for machine in machines))

        assert len((await world.state()).slots) == 20
        assert world.truth.now_ms() - began_at_ms <= 1_000


async def test_a_bug_of_the_background_task_reaches_those_who_wait() -> None:
    machine = World().machine()
    machine.pool.table = BuggyTable(machine.table, good_count=0)
    async with machine.holder() as holder:
        holder.want(1)
        with pytest.raises(KeyError, match="a bug"):
            await call(holder, machine)


async def test_a_bug_of_the_background_task_reaches_those_who_come_later() -> None:
    machine = World().machine()
    machine.pool.table = BuggyTable(machine.table, good_count=3)
    async with machine.holder() as holder:
        holder.want(1)
        await call(holder, machine, call_ms=3_000)
        with pytest.raises(KeyError, match="a bug"):
            await call(holder, machine)


async def test_a_bug_of_the_background_task_does_not_keep_anybody_from_leaving() -> None:
    machine = World().machine()
    machine.pool.table = BuggyTable(machine.table, good_count=3)
    async with machine.holder() as holder:
        holder.want(1)
        await machine.clock.sleep(5_000)

    assert asyncio.all_tasks() - {asyncio.current_task()} == set()
