"""The rules of a pool, and what a write may change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pools import NOW_MS, TIMES, entry, held, slot, state
from volcengine_client.limits import CAP_STEP_MS, ENTRIES_A_WRITE_MAX, PoolTimes
from volcengine_client.pool.slots import (
    SHUT,
    Cap,
    Change,
    Limit,
    PoolState,
    Slot,
    applied,
    bound_of,
    is_free,
    may_start_call,
    rebuilt,
    settled_limit,
    shut_until,
)

# --- the rules ------------------------------------------------------------------------------------------------------


def test_a_call_may_start_as_long_as_the_lease_covers_it_and_the_skew() -> None:
    needed_ms = TIMES.upstream_call_max_ms + TIMES.skew_ms

    assert may_start_call(slot("me", left_ms=needed_ms), now_hi_ms=NOW_MS, times=TIMES)
    assert not may_start_call(slot("me", left_ms=needed_ms - 1), now_hi_ms=NOW_MS, times=TIMES)


def test_an_expired_slot_may_be_taken_after_skew_and_sending_time() -> None:
    margin_ms = TIMES.skew_ms + TIMES.send_max_ms

    assert is_free(slot("dead", left_ms=-margin_ms), now_lo_ms=NOW_MS, times=TIMES)
    assert not is_free(slot("dead", left_ms=1 - margin_ms), now_lo_ms=NOW_MS, times=TIMES)


def test_a_missing_slot_is_free_whatever_the_time() -> None:
    assert is_free(None, now_lo_ms=NOW_MS, times=TIMES)
    assert is_free(None, now_lo_ms=None, times=TIMES)


def test_without_the_time_no_slot_is_expired() -> None:
    assert not is_free(Slot("dead", 0), now_lo_ms=None, times=TIMES)


MILLISECONDS = st.integers(1, 100_000)


@given(
    times=st.builds(
        lambda call, skew, send, renew: PoolTimes(call, skew, send, renew, call + skew + send + renew),
        MILLISECONDS,
        MILLISECONDS,
        MILLISECONDS,
        MILLISECONDS,
    ),
    expires_at_ms=st.integers(0, 1_000_000),
    fast=st.floats(-1, 1),
    slow=st.floats(-1, 1),
    early_ms=st.integers(0, 1_000_000),
    late_ms=st.integers(0, 1_000_000),
)
def test_a_slot_that_is_taken_over_has_no_live_call(
    times: PoolTimes, expires_at_ms: int, fast: float, slow: float, early_ms: int, late_ms: int
) -> None:
    """I1: though two participants' clocks are wrong by the whole skew, in any direction."""
    shown_at_start_ms = expires_at_ms - times.upstream_call_max_ms - times.skew_ms - early_ms
    shown_at_take_ms = expires_at_ms + times.skew_ms + times.send_max_ms + late_ms
    lease = Slot("first", expires_at_ms)
    assert may_start_call(lease, now_hi_ms=shown_at_start_ms, times=times)
    assert is_free(lease, now_lo_ms=shown_at_take_ms, times=times)

    started_at_ms = shown_at_start_ms + int(fast * times.skew_ms)
    over_at_ms = started_at_ms + times.send_max_ms + times.upstream_call_max_ms
    taken_at_ms = shown_at_take_ms - int(slow * times.skew_ms)
    assert taken_at_ms >= over_at_ms


def test_a_shut_slot_opens_when_its_call_must_be_over() -> None:
    """I1: with the skew to spare, and I2: no later."""
    over_ms = NOW_MS + TIMES.send_max_ms + TIMES.upstream_call_max_ms + TIMES.skew_ms
    shut = shut_until(NOW_MS, TIMES)

    assert shut.holder_id == SHUT
    assert not is_free(shut, now_lo_ms=over_ms - 1, times=TIMES)
    assert is_free(shut, now_lo_ms=over_ms, times=TIMES)


# --- limits and caps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "mine", "settled"),
    [
        (None, Limit(5, 0), Limit(5, 0)),
        (Limit(5, 1), Limit(9, 2), Limit(9, 2)),
        (Limit(9, 1), Limit(5, 2), Limit(5, 2)),
        (Limit(5, 2), Limit(9, 1), Limit(5, 2)),
        (Limit(5, 1), Limit(9, 1), Limit(9, 1)),
        (Limit(9, 1), Limit(5, 1), Limit(9, 1)),
    ],
    ids=["first", "newer raises", "newer lowers", "older follows", "equal and higher raises", "equal and lower leaves"],
)
def test_the_newest_version_sets_the_limit(seen: Limit | None, mine: Limit, settled: Limit) -> None:
    assert settled_limit(seen, mine) == settled


@pytest.mark.parametrize(
    ("mine", "settled", "bound"),
    [(Limit(9, 1), Limit(5, 2), 5), (Limit(3, 1), Limit(5, 2), 5), (Limit(3, 2), Limit(5, 2), 3)],
    ids=["an older one follows down", "and up", "one of the same version keeps its own"],
)
def test_who_follows_uses_the_settled_limit_and_who_sets_its_own(mine: Limit, settled: Limit, bound: int) -> None:
    assert bound_of(mine, settled) == bound


@pytest.mark.parametrize(
    ("late_ms", "height"),
    [
        (-3 * CAP_STEP_MS, 3),
        (-CAP_STEP_MS, 3),
        (-1, 3),
        (0, 4),
        (CAP_STEP_MS - 1, 4),
        (CAP_STEP_MS, 5),
        (7 * CAP_STEP_MS, 11),
    ],
)
def test_a_cut_climbs_back_by_one_at_a_time(late_ms: int, height: int) -> None:
    assert Cap(3, NOW_MS).now(NOW_MS + late_ms) == height


def test_slots_may_be_used_below_bound_limit_and_cut() -> None:
    capped = state(cap=Cap(4, NOW_MS))

    assert state().height(20, NOW_MS) == 10
    assert state().height(3, NOW_MS) == 3
    assert capped.height(20, NOW_MS - 1) == 4
    assert capped.height(20, NOW_MS + CAP_STEP_MS) == 6
    assert capped.height(20, NOW_MS + 60 * CAP_STEP_MS) == 10


def test_without_the_time_a_cut_counts_at_its_lowest() -> None:
    assert state(cap=Cap(4, 0)).height(20, None) == 4


def test_an_item_that_nobody_joined_bounds_nothing() -> None:
    assert state(limit=None).height(20, NOW_MS) == 20


def test_the_slots_of_a_holder_are_those_that_bear_its_name() -> None:
    assert set(state(held(me=(1, 3), other=(0, 2))).held_by("me")) == {1, 3}


# --- changes --------------------------------------------------------------------------------------------------------


def test_only_entries_that_differ_are_in_a_change() -> None:
    before = state(held(a=(0, 1)), {"a": entry(), "b": entry()})
    after = replace(before, slots={1: slot("a"), 2: slot("c")}, queue={"a": entry(revision=2), "c": entry()})
    change = Change.between(before, after)

    assert change.slots == {0: (slot("a"), None), 2: (None, slot("c"))}
    assert change.queue == {"a": (entry(), entry(revision=2)), "b": (entry(), None), "c": (None, entry())}
    assert change.limit is None
    assert change.cap is None


@pytest.mark.parametrize(
    ("before", "after", "is_take"),
    [
        (None, slot("me"), True),
        (slot("dead"), slot("me"), True),
        (Slot(SHUT, 0), slot("me"), True),
        (slot("me"), slot("me", left_ms=99_000), False),
        (slot("me"), None, False),
        (slot("me"), Slot(SHUT, 5), False),
        (None, Slot(SHUT, 5), False),
    ],
    ids=["missing", "expired", "shut", "renewed", "given up", "left shut", "shut from missing"],
)
def test_a_write_takes_when_a_slot_gets_a_holder_that_it_did_not_have(
    before: Slot | None, after: Slot | None, is_take: bool
) -> None:
    slots = [{} if one is None else {0: one} for one in (before, after)]

    assert Change.between(state(slots[0]), state(slots[1])).takes == is_take


def test_a_write_that_changes_nothing_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Change.between(state(), state())


def test_a_write_holds_48_entries_and_no_more() -> None:
    """DynamoDB takes 4 KB and 300 operators an expression."""
    queue = {"me": entry()}
    most = {number: slot("me") for number in range(ENTRIES_A_WRITE_MAX - 1)}

    assert len(Change.between(state(), state(most, queue)).slots) == 47
    with pytest.raises(AssertionError):
        Change.between(state(), state({**most, 47: slot("me")}, queue))


def test_an_entry_whose_revision_does_not_grow_is_a_bug() -> None:
    """I1: or a late write of its own would be applied after a later one."""
    before = state(queue={"me": entry(revision=5)})

    with pytest.raises(AssertionError):
        Change.between(before, state(queue={"me": entry(revision=5, want=9)}))
    with pytest.raises(AssertionError):
        Change.between(before, state(queue={"me": entry(revision=4)}))


# --- the law of every table -----------------------------------------------------------------------------------------

BEFORE = state({**held(me=(0,)), 5: Slot("dead", 0)}, {"me": entry()}, limit=Limit(10, 1), cap=Cap(8, NOW_MS))
TAKES = replace(
    BEFORE, slots={0: slot("me", left_ms=9_000), 1: slot("me"), 5: slot("me")}, queue={"me": entry(revision=2)}
)
GIVES = replace(BEFORE, slots={5: Slot("dead", 0)}, queue={"me": entry(revision=2)})


def test_a_write_is_applied_to_the_state_that_it_saw() -> None:
    assert applied(BEFORE, BEFORE, TAKES) == replace(TAKES, rev=BEFORE.rev + 1)


def test_a_write_merges_with_what_others_did_to_other_entries() -> None:
    others = replace(BEFORE, rev=20, slots={**BEFORE.slots, 7: slot("b")}, queue={**BEFORE.queue, "b": entry()})
    new = applied(others, BEFORE, TAKES)

    assert new is not None
    assert new.rev == 21
    assert new.slots == {**TAKES.slots, 7: slot("b")}
    assert new.queue == {**TAKES.queue, "b": entry()}


@pytest.mark.parametrize(
    "now",
    [
        replace(BEFORE, slots={**BEFORE.slots, 1: slot("b")}),
        replace(BEFORE, slots={0: slot("me", left_ms=1), 5: Slot("dead", 0)}),
        replace(BEFORE, slots={0: slot("me"), 5: Slot("dead", 1)}),
        replace(BEFORE, slots={0: slot("me"), 5: Slot("b", 0)}),
        replace(BEFORE, slots={0: slot("me")}),
        replace(BEFORE, queue={}),
        replace(BEFORE, queue={"me": entry(revision=2)}),
        replace(BEFORE, limit=Limit(9, 1)),
        replace(BEFORE, limit=None),
        replace(BEFORE, cap=None),
        replace(BEFORE, cap=Cap(7, NOW_MS)),
    ],
    ids=[
        "a missing slot was taken",
        "an own slot was renewed",
        "an expired slot was renewed",
        "an expired slot was taken",
        "an expired slot was given up",
        "the own entry was swept",
        "the own entry was written",
        "the limit was lowered",
        "the limit is gone",
        "the cut is gone",
        "the cut is deeper",
    ],
)
def test_a_write_that_takes_fails_when_anything_it_goes_by_has_changed(now: PoolState) -> None:
    """I1."""
    assert applied(now, BEFORE, TAKES) is None


@pytest.mark.parametrize("now", [replace(BEFORE, limit=Limit(2, 9)), replace(BEFORE, cap=None)])
def test_a_write_that_takes_nothing_does_not_care_for_limit_and_cut(now: PoolState) -> None:
    new = applied(now, BEFORE, GIVES)

    assert new is not None
    assert (new.limit, new.cap) == (now.limit, now.cap)


def test_a_limit_is_set_only_when_it_is_still_the_one_that_was_seen() -> None:
    sets = replace(GIVES, limit=Limit(4, 7))

    assert applied(replace(BEFORE, limit=Limit(6, 8)), BEFORE, sets) is None
    new = applied(BEFORE, BEFORE, sets)
    assert new is not None
    assert new.limit == Limit(4, 7)


@pytest.mark.parametrize("cap", [Cap(2, NOW_MS), None])
def test_a_cut_is_written_only_when_it_is_still_the_one_that_was_seen(cap: Cap | None) -> None:
    cuts = replace(GIVES, cap=cap)

    assert applied(replace(BEFORE, cap=Cap(7, NOW_MS)), BEFORE, cuts) is None
    new = applied(BEFORE, BEFORE, cuts)
    assert new is not None
    assert new.cap == cap


# --- an item made anew ------------------------------------------------------------------------------------------------


def test_an_item_made_anew_has_the_known_limit_and_every_slot_shut() -> None:
    """I1."""
    known = state(held(a=(0,)), {"a": entry()}, limit=Limit(6, 3), cap=Cap(2, NOW_MS))
    anew = rebuilt(known, now_hi_ms=NOW_MS, height=6, times=TIMES)

    assert set(anew.slots) == set(range(6))
    assert {one.holder_id for one in anew.slots.values()} == {SHUT}
    assert min(one.expires_at_ms for one in anew.slots.values()) >= NOW_MS + TIMES.upstream_call_max_ms
    assert anew.limit == Limit(6, 3)
    assert anew.queue == {}
