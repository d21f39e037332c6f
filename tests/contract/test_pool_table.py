"""The law that every table of pools obeys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.pools import NAME, NOW_MS, entry, held, slot, state
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import ENTRIES_A_WRITE_MAX
from volcengine_client.pool.slots import SHUT, Cap, Limit, PoolState, Slot
from volcengine_client.pool.table import PoolTable, Reply

BEFORE = PoolState(
    rev=1,
    slots={0: slot("me"), 5: Slot("dead", 7)},
    queue={"me": entry(), "other": entry()},
    limit=Limit(10, 1),
    cap=Cap(8, NOW_MS),
)
TAKES = replace(
    BEFORE,
    slots={0: slot("me", left_ms=9_000), 1: slot("me"), 5: slot("me")},
    queue={"me": entry(revision=2), "other": entry()},
)
GIVES = replace(BEFORE, slots={5: Slot("dead", 7)}, queue={"me": entry(revision=2), "other": entry()})


async def _made(table: PoolTable, pool: PoolState = BEFORE) -> PoolState:
    reply = await table.create(NAME, pool)
    assert reply.is_applied
    assert reply.state is not None
    return reply.state


async def _write(table: PoolTable, before: PoolState, after: PoolState) -> Reply:
    """Write, and make sure that the reply says what a read says."""
    reply = await table.write(NAME, before, after)
    read = await table.read(NAME)
    assert not read.is_applied
    assert reply.state == read.state
    return reply


# --- read and create ------------------------------------------------------------------------------------------------


async def test_a_pool_that_does_not_exist_reads_as_none(table: PoolTable) -> None:
    reply = await table.read(NAME)

    assert reply.state is None
    assert not reply.is_applied


async def test_a_pool_is_made_with_revision_one(table: PoolTable) -> None:
    reply = await table.create(NAME, replace(BEFORE, rev=77))

    assert reply.is_applied
    assert reply.state == replace(BEFORE, rev=1)
    assert (await table.read(NAME)).state == reply.state


async def test_a_pool_that_exists_is_not_made_again_but_told(table: PoolTable) -> None:
    made = await _made(table)
    reply = await table.create(NAME, PoolState(limit=Limit(99, 99)))

    assert not reply.is_applied
    assert reply.state == made
    assert (await table.read(NAME)).state == made


FULL = entry(app="x", weight=3, is_background=True, is_new=True, left_count=70, call_ms=432)


@pytest.mark.parametrize(
    "changes", [{}, {"is_background": False}, {"is_new": False}, {"left_count": 0}, {"call_ms": 0}]
)
async def test_all_that_an_entry_says_survives(table: PoolTable, changes: dict[str, Any]) -> None:
    made = await _made(table, state(queue={"me": replace(FULL, **changes)}))
    later = replace(made, queue={"me": replace(FULL, revision=2, **changes)})
    reply = await _write(table, made, later)

    assert made.queue == {"me": replace(FULL, **changes)}
    assert reply.state == replace(later, rev=2)


async def test_an_entry_of_another_revision_has_changed(table: PoolTable) -> None:
    made = await _made(table, state(queue={"me": replace(FULL, revision=2)}))
    seen = replace(made, queue={"me": FULL})

    assert not (await _write(table, seen, replace(made, queue={"me": replace(FULL, revision=3)}))).is_applied


async def test_an_empty_pool_survives(table: PoolTable) -> None:
    assert await _made(table, PoolState()) == PoolState(rev=1)


async def test_everything_that_a_pool_says_survives(table: PoolTable) -> None:
    queue = {
        "a-b_C9": entry(app="x.y-z_1", weight=9, want=7, limit=6, since_ms=3, expires_at_ms=4, is_background=True),
        "-_-_": entry(revision=10**12),
    }
    slots = {0: slot("a-b_C9"), 999: Slot(SHUT, 10**13), 17: slot("-_-_")}
    pool = PoolState(slots=slots, queue=queue, limit=Limit(1_000, 10**13), cap=Cap(3, 10**13), kept_until_s=2 * 10**9)

    assert await _made(table, pool) == replace(pool, rev=1)
    assert (await table.read(NAME)).state == replace(pool, rev=1)


async def test_pools_do_not_know_each_other(table: PoolTable) -> None:
    await _made(table)
    await table.create("other", PoolState(limit=Limit(3, 3)))
    await _write(table, BEFORE, TAKES)

    assert (await table.read("other")).state == PoolState(rev=1, limit=Limit(3, 3))


async def test_names_are_those_of_all_pools_in_order(table: PoolTable) -> None:
    assert await table.names() == []
    for name in ("b", "a", "ä"):
        await table.create(name, PoolState())

    assert await table.names() == ["a", "b", "ä"]


# --- writes -----------------------------------------------------------------------------------------------------------


async def test_a_write_is_applied_to_the_state_that_it_saw(table: PoolTable) -> None:
    reply = await _write(table, await _made(table), TAKES)

    assert reply.is_applied
    assert reply.state == replace(TAKES, rev=2)


async def test_every_applied_write_raises_the_revision_by_one_and_no_other_does(table: PoolTable) -> None:
    before = await _made(table)
    for revision in range(2, 6):
        after = replace(before, queue={**before.queue, "me": entry(revision=revision)})
        reply = await _write(table, before, after)
        assert reply.is_applied
        assert reply.state == replace(after, rev=before.rev + 1)
        refused = await _write(table, before, after)
        assert not refused.is_applied
        before = reply.state

    assert before.rev == 5


async def test_a_write_merges_with_what_others_did_to_other_entries(table: PoolTable) -> None:
    before = await _made(table)
    others = replace(
        before, slots={**before.slots, 7: slot("other")}, queue={**before.queue, "other": entry(revision=2)}
    )
    assert (await _write(table, before, others)).is_applied
    reply = await _write(table, before, TAKES)

    assert reply.is_applied
    assert reply.state == replace(
        TAKES,
        rev=3,
        slots={**TAKES.slots, 7: slot("other")},
        queue={"me": entry(revision=2), "other": entry(revision=2)},
    )


CHANGED = {
    "a missing slot was taken": replace(BEFORE, slots={**BEFORE.slots, 1: slot("b")}),
    "an own slot was renewed": replace(BEFORE, slots={**BEFORE.slots, 0: slot("me", left_ms=1)}),
    "an own slot was lost": replace(BEFORE, slots={**BEFORE.slots, 0: slot("b")}),
    "an own slot is gone": replace(BEFORE, slots={5: Slot("dead", 7)}),
    "an expired slot was renewed": replace(BEFORE, slots={**BEFORE.slots, 5: Slot("dead", 8)}),
    "an expired slot was taken": replace(BEFORE, slots={**BEFORE.slots, 5: Slot("b", 7)}),
    "an expired slot is gone": replace(BEFORE, slots=held(me=(0,))),
    "the own entry was swept": replace(BEFORE, queue={"other": entry()}),
    "the own entry was written": replace(BEFORE, queue={**BEFORE.queue, "me": entry(revision=2)}),
    "the limit was lowered": replace(BEFORE, limit=Limit(9, 1)),
    "the limit has another version": replace(BEFORE, limit=Limit(10, 2)),
    "the limit is gone": replace(BEFORE, limit=None),
    "the cut is gone": replace(BEFORE, cap=None),
    "the cut is another": replace(BEFORE, cap=Cap(7, NOW_MS)),
}


@pytest.mark.parametrize("now", CHANGED.values(), ids=CHANGED)
async def test_a_write_that_takes_fails_when_anything_it_goes_by_has_changed(table: PoolTable, now: PoolState) -> None:
    """I1: all of it happens at once or not at all, and the reply says what is there instead."""
    made = await _made(table, now)
    reply = await _write(table, BEFORE, TAKES)

    assert not reply.is_applied
    assert reply.state == made


@pytest.mark.parametrize(
    "now", [replace(BEFORE, limit=Limit(2, 9)), replace(BEFORE, limit=None), replace(BEFORE, cap=None)]
)
async def test_a_write_that_takes_nothing_does_not_care_for_limit_and_cut(table: PoolTable, now: PoolState) -> None:
    await _made(table, now)
    reply = await _write(table, BEFORE, GIVES)

    assert reply.is_applied
    assert reply.state == replace(GIVES, rev=2, limit=now.limit, cap=now.cap)


@pytest.mark.parametrize("seen", [None, Limit(10, 1)])
async def test_a_limit_is_set_where_it_is_still_as_seen(table: PoolTable, seen: Limit | None) -> None:
    before, sets = replace(BEFORE, limit=seen), replace(TAKES, limit=Limit(4, 7))
    await _made(table, before)
    reply = await _write(table, before, sets)

    assert reply.is_applied
    assert reply.state == replace(sets, rev=2)


@pytest.mark.parametrize("now", [None, Limit(10, 2), Limit(9, 1)])
async def test_a_limit_is_not_set_where_it_changed(table: PoolTable, now: Limit | None) -> None:
    await _made(table, replace(BEFORE, limit=now))

    assert not (await _write(table, BEFORE, replace(GIVES, limit=Limit(4, 7)))).is_applied


@pytest.mark.parametrize(("seen", "new"), [(None, Cap(3, 9)), (Cap(8, NOW_MS), Cap(3, 9)), (Cap(8, NOW_MS), None)])
async def test_a_cut_is_written_and_removed_where_it_is_still_as_seen(
    table: PoolTable, seen: Cap | None, new: Cap | None
) -> None:
    before, cuts = replace(BEFORE, cap=seen), replace(TAKES, cap=new)
    await _made(table, before)
    reply = await _write(table, before, cuts)

    assert reply.is_applied
    assert reply.state == replace(cuts, rev=2)


@pytest.mark.parametrize("now", [None, Cap(8, 1), Cap(7, NOW_MS)])
async def test_a_cut_is_not_written_where_it_changed(table: PoolTable, now: Cap | None) -> None:
    await _made(table, replace(BEFORE, cap=now))

    assert not (await _write(table, BEFORE, replace(GIVES, cap=Cap(2, 9)))).is_applied


async def test_a_repeated_write_changes_nothing(table: PoolTable) -> None:
    """Its reply was lost: saying it again is safe."""
    before = await _made(table)
    assert (await _write(table, before, TAKES)).is_applied
    again = await _write(table, before, TAKES)

    assert not again.is_applied
    assert again.state == replace(TAKES, rev=2)


async def test_a_late_write_fails_once_a_later_one_of_its_owner_was_applied(table: PoolTable) -> None:
    """I1: a give-up that was in doubt must not free a slot that is in use again."""
    before = await _made(table, replace(BEFORE, slots={}))
    takes = replace(before, slots=held(me=(0,)), queue={**before.queue, "me": entry(revision=2)})
    took = (await _write(table, before, takes)).state
    assert took is not None
    late_give_up = replace(took, slots={}, queue={**took.queue, "me": entry(revision=3)})
    renews = replace(took, queue={**took.queue, "me": entry(revision=4)})
    assert (await _write(table, took, renews)).is_applied

    assert not (await _write(table, took, late_give_up)).is_applied
    assert not (await _write(table, before, takes)).is_applied


async def test_a_write_into_a_pool_that_is_gone_makes_none(table: PoolTable) -> None:
    reply = await _write(table, BEFORE, TAKES)

    assert reply.state is None
    assert not reply.is_applied


async def test_one_write_may_hold_48_entries(table: PoolTable) -> None:
    slots = {number: slot("dead-holder", left_ms=-90_000) for number in range(ENTRIES_A_WRITE_MAX - 2)}
    before = await _made(table, replace(BEFORE, slots=slots))
    after = replace(
        before,
        slots=dict.fromkeys(slots, slot("me")),
        queue={"me": entry(revision=2)},
        limit=Limit(200, 7),
        cap=None,
        kept_until_s=9,
    )
    reply = await _write(table, before, after)

    assert reply.is_applied
    assert reply.state == replace(after, rev=2)


async def test_a_write_of_nothing_is_a_bug(table: PoolTable) -> None:
    await _made(table)

    with pytest.raises(AssertionError):
        await table.write(NAME, BEFORE, replace(BEFORE, limit=Limit(1, 1)))


@pytest.mark.parametrize(("seen", "written"), [(None, 2_000_000_000), (2_000_000_000, 2_100_000_000), (5, None)])
async def test_an_item_is_kept_until_when_its_last_writer_said(
    table: PoolTable, seen: int | None, written: int | None
) -> None:
    before = await _made(table, state(kept_until_s=seen))
    reply = await _write(table, before, replace(before, queue={"me": entry()}, kept_until_s=written))

    assert reply.state is not None
    assert reply.state.kept_until_s == written


# --- time -------------------------------------------------------------------------------------------------------------


async def test_every_reply_bounds_the_tables_clock_from_both_sides(table: PoolTable) -> None:
    replies = [
        await table.read(NAME),
        await table.create(NAME, BEFORE),
        await table.create(NAME, BEFORE),
        await table.write(NAME, BEFORE, TAKES),
        await table.write(NAME, BEFORE, TAKES),
        await table.read(NAME),
    ]

    known = replies[0].time
    for later in (reply.time for reply in replies):
        assert later.lo_ms <= later.hi_ms
        assert later.at_ms >= known.at_ms
        narrowed = known.narrowed(later)
        assert narrowed.hi_ms - narrowed.lo_ms <= later.hi_ms - later.lo_ms
        known = narrowed


def test_a_table_says_how_often_it_should_be_asked(table: PoolTable) -> None:
    assert table.pace_ms >= 1


def test_its_error_says_that_asking_again_may_help() -> None:
    assert PoolTableError("no answer").retryable
