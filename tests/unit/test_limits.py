from __future__ import annotations

import pytest

from volcengine_client import limits
from volcengine_client.limits import DEFAULT_TIMES, TEST_TIMES, PoolTimes

RELATIONS = {
    "a waiter reads more often than it gives up": DEFAULT_TIMES.renew_ms > limits.READ_SLOWEST_MS,
    "a tick is well within a gap": 2 * limits.TICK_MS < limits.CLOCK_GAP_MS,
    "a gap is within the sending time and the skew": DEFAULT_TIMES.send_max_ms + DEFAULT_TIMES.skew_ms
    > limits.CLOCK_GAP_MS,
    "a request in doubt is told before a lease must be renewed": DEFAULT_TIMES.renew_ms > 2 * limits.TABLE_TIMEOUT_MS,
    "a leaving has time for a request that times out and another": limits.LEAVE_MAX_MS > 2 * limits.TABLE_TIMEOUT_MS,
    "the next in line has several looks before a stranger takes its slot": 2 * limits.READ_NEXT_IN_LINE_MS
    < limits.TAKE_DELAY_MS,
    "the less one waits for, the more seldom it looks": limits.READ_NEXT_IN_LINE_MS
    < limits.READ_SPARE_MS
    < limits.READ_TURN_MS
    < limits.READ_HOLDING_MS
    < limits.READ_SLOWEST_MS
    < limits.READ_FAR_MS,
    "who waits far behind looks before its entry is over": DEFAULT_TIMES.renew_ms > limits.READ_FAR_MS,
    "the last of a full queue is far": limits.READ_SLOWEST_MS + limits.QUEUE_MAX * limits.READ_PLACE_MS
    > limits.READ_FAR_MS,
    "one who gives up a slot has looked not much longer ago than it looks when its turn is over": limits.READ_TURN_MS
    < limits.GIVE_AGE_MAX_MS
    < limits.READ_HOLDING_MS,
    "a quantum is longer than a look for those who wait": limits.READ_SLOWEST_MS < limits.FIRST_QUANTUM_MS,
    "a first slot comes before a next, and that before one more": limits.FIRST_QUANTUM_MS
    < limits.QUANTUM_MS
    < limits.SWAP_QUANTUM_MS,
    "a slot comes free no earlier than it is looked for, unless calls vary much": limits.CHANCE_MARGIN_SHARE > 1
    and limits.READ_NEXT_IN_LINE_MS < limits.CHANCE_MARGIN_MS < limits.CALL_TIME_GUESS_MS,
    "a call's usual length is no longer than one must allow for": limits.CALL_TIME_GUESS_MS < limits.CALL_TIME_FIRST_MS,
    "one with slots to spare looks more often than a busy one": limits.READ_SPARE_MS < limits.READ_HOLDING_MS,
    "a full queue of waiters fits into an item": limits.QUEUE_MAX * 250 + limits.CONCURRENCY_MAX * 60 < 400_000,
    "a write has room for its writer, one that gives way and a slot": limits.ENTRIES_A_WRITE_MAX > 3,
    "base64 of a request's answer fits Lambda's": limits.ANSWER_BYTES_MAX < 6 * 1024 * 1024,
    "a request leaves time to answer": limits.REQUEST_DEADLINE_MS - limits.ANSWER_RESERVE_MS
    > limits.CALL_TIME_FIRST_MS,
    "callers' pools outlive every call": 10 * DEFAULT_TIMES.recovery_ms < limits.CALLERS_POOL_KEPT_MS,
    "the slowest text has its own bounds": limits.SPEED_MIN < 1 < limits.SPEED_MAX,
    "the quietest voice too": limits.VOLUME_MIN < 1 < limits.VOLUME_MAX,
    "pitch goes both ways alike": limits.PITCH_MIN == -limits.PITCH_MAX,
}


@pytest.mark.parametrize("holds", RELATIONS.values(), ids=RELATIONS)
def test_the_bounds_relate(holds: bool) -> None:
    assert holds


@pytest.mark.parametrize("times", [DEFAULT_TIMES, TEST_TIMES], ids=["default", "test"])
def test_a_lease_just_renewed_covers_a_call_until_the_next_renewal(times: PoolTimes) -> None:
    assert times.lease_ms >= times.upstream_call_max_ms + times.skew_ms + times.send_max_ms + times.renew_ms


def test_a_lease_that_is_a_millisecond_short_is_refused() -> None:
    """I1: no stage can be set up so."""
    PoolTimes(6_000, 1_000, 1_000, 1_000, 9_000)

    with pytest.raises(AssertionError):
        PoolTimes(6_000, 1_000, 1_000, 1_000, 8_999)


@pytest.mark.parametrize("place", range(4))
def test_times_of_nothing_are_refused(place: int) -> None:
    times = [6_000, 1_000, 1_000, 1_000, 100_000]
    times[place] = 0

    with pytest.raises(AssertionError):
        PoolTimes(*times)


def test_a_slot_is_back_after_its_lease_and_all_margins() -> None:
    """I2."""
    assert PoolTimes(6_000, 1_000, 1_500, 1_000, 10_000).recovery_ms == 12_500


@pytest.mark.parametrize(
    ("send_max_ms", "upstream_call_max_ms", "drain_ms"),
    [(2_000, 60_000, 62_031), (1_000, 6_000, 7_004), (2_000, 8_000, 10_005), (1, 1, 3)],
)
def test_a_drain_lasts_as_long_as_a_call_may_by_a_clock_that_runs_fast(
    send_max_ms: int, upstream_call_max_ms: int, drain_ms: int
) -> None:
    """I1: rounded up."""
    times = PoolTimes(upstream_call_max_ms, 1_000, send_max_ms, 1_000, 100_000)

    assert times.drain_ms == drain_ms
    assert times.drain_ms * 1_000_000 >= (send_max_ms + upstream_call_max_ms) * (1_000_000 + limits.CLOCK_DRIFT_PPM)


def test_the_defaults_are_those_of_the_design() -> None:
    assert PoolTimes() == PoolTimes(
        upstream_call_max_ms=60_000, skew_ms=2_000, send_max_ms=2_000, renew_ms=10_000, lease_ms=80_000
    )
    assert PoolTimes() == DEFAULT_TIMES
