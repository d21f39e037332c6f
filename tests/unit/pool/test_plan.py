"""What a participant writes next: join, take, give up, renew, settle, cut, sweep, leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.pools import NOW_MS, TIMES, entry, held, own_numbers, slot, state, terms, view, write_due, written
from volcengine_client.limits import ENTRIES_A_WRITE_MAX
from volcengine_client.pool.plan import gives_up, is_renewal_due
from volcengine_client.pool.slots import Entry, Limit
from volcengine_client.pool.view import entry_lease_ms

FRESH = entry(expires_at_ms=NOW_MS + entry_lease_ms(TIMES))


# --- join -----------------------------------------------------------------------------------------------------------


def test_one_write_joins_and_takes_all_that_there_is_work_for() -> None:
    after = written(view(state(), want=3))

    assert list(after.slots.values()) == [slot("me")] * 3
    assert after.queue == {"me": replace(FRESH, want=3, since_ms=NOW_MS, left_count=3)}


def test_who_has_no_work_does_not_join() -> None:
    assert write_due(view(state(), want=0)) is None


def test_who_finds_no_free_slot_joins_to_wait() -> None:
    pool = state(held(other=tuple(range(10))), {"other": entry(want=10)})
    after = written(view(pool, want=3))

    assert after.slots == pool.slots
    assert after.queue["me"].want == 3


def test_an_entry_says_all_that_others_need_to_know() -> None:
    how = terms(8, hold_max=5, app="night", weight=7, is_background=True)
    after = written(view(state(limit=Limit(20, 0)), terms=how, want=900, call_ms=432))

    assert after.queue["me"] == Entry(
        revision=1,
        app="night",
        weight=7,
        want=5,
        limit=8,
        since_ms=NOW_MS,
        expires_at_ms=NOW_MS + entry_lease_ms(TIMES),
        is_background=True,
        is_new=False,
        left_count=900,
        call_ms=432,
    )


def test_a_participant_is_new_until_it_was_served_a_slot() -> None:
    """I7: until then it comes before its equals who had one."""
    full = held(other=tuple(range(10)))
    old = {"other": entry(want=10)}
    joins = written(view(state(full, old))).queue["me"]
    waits = written(view(state(full, old | {"me": entry(is_new=True, expires_at_ms=NOW_MS)}))).queue["me"]
    served = written(view(state({}, {"me": entry(is_new=True)}))).queue["me"]
    holds = written(view(state({0: slot("me", left_ms=1)}, {"me": entry(is_new=True)}))).queue["me"]
    waits_again = written(view(state(full, old | {"me": entry(expires_at_ms=NOW_MS)}))).queue["me"]

    assert [one.is_new for one in (joins, waits, served, holds, waits_again)] == [True, True, False, False, False]


def test_one_who_holds_slots_and_was_swept_is_not_new() -> None:
    pool = state({0: slot("me", left_ms=1)}, {})

    assert not written(view(pool)).queue["me"].is_new


def test_what_an_entry_says_of_calls_to_come_is_not_bound_by_what_it_may_hold() -> None:
    """Whoever waits can tell when its work is done."""
    own = written(view(state(), terms=terms(hold_max=2), want=70)).queue["me"]

    assert (own.want, own.left_count) == (2, 70)


def test_a_rejoining_participant_goes_on_with_its_revision() -> None:
    """I1: or a late write from before could be applied again."""
    assert written(view(state(), revision=41)).queue["me"].revision == 42


def test_nothing_is_due_when_all_is_well() -> None:
    pool = state(held(me=(0,)), {"me": FRESH})

    assert write_due(view(pool, want=1)) is None


def test_one_who_waits_in_vain_writes_nothing() -> None:
    pool = state(held(other=tuple(range(10))), {"other": entry(want=10), "me": replace(FRESH, want=3)})

    assert write_due(view(pool, want=3)) is None


def test_the_time_of_waiting_begins_anew_only_when_a_slot_changed_hands() -> None:
    waits = state(held(other=tuple(range(10))), {"me": entry(want=3, expires_at_ms=NOW_MS)})
    finds = state({}, {"me": entry(want=3)})

    assert written(view(waits, want=3)).queue["me"].since_ms == NOW_MS - 1_000
    assert written(view(finds, want=3)).queue["me"].since_ms == NOW_MS


# --- renew ----------------------------------------------------------------------------------------------------------


def test_a_slot_is_renewed_when_it_was_last_written_a_renewal_ago() -> None:
    due = slot("me", left_ms=TIMES.lease_ms - TIMES.renew_ms)
    not_yet = slot("me", left_ms=TIMES.lease_ms - TIMES.renew_ms + 1)

    assert is_renewal_due(view(state({0: due}, {"me": FRESH})))
    assert not is_renewal_due(view(state({0: not_yet}, {"me": FRESH})))


def test_who_has_not_joined_has_nothing_to_renew() -> None:
    assert not is_renewal_due(view(state(held(me=(0,)))))


def test_an_entry_is_renewed_when_it_was_last_written_a_renewal_ago() -> None:
    due_ms = NOW_MS + entry_lease_ms(TIMES) - TIMES.renew_ms

    assert is_renewal_due(view(state({}, {"me": entry(expires_at_ms=due_ms)})))
    assert not is_renewal_due(view(state({}, {"me": entry(expires_at_ms=due_ms + 1)})))


def test_an_entry_is_renewed_when_others_think_that_its_work_is_done() -> None:
    """I7: it would get no second slot until its next renewal; its calls take longer than they did."""
    written_ms = NOW_MS - TIMES.renew_ms // 4
    hasty = entry(want=3, left_count=3, call_ms=10, expires_at_ms=written_ms + entry_lease_ms(TIMES))
    steady = replace(hasty, call_ms=10_000)
    pool = state(held(me=(0,)), {"me": hasty})

    assert is_renewal_due(view(pool, want=3))
    assert not is_renewal_due(view(pool, want=1))
    assert not is_renewal_due(view(state(held(me=(0,)), {"me": steady}), want=3))
    fresh = replace(hasty, expires_at_ms=hasty.expires_at_ms + 1)
    assert not is_renewal_due(view(state(held(me=(0,)), {"me": fresh}), want=3))


def test_an_entry_lives_for_longer_than_two_renewals() -> None:
    """Who was renewed lately still counts when one renewal is late, though it thought that it was a second earlier."""
    assert 2 * TIMES.renew_ms + TIMES.skew_ms < entry_lease_ms(TIMES) < 3 * TIMES.renew_ms + TIMES.skew_ms


def test_a_renewal_prolongs_every_slot_in_use_and_the_entry() -> None:
    slots = {0: slot("me", left_ms=1), 1: slot("me", left_ms=TIMES.lease_ms - 5), 2: slot("other")}
    after = written(view(state(slots, {"me": entry(want=2)}), want=2, busy=frozenset({0})))

    assert after.slots == {0: slot("me"), 1: slot("me"), 2: slot("other")}
    assert after.queue["me"].expires_at_ms == FRESH.expires_at_ms
    assert after.queue["me"].revision == 2


def test_a_write_that_is_no_renewal_leaves_fresh_leases_alone() -> None:
    """It touches as little as can be."""
    fresh = slot("me", left_ms=TIMES.lease_ms - TIMES.renew_ms // 4)
    after = written(view(state({0: fresh}, {"me": replace(FRESH, want=2)}), want=2))

    assert after.slots == {0: fresh, 1: slot("me")}


def test_any_write_renews_leases_that_are_older_than_a_quarter_of_a_renewal() -> None:
    """So a holder that writes anyway needs hardly any write for that alone."""
    older = slot("me", left_ms=TIMES.lease_ms - TIMES.renew_ms // 4 - 1)
    after = written(view(state({0: older}, {"me": replace(FRESH, want=2)}), want=2))

    assert after.slots == {0: slot("me"), 1: slot("me")}


def test_a_renewal_prolongs_leases_however_fresh() -> None:
    """Or each slot would soon have a renewal of its own."""
    slots = {0: slot("me", left_ms=1), 1: slot("me", left_ms=TIMES.lease_ms - 1)}

    assert set(written(view(state(slots, {"me": FRESH}), want=2)).slots.values()) == {slot("me")}


def test_a_write_gives_up_what_could_serve_its_holder_or_only_what_could_not() -> None:
    """Before the first of these the holder looks again."""
    pool = state(held(me=(0, 1)), {"me": FRESH})

    assert gives_up(view(pool), replace(pool, slots=held(me=(0,))))
    assert not gives_up(view(pool), pool)
    assert not gives_up(view(pool, owned={0: slot("me")}), replace(pool, slots=held(me=(0,))))


def test_a_lease_is_never_shortened() -> None:
    longer = slot("me", left_ms=TIMES.lease_ms + 700)
    after = written(view(state({0: longer}, {"me": entry(expires_at_ms=NOW_MS)})))

    assert after.slots == {0: longer}


def test_a_slot_in_drain_is_not_renewed() -> None:
    """I2: whoever vanishes, it opens when its call is over."""
    slots = {0: slot("me", left_ms=1), 1: slot("me", left_ms=1)}
    after = written(view(state(slots, {"me": entry(want=2)}), want=2, shut={1: NOW_MS + 5_000}))

    assert after.slots[0] == slot("me")
    assert after.slots[1] == slots[1]


def test_slots_above_the_limit_are_not_renewed() -> None:
    slots = {2: slot("me", left_ms=1), 7: slot("me", left_ms=1)}
    pool = state(slots, {"me": entry(want=2)}, limit=Limit(5, 3))
    after = written(view(pool, want=2, busy=frozenset({2, 7})))

    assert after.slots == {2: slot("me"), 7: slots[7]}


def test_who_has_no_work_left_gives_its_slots_to_those_who_wait() -> None:
    pool = state(held(me=(0, 1), other=tuple(range(2, 10))), {"me": FRESH, "w": entry(want=1)})

    assert own_numbers(written(view(pool, want=1))) == {0}


def test_who_has_no_work_left_renews_while_a_call_is_in_progress() -> None:
    """I1: it is not leaving yet."""
    pool = state({0: slot("me", left_ms=1)}, {"me": entry(expires_at_ms=NOW_MS)})

    assert written(view(pool, want=0, busy=frozenset({0}))).slots == {0: slot("me")}


def test_who_has_no_work_left_gives_up_idle_slots_while_a_call_is_in_progress() -> None:
    pool = state(held(me=(0, 1), other=tuple(range(2, 10))), {"me": FRESH, "w": entry(want=9)})

    assert own_numbers(written(view(pool, want=0, busy=frozenset({0})))) == {0}


def test_who_gave_a_slot_is_served_after_those_who_waited_longer() -> None:
    pool = state(held(me=tuple(range(10))), {"me": replace(FRESH, want=10, since_ms=5), "w": entry(want=1)})

    assert written(view(pool, want=10)).queue["me"].since_ms == NOW_MS


def test_any_write_of_one_who_is_to_renew_renews() -> None:
    pool = state({0: slot("me", left_ms=1)}, {"me": entry(want=2)})
    after = written(view(pool, want=2))

    assert after.slots == {0: slot("me"), 1: slot("me")}


# --- one write has room for 48 entries --------------------------------------------------------------------------------


def test_a_write_takes_only_as_many_slots_as_it_has_room_for() -> None:
    after = written(view(state(limit=Limit(200, 0)), terms=terms(200), want=200))

    assert own_numbers(after) == set(range(ENTRIES_A_WRITE_MAX - 2))


def test_renewing_two_hundred_slots_takes_several_writes() -> None:
    slots = dict.fromkeys(range(200), slot("me", left_ms=1))
    seen = view(state(slots, {"me": entry(want=200)}, limit=Limit(200, 0)), terms=terms(200), want=200)
    writes = 0
    while is_renewal_due(seen):
        after = written(seen)
        seen = replace(seen, state=after, owned=after.held_by("me"), revision=after.queue["me"].revision)
        writes += 1

    assert writes == -(-200 // (ENTRIES_A_WRITE_MAX - 2))
    assert set(seen.owned.values()) == {slot("me")}


def test_two_hundred_slots_above_a_lowered_limit_are_given_up_in_several_writes() -> None:
    slots = dict.fromkeys(range(200), slot("me"))
    seen = view(state(slots, {"me": entry(want=200)}, limit=Limit(2, 9)), terms=terms(200), want=2)
    while (after := write_due(seen)) is not None:
        seen = replace(seen, state=after, owned=after.held_by("me"), revision=after.queue["me"].revision)

    assert set(seen.owned) == {0, 1}


def test_giving_up_and_renewing_many_at_once_stays_within_the_room_of_a_write() -> None:
    slots = dict.fromkeys(range(100), slot("me", left_ms=1))
    after = written(view(state(slots, {"me": entry(want=70)}, limit=Limit(70, 9)), terms=terms(100), want=70))

    assert len(after.slots) == 70
    assert sum(one == slot("me") for one in after.slots.values()) == ENTRIES_A_WRITE_MAX - 2 - 30


def test_what_a_lost_reply_left_is_given_up_within_the_room_of_a_write() -> None:
    slots = dict.fromkeys(range(200), slot("me"))
    seen = view(state(slots, {"me": FRESH}, limit=Limit(200, 0)), terms=terms(200), owned={0: slot("me")})
    after = written(seen)

    assert len(after.slots) == 200 - ENTRIES_A_WRITE_MAX + 2


# --- what a lost reply left -------------------------------------------------------------------------------------------


def test_slots_that_the_table_ties_to_us_without_our_knowledge_are_taken_again_when_there_is_work() -> None:
    """I1: by a write, which is what makes them usable."""
    pool = state({0: slot("me", left_ms=6_000)}, {"me": FRESH})
    after = written(view(pool, owned={}))

    assert after.slots == {0: slot("me")}


def test_slots_that_the_table_ties_to_us_without_our_knowledge_are_given_up_when_there_is_none() -> None:
    pool = state(held(me=(0, 1)), {"me": FRESH})
    after = written(view(pool, owned={0: slot("me")}))

    assert after.slots == held(me=(0,))


@pytest.mark.parametrize("doubt", [{"busy": frozenset({1})}, {"shut": {1: NOW_MS + 5_000}}])
def test_a_slot_with_a_call_that_may_be_running_is_never_given_up(doubt: dict[str, Any]) -> None:
    """I1: whatever we believe of its lease."""
    pool = state(held(me=(0, 1), other=tuple(range(2, 10))), {"me": FRESH, "other": entry(want=12)})

    for owned in ({0: slot("me")}, pool.held_by("me")):
        after = write_due(view(pool, want=0, owned=owned, **doubt))
        assert after is None or after.slots[1] == slot("me")
