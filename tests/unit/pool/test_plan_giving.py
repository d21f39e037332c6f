"""What a holder gives up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.pools import NOW_MS, entry, held, state, terms, view
from volcengine_client.limits import (
    QUANTUM_MS,
    SWAP_QUANTUM_MS,
)
from volcengine_client.pool.plan import give_ups, outlook
from volcengine_client.pool.slots import Limit
from volcengine_client.pool.view import View


def _gives(seen: View) -> set[int]:
    return set(give_ups(seen, outlook(seen)))


def _waits(want: int = 1, *, since_ms: int = 0, **changes: Any) -> Any:
    return entry(want=want, since_ms=since_ms, **changes)


def _holding(*numbers: int, queue: dict[str, Any] | None = None, want: int | None = None, **changes: Any) -> View:
    """Return the view of one who holds *numbers*, idle, beside an equal number held by another."""
    rest = tuple(number for number in range(10) if number not in numbers)
    own = {"me": entry(want=len(numbers) if want is None else want)}
    pool = state(held(me=numbers, other=rest), own | (queue or {}))
    return view(pool, want=len(numbers) if want is None else want, **changes)


def _later(seen: View, late_ms: int) -> View:
    """Return the same view, so much later; all that there is was renewed."""
    slots = {n: replace(one, expires_at_ms=one.expires_at_ms + late_ms) for n, one in seen.state.slots.items()}
    queue = {key: replace(one, expires_at_ms=one.expires_at_ms + late_ms) for key, one in seen.state.queue.items()}
    pool = replace(seen.state, slots=slots, queue=queue)
    now_ms = NOW_MS + late_ms
    return replace(seen, state=pool, owned=pool.held_by("me"), now_lo_ms=now_ms, estimate_ms=now_ms)


def test_a_slot_is_kept_between_tasks_while_nobody_waits() -> None:
    assert _gives(_later(_holding(0, 1), SWAP_QUANTUM_MS)) == set()


def test_a_slot_without_work_is_kept_while_nobody_waits() -> None:
    assert _gives(_holding(0, 1, want=0)) == set()


def test_slots_without_work_are_given_up_as_many_as_others_want() -> None:
    assert _gives(_holding(0, 1, 2, 3, want=1, queue={"w": _waits(2)})) == {2, 3}
    assert _gives(_holding(0, 1, 2, 3, want=1, queue={"w": _waits(9)})) == {1, 2, 3}


def test_what_one_is_allowed_to_hold_bounds_what_it_has_work_for() -> None:
    assert _gives(_holding(0, 1, 2, want=9, terms=terms(hold_max=2), queue={"w": _waits(9)})) == {2}


def test_a_busy_slot_is_never_given_up() -> None:
    """A batch is never interrupted inside a call."""
    assert _gives(_holding(0, 1, want=0, busy=frozenset({0, 1}), queue={"w": _waits(9)})) == set()


def test_a_slot_in_drain_is_never_given_up() -> None:
    """I1."""
    assert _gives(_holding(0, want=0, shut={0: NOW_MS + 1}, queue={"w": _waits(9)})) == set()


def test_idle_slots_above_a_lowered_limit_are_given_up_at_once() -> None:
    pool = state(held(me=(2, 5, 6)), {"me": entry(want=3)}, limit=Limit(5, 3))

    assert _gives(view(pool, want=3)) == {5, 6}
    assert _gives(view(pool, want=3, busy=frozenset({6}))) == {5}


def test_slots_above_the_limit_and_slots_without_work_go_in_one_write() -> None:
    pool = state(held(me=(0, 1, 7)), {"me": entry(want=1), "w": _waits(9)}, limit=Limit(2, 3))

    assert _gives(view(pool, want=1)) == {1, 7}


def test_a_slot_at_the_limit_is_above_it() -> None:
    pool = state(held(me=(4, 5)), {"me": entry(), "w": _waits(3, limit=5)}, limit=Limit(5, 3))

    assert _gives(view(pool, want=1)) == {5}


def test_slots_above_our_own_limit_go_beside_those_without_work() -> None:
    seen = _holding(0, 1, 7, want=1, terms=terms(2), queue={"w": _waits(9)})

    assert _gives(seen) == {1, 7}


def test_a_single_slot_without_work_is_given_to_one_who_holds_as_much() -> None:
    pool = state(held(me=(0, 1), w=(2, 3), other=tuple(range(4, 10))), {"me": entry(), "w": _waits(3)})

    assert _gives(view(pool, want=1)) == {1}


def test_what_was_given_to_an_app_counts_for_the_next() -> None:
    queue = {name: _waits(10, since_ms=place, app=name) for place, name in enumerate("abc")}

    assert len(_gives(_holding(*range(8), queue=queue, want=8))) == 6


def test_one_who_holds_much_gives_one_who_waits_his_share_at_once() -> None:
    """I7: at the task boundary, as many slots as are owed."""
    seen = _holding(*range(10), queue={"w": _waits(10)}, want=10)

    assert len(_gives(seen)) == 5


def test_the_last_slot_of_equals_changes_hands_when_the_quantum_is_over() -> None:
    fresh = _holding(*range(9), queue={"w": _waits(10)}, want=10)
    not_yet, over = (_later(fresh, since_ms + SWAP_QUANTUM_MS) for since_ms in (-1_001, -1_000))

    assert [len(_gives(seen)) for seen in (fresh, not_yet, over)] == [4, 4, 5]


def test_a_quantum_begins_when_its_holder_was_last_served_a_slot() -> None:
    """I7: then its waiting began anew as well."""
    long_ago, lately = NOW_MS - QUANTUM_MS, NOW_MS - QUANTUM_MS + 1
    rest = tuple(range(1, 10))
    pools = [
        state(held(me=(0,), other=rest), {"me": entry(since_ms=since_ms), "w": _waits()})
        for since_ms in (lately, long_ago)
    ]

    assert [_gives(view(pool)) for pool in pools] == [set(), {0}]


def test_one_whose_entry_is_gone_has_just_been_served() -> None:
    """It joins anew, and then its quantum begins."""
    pool = state(held(me=(0,), other=tuple(range(1, 10))), {"w": _waits()})

    assert view(pool).served_ms == 0
    assert _gives(view(pool)) == set()


def test_of_several_who_wait_each_is_given_what_is_owed() -> None:
    queue = {name: _waits(10, since_ms=place) for place, name in enumerate("abc")}

    assert len(_gives(_holding(*range(8), queue=queue, want=8))) == 6


def test_only_idle_slots_are_owed() -> None:
    seen = _holding(*range(10), queue={"w": _waits(10)}, want=10, busy=frozenset(range(9)))

    assert _gives(seen) == {9}


def test_one_who_waits_is_given_a_slot_that_it_may_use() -> None:
    """And not the highest, which its giver would only take again."""
    low = {"low": _waits(5, limit=3)}

    assert _gives(_holding(*range(10), want=10, queue=low)) == {0, 1, 2}
    assert _gives(_holding(1, 7, 8, want=1, queue=low)) == {1}
    assert _gives(_later(_holding(7, 8, want=9, queue=low), SWAP_QUANTUM_MS)) == set()


def test_one_who_can_use_no_slot_of_ours_keeps_none_from_the_next() -> None:
    queue = {"low": _waits(5, limit=3, app="x"), "high": _waits(1, since_ms=9, app="y")}

    assert _gives(_holding(6, 7, 8, want=3, queue=queue)) == {8}


def test_one_who_is_next_itself_owes_nothing() -> None:
    pool = state(held(me=(0,), w=(1, 2), other=tuple(range(3, 10))), {"me": entry(want=3), "w": _waits(5)})

    assert _gives(_later(view(pool, want=3), SWAP_QUANTUM_MS)) == set()


def test_what_other_apps_hold_is_counted() -> None:
    rest = {"other": entry(app="big", want=9)}
    waits = {"w": _waits(5, app="big")}

    assert _gives(_later(_holding(0, 1, queue=rest | waits, want=2), SWAP_QUANTUM_MS)) == set()
    assert _gives(_later(_holding(0, 1, queue=waits, want=2), SWAP_QUANTUM_MS)) == {1}


def test_a_background_batch_gives_all_to_interactive_ones() -> None:
    """I7."""
    night = terms(app="night", is_background=True)

    assert _gives(_holding(0, 1, 2, want=9, terms=night, queue={"day": _waits(2, app="day")})) == {1, 2}


def test_an_interactive_batch_gives_nothing_to_background() -> None:
    seen = _holding(*range(10), want=10, queue={"n": _waits(9, is_background=True)})

    assert _gives(_later(seen, SWAP_QUANTUM_MS)) == set()


def test_one_who_waits_but_is_dead_is_owed_nothing() -> None:
    seen = _holding(*range(10), want=10, queue={"dead": _waits(9, expires_at_ms=NOW_MS)})

    assert _gives(seen) == set()


# --- a slot just taken ------------------------------------------------------------------------------------------------


def test_a_slot_taken_late_serves_a_call_before_it_is_given_to_who_was_slow() -> None:
    """Else who took it would lose its place in the line, and have had nothing."""
    owing = _holding(0, 1, want=2, queue={"x": _waits(since_ms=1)})

    assert _gives(owing) == {1}
    assert _gives(replace(owing, unused=frozenset({1}))) <= {0}


def test_background_gives_even_a_slot_just_taken_to_an_interactive_one() -> None:
    night = _holding(0, want=1, queue={"x": _waits()}, terms=terms(is_background=True), unused=frozenset({0}))

    assert _gives(night) == {0}
