"""One participant's life in a pool, over a shared table behind a network; in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.lagging_table import Fate
from tests.support.pools import NAME, TIMES, World, call, entry, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.errors import LeaseLostError
from volcengine_client.limits import (
    CLOCK_GAP_MS,
    READ_SLOWEST_MS,
    TABLE_TIMEOUT_MS,
    TAKE_DELAY_MS,
    TICK_MS,
    PoolTimes,
)
from volcengine_client.pool.slots import SHUT, Limit, PoolState, Slot

pytestmark = IN_VIRTUAL_TIME

DRAIN_MS = TIMES.drain_ms
RECLAIM_MS = TIMES.skew_ms + TIMES.send_max_ms


# --- join and take --------------------------------------------------------------------------------------------------


async def test_the_first_slot_of_a_new_pool_takes_a_read_a_create_and_a_write() -> None:
    machine = World().machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder())

        assert machine.table.counts == {"read": 1, "create": 1, "write": 1}


async def test_the_first_slot_on_a_warm_pool_takes_one_round_trip() -> None:
    """The join writes against what is remembered, and takes slots in the same write."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder())
    machine.table.requests.clear()
    machine.pool.begin_invocation()
    began_at_ms = machine.clock.monotonic_ms()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder(), want=5)
        lease.ready()

        assert machine.table.counts == {"write": 1}
        assert machine.clock.monotonic_ms() - began_at_ms <= 6


async def test_a_remembered_state_that_is_no_longer_true_costs_two_more_writes() -> None:
    """It joins first, and takes when the others reckon with it."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(terms(2)))
    async with AsyncExitStack() as stack:
        await leased(stack, other.holder(terms(2)))
        machine.table.requests.clear()
        machine.pool.begin_invocation()
        await leased(stack, machine.holder(terms(2)), want=2)

        _, joins, takes = machine.table.requests

        assert machine.table.counts == {"write": 3}
        assert machine.table.conflict_count == 1
        assert joins.before is not None
        assert joins.after is not None
        assert takes.after is not None
        assert joins.after.slots == joins.before.slots
        assert len(takes.after.slots) == 2


async def test_one_write_takes_all_slots_that_there_is_work_for() -> None:
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder()
        await leased(stack, holder, want=7)

        assert len((await world.state()).held_by(holder.holder_id)) == 7


async def test_who_has_more_work_takes_more_slots_at_once() -> None:
    """Before anybody asks for them."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder()
        lease = await leased(stack, holder)
        await machine.clock.sleep(50)
        holder.want(5)
        await machine.clock.sleep(10)

        assert len((await world.state()).held_by(holder.holder_id)) == 5
        assert lease.send_max_ms == TIMES.send_max_ms


async def test_a_participant_holds_no_more_slots_than_its_terms_allow() -> None:
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder(terms(hold_max=2))
        await leased(stack, holder, want=7)
        await machine.clock.sleep(3_000)

        assert len((await world.state()).held_by(holder.holder_id)) == 2


async def test_a_participant_says_how_long_its_calls_take() -> None:
    """So others know when its work should be over."""
    world = World()
    machine = world.machine()
    async with machine.holder() as holder:
        holder.want(1)
        for duration_ms in (100, 300):
            machine.pool.note_call(0, duration_ms=duration_ms, is_refused=False)
        await call(holder, machine)

        assert (await world.state()).queue[holder.holder_id].call_ms == 200


async def test_a_slot_serves_the_next_task_without_a_write() -> None:
    machine = World().machine()
    async with machine.holder() as holder:
        holder.want(1)
        for _ in range(20):
            await call(holder, machine, call_ms=10)

        assert machine.table.counts["write"] == 1


async def test_a_slot_changes_hands_within_a_process_while_the_table_is_asked() -> None:
    machine = World(times=PoolTimes()).machine()
    machine.table.late_ms = 1_500
    async with machine.holder(terms(1)) as holder:
        holder.want(1)
        await call(holder, machine)
        machine.table.fate = Fate.SLOW
        await machine.clock.sleep(1_200)
        began_at_ms = machine.clock.monotonic_ms()
        await asyncio.gather(*(call(holder, machine, call_ms=100) for _ in range(5)))

        assert machine.clock.monotonic_ms() - began_at_ms == 500


async def test_the_wait_for_the_first_slot_is_reported() -> None:
    world = World()
    first, second = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        waiter = await stack.enter_async_context(second.holder(terms(1)))
        async with AsyncExitStack() as earlier:
            await leased(earlier, first.holder(terms(1)))
            waiter.want(1)
            waiting = asyncio.create_task(call(waiter, second))
            await second.clock.sleep(700)
            assert waiter.waited_ms is None
        await waiting
        waited_ms = waiter.waited_ms
        await second.clock.sleep(100)
        await call(waiter, second)

        assert waited_ms is not None
        assert 700 < waited_ms < 1_000
        assert waiter.waited_ms == waited_ms


async def test_a_slot_of_a_dead_participant_is_taken_at_the_end_of_all_margins_and_no_later() -> None:
    """I1 and I2."""
    world = World()
    expires_at_ms = world.truth.now_ms() + 3_000
    dead = entry(expires_at_ms=expires_at_ms - 9_000)
    await world.put(PoolState(slots={0: Slot("dead", expires_at_ms)}, queue={"dead": dead}, limit=Limit(1, 0)))
    machine = world.machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder(terms(1)))
        lease.ready()

        late_ms = world.truth.now_ms() - expires_at_ms - RECLAIM_MS
        assert 0 <= late_ms <= 1_300  # the table tells its time in whole seconds


async def test_an_expired_slot_is_not_taken_before_the_table_has_told_the_time() -> None:
    """I1: without a sample of this invocation a write takes missing slots only."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(terms(2)))
    before = await world.state()
    after = PoolState(before.rev, {0: Slot("dead", world.truth.now_ms() - 60_000)}, limit=before.limit)
    assert (await world.table.write(NAME, before, after)).is_applied
    await machine.pool.read()
    machine.pool.begin_invocation()
    machine.table.requests.clear()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(terms(2)), want=2)
        first = next(request for request in machine.table.requests if request.kind == "write")

        assert first.before is not None
        assert first.after is not None
        assert first.after.slots[0] == first.before.slots[0]
        assert first.after.slots[1].holder_id not in {"dead", SHUT}


async def test_a_free_slot_beside_a_dead_waiter_goes_to_the_kth_in_line_after_k_delays() -> None:
    """I2: no free slot stays beside a live waiter for long, whoever died."""
    world = World()
    now_ms = world.truth.now_ms()
    queue = {
        f"dead{number}": entry(since_ms=now_ms - 9_000 + number, expires_at_ms=now_ms + 60_000, want=1)
        for number in range(3)
    }
    await world.put(PoolState(queue=queue, limit=Limit(1, 0)))
    machine = world.machine()
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(terms(1)))

        assert 3 * TAKE_DELAY_MS <= world.truth.now_ms() - now_ms <= 3 * TAKE_DELAY_MS + 250


# --- the call rule --------------------------------------------------------------------------------------------------


async def test_a_call_may_start_for_as_long_as_its_lease_covers_it_and_no_longer() -> None:
    """I1: the table is out of reach, so the lease is not renewed."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.table.fate = Fate.LOST
        allowed_at_ms, refused_at_ms = 0, 0
        while not refused_at_ms:
            now_hi_ms = machine.pool.now_hi_ms()
            assert now_hi_ms is not None
            try:
                lease.ready()
                allowed_at_ms = now_hi_ms
            except LeaseLostError:
                refused_at_ms = now_hi_ms
            await machine.clock.sleep(1)

        expires_at_ms = lease._holder._owned[lease.number].expires_at_ms
        last_ms = expires_at_ms - TIMES.upstream_call_max_ms - TIMES.skew_ms
        assert allowed_at_ms <= last_ms < refused_at_ms


async def test_leases_are_renewed_while_calls_run() -> None:
    """I1: and calls may always start on them."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder(), want=3)
        for _ in range(100):
            lease.ready()
            await machine.clock.sleep(300)

        writes = machine.table.counts["write"]
        assert 30_000 // (TIMES.renew_ms + TICK_MS) <= writes <= 30_000 // TIMES.renew_ms + 2


async def test_a_slot_that_nobody_waits_for_is_renewed_though_it_is_idle() -> None:
    machine = World().machine()
    async with machine.holder() as holder:
        holder.want(1)
        await call(holder, machine)
        await machine.clock.sleep(60_000)
        machine.table.requests.clear()
        async with holder.slot() as lease:
            lease.ready()

        assert not machine.table.requests


async def test_a_process_back_from_a_pause_starts_no_call_before_it_has_asked_the_table() -> None:
    """I1: freeze and thaw."""
    machine = World(times=PoolTimes()).machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.clock.pause(CLOCK_GAP_MS + TICK_MS + 1)
        machine.table.requests.clear()

        with pytest.raises(LeaseLostError):
            lease.ready()
        await machine.clock.sleep(1)
        with pytest.raises(LeaseLostError):
            lease.ready()
        await machine.clock.sleep(20)
        assert set(machine.table.counts) == {"read"}
        lease.ready()


async def test_a_pause_longer_than_the_lease_costs_the_slot() -> None:
    """I1: somebody else has it now."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder(terms(1)))
        machine.table.fate = Fate.LOST  # as good as paused, so that the other can run
        await leased(stack, other.holder(terms(1)))

        with pytest.raises(LeaseLostError):
            lease.ready()


async def test_after_a_suspended_machine_woke_no_call_starts_on_old_leases() -> None:
    """I1: its monotonic clock did not see the night, only its wall clock did."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.clock.suspend(3_600_000)

        with pytest.raises(LeaseLostError):
            lease.ready()
        await machine.clock.sleep(TICK_MS * 3)
        with pytest.raises(LeaseLostError):
            lease._holder.check(99)
        lease.ready()  # renewed by now, on a slot that nobody else wanted


async def test_a_machine_suspended_while_it_asks_for_the_first_time_gets_its_slot() -> None:
    """The first reply tells no time that could be trusted."""
    machine = World().machine()
    holder = machine.holder()
    async with holder:
        holder.want(1)
        await machine.clock.sleep(1)
        machine.clock.suspend(3_600_000)
        async with holder.slot() as lease:
            lease.ready()


async def test_a_jump_of_the_wall_clock_stops_calls_until_the_table_has_told_the_time() -> None:
    """I1."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.clock.set_wall(ahead_ms=-5_000)

        with pytest.raises(LeaseLostError):
            lease.ready()
        await machine.clock.sleep(READ_SLOWEST_MS + TICK_MS)
        lease.ready()


async def test_a_new_invocation_starts_no_call_before_the_table_has_told_the_time() -> None:
    """I1."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.pool.begin_invocation()

        with pytest.raises(LeaseLostError):
            lease.ready()


async def test_a_forked_child_starts_no_call_on_its_parents_slots() -> None:
    """I1: identity is of a process."""
    machine = World().machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        lease._holder._pid -= 1  # as after a fork
        await machine.pool.read()

        assert machine.pool.is_time_trusted()
        with pytest.raises(LeaseLostError):
            lease.ready()


async def test_a_table_that_is_slow_to_answer_is_no_pause_of_ours() -> None:
    """Running work goes on within its leases while the table is in trouble."""
    machine = World(times=PoolTimes()).machine()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        machine.table.late_ms = 2 * TABLE_TIMEOUT_MS - 50
        machine.table.fate = Fate.SLOW
        for _ in range(300):
            lease.ready()
            await machine.clock.sleep(100)


async def test_slots_are_got_from_a_table_that_is_slow_to_answer() -> None:
    """I2."""
    machine = World(times=PoolTimes()).machine()
    machine.table.late_ms = 2 * TABLE_TIMEOUT_MS - 50
    machine.table.fate = Fate.SLOW
    began_at_ms = machine.clock.monotonic_ms()
    async with AsyncExitStack() as stack:
        lease = await leased(stack, machine.holder())
        lease.ready()

        assert machine.clock.monotonic_ms() - began_at_ms <= 4 * machine.table.late_ms
