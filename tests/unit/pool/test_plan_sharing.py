"""Who takes which free slot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pools import NOW_MS, TIMES, entry, held, slot, state, terms, view, written
from volcengine_client.limits import (
    QUEUE_MAX,
    TAKE_DELAY_MAX_MS,
    TAKE_DELAY_MS,
)
from volcengine_client.pool.plan import outlook
from volcengine_client.pool.slots import SHUT, Limit, PoolState, Slot
from volcengine_client.pool.view import View, entry_lease_ms

RECLAIM_MS = TIMES.skew_ms + TIMES.send_max_ms
LONG_FREE = dict.fromkeys(range(20), 60000)


def _takes(seen: View) -> set[int]:
    return set(outlook(seen).takes)


def _waits(want: int = 1, *, since_ms: int = 0, **changes: Any) -> Any:
    return entry(want=want, since_ms=since_ms, **changes)


# --- takes ------------------------------------------------------------------------------------------------------------


def test_the_i_th_chosen_takes_the_i_th_free_number() -> None:
    """So takers who look at the same snapshot don't collide."""
    queue = {name: _waits(2, since_ms=place) for place, name in enumerate("abc")}
    pool = state(held(other=(1, 4)), queue)

    assert [_takes(view(pool, name, want=2)) for name in "abc"] == [{0, 5}, {2, 6}, {3, 7}]


@given(
    wants=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    taken=st.sets(st.integers(0, 9), max_size=8),
    bounds=st.lists(st.integers(1, 10), min_size=6, max_size=6),
)
def test_no_two_who_look_at_one_snapshot_take_the_same_slot(
    wants: list[int], taken: set[int], bounds: list[int]
) -> None:
    queue = {f"h{number}": _waits(want, since_ms=number, limit=bounds[number]) for number, want in enumerate(wants)}
    pool = state({number: slot("other") for number in taken}, queue)
    takes = [
        outlook(view(pool, f"h{number}", want=want, terms=terms(bounds[number], hold_max=9))).takes
        for number, want in enumerate(wants)
    ]

    together = [number for mine in takes for number in mine]
    assert len(together) == len(set(together))
    assert not taken & set(together)
    assert all(number < bound for mine, bound in zip(takes, bounds, strict=False) for number in mine)
    free = set(range(min(bounds[: len(wants)]))) - taken - set(together)
    assert not free or len(together) == sum(wants)


def test_newcomers_scatter() -> None:
    """Nobody reckons with them yet, so those who come at once would all take the same numbers."""
    takes = [outlook(view(state(), f"newcomer{number}")).takes for number in range(10)]

    assert all(len(mine) == 1 for mine in takes)
    assert len(frozenset().union(*takes)) >= 5


def test_a_newcomer_whose_write_met_anothers_takes_nothing_before_it_has_joined() -> None:
    """When many come at once each would take what another takes, again and again."""
    pool = state()
    joined = state(queue={"me": entry(want=2)})

    assert len(_takes(view(pool, want=2))) == 2
    assert _takes(view(pool, want=2, is_crowded=True)) == set()
    assert len(_takes(view(joined, want=2, is_crowded=True))) == 2


def test_a_newcomer_leaves_alone_what_it_thinks_goes_to_others() -> None:
    """In its eyes they take every other number at first, beginning with the lowest."""
    queue = {"w": _waits(4, since_ms=1)}
    newcomers = [_takes(view(state(queue=queue), f"newcomer{number}", want=4)) for number in range(20)]

    assert set().union(*newcomers) == {1, 3, 5, 7, 8, 9}
    assert all(len(mine) == 4 for mine in newcomers)


def test_a_newcomer_under_a_lower_limit_keeps_below_it() -> None:
    """I1."""
    takes = [_takes(view(state(), f"newcomer{number}", want=2, terms=terms(3))) for number in range(20)]

    assert set().union(*takes) == {0, 1, 2}


def test_nobody_takes_more_than_it_has_work_for() -> None:
    assert len(_takes(view(state(), want=4))) == 4
    assert len(_takes(view(state(), want=9, terms=terms(hold_max=2)))) == 2


def test_slots_that_it_holds_count() -> None:
    assert _takes(view(state(held(me=(0, 1)), {"me": entry(want=3)}), want=3)) == {2}


def test_a_slot_in_drain_does_not_count() -> None:
    pool = state(held(me=(0, 1)), {"me": entry(want=2)})

    assert _takes(view(pool, want=2, shut={1: NOW_MS + 9_000})) == {2}


def test_a_busy_slot_above_a_lowered_limit_still_counts() -> None:
    """Its call goes on, and is one of those that the caller allowed."""
    pool = state(held(me=(0, 7)), {"me": entry(want=2)}, limit=Limit(5, 3))

    assert _takes(view(pool, want=2, busy=frozenset({0, 7}), terms=terms(hold_max=2))) == set()


def test_only_missing_and_expired_slots_are_taken() -> None:
    """I1: the reclaim rule."""
    slots = {
        0: slot("a", left_ms=-RECLAIM_MS + 1),
        1: slot("a", left_ms=-RECLAIM_MS),
        2: Slot(SHUT, NOW_MS - RECLAIM_MS + 1),
        3: Slot(SHUT, NOW_MS - RECLAIM_MS),
    }

    assert _takes(view(state(slots, limit=Limit(5, 0)), want=9, terms=terms(5))) == {1, 3, 4}


def test_without_the_time_only_missing_slots_are_taken() -> None:
    slots = {0: slot("a", left_ms=-RECLAIM_MS)}

    assert _takes(view(state(slots, limit=Limit(2, 0)), want=9, terms=terms(2), now_lo_ms=None)) == {1}


def test_what_the_table_ties_to_us_is_ours_to_take_whatever_the_time() -> None:
    pool = state(held(me=(0,)), {"me": entry()}, limit=Limit(1, 0))

    assert _takes(view(pool, owned={})) == {0}
    assert _takes(view(pool, owned={}, now_lo_ms=None)) == {0}


def test_participants_with_a_higher_limit_take_the_highest_numbers() -> None:
    """So those who may use only the low ones find some."""
    queue = {"low": _waits(2, since_ms=1, limit=3), "me": _waits(2, since_ms=0)}
    pool = state({}, queue)

    assert _takes(view(pool, want=2)) == {9, 8}
    assert _takes(view(pool, "low", want=2, terms=terms(3))) == {0, 1}


def test_participants_of_one_limit_take_the_lowest_numbers() -> None:
    queue = {"me": _waits(2, since_ms=1), "other": _waits(2, since_ms=9)}

    assert _takes(view(state({}, queue), want=2)) == {0, 2}


def test_who_lets_a_slot_go_and_meets_anothers_write_does_not_take_it_back_for_that() -> None:
    """I7: it would begin a new turn beside the one for whom it let go."""
    queue = {"me": _waits(3, since_ms=1), "other": _waits(since_ms=2)}
    pool = state({0: slot("me")}, queue, limit=Limit(1, 0))
    seen: dict[str, Any] = {"want": 3, "owned": {}, "terms": terms(1)}

    assert _takes(view(pool, **seen)) == {0}
    assert not _takes(view(pool, **seen, has_yielded=True))
    assert not written(view(pool, **seen, has_yielded=True)).slots


def test_a_slot_that_the_chosen_one_may_not_use_goes_to_the_next() -> None:
    queue = {"low": _waits(5, since_ms=NOW_MS - 9_000, limit=1)}
    pool = state(held(other=(0,)), queue)

    assert _takes(view(pool))


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_k_th_in_line_takes_a_slot_that_stayed_free_for_k_delays(place: int) -> None:
    """I2: the chosen one may be dead."""
    queue = {f"ahead{number}": _waits(since_ms=number) for number in range(place)} | {"me": _waits(since_ms=99)}
    pool = state({}, queue, limit=Limit(1, 0))

    assert _takes(view(pool, terms=terms(1), free_for_ms={0: place * TAKE_DELAY_MS - 1})) == set()
    assert _takes(view(pool, terms=terms(1), free_for_ms={0: place * TAKE_DELAY_MS})) == {0}


def test_however_many_may_have_died_a_slot_stays_free_beside_a_waiter_for_a_bounded_time() -> None:
    """I2: all of a crowd may be dead until their entries expire."""
    queue = {f"ahead{number}": _waits(since_ms=number) for number in range(100)} | {"me": _waits(since_ms=999)}
    pool = state({}, queue, limit=Limit(1, 0))

    assert _takes(view(pool, terms=terms(1), free_for_ms={0: TAKE_DELAY_MAX_MS - 1})) == set()
    assert _takes(view(pool, terms=terms(1), free_for_ms={0: TAKE_DELAY_MAX_MS})) == {0}


def test_a_slot_that_stayed_free_is_taken_only_by_one_who_wants_more() -> None:
    queue = {"dead": _waits(3, since_ms=1), "me": _waits(2, since_ms=9)}
    pool = state(held(me=(0, 1)), queue, limit=Limit(3, 0))

    assert _takes(view(pool, want=2, free_for_ms=LONG_FREE)) == set()


def test_no_more_stale_slots_are_taken_than_there_is_work_for() -> None:
    """Beside the one that it is entitled to."""
    queue = {"dead": _waits(9, since_ms=1, app="x", weight=2), "me": _waits(2, since_ms=9, app="y")}
    pool = state(held(other=tuple(range(3, 10))), queue)
    how = terms(app="y")

    assert _takes(view(pool, want=2, terms=how)) == {1}
    assert _takes(view(pool, want=2, terms=how, free_for_ms=LONG_FREE)) == {0, 1}


def test_a_stale_slot_above_its_own_bound_is_not_taken() -> None:
    """I1."""
    queue = {"dead": _waits(9, since_ms=1), "me": _waits(1, since_ms=9)}
    pool = state(held(other=(0, 1, 2, *range(4, 10))), queue)

    assert _takes(view(pool, terms=terms(3), free_for_ms=LONG_FREE)) == set()
    assert _takes(view(pool, terms=terms(4), free_for_ms=LONG_FREE)) == {3}


def test_one_who_has_all_it_wants_is_not_in_line() -> None:
    ahead = outlook(view(state(), want=2))

    assert ahead.behind is None
    assert ahead.unserved == ()


def test_one_in_line_knows_how_many_are_before_it() -> None:
    queue = {"a": _waits(2, since_ms=1, app="x"), "b": _waits(1, since_ms=2, app="y"), "me": _waits(since_ms=3)}
    ahead = outlook(view(state(held(other=tuple(range(10))), queue), terms=terms(app="z")))

    assert ahead.behind == 2


def test_it_is_those_before_it_that_count_not_the_slots_that_they_lack() -> None:
    queue = {"a": _waits(5, since_ms=1), "me": entry(want=6)}
    pool = state(held(me=(0, 1, 2), a=(3, 4), other=tuple(range(5, 10))), queue)
    ahead = outlook(view(pool, want=6))

    assert [one.holder_id for one in ahead.unserved] == ["a", "a", "me", "a"]
    assert ahead.behind == 1


def test_a_line_is_looked_at_as_far_as_it_concerns_one() -> None:
    """Its own place, and as many as it could give slots to."""
    queue = {f"w{number}": _waits(9, since_ms=number) for number in range(9)} | {"me": entry(want=2)}
    holds = state(held(me=(0, 1), other=tuple(range(2, 10))), queue)
    waits = state(held(other=tuple(range(10))), queue)

    assert len(outlook(view(holds, want=2)).unserved) == 3
    assert [one.holder_id for one in outlook(view(waits, want=2)).unserved][-1] == "me"


def test_one_behind_a_line_longer_than_any_counts_as_its_last() -> None:
    queue = {f"w{number}": _waits(9, app=f"a{number}", since_ms=number) for number in range(QUEUE_MAX)}
    pool = state(held(other=tuple(range(10))), queue | {"me": entry(app="a0", since_ms=NOW_MS)})
    ahead = outlook(view(pool, terms=terms(app="a0")))

    assert ahead.behind == QUEUE_MAX
    assert len(ahead.unserved) == QUEUE_MAX + 1


def test_a_long_line_is_looked_at_only_as_far_as_it_matters() -> None:
    queue = {f"w{number}": _waits(9, since_ms=number) for number in range(QUEUE_MAX)} | {"me": entry(want=1)}
    pool = state(held(me=(0,), other=tuple(range(1, 10))), queue)

    assert len(outlook(view(pool, busy=frozenset({0}))).unserved) <= QUEUE_MAX + 1


def test_a_pool_without_a_limit_has_free_slots_up_to_ours() -> None:
    assert _takes(view(PoolState(rev=1), want=9, terms=terms(4))) == {0, 1, 2, 3}


@pytest.mark.parametrize(("call_ms", "waiters"), [(1_000, {"me", "other"}), (400, {"me"}), (0, {"me", "other"})])
def test_one_whose_work_must_be_nearly_done_by_now_wants_no_more_slots(call_ms: int, waiters: set[str]) -> None:
    """Its entry is as old as its last write: there it had four calls left, one and a half seconds ago."""
    written_at_ms = NOW_MS - 1_500
    old = entry(want=4, left_count=4, call_ms=call_ms, expires_at_ms=written_at_ms + entry_lease_ms(TIMES))
    mine = entry(want=2, since_ms=NOW_MS)
    pool = state(held(other=(0,), me=(1,), full=tuple(range(2, 10))), {"other": old, "me": mine})

    assert {one.holder_id for one in outlook(view(pool, want=2)).unserved} == waiters


@pytest.mark.parametrize(("since_ms", "is_new", "places"), [(500, False, 3), (500, True, 1), (5_000, False, 1)])
def test_one_who_has_just_let_a_slot_go_takes_it_back_later(since_ms: int, is_new: bool, places: int) -> None:
    """I7: those for whom it did so may be far away, or think that somebody dead comes before them."""
    mine = entry(since_ms=NOW_MS - since_ms, is_new=is_new)
    pool = state(held(other=tuple(range(1, 10))), {"w": _waits(9, since_ms=0), "me": mine})

    assert _takes(view(pool, free_for_ms={0: places * TAKE_DELAY_MS - 1})) == set()
    assert _takes(view(pool, free_for_ms={0: places * TAKE_DELAY_MS})) == {0}
