"""What a process does about an item that was lost in odd ways."""

from __future__ import annotations

import pytest

from tests.support.pools import World
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.limits import REGRESSES_MAX
from volcengine_client.pool.slots import Limit, PoolState, Slot

pytestmark = IN_VIRTUAL_TIME


async def test_an_item_that_is_lost_again_before_it_was_safe_is_shut_as_high_as_the_first_was() -> None:
    """I1: calls of the first may still be running."""
    world = World()
    await world.put(PoolState(limit=Limit(8, 0)))
    machine = world.machine()
    await machine.pool.read()
    world.table._pools.clear()
    await machine.pool.read()
    await world.put(PoolState(limit=Limit(2, 0)))
    await machine.pool.read()
    world.table._pools.clear()
    await machine.pool.read()
    await machine.pool.open(Limit(2, 0))

    assert set((await world.state()).slots) == set(range(8))


@pytest.mark.parametrize("slots", [{}, {4: Slot("other", 0)}])
async def test_an_item_without_a_limit_can_be_seen_and_lost(slots: dict[int, Slot]) -> None:
    world = World()
    await world.put(PoolState(slots=slots))
    machine = world.machine()
    await machine.pool.read()
    assert machine.pool.is_open
    assert machine.pool.free_for_ms() == {}
    world.table._pools.clear()
    await machine.pool.open(Limit(3, 0))

    assert set((await world.state()).slots) == set(range(5 if slots else 3))


async def test_a_pool_that_never_stood_is_not_lost() -> None:
    machine = World().machine()
    for _ in range(REGRESSES_MAX + 1):
        await machine.pool.read()

    assert not machine.pool.is_lost
    assert not machine.pool.is_open
