"""What a participant may not believe: replies to refused writes, old leases, answers from before a pause."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.support.lagging_table import Fate
from tests.support.pools import NAME, TIMES, World, call, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.errors import LeaseLostError
from volcengine_client.limits import CLOCK_GAP_MS, TICK_MS, PoolTimes
from volcengine_client.pool.slots import PoolState

pytestmark = IN_VIRTUAL_TIME


async def test_a_refused_write_gives_no_slot_though_its_reply_shows_one_as_ours() -> None:
    """I1: an older write of ours put it there, and another one may still be on its way to take it off."""
    world = World()
    machine = world.machine(lag_ms=40)
    machine.table.fates["write"].append(Fate.UNANSWERED)
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        while machine.table.counts["write"] < 2:
            await machine.clock.sleep(1)
        before = await world.state()
        assert set(before.held_by(holder.holder_id)) == {0}
        swept = PoolState(before.rev, before.slots, {}, before.limit)
        assert (await world.table.write(NAME, before, swept)).is_applied
        while machine.table.counts["write"] < 3:
            with pytest.raises(LeaseLostError):
                holder.check(0)
            await machine.clock.sleep(1)

        assert machine.table.conflict_count == 1
        with pytest.raises(LeaseLostError):
            holder.check(0)


async def test_one_whose_slot_another_has_taken_over_leaves_it_alone() -> None:
    """I1: though it never gave it up."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        lost = await leased(stack, machine.holder(terms(1)))
        machine.table.fate = Fate.LOST
        lease = await leased(stack, other.holder(terms(1)))
        holder_id = lease._holder.holder_id
        machine.table.fate = None
        for _ in range(60):
            await machine.clock.sleep(100)
            assert (await world.state()).slots[0].holder_id == holder_id
            with pytest.raises(LeaseLostError):
                lost.ready()

        lease.ready()


async def test_one_whose_slot_another_has_taken_over_waits_for_the_next() -> None:
    """I2."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await call(holder, machine)
        async with AsyncExitStack() as meanwhile:
            machine.table.fate = Fate.LOST
            await leased(meanwhile, other.holder(terms(1)))
            machine.table.fate = None
            await machine.clock.sleep(2 * TIMES.renew_ms)
        await machine.clock.sleep(1_500)

        assert set((await world.state()).held_by(holder.holder_id)) == {0}
        await call(holder, machine)


async def test_an_answer_to_what_was_asked_before_a_pause_does_not_end_it() -> None:
    """I1: nothing is trusted before something was asked and answered after the pause."""
    machine = World(times=PoolTimes()).machine()
    machine.table.late_ms = CLOCK_GAP_MS + TICK_MS + 500
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.table.fates["read"].append(Fate.SLOW)
        while machine.table.fates["read"]:
            await machine.clock.sleep(1)
        asked_at_ms = machine.table.requests[-1].at_ms
        await machine.clock.sleep(10)
        machine.clock.pause(CLOCK_GAP_MS + TICK_MS + 1)
        answered_at_ms = asked_at_ms + machine.table.late_ms + 4
        await machine.clock.sleep(answered_at_ms - machine.clock.monotonic_ms())
        assert machine.pool.seen_at_ms > answered_at_ms - 4

        with pytest.raises(LeaseLostError):
            lease.ready()
        await machine.clock.sleep(20)
        lease.ready()
