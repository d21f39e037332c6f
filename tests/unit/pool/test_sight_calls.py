"""What a process remembers of its calls: how long they take, and refusals for concurrency."""

from __future__ import annotations

import asyncio

from tests.support.pools import NAME, World, state
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.limits import (
    CALL_TIME_FIRST_MS,
    CALL_TIMES_AGE_MS,
    CALL_TIMES_ENOUGH,
    CALL_TIMES_KEPT,
    CAP_MS,
    REFUSED_AGAIN_MS,
    REFUSED_KEPT_MS,
    PoolTimes,
)
from volcengine_client.pool.holder import Pool
from volcengine_client.pool.slots import Cap

pytestmark = IN_VIRTUAL_TIME


def _spoke(pool: Pool, *durations_ms: int) -> None:
    for duration_ms in durations_ms:
        pool.note_call(0, duration_ms=duration_ms, is_refused=False)


def _was_refused(pool: Pool, *numbers: int) -> None:
    for number in numbers:
        pool.note_call(number, duration_ms=90_000, is_refused=True)


async def test_calls_are_thought_to_take_long_until_enough_were_seen() -> None:
    pool = World().machine().pool
    _spoke(pool, *[100] * (CALL_TIMES_ENOUGH - 1))

    assert pool.call_time_ms() == CALL_TIME_FIRST_MS
    _spoke(pool, 100)
    assert pool.call_time_ms() < CALL_TIME_FIRST_MS


async def test_while_few_calls_were_seen_the_longest_has_a_margin() -> None:
    pool = World().machine().pool
    _spoke(pool, *range(1, 100))

    assert pool.call_time_ms() == 99 * 5 // 4
    _spoke(pool, 100)
    assert pool.call_time_ms() == 100


async def test_a_call_longer_than_the_guess_counts_at_once() -> None:
    pool = World().machine().pool
    _spoke(pool, CALL_TIME_FIRST_MS + 1_000)

    assert pool.call_time_ms() == CALL_TIME_FIRST_MS + 1_000


async def test_all_but_one_in_a_hundred_calls_take_no_longer_than_said() -> None:
    pool = World().machine().pool
    _spoke(pool, *range(1, 201))

    assert pool.call_time_ms() == 199


async def test_calls_of_long_ago_are_forgotten() -> None:
    pool = World().machine().pool
    _spoke(pool, 50_000, *[100] * CALL_TIMES_KEPT)

    assert pool.call_time_ms() == 100


async def test_calls_of_another_hour_say_nothing_of_how_long_one_takes_now() -> None:
    """Slow ones must not lock everybody out for ever: nobody would start a call that shows otherwise."""
    machine = World().machine()
    _spoke(machine.pool, *[60_000] * 100)
    await machine.clock.sleep(CALL_TIMES_AGE_MS)
    assert machine.pool.call_time_ms() == 60_000
    await machine.clock.sleep(1)

    assert machine.pool.call_time_ms() == CALL_TIME_FIRST_MS


async def test_a_call_usually_takes_as_long_as_calls_did_on_average() -> None:
    pool = World().machine().pool

    assert pool.usual_call_ms() == 0
    _spoke(pool, 100, 200, 301)
    _was_refused(pool, 5)
    assert pool.usual_call_ms() == 200


async def test_a_call_that_failed_says_nothing_of_how_long_one_with_audio_takes() -> None:
    pool = World().machine().pool
    _spoke(pool, 200)
    pool.note_call(1, duration_ms=5, is_refused=False, is_spoken=False)

    assert pool.usual_call_ms() == 200


async def test_how_long_calls_took_a_minute_ago_says_nothing_of_now() -> None:
    machine = World().machine()
    _spoke(machine.pool, 200)
    await machine.clock.sleep(CALL_TIMES_AGE_MS + 1)

    assert machine.pool.usual_call_ms() == 0


async def test_a_refused_call_says_nothing_of_how_long_calls_take() -> None:
    pool = World().machine().pool
    _spoke(pool, *[100] * 100)
    _was_refused(pool, *[0] * 100)

    assert pool.call_time_ms() == 100


async def test_a_lone_refusal_is_the_upstreams_count_lagging() -> None:
    machine = World().machine()
    _was_refused(machine.pool, *range(10))
    await machine.clock.sleep(REFUSED_AGAIN_MS - 1)
    _was_refused(machine.pool, *range(10))

    assert machine.pool.refused_count() == 0
    assert machine.pool.refused() == frozenset(range(10))


async def test_a_slot_refused_again_a_while_later_is_somebody_elses_and_so_are_those_refused_beside_it() -> None:
    machine = World().machine()
    _was_refused(machine.pool, 1, 2, 5)
    await machine.clock.sleep(REFUSED_AGAIN_MS)
    _was_refused(machine.pool, 2)

    assert machine.pool.refused_count() == 3


async def test_a_slot_on_which_a_call_went_well_since_is_not_refused() -> None:
    machine = World().machine()
    _was_refused(machine.pool, 0, 1)
    await machine.clock.sleep(REFUSED_AGAIN_MS)
    _was_refused(machine.pool, 0, 1)
    _spoke(machine.pool, 100)

    assert machine.pool.refused() == {1}
    assert machine.pool.refused_count() == 1


async def test_refusals_of_long_ago_do_not_count() -> None:
    machine = World().machine()
    for _ in range(3):
        _was_refused(machine.pool, 1)
        await machine.clock.sleep(REFUSED_KEPT_MS + 1)

    assert machine.pool.refused() == frozenset()
    _was_refused(machine.pool, 1)
    assert machine.pool.refused_count() == 0


async def test_where_a_cut_limit_climbs_one_refusal_says_that_it_climbed_too_high() -> None:
    world = World()
    machine = world.machine()
    await world.put(state(cap=Cap(7, world.truth.now_ms() + CAP_MS)))
    await machine.pool.read()
    _was_refused(machine.pool, 7)
    assert machine.pool.refused_count() == 0
    await machine.clock.sleep(CAP_MS + 1_100)
    await machine.pool.read()
    _was_refused(machine.pool, 7)

    assert machine.pool.refused_count() == 1


async def test_refusals_that_led_to_a_cut_count_no_more_but_their_slots_rest() -> None:
    machine = World().machine()
    _was_refused(machine.pool, 1)
    await machine.clock.sleep(REFUSED_AGAIN_MS)
    _was_refused(machine.pool, 1)
    machine.pool.forget_refusals()

    assert machine.pool.refused_count() == 0
    assert machine.pool.refused() == {1}


async def test_a_refusal_wakes_those_who_may_have_to_cut_the_limit() -> None:
    pool = World().machine().pool
    woken = asyncio.Event()
    pool.watchers.add(woken)
    _was_refused(pool, 1)

    assert woken.is_set()


async def test_a_pool_lives_by_the_default_times() -> None:
    machine = World().machine()

    assert Pool(NAME, table=machine.table, clock=machine.clock).times == PoolTimes()
