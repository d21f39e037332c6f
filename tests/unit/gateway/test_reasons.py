"""What an operator is told: who holds what, and why someone waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.pools import NOW_MS, TIMES, entry, held, slot, state
from volcengine_client.pool.slots import SHUT, Cap, Entry, Limit, PoolState, Slot
from volcengine_gateway.reasons import Scene, why_cut, why_participant, why_slot

BUSY = held(big=tuple(range(10)))
FOREIGN = "calls were refused within it, so somebody else uses the account"


def scene(
    slots: Mapping[int, Slot], queue: Mapping[str, Entry], *, now_lo_ms: int | None = NOW_MS, **changes: Any
) -> Scene:
    holders = {one.holder_id for one in slots.values()} - {SHUT, "gone"}
    holding = {holder_id: entry(want=1, app=f"of-{holder_id}") for holder_id in holders}
    return Scene.of(state(slots, {**holding, **queue}, **changes), now_lo_ms=now_lo_ms, times=TIMES)


def why(slots: Mapping[int, Slot], queue: Mapping[str, Entry], who: str = "me", **changes: Any) -> str:
    return why_participant(scene(slots, queue, **changes), who)


# --- where in the line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "said"),
    [(1, "the one slot is busy"), (2, "both slots are busy"), (10, "all 10 slots are busy")],
)
def test_the_next_in_line_is_told_so(limit: int, said: str) -> None:
    busy = held(big=tuple(range(limit)))

    assert why(busy, {"me": entry()}, limit=Limit(limit, 0)) == f"{said}: next in line"


def test_one_further_back_learns_behind_how_many_of_which_apps() -> None:
    before = {f"b{n}": entry(app="b", since_ms=NOW_MS - 9_000 - n) for n in range(2)}
    queue = {**before, "c": entry(app="c", since_ms=NOW_MS - 9_500), "me": entry(app="b", since_ms=NOW_MS)}

    assert why(BUSY, queue) == "all 10 slots are busy: behind 2 of app b, 1 of app c"


def test_many_apps_before_one_are_summed_up() -> None:
    before = {f"w{n}": entry(app=f"app{n}", since_ms=NOW_MS - 9_000) for n in range(8)}

    assert why(BUSY, {**before, "me": entry(since_ms=NOW_MS)}).endswith("1 of app app4, 3 of 3 other apps")


def test_background_is_told_that_interactive_ones_come_first() -> None:
    night = entry(app="night", is_background=True, since_ms=0)

    assert why(BUSY, {"day": entry(app="day"), "me": night}) == (
        "all 10 slots are busy: background, so behind all interactive ones: behind 1 of app day"
    )
    assert why(BUSY, {"me": night}) == "all 10 slots are busy: background: next in line"


# --- free slots -------------------------------------------------------------------------------------------------------


def test_one_whose_turn_it_is_takes_a_free_slot_at_its_next_look() -> None:
    assert why(held(big=tuple(range(9))), {"me": entry()}) == "1 slot is free: it takes one at its next look"


def test_free_slots_of_those_before_are_named_as_theirs() -> None:
    queue = {"first": entry(since_ms=0), "me": entry(since_ms=NOW_MS)}

    assert why(held(big=tuple(range(9))), queue).startswith("1 slot is free, for those before it: behind 1 of app")


def test_a_modest_caller_is_told_that_its_own_limit_is_used_up() -> None:
    assert why(held(big=(0, 1)), {"me": entry(limit=2)}) == (
        "its own limit of 2 is used up: slots 0 to 1 are busy; next in line"
    )


# --- what keeps slots from everyone -----------------------------------------------------------------------------------


def test_a_cut_of_the_limit_is_told_with_its_end_and_its_reason() -> None:
    cap = Cap(7, NOW_MS + 8_000)
    told = why(held(big=tuple(range(7))), {"me": entry()}, cap=cap)

    assert told == (
        f"all 7 slots are busy: next in line; the limit is cut from 10 to 7 for 8 s, then climbs back: {FOREIGN}"
    )


def test_a_cut_that_climbs_says_so_and_one_that_is_over_says_nothing() -> None:
    climbing = why_cut(scene({}, {}, cap=Cap(7, NOW_MS - 1)))

    assert climbing == f"the limit is cut from 10 to 8 and climbs back now: {FOREIGN}"
    assert why_cut(scene({}, {}, cap=Cap(7, NOW_MS - 3_600_000))) is None
    assert why_cut(scene({}, {})) is None


def test_a_shut_slot_is_told_with_the_time_that_it_stays_shut() -> None:
    shut = Slot(SHUT, NOW_MS + 41_000 - TIMES.skew_ms - TIMES.send_max_ms)
    told = why({**held(big=tuple(range(9))), 9: shut}, {"me": entry()})

    assert told == (
        "all 10 slots are busy: next in line; slot 9: stays shut for 41 s: "
        "a call's end is unknown, or the pool's item was lost and made anew"
    )


def test_a_slot_of_one_who_vanished_is_told_with_the_time_until_it_is_free() -> None:
    told = why({**held(big=tuple(range(9))), 9: slot("gone", left_ms=3_000)}, {"me": entry()})

    assert told.endswith("slot 9: its holder was not heard of lately; kept for 5 s, unless it comes back")


def test_many_obstacles_are_told_in_part() -> None:
    shut = dict.fromkeys(range(10), slot(SHUT))

    assert why(shut, {"me": entry()}).count("stays shut") == 5


# --- those who don't wait ---------------------------------------------------------------------------------------------


def test_those_who_do_not_wait_are_told_why() -> None:
    queue = {
        "ghost": entry(expires_at_ms=NOW_MS),
        "left": entry(want=0),
        "content": entry(want=2),
    }
    slots = held(content=(0, 1))

    assert why(slots, queue, "ghost") == "not heard of lately, so it no longer counts"
    assert why(slots, queue, "left") == "has left"
    assert why(slots, queue, "content") == "has the 2 slots that it wants or may hold"


# --- slots ------------------------------------------------------------------------------------------------------------


def test_a_held_slot_names_its_holders_app() -> None:
    assert why_slot(scene(held(big=(0,)), {}), 0) == "held by app of-big"


def test_a_held_slot_beyond_a_lowered_limit_goes_when_its_call_ends() -> None:
    told = why_slot(scene(held(big=(9,)), {}, limit=Limit(5, 1)), 9)

    assert told == "held by app of-big; it is beyond the limit and given up when its call ends"


def test_missing_and_expired_slots_are_free() -> None:
    seen = scene({1: slot("gone", left_ms=-60_000)}, {})

    assert (why_slot(seen, 0), why_slot(seen, 1)) == ("free", "free")


def test_without_knowledge_of_the_time_no_durations_are_told() -> None:
    seen = scene({0: slot(SHUT)}, {}, now_lo_ms=None)

    assert why_slot(seen, 0) == (
        "stays shut for a time that can't be told: a call's end is unknown, or the pool's item was lost and made anew"
    )


def test_a_pool_that_nobody_joined_has_nothing_to_tell() -> None:
    seen = Scene.of(PoolState(), now_lo_ms=NOW_MS, times=TIMES)

    assert (seen.limit, seen.height, dict(seen.turns), why_cut(seen)) == (0, 0, {}, None)
