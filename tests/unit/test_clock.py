from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.virtual_time import IN_VIRTUAL_TIME, VirtualClock
from volcengine_client.clock import SystemClock, TableTime
from volcengine_client.limits import CLOCK_DRIFT_PPM

SAMPLE = TableTime.sample(date_ms=50_000, resolution_ms=1_000, sent_at_ms=7_000, received_at_ms=7_040)


def test_a_reply_bounds_the_tables_clock_by_when_it_was_asked_and_when_it_came() -> None:
    """The date was told, cut to the second, at some moment between the two."""
    assert SAMPLE.now_lo_ms(7_040) == 50_000
    assert SAMPLE.now_hi_ms(7_040) == 50_000 + 1_000 + 40


def test_the_bounds_go_on_with_our_clock_and_widen_with_age() -> None:
    age_ms = 1_000_000
    drift_ms = age_ms * CLOCK_DRIFT_PPM // 1_000_000

    assert SAMPLE.now_lo_ms(7_040 + age_ms) == 50_000 + age_ms - drift_ms
    assert SAMPLE.now_hi_ms(7_040 + age_ms) == 51_040 + age_ms + drift_ms


def test_the_drift_is_never_counted_too_small() -> None:
    """I1: a part of a millisecond counts as a whole one."""
    assert SAMPLE.now_lo_ms(7_041) == 50_000
    assert SAMPLE.now_hi_ms(7_041) == 51_040 + 2


def test_a_second_reply_narrows_the_bounds_from_either_side() -> None:
    late_in_its_second = TableTime.sample(date_ms=50_000, resolution_ms=1_000, sent_at_ms=7_890, received_at_ms=7_900)
    early_in_its_second = TableTime.sample(date_ms=51_000, resolution_ms=1_000, sent_at_ms=7_890, received_at_ms=7_900)

    narrowed = SAMPLE.narrowed(late_in_its_second)
    assert (narrowed.now_lo_ms(7_900), narrowed.now_hi_ms(7_900)) == (50_860 - 1, 51_010)
    narrowed = SAMPLE.narrowed(early_in_its_second)
    assert (narrowed.now_lo_ms(7_900), narrowed.now_hi_ms(7_900)) == (51_000, 51_900 + 1)


def test_an_old_sample_has_drifted_when_it_is_narrowed() -> None:
    """I1: what is carried over is wide again by its age."""
    vague = TableTime.sample(date_ms=1_050_000, resolution_ms=5_000, sent_at_ms=1_006_000, received_at_ms=1_010_000)
    narrowed = SAMPLE.narrowed(vague)

    assert narrowed.now_lo_ms(1_010_000) == SAMPLE.now_lo_ms(1_010_000)
    assert narrowed.now_hi_ms(1_010_000) == SAMPLE.now_hi_ms(1_010_000)


@pytest.mark.parametrize("jump_ms", [-60_000, 60_000])
def test_of_two_replies_that_contradict_only_the_later_counts(jump_ms: int) -> None:
    """One of the clocks has jumped."""
    later = TableTime.sample(date_ms=50_000 + jump_ms, resolution_ms=1_000, sent_at_ms=7_060, received_at_ms=7_100)

    assert SAMPLE.narrowed(later) == later


def test_replies_that_touch_do_not_contradict() -> None:
    sharp = TableTime.sample(date_ms=50_000, resolution_ms=0, sent_at_ms=7_040, received_at_ms=7_040)

    assert SAMPLE.narrowed(sharp) == sharp


def test_a_sample_that_came_late_is_still_right() -> None:
    """An old reply may come last; it has drifted since."""
    old = TableTime.sample(date_ms=48_000, resolution_ms=1_000, sent_at_ms=5_000, received_at_ms=5_020)
    narrowed = SAMPLE.narrowed(old)

    truth_ms = 50_500  # so it was 48,460 when the old reply was asked for
    assert narrowed.now_lo_ms(7_040) <= truth_ms <= narrowed.now_hi_ms(7_040)


def test_a_reply_does_not_come_before_it_was_asked_for() -> None:
    with pytest.raises(AssertionError):
        TableTime.sample(date_ms=0, resolution_ms=0, sent_at_ms=2, received_at_ms=1)


@given(
    lead_ms=st.integers(-(10**12), 10**12),
    drift_ppm=st.integers(-CLOCK_DRIFT_PPM, CLOCK_DRIFT_PPM),
    rounds=st.lists(
        st.tuples(st.integers(0, 60_000), st.integers(0, 900), st.integers(0, 900)), min_size=1, max_size=20
    ),
)
def test_the_tables_clock_never_leaves_its_bounds(
    lead_ms: int, drift_ppm: int, rounds: list[tuple[int, int, int]]
) -> None:
    """I1: whatever the lag on either way, and however wrong our clock runs within the tolerance."""

    def table_ms(monotonic_ms: int) -> int:
        return lead_ms + monotonic_ms + monotonic_ms * drift_ppm // 1_000_000

    now_ms, known = 0, None
    for wait_ms, to_ms, back_ms in rounds:
        now_ms += wait_ms
        told_at_ms, came_at_ms = now_ms + to_ms, now_ms + to_ms + back_ms
        date_ms = table_ms(told_at_ms) // 1_000 * 1_000
        sample = TableTime.sample(date_ms=date_ms, resolution_ms=1_000, sent_at_ms=now_ms, received_at_ms=came_at_ms)
        known = sample if known is None else known.narrowed(sample)
        now_ms = came_at_ms
        assert known.now_lo_ms(now_ms) - 1 <= table_ms(now_ms) <= known.now_hi_ms(now_ms) + 1


async def test_the_systems_clocks_go_forward() -> None:
    clock = SystemClock()
    before_ms, wall_ms = clock.monotonic_ms(), clock.wall_ms()
    await clock.sleep(1)

    assert clock.monotonic_ms() > before_ms
    assert clock.wall_ms() >= wall_ms
    assert wall_ms > 10**12


@IN_VIRTUAL_TIME
async def test_the_systems_clock_sleeps_in_milliseconds() -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await SystemClock().sleep(2_500)

    assert loop.time() - began_s == pytest.approx(2.5)


@IN_VIRTUAL_TIME
async def test_the_tests_own_clock_tells_pauses_from_suspensions() -> None:
    clock = VirtualClock(wall_error_ms=-500)
    monotonic_ms, wall_ms, truth_ms = clock.monotonic_ms(), clock.wall_ms(), clock.truth.now_ms()
    clock.pause(1_000)
    clock.suspend(50_000)
    await clock.sleep(10)

    assert clock.monotonic_ms() - monotonic_ms == 1_010
    assert clock.wall_ms() - wall_ms == 51_010
    assert clock.truth.now_ms() - truth_ms == 51_010
    assert wall_ms == truth_ms - 500
