"""What is the memory table's own; the law that it shares with every table is under tests/contract."""

from __future__ import annotations

from tests.support.pools import entry, held
from tests.support.virtual_time import IN_VIRTUAL_TIME, VirtualClock
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import PoolState

pytestmark = IN_VIRTUAL_TIME


async def test_its_clock_is_the_process_s_own_and_exact() -> None:
    clock = VirtualClock()
    table = MemoryTable(clock=clock)
    await clock.sleep(1_234)
    known = (await table.read("a")).time

    assert known.now_lo_ms(clock.monotonic_ms()) == known.now_hi_ms(clock.monotonic_ms()) == clock.monotonic_ms()


async def test_pools_whose_time_is_over_are_forgotten_when_another_is_made() -> None:
    """Callers' own pools do not pile up."""
    clock = VirtualClock()
    table = MemoryTable(clock=clock)
    until_s = clock.monotonic_ms() // 1_000 + 60
    await table.create("short", PoolState(kept_until_s=until_s))
    await table.create("busy", PoolState(kept_until_s=until_s, slots=held(a=(0,)), queue={"a": entry()}))
    await table.create("long", PoolState(kept_until_s=until_s + 60))
    await table.create("ever", PoolState())
    await clock.sleep(60_999)
    await table.create("one more", PoolState())
    assert "short" in await table.names()
    await clock.sleep(1)
    await table.create("last", PoolState())

    assert await table.names() == ["busy", "ever", "last", "long", "one more"]
