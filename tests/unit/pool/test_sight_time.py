"""What a process knows of the table's clock."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.lagging_table import Fate
from tests.support.pools import NAME, TIMES, Machine, World
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.pool.holder import Pool
from volcengine_client.pool.slots import Limit

pytestmark = IN_VIRTUAL_TIME

LIMIT = Limit(3, 0)


async def _opened(world: World) -> Machine:
    machine = world.machine()
    await machine.pool.open(LIMIT)
    return machine


async def test_nothing_is_known_of_the_tables_clock_before_a_reply() -> None:
    pool = World().machine().pool

    assert pool.now_lo_ms() is None
    assert pool.now_hi_ms() is None
    assert not pool.is_time_trusted()


@pytest.mark.parametrize("drift_ppm", [-400, 0, 400])
async def test_the_tables_clock_is_between_its_bounds_however_our_clock_runs(drift_ppm: int) -> None:
    world = World()
    machine = world.machine()
    machine.clock._drift_ppm = drift_ppm
    for _ in range(50):
        await machine.pool.read()
        await machine.clock.sleep(1_370)
        lo_ms, hi_ms = machine.pool.now_lo_ms(), machine.pool.now_hi_ms()

        assert lo_ms is not None
        assert hi_ms is not None
        assert lo_ms <= world.truth.now_ms() <= hi_ms


async def test_many_replies_narrow_the_bounds_below_a_reply_s_own_second() -> None:
    machine = World().machine()
    for _ in range(40):
        await machine.pool.read()
        await machine.clock.sleep(93)
    lo_ms, hi_ms = machine.pool.now_lo_ms(), machine.pool.now_hi_ms()

    assert lo_ms is not None
    assert hi_ms is not None
    assert hi_ms - lo_ms < 200


async def test_a_wall_clock_that_was_always_wrong_does_no_harm() -> None:
    world = World()
    machine = world.machine()
    machine.clock.set_wall(ahead_ms=-86_400_000)
    await machine.pool.read()
    lo_ms, hi_ms = machine.pool.now_lo_ms(), machine.pool.now_hi_ms()

    assert lo_ms is not None
    assert hi_ms is not None
    assert lo_ms <= world.truth.now_ms() <= hi_ms


@pytest.mark.parametrize("ahead_ms", [-TIMES.skew_ms // 4 - 1, TIMES.skew_ms // 4 + 1])
async def test_a_jump_of_the_wall_clock_ends_trust_until_the_next_reply(ahead_ms: int) -> None:
    machine = await _opened(World())
    machine.clock.set_wall(ahead_ms=ahead_ms)

    assert machine.pool.now_lo_ms() is None
    assert machine.pool.now_hi_ms() is None
    await machine.pool.read()
    assert machine.pool.is_time_trusted()


async def test_a_small_correction_of_the_wall_clock_is_none() -> None:
    machine = await _opened(World())
    machine.clock.set_wall(ahead_ms=TIMES.skew_ms // 4)

    assert machine.pool.is_time_trusted()


async def test_small_corrections_between_replies_add_up_to_no_jump() -> None:
    machine = await _opened(World())
    for step in range(1, 20):
        machine.clock.set_wall(ahead_ms=step * 300)
        await machine.pool.read()

        assert machine.pool.is_time_trusted()


async def test_a_suspended_machine_trusts_no_bound_from_before() -> None:
    """Its monotonic clock stood still, so the old bounds would be early by the whole night."""
    world = World()
    machine = await _opened(world)
    machine.clock.suspend(3_600_000)

    assert machine.pool.now_hi_ms() is None
    await machine.pool.read()
    now_hi_ms = machine.pool.now_hi_ms()
    assert now_hi_ms is not None
    assert now_hi_ms >= world.truth.now_ms()


async def test_a_jump_that_was_seen_is_not_forgotten_when_a_second_one_hides_it() -> None:
    """I1: the machine was suspended, and then its wall clock was set back by as much."""
    machine = await _opened(World())
    machine.clock.suspend(5_000)
    assert not machine.pool.is_time_trusted()
    machine.clock.set_wall(ahead_ms=-5_000)

    assert not machine.pool.is_time_trusted()
    await machine.pool.read()
    assert machine.pool.is_time_trusted()


async def test_short_suspensions_that_nobody_notices_do_not_add_up() -> None:
    """I1: each is within what is tolerated, and no reply contradicts, since a `Date` is cut to a second."""
    world = World()
    machine = await _opened(world)
    for _ in range(40):
        machine.clock.suspend(TIMES.skew_ms // 4)
        await machine.pool.read()
        now_hi_ms = machine.pool.now_hi_ms()

        assert now_hi_ms is not None
        assert now_hi_ms >= world.truth.now_ms() - TIMES.skew_ms // 2


async def test_a_reply_from_before_the_machine_was_suspended_tells_no_time_after_it() -> None:
    """I1: the reply lay in the socket all night, and says yesterday's time."""
    world = World()
    machine = await _opened(world)
    machine.table.late_ms = 500
    machine.table.fates["read"].append(Fate.SLOW)
    reading = asyncio.create_task(machine.pool.read())
    await machine.clock.sleep(100)
    machine.clock.suspend(3_600_000)
    await reading

    now_hi_ms = machine.pool.now_hi_ms()
    assert now_hi_ms is None or now_hi_ms >= world.truth.now_ms()


async def test_a_new_invocation_knows_no_time_before_a_reply_of_its_own() -> None:
    """Lambda may have been frozen in between, with all of its clocks."""
    machine = await _opened(World())
    machine.pool.begin_invocation()

    assert machine.pool.now_lo_ms() is None
    assert machine.pool.now_hi_ms() is None
    await machine.pool.read()
    assert machine.pool.is_time_trusted()


async def test_a_reply_to_the_invocation_before_tells_the_new_one_no_time() -> None:
    """I1: a leaving that was frozen with its request on the way gets the old answer in the next invocation."""
    machine = await _opened(World())
    machine.table.late_ms = 500
    machine.table.fates["read"].append(Fate.SLOW)
    reading = asyncio.create_task(machine.pool.read())
    await machine.clock.sleep(100)
    machine.pool.begin_invocation()
    await reading

    assert not machine.pool.is_time_trusted()


async def test_the_estimate_survives_the_invocation_and_is_never_late() -> None:
    world = World()
    machine = await _opened(world)
    await machine.clock.sleep(30_000)
    machine.pool.begin_invocation()

    assert world.truth.now_ms() - 1_100 <= machine.pool.estimate_ms() <= world.truth.now_ms()


async def test_a_child_process_trusts_no_time_of_its_parent() -> None:
    machine = await _opened(World())
    machine.pool._pid -= 1  # as after a fork

    assert not machine.pool.is_time_trusted()


async def test_an_item_is_kept_for_its_time_after_each_use() -> None:
    world = World()
    machine = world.machine()
    pool = Pool(NAME, table=machine.table, times=TIMES, clock=machine.clock, kept_ms=60_000)
    await pool.open(LIMIT)

    kept_until_s = pool.kept_until_s()
    assert kept_until_s is not None
    assert 0 <= world.truth.now_ms() // 1_000 + 60 - kept_until_s <= 2
    assert (await world.state()).kept_until_s == pytest.approx(kept_until_s, abs=1)
    assert machine.pool.kept_until_s() is None
