"""What a participant makes of the limit, of a cut of it, and of its own terms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.pools import NOW_MS, TIMES, entry, held, own_numbers, state, terms, view, written
from volcengine_client.limits import CAP_MS, CAP_STEP_MS, CONCURRENCY_MAX, WEIGHT_MAX
from volcengine_client.pool.slots import Cap, Limit, Slot
from volcengine_client.pool.view import entry_lease_ms

FRESH = entry(expires_at_ms=NOW_MS + entry_lease_ms(TIMES))


# --- limit and cut ----------------------------------------------------------------------------------------------------


def test_the_first_to_join_sets_the_limit() -> None:
    assert written(view(state(limit=None), terms=terms(4))).limit == Limit(4, 0)


def test_a_newer_version_lowers_the_limit_and_takes_only_below_it() -> None:
    """I1: it acts at once."""
    pool = state(held(other=(0, 1)), {"other": entry(want=2)})
    after = written(view(pool, terms=terms(3, version=9), want=5))

    assert after.limit == Limit(3, 9)
    assert own_numbers(after) == {2}


def test_a_newer_version_raises_the_limit() -> None:
    pool = state(held(other=tuple(range(10))), {"other": entry(want=10)})
    after = written(view(pool, terms=terms(12, version=9), want=5))

    assert after.limit == Limit(12, 9)
    assert own_numbers(after) == {10, 11}


def test_an_older_version_follows_up_and_down() -> None:
    after = written(view(state(limit=Limit(4, 9)), terms=terms(8), want=8))
    assert (after.limit, own_numbers(after)) == (Limit(4, 9), {0, 1, 2, 3})

    after = written(view(state(limit=Limit(9, 9)), terms=terms(8, hold_max=20), want=20))
    assert (after.limit, own_numbers(after)) == (Limit(9, 9), set(range(9)))


def test_one_with_a_lower_limit_of_its_own_keeps_to_it() -> None:
    """A request's own concurrency, or an account that another client was told more of."""
    after = written(view(state(), terms=terms(3), want=8))

    assert after.limit == Limit(10, 0)
    assert own_numbers(after) == {0, 1, 2}
    assert after.queue["me"].limit == 3


def test_refusals_cut_the_limit_by_as_many_slots_for_a_while() -> None:
    pool = state(held(me=(0,)), {"me": FRESH})
    after = written(view(pool, refused_count=3))

    assert after.cap == Cap(7, NOW_MS + CAP_MS)


def test_refusals_below_a_cut_deepen_it() -> None:
    pool = state(held(me=(0,)), {"me": FRESH}, cap=Cap(5, NOW_MS + 1))

    assert written(view(pool, refused_count=2)).cap == Cap(3, NOW_MS + CAP_MS)


def test_a_cut_leaves_one_slot() -> None:
    pool = state(held(me=(0,)), {"me": FRESH})

    assert written(view(pool, refused_count=50)).cap == Cap(1, NOW_MS + CAP_MS)


def test_a_cut_that_climbed_too_high_falls_back_to_what_was_there() -> None:
    pool = state(held(me=(0,)), {"me": FRESH}, cap=Cap(5, NOW_MS))

    assert view(pool).height == 6
    assert written(view(pool, refused_count=1)).cap == Cap(5, NOW_MS + CAP_MS)
    assert written(view(pool, refused_count=4)).cap == Cap(5, NOW_MS + CAP_MS)


def test_a_modest_caller_cuts_the_pools_limit_not_its_own() -> None:
    pool = state(held(me=(0,)), {"me": replace(FRESH, limit=2)})

    assert written(view(pool, terms=terms(2), refused_count=1)).cap == Cap(9, NOW_MS + CAP_MS)


def test_refused_slots_rest_until_the_calls_beyond_a_cut_have_ended() -> None:
    cut = Cap(7, NOW_MS + CAP_MS)
    queue = {"me": FRESH, "other": entry(want=1)}
    refused = frozenset({0})

    assert view(state(held(me=(0,), other=(7,)), queue, cap=cut), refused=refused).resting == refused
    assert view(state(held(me=(0,), other=(6,)), queue, cap=cut), refused=refused).resting == frozenset()
    assert view(state(held(me=(0,), other=(9,)), queue), refused=refused).resting == frozenset()


def test_nobody_takes_slots_above_a_cut() -> None:
    assert own_numbers(written(view(state(cap=Cap(4, NOW_MS + 1)), want=9))) == {0, 1, 2, 3}


def test_a_cut_that_has_climbed_back_is_removed_by_the_next_write() -> None:
    gone, not_yet = Cap(8, NOW_MS - CAP_STEP_MS), Cap(8, NOW_MS - CAP_STEP_MS + 1)

    assert written(view(state(cap=gone), want=1)).cap is None
    assert written(view(state(cap=not_yet), want=1)).cap == not_yet


def test_a_cut_stays_while_the_time_is_unknown() -> None:
    old = Cap(8, 0)

    assert written(view(state(cap=old), want=1, now_lo_ms=None)).cap == old


# --- terms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "hold_max", "weight"),
    [(0, 1, 1), (CONCURRENCY_MAX + 1, 1, 1), (1, 0, 1), (1, CONCURRENCY_MAX + 1, 1), (1, 1, 0), (1, 1, WEIGHT_MAX + 1)],
)
def test_terms_out_of_bounds_are_a_bug(limit: int, hold_max: int, weight: int) -> None:
    with pytest.raises(AssertionError):
        terms(limit, hold_max=hold_max, weight=weight)


def test_terms_take_the_ends_of_their_ranges() -> None:
    assert terms(CONCURRENCY_MAX, weight=WEIGHT_MAX).hold_max == CONCURRENCY_MAX
    assert terms(1).weight == 1


def test_the_item_is_kept_until_when_its_writer_says() -> None:
    assert written(view(state(kept_until_s=5), kept_until_s=99)).kept_until_s == 99


def test_the_pool_times_leave_room_for_a_whole_call_after_a_renewal() -> None:
    assert Slot("me", NOW_MS + TIMES.lease_ms - TIMES.renew_ms).expires_at_ms >= (
        NOW_MS + TIMES.upstream_call_max_ms + TIMES.skew_ms + TIMES.send_max_ms
    )
