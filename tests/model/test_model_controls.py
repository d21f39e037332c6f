"""Does the model see what it should? Each clause of the protocol left out must be caught, with the shortest story.

Where a clause turns out to be harmless, the whole space says so. `pytest tests/model -s` prints the stories.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from tests.support.model.decide import Clauses
from tests.support.model.search import Finding, Model
from tests.support.model.shape import Size
from volcengine_client.limits import PoolTimes
from volcengine_client.pool import plan
from volcengine_client.pool.slots import Limit, PoolState, Slot, applied

SMALL = Size(delayed_max=1, has_repeats=False, has_old_snapshots=False, has_late_replies=False, has_sweeps=False)


def found(size: Size, clauses: Clauses) -> Finding:
    finding = Model(size, clauses).search(3_000_000)
    sys.stdout.write(f"\n{finding}\n")
    return finding


def always(_slot: Slot, *, now_hi_ms: int, times: PoolTimes) -> bool:
    """Start a call whatever is left of the lease."""
    return now_hi_ms > 0 and times is not None


def free_when_expired(slot: Slot | None, *, now_lo_ms: int | None, times: PoolTimes) -> bool:
    """Reclaim at the expiry itself."""
    return slot is None or (now_lo_ms is not None and now_lo_ms >= slot.expires_at_ms and times is not None)


def applied_unconditionally(state: PoolState, before: PoolState, after: PoolState) -> PoolState | None:
    """Write without any condition."""
    kept = {number: slot for number, slot in state.slots.items() if number not in before.slots}
    others = {key: entry for key, entry in state.queue.items() if key not in before.queue}
    return replace(state, slots={**kept, **after.slots}, queue={**others, **after.queue})


def applied_if_own_entry_stands(state: PoolState, before: PoolState, after: PoolState) -> PoolState | None:
    """Read, then write: only the own entry is compared."""
    if any(state.queue.get(key) != before.queue.get(key) for key in before.queue.keys() | after.queue.keys()):
        return None
    return applied_unconditionally(state, before, after)


def applied_without_revisions(state: PoolState, before: PoolState, after: PoolState) -> PoolState | None:
    """Compare slots only, so that an older write of one's own passes after a later one."""
    if any(state.slots.get(number) != before.slots.get(number) for number in before.slots.keys() | after.slots.keys()):
        return None
    return applied_unconditionally(state, before, after)


def applied_whatever_the_limit(state: PoolState, before: PoolState, after: PoolState) -> PoolState | None:
    """Take a slot without comparing limit and cap."""
    limit = state.limit if after.limit == before.limit else after.limit
    cap = state.cap if after.cap == before.cap else after.cap
    return applied(state, replace(before, limit=state.limit, cap=state.cap), replace(after, limit=limit, cap=cap))


BROKEN = {
    "a lease without drain": ("I1", SMALL, Clauses(has_drain=False)),
    "the call rule left out": ("I1", SMALL, Clauses(may_start_call=always)),
    "a write without condition": (
        "I1",
        replace(SMALL, drops_dead_writes=False),
        Clauses(applied=applied_unconditionally),
    ),
    "read, then write": ("I1", replace(SMALL, drops_dead_writes=False), Clauses(applied=applied_if_own_entry_stands)),
    "own revisions not compared": (
        "I1",
        replace(SMALL, drops_dead_writes=False, has_leaving=False),
        Clauses(applied=applied_without_revisions),
    ),
    "a slot used after a give-up whose reply was lost": ("I1", SMALL, Clauses(gives_up_first=False)),
    "a belief taken from a read": ("I1", SMALL, Clauses(believes_reads=True)),
    "a late join without tombstone": ("I2", SMALL, Clauses(has_tombstone=False)),
    "an old snapshot adopted by one that leaves": (
        "I2",
        replace(SMALL, has_old_snapshots=True),
        Clauses(drops_old=False),
    ),
    "a take that does not compare the limit": (
        "I1",
        replace(SMALL, slots=2, terms=(Limit(2, 1), Limit(1, 2)), drops_dead_writes=False),
        Clauses(applied=applied_whatever_the_limit),
    ),
    "granting to others": ("I2", replace(SMALL, counts_absence=True), Clauses(hands_over=True)),
    "clocks that together are wrong by more than the skew, and a drain left to others": (
        "I1",
        replace(SMALL, clock_behind=1, clock_ahead=1),
        Clauses(),
    ),
    "a clock that is wrong by more than the skew": (
        "I1",
        replace(SMALL, clock_behind=2, clock_ahead=2, has_doubt=False),
        Clauses(),
    ),
}
OLD = replace(SMALL, has_old_snapshots=True, has_leaving=False, has_crashes=False)
HARMLESS = {
    # The own entry and the slots are compared by every write, and what is owned is learned from applied writes alone.
    "an old snapshot adopted by one that stays": (OLD, Clauses(drops_old=False)),
    "eventually consistent reads": (replace(OLD, delayed_max=2), Clauses(reads_in_doubt=False)),
}


@pytest.mark.parametrize("variant", BROKEN)
def test_a_clause_left_out_is_caught(variant: str) -> None:
    law, size, clauses = BROKEN[variant]

    finding = found(size, clauses)

    assert finding.breach.startswith(law), finding
    assert finding.story


def test_reclaiming_without_margins_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "is_free", free_when_expired)

    finding = found(SMALL, Clauses())

    assert finding.breach.startswith("I1"), finding


@pytest.mark.parametrize("variant", HARMLESS)
def test_a_clause_that_is_harmless_to_leave_out_breaks_no_law_in_the_whole_space(variant: str) -> None:
    size, clauses = HARMLESS[variant]

    finding = found(size, clauses)

    assert finding.is_exhausted, finding
    assert not finding.breach, finding
