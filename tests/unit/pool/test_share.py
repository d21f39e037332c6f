"""Who is entitled to the next slot (I7)."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pools import NOW_MS, entry, held, state
from volcengine_client.limits import FIRST_QUANTUM_MS, QUANTUM_MS, SWAP_QUANTUM_MS
from volcengine_client.pool.share import Standing, is_due, line, quantum_ms, standings

LONG_MS = 10 * SWAP_QUANTUM_MS


def _one(holder_id: str, **changes: Any) -> Standing:
    fields: dict[str, Any] = {
        "app": "default",
        "weight": 1,
        "held": 0,
        "want": 1,
        "bound": 10,
        "since_ms": 0,
        "is_background": False,
        "is_new": False,
    }
    return Standing(holder_id=holder_id, **fields | changes)


def _shares(slots: int, *everyone: Standing) -> Counter[str]:
    """Return how many slots each app has, after *slots* more were given."""
    app = {one.holder_id: one.app for one in everyone}
    given_now = Counter(app[holder_id] for holder_id in islice(line(everyone), slots))
    for one in everyone:
        given_now[one.app] += one.held
    return given_now


# --- the line -------------------------------------------------------------------------------------------------------


def test_nobody_is_in_line_when_all_have_what_they_want() -> None:
    assert list(line([_one("a", held=2, want=2), _one("b", held=3, want=1)])) == []


def test_everybody_is_in_line_as_often_as_it_wants_more() -> None:
    assert Counter(line([_one("a", held=1, want=3), _one("b", want=4)])) == {"a": 2, "b": 4}


def test_one_callers_ten_thousand_tasks_never_starve_anothers_one_sentence() -> None:
    assert (
        next(line([_one("huge", app="huge", want=1_000, held=9), _one("small", app="small", since_ms=99)])) == "small"
    )


def test_the_participant_of_an_app_that_holds_least_is_served_first() -> None:
    assert (
        next(line([_one("a", held=2, want=9), _one("b", held=1, want=9, since_ms=5), _one("c", held=3, want=9)])) == "b"
    )


def test_among_equals_the_one_unserved_for_longest_is_first() -> None:
    assert list(line([_one("a", since_ms=3), _one("b", since_ms=1), _one("c", since_ms=2)])) == ["b", "c", "a"]


def test_among_apps_of_equal_load_the_one_unserved_for_longest_is_first() -> None:
    everyone = [_one("a", app="x", since_ms=3), _one("b", app="y", since_ms=1), _one("c", app="z", since_ms=2)]

    assert list(line(everyone)) == ["b", "c", "a"]


def test_equals_of_the_same_moment_have_an_order_that_all_agree_on() -> None:
    everyone = [_one("b", app="y"), _one("a", app="x"), _one("c", app="x")]

    assert list(line(everyone)) == list(line(everyone[::-1])) == ["a", "b", "c"]


def test_apps_share_alike_however_many_participants_each_has() -> None:
    crowd = [_one(f"crowd{number}", app="crowd", want=5) for number in range(20)]

    assert _shares(10, *crowd, _one("loner", app="loner", want=10)) == {"crowd": 5, "loner": 5}


def test_a_participant_that_holds_less_is_served_until_it_has_as_much() -> None:
    assert list(islice(line([_one("a", held=3, want=9), _one("b", want=9, since_ms=5)]), 5)) == [
        "b",
        "b",
        "b",
        "a",
        "b",
    ]


def test_an_app_of_weight_three_is_served_three_times_to_the_others_once() -> None:
    everyone = [_one("a", app="heavy", weight=3, want=9), _one("b", app="light", want=9, since_ms=5)]

    assert list(islice(line(everyone), 8)) == ["a", "b", "a", "a", "a", "b", "a", "a"]


def test_an_app_that_holds_less_is_served_until_it_has_as_much() -> None:
    everyone = [_one("a", app="x", held=3, want=9), _one("b", app="y", want=9, since_ms=5)]

    assert list(islice(line(everyone), 5)) == ["b", "b", "b", "a", "b"]


def test_participants_of_one_app_share_alike() -> None:
    served = Counter(islice(line([_one("a", want=10), _one("b", want=10), _one("c", want=10)]), 9))

    assert served == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize(("weight", "shares"), [(1, (6, 6)), (2, (8, 4)), (3, (9, 3)), (11, (11, 1))])
def test_apps_share_by_weight(weight: int, shares: tuple[int, int]) -> None:
    shared = _shares(12, _one("a", app="heavy", weight=weight, want=100), _one("b", app="light", want=100))

    assert (shared["heavy"], shared["light"]) == shares


def test_the_highest_weight_that_an_apps_participants_name_counts() -> None:
    everyone = [_one("a", app="x", weight=3, want=9), _one("b", app="x", want=9), _one("c", app="y", want=9)]

    assert _shares(8, *everyone) == {"x": 6, "y": 2}


def test_weights_that_divide_evenly_compare_as_equal() -> None:
    """Three of weight 3 hold as much as seven of weight 7."""
    older = _one("a", app="x", weight=7, held=7, want=8, since_ms=1)
    younger = _one("b", app="y", weight=3, held=3, want=4, since_ms=2)

    assert next(line([younger, older])) == "a"


def test_what_a_small_app_leaves_goes_to_the_others() -> None:
    """Max-min."""
    everyone = [_one("a", app="a", want=1), _one("b", app="b", want=9), _one("c", app="c", want=9)]

    assert _shares(9, *everyone) == {"a": 1, "b": 4, "c": 4}


def test_background_is_served_after_all_that_is_not() -> None:
    everyone = [
        _one("night", app="night", want=9, is_background=True),
        _one("busy", app="busy", held=9, want=11, since_ms=99),
    ]

    assert list(islice(line(everyone), 3)) == ["busy", "busy", "night"]


def test_an_app_may_have_both_and_only_its_interactive_part_goes_first() -> None:
    everyone = [
        _one("night", app="x", want=1, is_background=True),
        _one("day", app="x", want=1, since_ms=5),
        _one("other", app="y", want=1, since_ms=9),
    ]

    assert list(line(everyone)) == ["day", "other", "night"]


def test_what_is_held_in_the_background_counts_for_its_app() -> None:
    everyone = [
        _one("night", app="x", held=3, want=3, is_background=True),
        _one("day", app="x", want=1),
        _one("other", app="y", want=1, since_ms=9),
    ]

    assert next(line(everyone)) == "other"


@given(
    st.lists(
        st.builds(
            lambda app, weight, held, want, since, night: (app, weight, held, want, since, night),
            st.sampled_from("xyz"),
            st.integers(1, 5),
            st.integers(0, 6),
            st.integers(0, 8),
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_everybody_s_wish_is_met_exactly_in_some_order(rows: list[tuple[str, int, int, int, int, bool]]) -> None:
    everyone = [
        _one(f"h{number}", app=app, weight=weight, held=have, want=want, since_ms=since, is_background=night)
        for number, (app, weight, have, want, since, night) in enumerate(rows)
    ]

    missing = {one.holder_id: one.want - one.held for one in everyone if one.want > one.held}
    assert Counter(line(everyone)) == missing


# --- standings ------------------------------------------------------------------------------------------------------


def test_a_standing_says_what_its_entry_says_and_what_it_holds() -> None:
    pool = state(
        held(a=(0, 1), b=(2,)),
        {"a": entry(app="x", weight=4, want=7, limit=6, since_ms=5, is_background=True, is_new=True)},
    )

    assert standings(pool, now_lo_ms=NOW_MS) == [
        Standing("a", app="x", weight=4, held=2, want=7, bound=6, since_ms=5, is_background=True, is_new=True)
    ]


def test_an_entry_that_was_not_renewed_does_not_count() -> None:
    queue = {"live": entry(expires_at_ms=NOW_MS + 1), "dead": entry(expires_at_ms=NOW_MS)}

    assert [one.holder_id for one in standings(state(queue=queue), now_lo_ms=NOW_MS)] == ["live"]


def test_without_the_time_every_entry_counts() -> None:
    assert len(standings(state(queue={"dead": entry(expires_at_ms=0)}), now_lo_ms=None)) == 1


def test_a_standing_s_bound_is_the_pools_height_for_it() -> None:
    queue = {"low": entry(limit=3), "high": entry(limit=30)}
    bounds = {one.holder_id: one.bound for one in standings(state(queue=queue), now_lo_ms=NOW_MS)}

    assert bounds == {"low": 3, "high": 10}


# --- what is owed at a task boundary ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kept_ms"),
    [
        ({"is_new": True}, FIRST_QUANTUM_MS),
        ({}, QUANTUM_MS),
        ({"held": 1}, SWAP_QUANTUM_MS),
        ({"held": 1, "is_new": True}, SWAP_QUANTUM_MS),
    ],
    ids=["never had one", "had one", "has one", "has one, and has not written so yet"],
)
def test_who_has_less_waits_less_for_anothers_slot(changes: dict[str, Any], kept_ms: int) -> None:
    """I7: a first sentence comes before a next one, and that before one more at a time."""
    taker = _one("b", **changes)
    giver = _one("a", held=taker.held + 1)

    assert quantum_ms(taker) == kept_ms
    assert not _is_due(giver, taker, held_ms=kept_ms - 1)
    assert _is_due(giver, taker, held_ms=kept_ms)


def _is_due(giver: Standing, taker: Standing, *, held_ms: int = 0, **load: int) -> bool:
    held_by_app = Counter({giver.app: giver.held}) + Counter({taker.app: taker.held}) + Counter(load)
    if giver.app == taker.app:
        held_by_app = Counter({giver.app: giver.held + taker.held})
    return is_due(giver, taker, held_by_app, held_ms=held_ms)


@pytest.mark.parametrize("held_ms", [0, LONG_MS])
@pytest.mark.parametrize("taker_app", ["default", "other"])
def test_one_who_holds_much_more_owes_at_once(taker_app: str, held_ms: int) -> None:
    assert _is_due(_one("a", held=3), _one("b", app=taker_app, held=1), held_ms=held_ms)


@pytest.mark.parametrize("taker_app", ["default", "other"])
def test_one_who_holds_one_more_owes_when_its_quantum_is_over(taker_app: str) -> None:
    """Equals take turns, and nobody flutters."""
    giver, taker = _one("a", held=2), _one("b", app=taker_app, held=1)

    assert not _is_due(giver, taker)
    assert _is_due(giver, taker, held_ms=LONG_MS)


@pytest.mark.parametrize("taker_app", ["default", "other"])
def test_one_who_holds_as_much_owes_nothing(taker_app: str) -> None:
    assert not _is_due(_one("a", held=2), _one("b", app=taker_app, held=2), held_ms=LONG_MS)


def test_between_apps_it_is_what_the_apps_hold_that_counts() -> None:
    giver = _one("a", app="x", held=1)

    assert _is_due(giver, _one("b", app="y", held=2), x=4)
    assert not _is_due(giver, _one("b", app="y"), y=4, held_ms=LONG_MS)


@pytest.mark.parametrize(
    ("held_count", "held_ms", "is_owed"), [(7, 0, True), (6, 0, False), (6, LONG_MS, False), (5, LONG_MS, False)]
)
def test_what_is_owed_between_apps_is_weighed(held_count: int, held_ms: int, is_owed: bool) -> None:
    """Of 8 slots an app of weight 3 is entitled to 6 beside one of weight 1."""
    giver, taker = _one("a", app="x", weight=3, held=held_count), _one("b", app="y", held=8 - held_count)

    assert _is_due(giver, taker, held_ms=held_ms) == is_owed


@pytest.mark.parametrize(("held_count", "is_owed"), [(3, True), (2, False)])
def test_what_is_owed_to_an_app_of_weight_is_weighed_too(held_count: int, is_owed: bool) -> None:
    giver, taker = _one("a", app="x", held=held_count), _one("b", app="y", weight=3, held=8 - held_count)

    assert _is_due(giver, taker) == is_owed


def test_a_swap_by_weight_waits_for_the_quantum() -> None:
    giver, taker = _one("a", app="x", weight=3, held=4), _one("b", app="y", held=1)

    assert not _is_due(giver, taker)
    assert _is_due(giver, taker, held_ms=LONG_MS)


def test_background_owes_interactive_at_once_and_is_never_owed() -> None:
    night, day = _one("a", held=1, is_background=True), _one("b", held=9)

    assert _is_due(night, day)
    assert not _is_due(day, night, held_ms=LONG_MS)


def test_background_shares_with_background() -> None:
    assert _is_due(_one("a", held=3, is_background=True), _one("b", held=1, is_background=True))
