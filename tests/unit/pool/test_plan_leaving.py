"""What is left in the pool by one who leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.pools import NOW_MS, TIMES, entry, held, slot, state, view
from volcengine_client.limits import ENTRIES_A_WRITE_MAX
from volcengine_client.pool.plan import leaving
from volcengine_client.pool.slots import SHUT, Change, Slot, shut_until


def test_leaving_removes_the_entry_and_all_slots() -> None:
    pool = state(held(me=(0, 3), other=(1,)), {"me": entry(), "other": entry()})
    after = leaving(view(pool), is_in_doubt=False)

    assert after.slots == held(other=(1,))
    assert set(after.queue) == {"other"}


def test_leaving_removes_slots_that_we_did_not_know_of_too() -> None:
    pool = state(held(me=(0, 3)), {"me": entry()})

    assert leaving(view(pool, owned={}), is_in_doubt=False).slots == {}


def test_leaving_turns_slots_in_drain_into_shut_ones() -> None:
    """I1: until the call that began then is over."""
    began_ms = NOW_MS - 2_000
    over_ms = began_ms + TIMES.send_max_ms + TIMES.upstream_call_max_ms
    pool = state(held(me=(0, 3)), {"me": entry()})
    after = leaving(view(pool, shut={3: over_ms}), is_in_doubt=False)

    assert after.slots == {3: shut_until(began_ms, TIMES)}


def test_leaving_shuts_no_slot_for_longer_than_its_lease() -> None:
    """I2: the time may not be known; and I1: the lease covers the call that is in doubt too."""
    pool = state({3: slot("me", left_ms=5_000)}, {"me": entry()})
    after = leaving(view(pool, shut={3: NOW_MS + TIMES.lease_ms + 5_000}), is_in_doubt=False)

    assert after.slots == {3: Slot(SHUT, NOW_MS + 5_000)}


def test_leaving_gives_up_what_others_wait_for_too() -> None:
    pool = state(held(me=(0, 3)), {"me": entry(), "w": entry(want=9)})

    assert leaving(view(pool, want=0), is_in_doubt=False).slots == {}


def test_leaving_in_doubt_leaves_a_tombstone_for_a_lease() -> None:
    """I2: a late join of its own finds it, and makes no ghost."""
    pool = state(held(me=(0,)), {"me": entry(revision=4)})
    after = leaving(view(pool), is_in_doubt=True)

    assert after.slots == {}
    assert after.queue["me"].want == 0
    assert after.queue["me"].revision == 5
    assert after.queue["me"].expires_at_ms == NOW_MS + TIMES.lease_ms


def test_leaving_before_the_join_was_seen_leaves_a_tombstone_all_the_same() -> None:
    after = leaving(view(state(), revision=1), is_in_doubt=True)

    assert (after.queue["me"].want, after.queue["me"].revision) == (0, 2)


@pytest.mark.parametrize(("count", "is_gone"), [(ENTRIES_A_WRITE_MAX - 1, True), (ENTRIES_A_WRITE_MAX, False)])
def test_the_entry_goes_in_the_write_in_which_the_last_slot_goes(count: int, is_gone: bool) -> None:
    pool = state(dict.fromkeys(range(count), slot("me")), {"me": entry()})
    after = leaving(view(pool), is_in_doubt=False)

    assert Change.between(pool, after).takes is False
    assert ("me" not in after.queue) == (not after.slots) == is_gone


def test_two_hundred_slots_are_left_in_several_writes_those_in_drain_last() -> None:
    slots = dict.fromkeys(range(100), slot("me"))
    seen = view(state(slots, {"me": entry()}), shut={0: NOW_MS + 7_000})
    counts = []
    while "me" in seen.state.queue:
        after = leaving(seen, is_in_doubt=False)
        Change.between(seen.state, after)
        counts.append(len(after.held_by("me")))
        assert (after.slots[0].holder_id == SHUT) == (counts[-1] == 0)
        seen = replace(seen, state=after, owned=after.held_by("me"), revision=seen.revision + 1)

    assert counts == [53, 6, 0]
