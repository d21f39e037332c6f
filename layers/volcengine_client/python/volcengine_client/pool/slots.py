"""The state of a pool, its rules, and what a write may change. Pure.

A pool is one item: numbered slots, a queue of participants, a limit and a passing cap. There is no counter: only
numbers below the limit are used, so the limit holds by construction (I1). Times are milliseconds on the table's
clock, known to a participant as an interval [lo, hi].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from volcengine_client.limits import CAP_STEP_MS, ENTRIES_A_WRITE_MAX, PoolTimes

K = TypeVar("K")
V = TypeVar("V")

SHUT = ""  # the holder of a shut slot: nobody


@dataclass(frozen=True, slots=True)
class Slot:
    """One place for a call, tied to its holder until it expires; a missing slot is free."""

    holder_id: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A participant in the queue, whether it holds slots or waits.

    Attributes:
        revision: Grows with every write of its owner, so a late or repeated write of its own fails.
        app: The application it belongs to, for fair shares.
        weight: The app's share against other apps'.
        want: Slots that it has work for, those it holds included; 0 marks one that has left.
        limit: It uses only slot numbers below this.
        since_ms: When it was last served a slot, or joined: who waits for longest comes first.
        expires_at_ms: Until when it counts.
        is_background: Served after all that is not.
        is_new: It never had a slot.
        left_count: Calls that it still has to make, those in progress included.
        call_ms: How long its calls take on average; 0: it knows of none.
    """

    revision: int
    app: str
    weight: int
    want: int
    limit: int
    since_ms: int
    expires_at_ms: int
    is_background: bool = False
    is_new: bool = False
    left_count: int = 0
    call_ms: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """The account's limit, and the version of what set it: an older version follows, a newer one sets."""

    n: int
    version: int


@dataclass(frozen=True, slots=True)
class Cap:
    """A passing cut of the limit, while somebody outside uses the account."""

    n: int
    until_ms: int

    def now(self, now_lo_ms: int) -> int:
        """Return the cut's height: *n* until `until_ms`, then one more for each `CAP_STEP_MS`."""
        late_ms = now_lo_ms - self.until_ms
        return self.n if late_ms < 0 else self.n + 1 + late_ms // CAP_STEP_MS

    def is_climbing(self, now_lo_ms: int | None) -> bool:
        """Tell whether the next call tries a slot more than is known to be there."""
        return now_lo_ms is not None and now_lo_ms >= self.until_ms


@dataclass(frozen=True, slots=True)
class PoolState:
    """All that the item says.

    Attributes:
        rev: Grows by one with every write; a snapshot with a lower one is older.
        slots: Taken and shut slots by number; a missing number is free.
        queue: Participants by holder id.
        limit: The account's limit; None in an item that nobody has joined yet.
        cap: A passing cut, or None.
        kept_until_s: When the table may forget the item, Unix seconds; None: never.
    """

    rev: int = 0
    slots: Mapping[int, Slot] = field(default_factory=dict)
    queue: Mapping[str, Entry] = field(default_factory=dict)
    limit: Limit | None = None
    cap: Cap | None = None
    kept_until_s: int | None = None

    def held_by(self, holder_id: str) -> dict[int, Slot]:
        """Return the slots tied to *holder_id*, by number."""
        return {number: slot for number, slot in self.slots.items() if slot.holder_id == holder_id}

    def height(self, bound: int, now_lo_ms: int | None) -> int:
        """Return how many slots may be used by one who may use numbers below *bound*: limit and cap applied.

        Without knowledge of the time a cap counts at its lowest.
        """
        heights = [bound]
        if self.limit is not None:
            heights.append(self.limit.n)
        if self.cap is not None:
            heights.append(self.cap.n if now_lo_ms is None else self.cap.now(now_lo_ms))
        return min(heights)


def may_start_call(slot: Slot, *, now_hi_ms: int, times: PoolTimes) -> bool:
    """Tell whether a call that starts now is over before the slot can be another's: the call rule (I1)."""
    return slot.expires_at_ms - now_hi_ms >= times.upstream_call_max_ms + times.skew_ms


def is_free(slot: Slot | None, *, now_lo_ms: int | None, times: PoolTimes) -> bool:
    """Tell whether anyone may take the slot: missing, or expired past all margins: the reclaim rule (I1, I2).

    Without knowledge of the time only a missing slot is free.
    """
    if slot is None:
        return True
    return now_lo_ms is not None and now_lo_ms >= free_at_ms(slot, times)


def free_at_ms(slot: Slot, times: PoolTimes) -> int:
    """Return from when on anyone may take a slot that nobody renews."""
    return slot.expires_at_ms + times.skew_ms + times.send_max_ms


def shut_until(began_hi_ms: int, times: PoolTimes) -> Slot:
    """Return the shut slot for a call of uncertain end, so that nobody takes it before the drain is over (I1).

    Args:
        began_hi_ms: The latest that the table's clock can have shown when the call began; the reclaim rule adds
            skew and the time to send.
        times: The pool's times.
    """
    return Slot(SHUT, began_hi_ms + times.upstream_call_max_ms)


def settled_limit(seen: Limit | None, mine: Limit) -> Limit:
    """Return the limit after a participant that knows *mine* has written.

    A newer version sets it, an older one follows. Of the same version the higher stands: those who said less keep
    to their own bound.
    """
    if seen is None or mine.version > seen.version:
        return mine
    if mine.version < seen.version:
        return seen
    return Limit(max(seen.n, mine.n), seen.version)


def bound_of(mine: Limit, settled: Limit) -> int:
    """Return below which number a participant that knows *mine* uses slots: its own limit, unless it follows."""
    return settled.n if mine.version < settled.version else min(mine.n, settled.n)


@dataclass(frozen=True, slots=True)
class Change:
    """What one write compares and writes: only entries that differ, each as (before, after).

    Attributes:
        slots: By number.
        queue: By holder id.
        limit: None when it stays.
        cap: None when it stays.
        takes: Whether a slot changes to a new holder; then limit and cap must still be as seen, so that lowering
            acts at once.
    """

    slots: Mapping[int, tuple[Slot | None, Slot | None]]
    queue: Mapping[str, tuple[Entry | None, Entry | None]]
    limit: tuple[Limit | None, Limit | None] | None
    cap: tuple[Cap | None, Cap | None] | None
    takes: bool

    @classmethod
    def between(cls, before: PoolState, after: PoolState) -> Change:
        """Return what turns *before* into *after*; at most `ENTRIES_A_WRITE_MAX` entries."""
        slots = {
            number: (before.slots.get(number), after.slots.get(number))
            for number in before.slots.keys() | after.slots.keys()
            if before.slots.get(number) != after.slots.get(number)
        }
        queue = {
            holder_id: (before.queue.get(holder_id), after.queue.get(holder_id))
            for holder_id in before.queue.keys() | after.queue.keys()
            if before.queue.get(holder_id) != after.queue.get(holder_id)
        }
        assert 0 < len(slots) + len(queue) <= ENTRIES_A_WRITE_MAX
        assert all(revision_grows(*pair) for pair in queue.values())
        return cls(
            slots=slots,
            queue=queue,
            limit=(before.limit, after.limit) if before.limit != after.limit else None,
            cap=(before.cap, after.cap) if before.cap != after.cap else None,
            takes=any(is_taken(*pair) for pair in slots.values()),
        )


def is_taken(before: Slot | None, after: Slot | None) -> bool:
    """Tell whether a slot gets a holder that it did not have."""
    return after is not None and after.holder_id != SHUT and (before is None or before.holder_id != after.holder_id)


def revision_grows(before: Entry | None, after: Entry | None) -> bool:
    """Tell whether a written entry is newer than what it replaces; a removed one needs nothing."""
    return before is None or after is None or after.revision > before.revision


def is_same(now: Entry | None, seen: Entry | None) -> bool:
    """Tell whether an entry is as it was seen: each revision is written once, whatever a later version adds to it."""
    if now is None or seen is None:
        return now is seen
    return now.revision == seen.revision


def applied(state: PoolState, before: PoolState, after: PoolState) -> PoolState | None:
    """Return *state* after the write from *before* to *after*, or None when a touched entry is not as it was.

    This is the law that every table keeps (see `table.py`).
    """
    change = Change.between(before, after)
    unchanged = all(state.slots.get(number) == pair[0] for number, pair in change.slots.items())
    unchanged &= all(is_same(state.queue.get(holder_id), pair[0]) for holder_id, pair in change.queue.items())
    if change.takes or change.limit:
        unchanged &= state.limit == before.limit
    if change.takes or change.cap:
        unchanged &= state.cap == before.cap
    if not unchanged:
        return None
    return replace(
        state,
        rev=state.rev + 1,
        slots=dict(_merged(state.slots, change.slots)),
        queue=dict(_merged(state.queue, change.queue)),
        limit=change.limit[1] if change.limit else state.limit,
        cap=change.cap[1] if change.cap else state.cap,
        kept_until_s=state.kept_until_s if after.kept_until_s is before.kept_until_s is None else after.kept_until_s,
    )


def _merged(entries: Mapping[K, V], changes: Mapping[K, tuple[V | None, V | None]]) -> Iterator[tuple[K, V]]:
    for key in entries.keys() | changes.keys():
        value = changes[key][1] if key in changes else entries[key]
        if value is not None:
            yield key, value


def rebuilt(known: PoolState, *, now_hi_ms: int, height: int, times: PoolTimes) -> PoolState:
    """Return an item to put in the place of one that vanished, every slot shut until no old lease allows a call.

    One who can't reach the table goes on within its lease, and learns of nothing (I1).
    """
    return PoolState(slots=dict.fromkeys(range(height), Slot(SHUT, now_hi_ms + times.lease_ms)), limit=known.limit)
