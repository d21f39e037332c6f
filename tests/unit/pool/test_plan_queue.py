"""Sweeping, and the full queue."""

from __future__ import annotations

from tests.support.pools import NOW_MS, TIMES, entry, own_numbers, slot, state, terms, view, write_due, written
from volcengine_client.limits import ENTRIES_A_WRITE_MAX, QUEUE_MAX
from volcengine_client.pool.plan import eviction
from volcengine_client.pool.slots import Entry
from volcengine_client.pool.view import entry_lease_ms

FRESH = entry(expires_at_ms=NOW_MS + entry_lease_ms(TIMES))


LONG_GONE = NOW_MS - TIMES.skew_ms - 1


def test_a_renewal_sweeps_entries_that_are_long_gone() -> None:
    queue = {"dead": entry(expires_at_ms=LONG_GONE), "late": entry(expires_at_ms=LONG_GONE + 1)}
    after = written(view(state({}, queue)))

    assert set(after.queue) == {"late", "me"}


def test_a_write_that_only_takes_does_not_sweep() -> None:
    """It touches what is its own, so it has few conflicts."""
    queue = {"dead": entry(expires_at_ms=LONG_GONE), "me": FRESH}

    assert set(written(view(state({}, queue))).queue) == {"dead", "me"}


def test_without_the_time_nothing_is_swept() -> None:
    queue = {"dead": entry(expires_at_ms=0)}

    assert set(written(view(state({}, queue), now_lo_ms=None)).queue) == {"dead", "me"}


def test_sweeping_fills_the_room_of_a_write_and_no_more() -> None:
    queue = {f"dead{number}": entry(expires_at_ms=LONG_GONE) for number in range(100)}
    after = written(view(state({}, queue), want=5))

    assert len(after.queue) == 100 + 1 - (ENTRIES_A_WRITE_MAX - 5 - 1)


def test_one_whose_own_entry_is_long_gone_renews_it() -> None:
    after = written(view(state({}, {"me": entry(expires_at_ms=LONG_GONE)})))

    assert after.queue["me"].expires_at_ms == FRESH.expires_at_ms


def _crowd(count: int, app: str = "crowd", *, older_ms: int = 0, **changes: int) -> dict[str, Entry]:
    """Return so many waiters of one app, the oldest first."""
    since_ms = NOW_MS - 9_000 - older_ms
    return {f"{app}{number}": entry(app=app, since_ms=since_ms + number, **changes) for number in range(count)}


def test_there_is_room_in_a_queue_up_to_its_bound() -> None:
    assert eviction(view(state({}, _crowd(QUEUE_MAX - 1)))) is None


def test_in_a_full_queue_the_youngest_waiter_of_the_app_with_the_most_gives_way() -> None:
    """I7."""
    queue = {**_crowd(QUEUE_MAX - 50), **_crowd(50, "few", older_ms=-5_000)}
    newcomer = view(state({}, queue), terms=terms(app="new"))
    after = written(newcomer)

    assert eviction(newcomer) == f"crowd{QUEUE_MAX - 51}"
    assert set(queue) - set(after.queue) == {f"crowd{QUEUE_MAX - 51}"}
    assert "me" in after.queue


def test_one_who_holds_a_slot_never_gives_way() -> None:
    """I1: eviction never touches a slot."""
    youngest = f"crowd{QUEUE_MAX - 1}"
    pool = state({0: slot(youngest)}, _crowd(QUEUE_MAX))

    assert eviction(view(pool, terms=terms(app="new"))) == f"crowd{QUEUE_MAX - 2}"


def test_nobody_gives_way_to_a_newcomer_whose_app_has_as_many() -> None:
    even = {**_crowd(QUEUE_MAX // 2), **_crowd(QUEUE_MAX // 2 - 1, "mine"), **_crowd(1, "third")}

    assert write_due(view(state({}, even), terms=terms(app="mine"))) is None
    assert write_due(view(state({}, _crowd(QUEUE_MAX)), terms=terms(app="crowd"))) is None


def test_somebody_gives_way_to_a_newcomer_whose_app_will_still_have_less() -> None:
    queue = {**_crowd(QUEUE_MAX // 2), **_crowd(QUEUE_MAX // 2 - 2, "mine"), **_crowd(2, "third")}

    assert eviction(view(state({}, queue), terms=terms(app="mine"))) == f"crowd{QUEUE_MAX // 2 - 1}"


def test_nobody_gives_way_when_all_of_the_largest_app_hold_slots() -> None:
    crowd = _crowd(QUEUE_MAX)
    pool = state(dict(enumerate(slot(holder_id) for holder_id in crowd)), crowd)

    assert write_due(view(pool, terms=terms(app="new"))) is None


def test_one_who_has_joined_writes_in_a_full_queue_too() -> None:
    queue = {**_crowd(QUEUE_MAX), "me": entry(expires_at_ms=NOW_MS)}
    after = written(view(state({}, queue), terms=terms(app="crowd")))

    assert len(after.queue) == QUEUE_MAX + 1


def test_the_dead_do_not_fill_a_queue() -> None:
    """I2: or nobody could join any more, and nobody sweep."""
    after = written(view(state({}, _crowd(QUEUE_MAX, expires_at_ms=LONG_GONE)), terms=terms(app="crowd")))

    assert "me" in after.queue
    assert len(after.queue) < QUEUE_MAX


def test_those_who_left_do_not_fill_a_queue() -> None:
    """I2: what is in their place keeps out only late joins of their own."""
    left = _crowd(QUEUE_MAX, want=0)
    one_waits = {**left, **_crowd(1, "w")}

    assert eviction(view(state({}, one_waits), terms=terms(app="crowd"))) is None
    assert "me" in written(view(state({}, one_waits), terms=terms(app="crowd"))).queue


def test_those_who_left_do_not_count_for_their_app() -> None:
    """I7: nor give they way, which would let a late join through."""
    queue = {**_crowd(150, want=0), **_crowd(QUEUE_MAX - 60, "many"), **_crowd(60, "few")}

    assert eviction(view(state({}, queue), terms=terms(app="new"))) == f"many{QUEUE_MAX - 61}"


def test_one_who_was_swept_while_holding_comes_back_into_a_full_queue() -> None:
    """I2: outside it could neither renew nor give up its slots."""
    pool = state({0: slot("me")}, _crowd(QUEUE_MAX, "default"))
    after = written(view(pool, want=1, terms=terms(hold_max=1)))

    assert own_numbers(after) == {0}
    assert "me" in after.queue


def test_one_who_was_swept_gives_up_what_it_has_no_more_work_for() -> None:
    pool = state({0: slot("me")}, _crowd(QUEUE_MAX))

    assert own_numbers(written(view(pool, want=0))) == set()
