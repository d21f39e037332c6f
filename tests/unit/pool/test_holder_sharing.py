"""Several participants of one pool: turns, shares, limits, cuts, the full queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Self

import pytest

from tests.support.pools import NAME, TIMES, Machine, World, call, entry, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.limits import (
    CAP_MS,
    GIVE_AGE_MAX_MS,
    QUANTUM_MS,
    QUEUE_MAX,
    READ_HOLDING_MS,
    READ_SLOWEST_MS,
    REFUSED_AGAIN_MS,
    TICK_MS,
)
from volcengine_client.pool.holder import Holder, Terms
from volcengine_client.pool.slots import Cap, Limit, PoolState

pytestmark = IN_VIRTUAL_TIME
DRAINED_MS = TIMES.upstream_call_max_ms + TIMES.send_max_ms + TIMES.skew_ms + 4_000


class Party:
    """One who always has work, in calls of a second, and a count of its calls in progress."""

    def __init__(self, world: World, how: Terms) -> None:
        self.machine = world.machine()
        self.how = how
        self.busy_count = 0
        self.call_count = 0
        self.numbers: set[int] = set()
        self.holder: Holder | None = None
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._take_part())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._work is not None
        self._work.cancel()
        await asyncio.wait({self._work})

    async def _take_part(self) -> None:
        async with self.machine.holder(self.how) as holder, asyncio.TaskGroup() as workers:
            self.holder = holder
            holder.want(100)
            for _ in range(self.how.hold_max):
                workers.create_task(self._call(holder))

    async def _call(self, holder: Holder) -> None:
        while True:
            async with holder.slot() as lease:
                lease.ready()
                self.busy_count += 1
                self.call_count += 1
                self.numbers.add(lease.number)
                await self.machine.clock.sleep(1_000)
                lease.answered()
                self.busy_count -= 1


async def _shares(world: World, *how: Terms, for_ms: int = 20_000) -> list[int]:
    """Return how many calls each made, after a while to settle."""
    async with AsyncExitStack() as stack:
        parties = [await stack.enter_async_context(Party(world, one)) for one in how]
        await world.clock().sleep(8_000)
        before = [party.call_count for party in parties]
        await world.clock().sleep(for_ms)
        return [party.call_count - count for party, count in zip(parties, before, strict=True)]


# --- shares -----------------------------------------------------------------------------------------------------------


async def test_two_callers_share_alike() -> None:
    """I7."""
    first, second = await _shares(World(), terms(), terms())

    assert first + second >= 0.95 * 10 * 20
    assert first == pytest.approx(second, rel=0.1)


async def test_apps_share_by_weight() -> None:
    """I7."""
    heavy, light = await _shares(World(), terms(8, app="heavy", weight=3), terms(8, app="light"))

    assert heavy + light >= 0.95 * 8 * 20
    assert heavy / light == pytest.approx(3, rel=0.15)


async def test_more_callers_than_slots_take_turns() -> None:
    """I7: nobody holds a slot for ever that an equal waits for."""
    shares = await _shares(World(), *[terms(2)] * 4, for_ms=60_000)

    assert sum(shares) >= 0.93 * 2 * 60
    assert min(shares) >= 0.6 * max(shares)


async def test_one_slot_changes_hands_about_once_a_quantum() -> None:
    """And nobody flutters."""
    world = World()
    async with Party(world, terms(1)) as first, Party(world, terms(1)):
        seen: list[bool] = []
        for _ in range(400):
            await world.clock().sleep(100)
            seen.append(first.busy_count > 0)
        turns = sum(one != other for one, other in pairwise(seen))

        assert 40_000 // (QUANTUM_MS + 2_000) <= turns <= 40_000 // QUANTUM_MS + 2


async def test_background_gets_what_is_left_over() -> None:
    """I7."""
    day, night = await _shares(World(), terms(5, hold_max=3), terms(5, app="n", is_background=True))

    assert day >= 0.95 * 3 * 20
    assert night >= 0.9 * 2 * 20


async def test_a_holder_with_slots_to_spare_gives_them_to_one_who_waits() -> None:
    world = World()
    machine, other = world.machine(), world.machine()
    async with machine.holder(terms(4)) as holder, other.holder(terms(4)) as waiter:
        holder.want(4)
        await asyncio.gather(*(call(holder, machine) for _ in range(4)))
        holder.want(1)
        waiter.want(3)
        began_at_ms = machine.clock.monotonic_ms()
        await asyncio.gather(*(call(waiter, other, call_ms=1) for _ in range(3)))

        assert machine.clock.monotonic_ms() - began_at_ms <= READ_HOLDING_MS + 150
        holder.check(0)


@pytest.mark.parametrize(
    ("age_ms", "kinds"), [(GIVE_AGE_MAX_MS - 50, ["write"]), (GIVE_AGE_MAX_MS + 50, ["read", "write"])]
)
async def test_who_gives_up_a_slot_to_others_looks_first_when_it_last_did_so_long_ago(
    age_ms: int, kinds: list[str]
) -> None:
    """Whoever waited may have been served meanwhile."""
    world = World()
    machine, other = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder(terms(3))
        await leased(stack, holder, want=3)
        await stack.enter_async_context(holder.slot())
        async with holder.slot():
            waiter = await stack.enter_async_context(other.holder(terms(3)))
            waiter.want(1)
            while machine.pool.snapshot is None or waiter.holder_id not in machine.pool.snapshot.queue:
                await machine.clock.sleep(1)
            machine.table.requests.clear()
            await machine.clock.sleep(age_ms)
            assert not machine.table.requests
        await machine.clock.sleep(20)

        assert [request.kind for request in machine.table.requests][: len(kinds)] == kinds
        assert len((await world.state()).held_by(holder.holder_id)) == 2


async def test_one_who_grows_takes_what_is_free_at_once() -> None:
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = machine.holder()
        await leased(stack, holder)
        began_at_ms = machine.clock.monotonic_ms()
        holder.want(5)
        for _ in range(4):
            await stack.enter_async_context(holder.slot())

        assert machine.clock.monotonic_ms() - began_at_ms <= 30


async def test_participants_of_one_process_wake_each_other() -> None:
    """One's give-up is another's slot, without waiting for its own next read."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        waiter = await stack.enter_async_context(machine.holder(terms(1)))
        async with AsyncExitStack() as earlier:
            await leased(earlier, machine.holder(terms(1)))
            waiter.want(1)
            waiting = asyncio.create_task(call(waiter, machine))
            await machine.clock.sleep(5_000)
        left_at_ms = machine.clock.monotonic_ms()
        await waiting

        assert machine.clock.monotonic_ms() - left_at_ms <= 12


async def test_the_reads_of_a_pool_stay_bounded_however_many_wait() -> None:
    world = World()
    async with AsyncExitStack() as stack:
        await leased(stack, world.machine().holder(terms(1)))
        waiters = [world.machine() for _ in range(40)]
        for machine in waiters:
            holder = await stack.enter_async_context(machine.holder(terms(1)))
            holder.want(1)
        await world.clock().sleep(5_000)
        before = sum(machine.table.counts["read"] for machine in waiters)
        await world.clock().sleep(5_000)
        reads = sum(machine.table.counts["read"] for machine in waiters) - before

        assert reads / 5 <= 40 * 6


# --- limits and cuts --------------------------------------------------------------------------------------------------


async def test_a_lowered_limit_acts_at_once_and_a_raised_one_too() -> None:
    """I1."""
    world = World()
    async with Party(world, terms(8, version=1)) as party:
        await world.clock().sleep(3_000)
        assert party.busy_count == 8
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(Party(world, terms(3, version=2, app="other")))
            await world.clock().sleep(2_500)
            assert party.busy_count <= 3
            state = await world.state()
            assert set(state.slots) <= {0, 1, 2}
        await world.clock().sleep(DRAINED_MS)
        assert party.busy_count == 3
        async with Party(world, terms(6, version=3, hold_max=1)):
            await world.clock().sleep(3_000)

            assert party.busy_count == 5


async def test_one_with_a_lower_limit_finds_low_numbers_beside_one_with_a_higher() -> None:
    """The one who may use all takes the highest."""
    world = World()
    async with Party(world, terms(10, hold_max=5)) as high, Party(world, terms(3)) as low:
        await world.clock().sleep(6_000)

        assert low.busy_count == 3
        assert low.numbers <= {0, 1, 2}
        assert high.busy_count == 5


async def test_a_cut_empties_slots_at_the_next_boundary_and_climbs_back() -> None:
    world = World()
    async with Party(world, terms(6)) as party:
        await world.clock().sleep(3_000)
        before = await world.state()
        cut = Cap(2, world.truth.now_ms() + CAP_MS)
        queue = {**before.queue, "x": entry(expires_at_ms=0)}
        assert (await world.table.write(NAME, before, PoolState(0, before.slots, queue, before.limit, cut))).is_applied
        seen = []
        for _ in range(60):
            await world.clock().sleep(1_000)
            seen.append(party.busy_count)

        assert max(seen[3:9]) == 2
        assert seen == sorted(seen[:3], reverse=True) + sorted(seen[3:])
        assert seen[-1] == 6
        assert (await world.state()).cap is None


async def test_refusals_cut_the_limit_once_not_again_and_again() -> None:
    world = World()
    async with Party(world, terms(10)) as party:
        await world.clock().sleep(2_000)
        for _ in range(2):
            for number in range(4):
                party.machine.pool.note_call(number, duration_ms=5, is_refused=True)
            await world.clock().sleep(REFUSED_AGAIN_MS)
        await world.clock().sleep(2_500)
        state = await world.state()

        assert state.cap is not None
        assert state.cap.n == 6


# --- the full queue ---------------------------------------------------------------------------------------------------


async def _crowded(world: World, count: int = QUEUE_MAX) -> Machine:
    """Fill the queue of a pool of two slots with live waiters of one app, that come after all who are interactive."""
    expires_at_ms = world.truth.now_ms() + 3_600_000
    queue = {
        f"w{number:03}": entry(app="crowd", since_ms=number, expires_at_ms=expires_at_ms, is_background=True)
        for number in range(count)
    }
    await world.put(PoolState(queue=queue, limit=Limit(2, 0)))
    return world.machine()


async def test_a_newcomer_of_a_small_app_gets_into_a_full_queue() -> None:
    """I7."""
    world = World()
    machine = await _crowded(world)
    async with AsyncExitStack() as stack:
        await leased(stack, machine.holder(terms(2, app="new")))

        state = await world.state()
        assert len(state.queue) == QUEUE_MAX
        assert f"w{QUEUE_MAX - 1:03}" not in state.queue


async def test_a_newcomer_of_the_crowd_stays_outside_and_gets_in_when_there_is_room() -> None:
    world = World()
    machine = await _crowded(world)
    async with machine.holder(terms(2, app="crowd")) as holder:
        holder.want(1)
        waiting = asyncio.create_task(call(holder, machine))
        await machine.clock.sleep(5_000)
        assert not waiting.done()
        assert machine.table.counts["write"] == 0
        assert machine.table.counts["read"] <= 60
        before = await world.state()
        queue = {key: one for key, one in before.queue.items() if key != "w000"}
        assert (await world.table.write(NAME, before, PoolState(0, {}, queue, before.limit))).is_applied
        await machine.clock.sleep(1_500)

        assert waiting.done()
    assert holder.holder_id not in (await world.state()).queue


async def test_one_who_had_to_give_way_waits_outside_or_comes_back() -> None:
    """It finds its entry gone, and joins anew if it may."""
    world = World()
    machine, blocker = world.machine(), world.machine()
    async with AsyncExitStack() as stack:
        await leased(stack, blocker.holder(terms(1, app="crowd")))
        waiter = await stack.enter_async_context(machine.holder(terms(1, app="crowd")))
        waiter.want(1)
        await machine.clock.sleep(500)
        before = await world.state()
        queue = {key: one for key, one in before.queue.items() if key != waiter.holder_id}
        assert (await world.table.write(NAME, before, PoolState(0, before.slots, queue, before.limit))).is_applied
        await machine.clock.sleep(TIMES.renew_ms + 500)

        assert waiter.holder_id in (await world.state()).queue


async def test_a_holder_that_was_swept_from_a_full_queue_comes_back_and_gives_up_what_is_due() -> None:
    """Once it found its slot due to others and could not write, again and again without ever waiting."""
    world = World()
    machine = world.machine()
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(machine.holder(terms(1)))
        holder.want(1)
        await call(holder, machine)
        before = await world.state()
        expires_at_ms = world.truth.now_ms() + 3_600_000
        queue = {f"w{number:03}": entry(expires_at_ms=expires_at_ms) for number in range(QUEUE_MAX)}
        assert (await world.table.write(NAME, before, PoolState(0, before.slots, {}, before.limit))).is_applied
        swept = await world.state()
        for start in range(0, QUEUE_MAX, 40):
            some = dict(list(queue.items())[: start + 40])
            assert (await world.table.write(NAME, swept, PoolState(0, swept.slots, some, swept.limit))).is_applied
            swept = await world.state()
        await machine.clock.sleep(READ_SLOWEST_MS + TICK_MS)
        back = await world.state()
        await machine.clock.sleep(QUANTUM_MS)

        assert holder.holder_id in back.queue
        assert back.held_by(holder.holder_id)
        assert (await world.state()).held_by(holder.holder_id) == {}


async def test_all_who_come_at_once_are_served_once_each() -> None:
    world = World()
    served: Counter[str] = Counter()

    async def come(name: str) -> None:
        machine = world.machine()
        async with machine.holder(terms(5)) as holder:
            holder.want(1)
            await call(holder, machine, call_ms=100)
            served[name] += 1

    await asyncio.gather(*(come(f"h{number}") for number in range(40)))

    assert set(served.values()) == {1}
    assert len(served) == 40
    state = await world.state()
    assert (state.slots, state.queue) == ({}, {})
