"""What a participant may believe when a call's end is in doubt, or a write's reply is lost."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.support.lagging_table import Fate
from tests.support.pools import NAME, TIMES, Machine, World, call, call_in_doubt, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.errors import LeaseLostError
from volcengine_client.limits import READ_SLOWEST_MS, TABLE_TIMEOUT_MS, PoolTimes
from volcengine_client.pool.holder import Holder
from volcengine_client.pool.slots import SHUT, Entry, PoolState

pytestmark = IN_VIRTUAL_TIME

DRAIN_MS = TIMES.drain_ms


# --- drain ----------------------------------------------------------------------------------------------------------


async def test_the_slot_of_a_call_in_doubt_stays_shut_for_as_long_as_the_call_may_run() -> None:
    """I1: and not much longer, I2."""
    machine = World().machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await machine.clock.sleep(50)
        began_at_ms = machine.clock.monotonic_ms()
        await call_in_doubt(holder)
        await call(holder, machine)

        waited_ms = machine.clock.monotonic_ms() - began_at_ms
        assert DRAIN_MS <= waited_ms <= DRAIN_MS + 1_000


async def test_the_drain_counts_from_when_the_call_began_not_from_when_it_was_given_up() -> None:
    machine = World().machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await machine.clock.sleep(50)
        began_at_ms = machine.clock.monotonic_ms()
        async with holder.slot() as lease:
            lease.ready()
            await machine.clock.sleep(3_000)
        await call(holder, machine)

        assert DRAIN_MS <= machine.clock.monotonic_ms() - began_at_ms <= DRAIN_MS + 1_000


async def test_a_call_that_was_answered_leaves_no_doubt() -> None:
    machine = World().machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await machine.clock.sleep(50)
        began_at_ms = machine.clock.monotonic_ms()
        await call(holder, machine)
        await call(holder, machine)

        assert machine.clock.monotonic_ms() == began_at_ms


async def test_a_call_that_never_began_leaves_no_doubt() -> None:
    machine = World().machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await machine.clock.sleep(50)
        began_at_ms = machine.clock.monotonic_ms()
        async with holder.slot():
            pass
        await call(holder, machine)

        assert machine.clock.monotonic_ms() == began_at_ms


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_call_that_failed_or_was_cancelled_on_the_way_drains(is_cancelled: bool) -> None:
    """I1."""
    machine = World().machine()

    async def broken(holder: Holder) -> None:
        async with holder.slot() as lease:
            lease.ready()
            await machine.clock.sleep(100)
            raise ConnectionResetError

    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        calling = asyncio.create_task(broken(holder))
        await machine.clock.sleep(50)
        began_at_ms = machine.clock.monotonic_ms()
        if is_cancelled:
            calling.cancel()
        await asyncio.wait({calling})
        await call(holder, machine)

        assert machine.clock.monotonic_ms() - began_at_ms >= DRAIN_MS - 50


async def test_other_slots_work_while_one_drains() -> None:
    machine = World().machine()
    async with machine.holder(terms(2)) as holder:
        holder.want(2)
        await machine.clock.sleep(50)
        await call_in_doubt(holder)
        began_at_ms = machine.clock.monotonic_ms()
        for _ in range(10):
            await call(holder, machine)

        assert machine.clock.monotonic_ms() == began_at_ms


async def test_nobody_else_gets_a_slot_in_drain() -> None:
    """I1."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await machine.clock.sleep(50)
        began_at_ms = world.truth.now_ms()
        await call_in_doubt(holder)
        async with other.holder(terms(1)) as waiter:
            waiter.want(1)
            await call(waiter, other)

            assert world.truth.now_ms() - began_at_ms >= DRAIN_MS


async def test_one_who_waits_and_is_cancelled_gives_his_slot_back() -> None:
    machine = World().machine()
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(holder.slot())
            first, second = (asyncio.create_task(call(holder, machine)) for _ in range(2))
            await machine.clock.sleep(10)
            first.cancel()
        second.cancel()  # in the very moment in which it was given the slot
        await asyncio.wait({first, second})
        began_at_ms = machine.clock.monotonic_ms()
        await call(holder, machine)

        assert machine.clock.monotonic_ms() == began_at_ms


# --- writes whose reply is lost ---------------------------------------------------------------------------------------


async def _until(machine: Machine, kind: str, count: int) -> None:
    """Wait until so many requests of a kind were made."""
    while machine.table.counts[kind] < count:
        await machine.clock.sleep(1)


async def test_a_slot_is_believed_only_after_an_own_write_that_was_applied() -> None:
    """I1: the read that shows it as ours is not enough; an older write of ours may still be on its way."""
    machine = World().machine()
    machine.table.fates["write"].append(Fate.UNANSWERED)
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        lease.ready()

        kinds = [request.kind for request in machine.table.requests]
        assert kinds == ["read", "create", "write", "read", "write"]


async def _giving_up(stack: AsyncExitStack, machine: Machine, fate: Fate) -> Holder:
    """Return a holder whose give-up of slot 1, for one who waits, has just left and meets *fate*."""
    giver = await stack.enter_async_context(machine.holder(terms(2)))
    giver.want(2)
    await call(giver, machine)
    assert set(giver._owned) == {0, 1}
    giver.want(1)
    machine.table.fates["write"].append(fate)
    writes = machine.table.counts["write"]
    await _until(machine, "write", writes + 1)
    given_up = machine.table.requests[-1].after
    assert given_up is not None
    assert set(given_up.slots) == {0}
    return giver


async def _waiter(stack: AsyncExitStack, machine: Machine) -> Holder:
    holder = await stack.enter_async_context(machine.holder(terms(2)))
    holder.want(1)
    return holder


async def test_a_slot_given_up_is_gone_from_before_the_write_left() -> None:
    """I1: its former holder calls no more on it, though nobody has heard of it yet."""
    world = World(times=PoolTimes())
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(_waiter(stack, world.machine()))
        giver = await _giving_up(stack, world.machine(), Fate.SLOW)
        await waiting

        giver.check(0)
        with pytest.raises(LeaseLostError):
            giver.check(1)


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED, Fate.LATE])
async def test_after_a_lost_reply_to_a_give_up_only_an_applied_write_makes_the_slot_usable(fate: Fate) -> None:
    """I1: never a read, though it shows the slot as ours; the give-up may still arrive."""
    world = World(times=PoolTimes())
    machine, other = world.machine(), world.machine()
    machine.table.late_ms = TABLE_TIMEOUT_MS + 300
    async with AsyncExitStack() as stack, AsyncExitStack() as others:
        waiting = asyncio.create_task(_waiter(others, other))
        giver = await _giving_up(stack, machine, fate)
        await waiting
        writes = machine.table.counts["write"]
        giver.want(2)
        usable_at_ms = []
        for passed_ms in range(4_000):
            with contextlib.suppress(LeaseLostError):
                giver.check(1)
                usable_at_ms.append(passed_ms)
                assert machine.table.counts["write"] > writes
                assert (await world.state()).slots[1].holder_id == giver.holder_id
            if passed_ms == 2_500:
                assert len((await world.state()).slots) == 2
                await others.aclose()
            await machine.clock.sleep(1)

        assert usable_at_ms
        assert usable_at_ms[0] > TABLE_TIMEOUT_MS


async def test_a_slot_whose_give_up_was_lost_is_given_up_again_at_once() -> None:
    """I2: others wait for it."""
    world = World(times=PoolTimes())
    machine, other = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(_waiter(stack, other))
        await _giving_up(stack, machine, Fate.LOST)
        waiter = await waiting
        await call(waiter, other)

        assert waiter.waited_ms is not None
        assert waiter.waited_ms < 2 * TABLE_TIMEOUT_MS


async def test_a_late_give_up_does_not_undo_a_later_take() -> None:
    """I1: it compares the revision of its own entry."""
    world = World()
    machine = world.machine()
    async with machine.holder(terms(2)) as holder:
        holder.want(2)
        await machine.clock.sleep(50)
        state = await world.state()
        old = state.queue[holder.holder_id]
        await machine.clock.sleep(3 * TIMES.renew_ms)
        slots = dict(state.slots)
        del slots[1]
        late = PoolState(state.rev, slots, {holder.holder_id: _next(old)}, state.limit)

        assert not (await world.table.write(NAME, state, late)).is_applied
        holder.check(1)


def _next(entry: Entry) -> Entry:
    return replace(entry, revision=entry.revision + 1)


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED, Fate.LATE, Fate.THROTTLED])
async def test_renewals_whose_replies_are_lost_are_made_again_in_time(fate: Fate) -> None:
    """Calls may start on a lease all the while."""
    machine = World(times=PoolTimes()).machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        for _ in range(200):
            if not machine.table.fates["write"]:
                machine.table.fates["write"] += [fate, Fate.SLOW]
            machine.table.late_ms = 900
            await machine.clock.sleep(500)
            lease.ready()


async def test_a_participant_has_one_request_under_way_at_a_time() -> None:
    machine = World().machine()
    machine.table.fates["write"] += [Fate.LOST, Fate.UNANSWERED, Fate.LATE, Fate.SLOW] * 3
    machine.table.fates["read"] += [Fate.LOST, Fate.SLOW] * 3
    async with machine.holder() as holder:
        holder.want(5)
        for _ in range(30):
            await call(holder, machine, call_ms=700)

    assert machine.table.busy_peak == 1


async def test_a_participant_whose_entry_was_swept_joins_anew() -> None:
    """It was only slow."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder()
        lease = await leased(stack, holder)
        before = await world.state()
        revision = before.queue[holder.holder_id].revision
        swept = PoolState(before.rev, before.slots, {}, before.limit)
        assert (await world.table.write(NAME, before, swept)).is_applied
        await machine.clock.sleep(TIMES.renew_ms + 1_000)

        after = await world.state()
        assert set(after.queue) == {holder.holder_id}
        assert after.queue[holder.holder_id].revision > revision  # so that nothing late from before fits
        lease.ready()


# --- an item that is gone or replaced ---------------------------------------------------------------------------------


async def test_no_call_starts_on_the_leases_of_an_item_that_is_gone() -> None:
    """I1: the new item does not know them, and its slots open when older calls are over."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder(terms(2)))
        world.table._pools.clear()
        machine.table.fates["create"] += [Fate.LOST] * 3
        await machine.clock.sleep(READ_SLOWEST_MS + 200)

        with pytest.raises(LeaseLostError):
            lease.ready()
        await machine.clock.sleep(5_000)
        with pytest.raises(LeaseLostError):
            lease.ready()
        assert await world.shut_count() == 2


async def test_slots_of_an_item_made_anew_open_when_no_old_call_can_be_running() -> None:
    """I1 and I2."""
    world = World()
    machine = world.machine()
    async with machine.holder(terms(2)) as holder:
        holder.want(1)
        await call(holder, machine)
        world.table._pools.clear()
        gone_at_ms = world.truth.now_ms()
        await machine.clock.sleep(1_000)
        await call(holder, machine)
        waited_ms = world.truth.now_ms() - gone_at_ms

        assert waited_ms >= TIMES.upstream_call_max_ms + TIMES.send_max_ms + TIMES.skew_ms
        assert waited_ms <= TIMES.recovery_ms + 3_000


async def test_who_leaves_while_its_item_is_gone_shuts_the_new_one_first() -> None:
    """I1: nobody else may know that calls of the old one are running."""
    world = World()
    machine = world.machine()
    async with machine.holder(terms(2)) as holder:
        holder.want(1)
        await call_in_doubt(holder)
        world.table._pools.clear()
        machine.table.fate = Fate.THROTTLED
        await machine.clock.sleep(700)
        machine.table.fate = None
        machine.table.fates["create"].append(Fate.THROTTLED)
        await _until(machine, "create", 2)

    assert [slot.holder_id for slot in (await world.state()).slots.values()] == [SHUT, SHUT]


async def test_no_slot_of_an_item_made_anew_opens_while_an_old_lease_still_allows_calls() -> None:
    """I1: one who can't reach the table goes on within its leases, and learns of nothing."""
    world = World(times=PoolTimes())
    machine, cut_off = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, cut_off.holder(terms(1)))
        waiter = await stack.enter_async_context(machine.holder(terms(1)))
        waiter.want(1)
        await machine.clock.sleep(100)
        cut_off.table.fate = Fate.THROTTLED
        world.table._pools.clear()
        over_at_ms = 0
        waiting = asyncio.create_task(call(waiter, machine))
        while not waiting.done():
            with contextlib.suppress(LeaseLostError):
                lease.ready()
                over_at_ms = world.truth.now_ms() + world.times.upstream_call_max_ms
            await machine.clock.sleep(50)

        assert world.truth.now_ms() >= over_at_ms
