"""How often everybody looks at the table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.pools import NOW_MS, TIMES, entry, held, state, terms, view
from volcengine_client.limits import (
    CALL_TIME_GUESS_MS,
    CHANCE_MARGIN_MS,
    FIRST_QUANTUM_MS,
    QUANTUM_MS,
    QUEUE_MAX,
    READ_BACKGROUND_MS,
    READ_FAR_MS,
    READ_HOLDING_MS,
    READ_PLACE_MS,
    READ_SLOWEST_MS,
    READ_SPARE_MS,
    READ_TURN_MS,
    SWAP_QUANTUM_MS,
    TAKE_DELAY_MS,
)
from volcengine_client.pool.pace import next_read_ms, prospect
from volcengine_client.pool.plan import outlook
from volcengine_client.pool.slots import SHUT, Entry, Limit, Slot
from volcengine_client.pool.view import View, entry_lease_ms

PACE_MS = 25
SELDOM_MS = READ_SLOWEST_MS + READ_PLACE_MS  # how often the next in line looks while nothing is expected
NIGHT = terms(app="mine", is_background=True)


def _read_ms(seen: View, *, age_ms: int = 0) -> int:
    return next_read_ms(seen, outlook(seen), pace_ms=PACE_MS, age_ms=age_ms)


def _works(left_count: int = 1_000, *, call_ms: int = 1_000, written_ms: int = 0, **changes: Any) -> Entry:
    """Return the entry of a holder, written so long ago, that still has to make so many calls."""
    expires_at_ms = NOW_MS - written_ms + entry_lease_ms(TIMES)
    fields = {"left_count": left_count, "call_ms": call_ms, "expires_at_ms": expires_at_ms, "since_ms": NOW_MS}
    return entry(**fields | changes)


def _waits(count: int, **changes: Any) -> dict[str, Entry]:
    """Return so many who wait for longer than any other."""
    return {f"w{number}": entry(**{"since_ms": number, "want": 1} | changes) for number in range(count)}


def _waiting(
    *holders: Entry, ahead: dict[str, Entry] | None = None, me: dict[str, Any] | None = None, **how: Any
) -> View:
    """Return the view of one who waits behind *ahead*, while each of *holders* has a slot and there is no other."""
    queue = {f"h{number}": one for number, one in enumerate(holders)} | (ahead or {})
    slots = held(**{f"h{number}": (number,) for number in range(len(holders))})
    pool = state(slots, queue | {"me": entry(**me or {})}, limit=Limit(len(holders), 1))
    return view(pool, **how)


# --- who waits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0, 1, 9, 19])
def test_who_is_not_expected_to_be_served_soon_looks_seldom(ahead: int) -> None:
    """The further from the slots, the less often."""
    seen = _waiting(*[_works()] * 10, ahead=_waits(ahead))

    assert _read_ms(seen) == READ_SLOWEST_MS + (ahead + 1) * READ_PLACE_MS


@pytest.mark.parametrize("ahead", [59, 60, 150])
def test_however_far_from_the_slots_everybody_looks_now_and_then(ahead: int) -> None:
    assert _read_ms(_waiting(*[_works()] * 10, ahead=_waits(ahead))) == READ_FAR_MS


@pytest.mark.parametrize(("ahead", "turns"), [(0, 1), (1, 2), (2, 3), (4, 9), (9, 37)])
def test_when_slots_are_expected_those_next_in_line_look_often_and_the_others_less(ahead: int, turns: int) -> None:
    assert _read_ms(_waiting(*[_works(0)] * 10, ahead=_waits(ahead))) == turns * PACE_MS


def test_in_a_pool_of_few_slots_the_second_in_line_looks_even_less() -> None:
    assert _read_ms(_waiting(_works(0), _works(0), ahead=_waits(1))) == 5 * PACE_MS


def test_one_who_has_a_slot_and_wants_more_looks_less_often() -> None:
    pool = state(held(me=(0,), h=(1, 2, 3)), {"h": _works(), "me": entry(want=2)}, limit=Limit(4, 1))
    more = state(held(me=(0, 2), h=(1, 3)), {"h": _works(), "me": entry(want=3)}, limit=Limit(4, 1))

    assert _read_ms(view(pool, want=2, busy=frozenset({0}))) == 2 * PACE_MS
    assert _read_ms(view(more, want=3, busy=frozenset({0, 2}))) == READ_HOLDING_MS


@pytest.mark.parametrize(
    ("left_count", "call_ms", "expected_ms"), [(10, 100, 700), (1, 1_000, 700), (2, 200, 220), (1, 100, PACE_MS)]
)
def test_the_look_comes_just_before_a_holders_work_should_be_over(
    left_count: int, call_ms: int, expected_ms: int
) -> None:
    """A fifth of the time foreseen before it, and a moment more."""
    seen = _waiting(_works(left_count, call_ms=call_ms), *[_works()] * 9)

    assert _read_ms(seen) == expected_ms


def test_the_wait_counts_from_the_snapshot_and_the_work_from_the_holders_last_write() -> None:
    seen = _waiting(_works(1, written_ms=400), _works())

    assert _read_ms(seen) == 300
    assert _read_ms(seen, age_ms=200) == 500


def test_who_knows_the_tables_clock_badly_looks_rather_too_early() -> None:
    assert _read_ms(_waiting(_works(1), _works(), now_hi_ms=NOW_MS + 500)) == 200


def test_a_holder_of_several_slots_is_done_sooner() -> None:
    pool = state(held(h=tuple(range(10))), {"h": _works(10), "me": entry()})

    assert _read_ms(view(pool, terms=NIGHT)) == 700


def test_the_call_times_of_who_waits_serve_for_a_holder_that_names_none() -> None:
    assert _read_ms(_waiting(_works(10, call_ms=0), _works(), call_ms=100)) == 700


@pytest.mark.parametrize(("is_new", "quantum_ms"), [(True, FIRST_QUANTUM_MS), (False, QUANTUM_MS)])
def test_the_look_comes_when_a_holders_quantum_is_over(is_new: bool, quantum_ms: int) -> None:
    soon = _works(since_ms=NOW_MS - quantum_ms + 600)

    assert _read_ms(_waiting(soon, *[_works()] * 9, me={"is_new": is_new})) == 600


def test_the_quantum_of_one_who_had_a_slot_is_not_that_of_one_who_never_had() -> None:
    seen = _waiting(_works(since_ms=NOW_MS - FIRST_QUANTUM_MS + 600), _works())

    assert _read_ms(seen) == SELDOM_MS


def test_one_who_wants_another_slot_looks_when_the_quantum_of_one_with_more_is_over() -> None:
    def wants(quantum_ms: int) -> View:
        queue = {"h": _works(since_ms=NOW_MS - quantum_ms + 600), "me": entry(want=2)}
        pool = state(held(me=(0,), h=(1, 2)), queue, limit=Limit(3, 1))
        return view(pool, want=2, busy=frozenset({0}))

    assert _read_ms(wants(SWAP_QUANTUM_MS)) == 600
    assert _read_ms(wants(QUANTUM_MS)) == READ_SLOWEST_MS


@pytest.mark.parametrize(("turn_ms", "expected_ms"), [(900, 700), (500, 500)])
def test_the_look_comes_when_the_work_or_the_quantum_is_over_whichever_is_sooner(
    turn_ms: int, expected_ms: int
) -> None:
    seen = _waiting(_works(1, since_ms=NOW_MS - QUANTUM_MS + turn_ms), _works())

    assert _read_ms(seen) == expected_ms


def test_one_who_is_owed_a_slot_expects_it_at_once() -> None:
    """Its holder lets go at its next task boundary, whatever work it has."""
    pool = state(held(h=tuple(range(10))), {"h": _works(), "me": entry()})

    assert _read_ms(view(pool)) == PACE_MS


def test_between_apps_it_is_what_each_app_holds_that_tells_who_is_owed_a_slot() -> None:
    assert _read_ms(_waiting(*[_works()] * 9, _works(app="mine"), terms=terms(app="mine"))) == PACE_MS
    assert _read_ms(_waiting(_works(), *[_works(app="mine")] * 9, terms=terms(app="mine"))) == SELDOM_MS


def test_from_one_who_never_owes_a_slot_only_what_it_has_no_work_for_is_expected() -> None:
    """Background waits for interactive work, whosever quantum is over."""
    tired = _works(since_ms=NOW_MS - 10 * SWAP_QUANTUM_MS)

    assert _read_ms(_waiting(*[tired] * 10, terms=NIGHT)) == SELDOM_MS


# --- place and instant ------------------------------------------------------------------------------------------------


def _prospect(seen: View) -> tuple[int, int]:
    """Return the place, and in how long a slot may come to it."""
    place, at_ms = prospect(seen, outlook(seen))
    return place, at_ms - NOW_MS


def test_the_k_th_in_line_expects_the_k_th_slot_that_comes_free() -> None:
    holders = [_works(1, call_ms=call_ms) for call_ms in (3_000, 1_000, 2_000)]

    assert [_prospect(_waiting(*holders, ahead=_waits(ahead))) for ahead in range(3)] == [
        (1, 800 - CHANCE_MARGIN_MS),
        (2, 1_600 - CHANCE_MARGIN_MS),
        (3, 2_400 - CHANCE_MARGIN_MS),
    ]


def test_each_round_of_all_slots_takes_a_call() -> None:
    seen = _waiting(_works(1), _works(1), ahead=_waits(5), call_ms=300)

    assert _prospect(seen) == (6, 800 - CHANCE_MARGIN_MS + 4 * 300 // 2)


def test_every_slot_of_a_holder_may_come_free() -> None:
    pool = state(held(h=tuple(range(10))), {"h": _works(10), "me": entry(), **_waits(9)})

    assert _prospect(view(pool, terms=NIGHT)) == (10, 800 - CHANCE_MARGIN_MS)


def test_those_before_it_count_once_however_many_slots_they_lack() -> None:
    assert _prospect(_waiting(*[_works()] * 10, ahead=_waits(3, want=5)))[0] == 4


def test_the_place_in_its_own_app_counts_when_a_slot_of_that_app_comes_free() -> None:
    """Most likely it stays in the app."""
    ahead = _waits(4, app="z")
    mine, strange = ([_works(0, app=app)] * 10 for app in ("mine", "strange"))

    assert _prospect(_waiting(*mine, ahead=ahead, terms=NIGHT))[0] == 1
    assert _prospect(_waiting(*strange, ahead=ahead, terms=NIGHT))[0] == 5


def test_those_of_its_own_app_are_before_it_in_the_app_too() -> None:
    ahead = {**_waits(2, app="mine"), "z": entry(app="z", since_ms=0)}

    assert _prospect(_waiting(*[_works(0, app="mine")] * 10, ahead=ahead, terms=NIGHT))[0] == 3


def test_a_slot_of_its_own_app_is_waited_for_when_it_comes_sooner() -> None:
    ahead = _waits(1, app="z")
    mine, late = _works(1, app="mine"), [_works(1, call_ms=2_000)] * 9

    assert _prospect(_waiting(mine, *late, ahead=ahead, terms=NIGHT)) == (1, 800 - CHANCE_MARGIN_MS)
    assert _prospect(_waiting(_works(1), *late, ahead=ahead, terms=NIGHT)) == (2, 1_600 - CHANCE_MARGIN_MS)


def test_a_slot_of_another_app_is_waited_for_when_it_comes_sooner() -> None:
    mine, sooner = _works(1, app="mine", call_ms=2_000), [_works(1)] * 9

    assert _prospect(_waiting(mine, *sooner, ahead=_waits(1, app="z"), terms=NIGHT)) == (2, 800 - CHANCE_MARGIN_MS)


@pytest.mark.parametrize("holder_id", ["dead", SHUT])
def test_what_nobody_living_holds_is_waited_for_until_it_runs_out(holder_id: str) -> None:
    pool = state({0: Slot(holder_id, NOW_MS + 9_000)}, {"me": entry()}, limit=Limit(1, 1))
    seen = view(pool)

    assert prospect(seen, outlook(seen)) == (1, NOW_MS + 9_000 + TIMES.skew_ms + TIMES.send_max_ms)


def test_one_who_has_all_there_is_waits_for_nothing() -> None:
    """It would use more than the account allows."""
    pool = state(held(me=(0, 1, 2)), {"me": entry(want=5)}, limit=Limit(3, 1))
    seen = view(pool, want=5, busy=frozenset(range(3)))

    assert next_read_ms(seen, outlook(seen), pace_ms=12, age_ms=0) == READ_HOLDING_MS


def test_who_owes_nothing_looks_no_sooner_for_its_turn_being_over() -> None:
    night = entry(want=9, since_ms=NOW_MS, is_background=True)
    pool = state(held(me=tuple(range(10))), {"me": entry(want=10, since_ms=NOW_MS - 61_000), "night": night})
    seen = view(pool, want=10, busy=frozenset(range(10)))

    assert next_read_ms(seen, outlook(seen), pace_ms=12, age_ms=0) > READ_TURN_MS


# --- call times -------------------------------------------------------------------------------------------------------


def test_what_was_seen_here_says_how_long_a_call_takes() -> None:
    assert _waiting(_works(call_ms=100), call_ms=700).usual_call_ms == 700


def test_others_call_times_serve_one_who_knows_none() -> None:
    seen = _waiting(_works(call_ms=100), _works(call_ms=401), _works(call_ms=0))

    assert seen.usual_call_ms == 250


def test_where_nobody_knows_a_call_time_there_is_a_guess() -> None:
    assert _waiting(_works(call_ms=0)).usual_call_ms == CALL_TIME_GUESS_MS


# --- a free slot that is left to another ------------------------------------------------------------------------------


def _leaving(place: int, *, own: tuple[int, ...] = (), limit: int = 1) -> View:
    """Return the view of one at *place* beside a free slot that goes to another, who may be dead."""
    busy = tuple(number for number in range(limit - 1) if number not in own)
    queue = {"h": _works(), **_waits(place, want=limit), "me": entry(want=len(own) + 1)}
    pool = state(held(me=own, h=busy), queue, limit=Limit(limit, 1))
    return view(pool, want=len(own) + 1, busy=frozenset(own))


@pytest.mark.parametrize(("place", "wait_ms"), [(1, PACE_MS), (3, 3 * TAKE_DELAY_MS), (4, 4 * TAKE_DELAY_MS)])
def test_one_who_leaves_a_free_slot_to_others_looks_again_when_it_may_take_it(place: int, wait_ms: int) -> None:
    """I2: the chosen one may be dead."""
    assert _read_ms(_leaving(place)) == wait_ms


def test_one_who_leaves_a_free_slot_to_others_looks_every_second_however_far_behind() -> None:
    assert _read_ms(_leaving(60)) == READ_SLOWEST_MS


def test_beside_a_free_slot_nobody_waits_for_holders_to_be_done() -> None:
    queue = {"h": _works(), **_waits(1), "me": entry()}
    free, full = (state(held(h=numbers), queue, limit=Limit(3, 1)) for numbers in ((0, 1), (0, 1, 2)))

    assert _read_ms(view(free, terms=NIGHT)) == PACE_MS
    assert _read_ms(view(full, terms=NIGHT)) == SELDOM_MS + READ_PLACE_MS


def test_one_who_has_a_slot_looks_now_and_then_beside_a_free_one() -> None:
    assert _read_ms(_leaving(4, own=(0,), limit=3)) == READ_TURN_MS


# --- who holds --------------------------------------------------------------------------------------------------------


def test_a_busy_holder_looks_now_and_then_for_those_who_wait() -> None:
    one, two = (state(held(me=numbers), {"me": entry()}) for numbers in ((0,), (0, 1)))

    assert _read_ms(view(one, busy=frozenset({0}))) == READ_SLOWEST_MS
    assert _read_ms(view(two, busy=frozenset({0, 1}), want=2)) == READ_HOLDING_MS


def test_a_background_holder_looks_more_often_for_those_who_wait() -> None:
    """I7: all that is interactive comes before it."""
    night, waiting = terms(is_background=True), entry(is_background=True)
    two = state(held(me=(0, 1)), {"me": entry(want=2, is_background=True)})
    waits = state(held(other=tuple(range(10))), {"other": entry(want=10, left_count=900, call_ms=900), "me": waiting})

    assert _read_ms(view(two, busy=frozenset({0, 1}), want=2, terms=night)) == READ_BACKGROUND_MS
    assert _read_ms(view(waits, terms=night)) > READ_BACKGROUND_MS


def test_one_with_slots_to_spare_looks_sooner() -> None:
    assert _read_ms(view(state(held(me=(0,)), {"me": entry()}))) == READ_SPARE_MS


@pytest.mark.parametrize(("is_new", "quantum_ms"), [(True, FIRST_QUANTUM_MS), (False, QUANTUM_MS)])
def test_a_holder_whose_turn_is_over_looks_more_often(is_new: bool, quantum_ms: int) -> None:
    """Its next task boundary may be another's, so it must know how things stand."""
    waiter = {"w": entry(since_ms=0, is_new=is_new)}
    rest = tuple(range(1, 10))
    pools = [
        state(held(me=(0,), h=rest), {"me": entry(since_ms=since_ms), "h": _works(), **waiter})
        for since_ms in (NOW_MS - quantum_ms, NOW_MS - quantum_ms + 1)
    ]

    assert [_read_ms(view(pool, busy=frozenset({0}))) for pool in pools] == [READ_TURN_MS, READ_SLOWEST_MS]


def test_a_holder_for_whose_slots_nobody_waits_looks_seldom_however_long_it_has_them() -> None:
    pool = state(held(me=(0,)), {"me": entry(since_ms=0)})

    assert _read_ms(view(pool, busy=frozenset({0}))) == READ_SLOWEST_MS


def test_a_holder_whose_turn_is_over_looks_more_often_though_it_wants_more() -> None:
    queue = {"me": entry(want=2, since_ms=NOW_MS - QUANTUM_MS), "w": entry(since_ms=0), "h": _works()}
    pool = state(held(me=(0,), h=(1,)), queue, limit=Limit(2, 1))

    assert _read_ms(view(pool, want=2, busy=frozenset({0}))) == READ_TURN_MS


def test_one_who_waits_without_a_slot_has_no_turn_that_could_be_over() -> None:
    seen = _waiting(_works(), ahead=_waits(1), me={"since_ms": NOW_MS - SWAP_QUANTUM_MS})

    assert _read_ms(seen) == SELDOM_MS + READ_PLACE_MS


# --- all together -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left_count", "times_max"), [(0, 9), (1_000, 80)])
def test_however_many_wait_a_pools_reads_stay_bounded(left_count: int, times_max: int) -> None:
    """Two hundred look less often than so many times as often as the first of them."""
    rates = [1 / _read_ms(_waiting(*[_works(left_count)] * 10, ahead=_waits(ahead))) for ahead in range(QUEUE_MAX)]

    assert sum(rates) < times_max * rates[0]


@pytest.mark.parametrize("number", [3, 7])
def test_a_slot_that_is_beyond_one_s_reach_is_not_waited_for(number: int) -> None:
    """It may stay in the item for ever, since nobody can take it."""
    slots = {**held(a=(0,), b=(1,), c=(2,)), number: Slot("dead", 0)}
    pool = state(slots, {name: _works(4) for name in "abc"} | {"me": entry()}, limit=Limit(3, 1))
    seen = view(pool)

    assert prospect(seen, outlook(seen))[1] > NOW_MS


def test_nobody_looks_more_than_a_hundred_times_while_a_call_lasts() -> None:
    slow = entry(want=1, left_count=1, call_ms=30_000, since_ms=NOW_MS - 60_000)
    pool = state(held(other=(0,)), {"other": slow, "me": entry()}, limit=Limit(1, 1))

    assert _read_ms(view(pool)) == 300
