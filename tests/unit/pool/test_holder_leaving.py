"""How a participant leaves its pool, whatever becomes of its writes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.lagging_table import Fate
from tests.support.pools import TIMES, World, call, call_in_doubt, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.limits import (
    LEAVE_MAX_MS,
)
from volcengine_client.pool.holder import Holder
from volcengine_client.pool.slots import SHUT

pytestmark = IN_VIRTUAL_TIME

DRAIN_MS = TIMES.drain_ms
RECLAIM_MS = TIMES.skew_ms + TIMES.send_max_ms


async def test_who_leaves_leaves_nothing_behind() -> None:
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(), want=3)

    state = await world.state()
    assert state.slots == {}
    assert state.queue == {}
    assert machine.pool.watchers == set()


async def test_who_wants_nothing_asks_nothing() -> None:
    machine = World().machine()
    async with machine.holder():
        await machine.clock.sleep(10_000)

    assert machine.table.counts == {"read": 1, "create": 1}


async def test_who_has_no_work_left_gives_all_up_in_the_one_write_of_its_leaving() -> None:
    world = World()
    machine, other = world.machine(), world.machine()
    async with other.holder(terms(2)) as waiting:
        async with machine.holder(terms(2)) as holder:
            holder.want(2)
            await call(holder, machine)
            waiting.want(2)
            holder.want(0)
            write_count = machine.table.counts["write"]
            await machine.clock.sleep(TIMES.renew_ms * 3)

            assert machine.table.counts["write"] == write_count
        assert machine.table.counts["write"] == write_count + 1


async def test_who_has_no_work_left_asks_nothing_more_before_it_leaves() -> None:
    """Leaving gives all up in one write."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(machine.holder(terms(1)))
        holder.want(1)
        await call(holder, machine)
        waiter = await stack.enter_async_context(world.machine().holder(terms(1)))
        waiter.want(1)
        holder.want(0)
        machine.table.requests.clear()
        await machine.clock.sleep(5 * TIMES.renew_ms)

        assert not machine.table.requests


async def test_who_has_no_work_left_renews_while_its_last_call_is_in_progress() -> None:
    """I1."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder()
        lease = await leased(stack, holder)
        holder.want(0)
        await machine.clock.sleep(2 * TIMES.lease_ms)

        lease.ready()


async def test_leaving_takes_a_round_trip_and_no_longer() -> None:
    machine = World().machine()
    async with machine.holder() as holder:
        holder.want(1)
        await machine.clock.sleep(220)
        began_at_ms = machine.clock.monotonic_ms()

    assert machine.clock.monotonic_ms() - began_at_ms <= 6


async def test_one_who_leaves_while_it_asks_the_table_waits_for_the_answer_first() -> None:
    """One request under way at a time."""
    machine = World().machine()
    machine.table.late_ms = 900
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder())
        machine.table.fate = Fate.SLOW
        await machine.clock.sleep(1_500)
        assert machine.table.busy_count == 1
        machine.table.fate = None

    assert machine.table.busy_peak == 1


async def test_a_slot_in_drain_is_left_shut_for_as_long_as_its_call_may_run() -> None:
    """I1: it is nobody's, and is taken like any expired slot."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with machine.holder(terms(2)) as holder:
        holder.want(2)
        async with holder.slot():  # ends without doubt: never sent
            await call_in_doubt(holder)
            began_at_ms = world.truth.now_ms()
    state = await world.state()
    (shut,) = state.slots.values()
    assert shut.holder_id == SHUT
    assert shut.expires_at_ms >= began_at_ms + TIMES.upstream_call_max_ms
    assert state.queue == {}

    async with AsyncExitStack() as stack:
        how = terms(2)
        holder = await stack.enter_async_context(other.holder(how))
        holder.want(2)
        await stack.enter_async_context(holder.slot())
        await stack.enter_async_context(holder.slot())
        waited_ms = world.truth.now_ms() - began_at_ms

        assert DRAIN_MS + TIMES.skew_ms <= waited_ms <= DRAIN_MS + TIMES.skew_ms + 4_000


async def test_a_slot_whose_drain_is_over_is_left_free() -> None:
    world = World()
    machine = world.machine()
    async with machine.holder() as holder:
        holder.want(1)
        await call_in_doubt(holder)
        await machine.clock.sleep(DRAIN_MS + 1)

    assert (await world.state()).slots == {}


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED, Fate.THROTTLED])
async def test_leaving_is_tried_again_until_it_is_done(fate: Fate) -> None:
    """I2."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(), want=3)
        machine.table.fates["write"].append(fate)

    state = await world.state()
    assert state.slots == {}
    assert state.queue == {}


@pytest.mark.parametrize("has_time", [False, True])
async def test_leaving_waits_for_an_unreachable_table_only_so_long(has_time: bool) -> None:
    """I5: the leases run out by themselves."""
    world = World()
    machine = world.machine()
    leave_by_ms = machine.clock.monotonic_ms() + 600_000 if has_time else None
    async with AsyncExitStack() as stack:
        await leased(stack, Holder(machine.pool, terms(), leave_by_ms=leave_by_ms))
        machine.table.fate = Fate.LOST
        await machine.clock.sleep(TIMES.renew_ms + 100)
        assert machine.table.busy_count == 1
        began_at_ms = machine.clock.monotonic_ms()

    assert machine.clock.monotonic_ms() - began_at_ms <= LEAVE_MAX_MS


async def test_leaving_goes_on_in_the_background_when_its_time_is_over() -> None:
    world = World()
    machine = world.machine()
    began_at_ms = machine.clock.monotonic_ms()
    holder = Holder(machine.pool, terms(), leave_by_ms=began_at_ms + 500)
    async with AsyncExitStack() as stack:
        await leased(stack, holder)
        machine.table.fates["write"].append(Fate.LOST)
        await machine.clock.sleep(400)

    assert machine.clock.monotonic_ms() - began_at_ms == 500
    assert (await world.state()).queue
    await asyncio.wait(machine.pool.leavings)
    assert not (await world.state()).queue
    assert not machine.pool.leavings


async def test_leaving_goes_on_when_it_is_cancelled() -> None:
    """I2."""
    world = World()
    machine = world.machine()

    async def take_part() -> None:
        async with AsyncExitStack() as stack:
            await leased(stack, machine.holder())

    part = asyncio.create_task(take_part())
    await machine.clock.sleep(20)  # the leaving is under way
    part.cancel()
    with pytest.raises(asyncio.CancelledError):
        await part
    await machine.clock.sleep(50)

    assert (await world.state()).queue == {}


async def test_many_slots_are_left_in_several_writes() -> None:
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder(terms(200))
        await leased(stack, holder, want=200)
        await machine.clock.sleep(1_000)
        assert len((await world.state()).held_by(holder.holder_id)) == 200

    state = await world.state()
    assert state.slots == {}
    assert state.queue == {}


async def test_a_late_join_of_one_who_left_makes_no_ghost() -> None:
    """I2: a tombstone stands in its way for as long as it could arrive."""
    world = World()
    machine = world.machine()
    machine.table.fates["write"].append(Fate.LATE)
    async with machine.holder() as holder:
        holder.want(3)
        await machine.clock.sleep(50)
    tombstone = (await world.state()).queue[holder.holder_id]
    await machine.clock.sleep(machine.table.late_ms + 1_000)

    assert tombstone.want == 0
    assert (await world.state()).slots == {}


async def test_a_join_in_doubt_is_remembered_after_a_later_one_was_answered() -> None:
    """I2: the second join stood in the first one's way only until its entry was gone."""
    world = World()
    machine = world.machine()
    machine.table.fates["write"].append(Fate.LATE)
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(), want=3)
    await machine.clock.sleep(machine.table.late_ms + 1_000)

    assert (await world.state()).slots == {}


async def test_a_join_in_doubt_is_remembered_after_a_renewal_was_lost() -> None:
    """I2."""
    world = World()
    machine = world.machine()
    machine.table.fates["write"].append(Fate.LATE)
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(), want=3)
        machine.table.fates["write"].append(Fate.LOST)
        await machine.clock.sleep(TIMES.renew_ms + 1_200)
        assert not machine.table.fates["write"]
    await machine.clock.sleep(machine.table.late_ms)

    assert (await world.state()).slots == {}


async def test_who_leaves_in_doubt_and_finds_the_item_gone_makes_it_anew_shut() -> None:
    """I1: its own call may be running."""
    world = World()
    machine = world.machine()
    async with machine.holder(terms(2)) as holder:
        holder.want(2)
        await call_in_doubt(holder)
        machine.table.fates["write"].append(Fate.LOST)
        while machine.table.fates["write"]:
            await machine.clock.sleep(1)
        world.table._pools.clear()

    assert await world.shut_count() == 2


async def test_a_tombstone_is_swept_when_its_time_is_over() -> None:
    world = World()
    machine = world.machine()
    machine.table.fates["write"].append(Fate.LATE)
    async with machine.holder() as holder:
        holder.want(3)
        await machine.clock.sleep(50)
    await machine.clock.sleep(TIMES.lease_ms + TIMES.skew_ms + 2_000)
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder())
        await machine.clock.sleep(3 * TIMES.renew_ms)

        assert holder.holder_id not in (await world.state()).queue
