from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from tests.support.lagging_table import Fate
from tests.support.pools import NAME, TIMES, Machine, World, entry
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import (
    REGRESSES_MAX,
)
from volcengine_client.pool.holder import Pool
from volcengine_client.pool.slots import SHUT, Limit, PoolState, Slot

pytestmark = IN_VIRTUAL_TIME

LIMIT = Limit(3, 0)


async def _opened(world: World) -> Machine:
    machine = world.machine()
    await machine.pool.open(LIMIT)
    return machine


async def _replace_behind_its_back(world: World, machine: Machine, pool: PoolState | None = None) -> None:
    """Give the item a past that *machine* has seen, and put a young one in its place."""
    for revision in range(1, 6):
        await _touch(world, revision)
    await machine.pool.read()
    world.table._pools.clear()
    await world.put(pool or PoolState(limit=LIMIT))


async def _touch(world: World, revision: int) -> None:
    """Write something into the pool, as another participant."""
    before = await world.state()
    queue = {**before.queue, "other": entry(revision=revision, expires_at_ms=world.truth.now_ms() + 60_000)}
    after = PoolState(before.rev, before.slots, queue, before.limit, before.cap, before.kept_until_s)
    assert (await world.table.write(NAME, before, after)).is_applied


# --- the item: seen, made, gone, replaced ---------------------------------------------------------------------------


async def test_the_state_of_a_pool_that_nobody_made_is_none() -> None:
    assert await World().machine().pool.state() is None


async def test_opening_makes_a_missing_item_with_all_slots_free_and_the_limit() -> None:
    world = World()
    await _opened(world)

    assert await world.state() == PoolState(rev=1, limit=LIMIT)


async def test_an_item_that_is_gone_closes_the_pool_at_once() -> None:
    """I1: nobody in this process may go on with leases that the next item does not know."""
    world = World()
    machine = await _opened(world)
    world.table._pools.clear()
    await machine.pool.read()

    assert not machine.pool.is_open
    assert machine.pool.snapshot is None


async def test_a_reply_from_before_the_item_was_made_does_not_mean_that_it_is_gone() -> None:
    world = World()
    machine = world.machine()
    machine.table.late_ms = 400
    machine.table.fates["read"].append(Fate.SLOW)
    old = asyncio.create_task(machine.pool.read())
    await machine.clock.sleep(50)
    await machine.pool.open(LIMIT)

    assert (await old).state is None
    assert machine.pool.is_open


async def test_opening_an_item_that_stands_changes_nothing() -> None:
    world = World()
    await world.put(PoolState(limit=Limit(7, 5)))

    machine = await _opened(world)

    assert machine.pool.snapshot == PoolState(rev=1, limit=Limit(7, 5))
    assert machine.table.counts == {"read": 1}


async def test_of_two_that_open_a_pool_at_once_both_see_the_one_item() -> None:
    world = World()
    one, other = world.machine(), world.machine()
    await asyncio.gather(one.pool.open(Limit(3, 0)), other.pool.open(Limit(5, 0)))

    assert one.pool.snapshot == other.pool.snapshot == await world.state()


async def test_an_item_that_was_known_and_is_gone_comes_back_with_every_slot_shut() -> None:
    """I1: whoever deleted it, calls may be running."""
    world = World()
    machine = await _opened(world)
    world.table._pools.clear()
    gone_at_ms = world.truth.now_ms()

    await machine.pool.open(LIMIT)

    state = await world.state()
    assert {number: slot.holder_id for number, slot in state.slots.items()} == dict.fromkeys(range(3), SHUT)
    assert all(slot.expires_at_ms >= gone_at_ms + TIMES.upstream_call_max_ms for slot in state.slots.values())
    assert state.limit == LIMIT
    assert machine.table.counts == {"read": 2, "create": 2}  # it was made so; at no moment was one free


@pytest.mark.parametrize(
    ("known", "mine", "height"),
    [
        (PoolState(limit=Limit(8, 0)), Limit(3, 0), 8),
        (PoolState(limit=Limit(3, 0)), Limit(8, 0), 8),
        (PoolState(limit=Limit(2, 9), slots={6: Slot("other", 0)}), Limit(2, 9), 7),
    ],
    ids=["its limit was higher", "ours is higher", "slots beyond the limit were in use"],
)
async def test_an_item_made_anew_shuts_every_slot_that_anybody_may_have_used(
    known: PoolState, mine: Limit, height: int
) -> None:
    """I1."""
    world = World()
    await world.put(known)
    machine = world.machine()
    await machine.pool.read()
    world.table._pools.clear()

    await machine.pool.open(mine)

    assert set((await world.state()).slots) == set(range(height))


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.THROTTLED])
async def test_an_item_that_could_not_be_made_anew_is_still_shut_at_the_next_try(fate: Fate) -> None:
    """I1: a failed try must not make us forget that the item was known."""
    world = World()
    machine = await _opened(world)
    world.table._pools.clear()
    machine.table.fates["create"].append(fate)

    with pytest.raises(PoolTableError):
        await machine.pool.open(LIMIT)
    await machine.pool.open(LIMIT)

    assert await world.shut_count() == LIMIT.n


async def test_an_item_that_a_stranger_made_anew_first_is_shut_all_the_same() -> None:
    """I1: between our finding it gone and making it, a newcomer who knows nothing makes it with free slots."""
    world = World()
    machine = await _opened(world)
    world.table._pools.clear()

    async def stranger() -> None:
        await machine.clock.sleep(8)  # after the read, before the create
        await world.put(PoolState(limit=LIMIT))

    await asyncio.gather(machine.pool.open(LIMIT), stranger())

    assert await world.shut_count() == LIMIT.n


async def test_a_callers_item_that_ran_out_of_its_time_is_made_with_free_slots() -> None:
    """Nobody deleted it: nobody used it for so long."""
    world = World()
    machine = world.machine()
    pool = Pool(NAME, table=machine.table, times=TIMES, clock=machine.clock, kept_ms=60_000)
    await pool.open(LIMIT)
    await machine.clock.sleep(62_000)
    world.table._pools.clear()

    await pool.open(LIMIT)

    assert (await world.state()).slots == {}


async def test_a_callers_item_that_is_gone_before_its_time_comes_back_shut() -> None:
    """I1."""
    world = World()
    machine = world.machine()
    pool = Pool(NAME, table=machine.table, times=TIMES, clock=machine.clock, kept_ms=60_000)
    await pool.open(LIMIT)
    await machine.clock.sleep(40_000)
    world.table._pools.clear()

    await pool.open(LIMIT)

    assert await world.shut_count() == LIMIT.n


async def _suspended_meanwhile(machine: Machine, asking: Coroutine[None, None, object]) -> None:
    """Ask, and suspend the machine while the first request is on its way."""
    task = asyncio.create_task(asking)
    await machine.clock.sleep(1)
    machine.clock.suspend(3_600_000)
    await task


async def test_an_item_is_not_made_anew_while_the_time_is_unknown() -> None:
    """I1: nobody could tell for how long to shut it."""
    world = World()
    machine = await _opened(world)
    world.table._pools.clear()

    with pytest.raises(PoolTableError) as caught:
        await _suspended_meanwhile(machine, machine.pool.open(LIMIT))
    assert caught.value.retryable
    assert world.table._pools == {}
    await machine.pool.open(LIMIT)
    assert await world.shut_count() == LIMIT.n


async def test_a_callers_item_that_is_gone_at_an_unknown_time_comes_back_shut() -> None:
    """I1: its time may not be over."""
    world = World()
    machine = world.machine()
    pool = Pool(NAME, table=machine.table, times=TIMES, clock=machine.clock, kept_ms=60_000)
    await pool.open(LIMIT)
    world.table._pools.clear()
    await _suspended_meanwhile(machine, pool.read())
    await pool.open(LIMIT)

    assert await world.shut_count() == LIMIT.n


async def test_an_older_snapshot_is_dropped() -> None:
    """Time runs forward: an old reply may come last."""
    world = World()
    machine = await _opened(world)
    machine.table.late_ms = 400
    machine.table.fates["read"].append(Fate.SLOW)
    old = asyncio.create_task(machine.pool.read())
    await machine.clock.sleep(20)
    await _touch(world, 1)
    await machine.pool.read()

    reply = await old

    assert reply.state is not None
    assert reply.state.rev == 1
    assert machine.pool.snapshot == await world.state()


async def test_one_old_reply_is_no_sign_that_the_item_was_replaced() -> None:
    world = World()
    machine = await _opened(world)
    machine.table.late_ms = 400
    machine.table.fates["read"] += [Fate.SLOW] * 5
    old = [asyncio.create_task(machine.pool.read()) for _ in range(5)]
    await machine.clock.sleep(20)
    await _touch(world, 1)
    await machine.pool.read()
    await asyncio.gather(*old)

    assert machine.pool.is_open


async def test_reads_that_keep_showing_an_older_item_mean_that_it_was_replaced() -> None:
    world = World()
    machine = await _opened(world)
    await _replace_behind_its_back(world, machine)
    for _ in range(REGRESSES_MAX):
        assert machine.pool.is_open
        await machine.pool.read()

    assert not machine.pool.is_open


async def test_a_newer_snapshot_in_between_ends_the_suspicion() -> None:
    world = World()
    machine = await _opened(world)
    await _replace_behind_its_back(world, machine)
    for _ in range(REGRESSES_MAX - 1):
        await machine.pool.read()
    for revision in range(1, 9):
        await _touch(world, revision)
    await machine.pool.read()
    world.table._pools.clear()
    await world.put(PoolState(limit=LIMIT))
    await machine.pool.read()

    assert machine.pool.is_open


async def _regressed(world: World, pool: PoolState | None = None) -> Machine:
    machine = await _opened(world)
    await _replace_behind_its_back(world, machine, pool)
    for _ in range(REGRESSES_MAX):
        await machine.pool.read()
    assert not machine.pool.is_open
    return machine


async def test_a_replaced_item_gets_its_missing_slots_shut() -> None:
    """I1: calls that the old item knew of may be running."""
    world = World()
    taken = Slot("newcomer", world.truth.now_ms() + 9_000)
    machine = await _regressed(world, PoolState(limit=LIMIT, slots={1: taken}))
    at_ms = world.truth.now_ms()

    await machine.pool.open(LIMIT)

    slots = (await world.state()).slots
    assert slots[1] == taken
    assert {slots[0].holder_id, slots[2].holder_id} == {SHUT}
    assert min(slots[0].expires_at_ms, slots[2].expires_at_ms) >= at_ms + TIMES.upstream_call_max_ms
    assert machine.pool.is_open
    assert machine.pool.snapshot == await world.state()


async def test_a_replaced_item_with_a_lower_limit_is_shut_as_high_as_the_old_one_was() -> None:
    """I1: whoever knows the true limit raises it again while old calls run."""
    world = World()
    machine = await _regressed(world, PoolState(limit=Limit(1, 0)))

    await machine.pool.open(LIMIT)

    assert set((await world.state()).slots) == {0, 1, 2}


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_replaced_item_that_could_not_be_shut_is_still_to_be_shut(kind: str) -> None:
    """I1: table trouble in the middle must not make us take the new item for the old one."""
    world = World()
    machine = await _regressed(world)
    machine.table.fates[kind].append(Fate.LOST)

    with pytest.raises(PoolTableError):
        await machine.pool.open(LIMIT)

    assert not machine.pool.is_open
    await machine.pool.open(LIMIT)
    assert await world.shut_count() == LIMIT.n
    assert machine.pool.is_open


async def test_a_replaced_item_with_hundreds_of_slots_is_shut_in_several_writes() -> None:
    world = World()
    machine = await _regressed(world, PoolState(limit=Limit(200, 0)))

    await machine.pool.open(LIMIT)

    assert await world.shut_count() == 200


# --- free slots -----------------------------------------------------------------------------------------------------


async def test_a_slot_counts_as_free_since_it_was_first_seen_free() -> None:
    world = World()
    taken = Slot("other", world.truth.now_ms() + 60_000)
    await world.put(PoolState(limit=LIMIT, slots={0: taken}))
    machine = world.machine()
    await machine.pool.read()
    await machine.clock.sleep(100)
    await machine.pool.read()
    await machine.clock.sleep(50)

    assert machine.pool.free_for_ms() == {1: 106, 2: 106}  # up to the last look; a read takes 6 ms


async def test_a_slot_that_was_taken_in_between_is_free_for_as_long_as_since_then() -> None:
    world = World()
    machine = await _opened(world)
    before = await world.state()
    taken = PoolState(1, {0: Slot("other", world.truth.now_ms())}, limit=LIMIT)
    assert (await world.table.write(NAME, before, taken)).is_applied
    await machine.pool.read()
    before = await world.state()
    assert (await world.table.write(NAME, before, PoolState(2, limit=LIMIT))).is_applied
    await machine.clock.sleep(300)
    await machine.pool.read()

    free_for_ms = machine.pool.free_for_ms()
    assert free_for_ms[0] == 0
    assert free_for_ms[1] >= 300


async def test_those_who_wait_in_this_process_are_woken_when_a_free_slot_is_seen() -> None:
    world = World()
    await world.put(PoolState(limit=Limit(1, 0), slots={0: Slot("other", world.truth.now_ms() + 60_000)}))
    machine = world.machine()
    woken = asyncio.Event()
    machine.pool.watchers.add(woken)
    await machine.pool.read()
    assert not woken.is_set()
    before = await world.state()
    assert (await world.table.write(NAME, before, PoolState(2, limit=Limit(1, 0)))).is_applied
    await machine.pool.read()

    assert woken.is_set()
