"""What a participant does next: what to write, and what to give up. Pure.

A participant writes only what is its own: it joins, takes slots that are missing or expired, renews or gives up its
own, leaves. Nobody grants or edits another's slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from zlib import crc32

from volcengine_client.limits import (
    CAP_MS,
    ENTRIES_A_WRITE_MAX,
    GIVER_PLACES,
    QUEUE_MAX,
    TAKE_DELAY_MAX_MS,
    TAKE_DELAY_MS,
)
from volcengine_client.pool.share import Standing, is_due, line, load_of, standings
from volcengine_client.pool.slots import (
    Cap,
    Change,
    Entry,
    PoolState,
    Slot,
    is_free,
    shut_until,
)
from volcengine_client.pool.view import View, entry_lease_ms, written_at_ms

ROOM = ENTRIES_A_WRITE_MAX - 2  # slots a write, beside its writer's entry and one that gives way to it


@dataclass(frozen=True, slots=True)
class Outlook:
    """How the free slots of a snapshot go to those in line, as one participant sees it.

    Attributes:
        takes: Numbers that it should take at once.
        behind: How many come before it for the next slot that is freed; None when it wants none beyond `takes`.
        unserved: Who gets the next slots that are freed, in order, as far as it concerns a giver.
        standings: Everyone's, once the free slots are taken.
        leaves: Whether it leaves free slots to others, who may be dead.
    """

    takes: frozenset[int]
    behind: int | None
    unserved: tuple[Standing, ...]
    standings: tuple[Standing, ...]
    leaves: bool


def outlook(view: View) -> Outlook:
    """Give the free slots of the snapshot, in thought, to the most entitled.

    The i-th chosen takes the i-th free number, so takers don't collide; participants with a higher limit take the
    highest. A slot that stays free beside its chosen one, who may be dead, goes to the k-th in line after k short
    delays, so no free slot stays beside a live waiter for long (I2).
    """
    others = [
        replace(one, want=_want_now(view, one))
        for one in standings(view.state, now_lo_ms=view.now_lo_ms)
        if one.holder_id != view.holder_id
    ]
    everyone = {one.holder_id: one for one in [*others, view.standing]}
    lowest = min(one.bound for one in everyone.values())
    height = max(one.bound for one in everyone.values())
    free = [n for n in range(height) if n not in view.owned and _is_takeable(view, n)]
    takes: set[int] = set()
    left: list[int] = []
    unserved: list[Standing] = []
    behind: int | None = None
    for holder_id in line(list(everyone.values())):
        bound = everyone[holder_id].bound
        number = _pick(free, bound, is_highest=bound > lowest)
        if number is not None:
            free.remove(number)
            everyone[holder_id] = replace(everyone[holder_id], held=everyone[holder_id].held + 1)
            if holder_id == view.holder_id:
                takes.add(number)
            else:
                left.append(number)
            continue
        if behind is None and holder_id == view.holder_id:
            behind = _count(unserved)
        unserved.append(everyone[holder_id])
        is_answered = len(unserved) > len(view.owned) and (behind is not None or view.missing <= len(takes))
        if is_answered or len(unserved) > QUEUE_MAX:
            break
    if view.missing > len(takes):
        behind = _count(unserved) if behind is None else behind
        places = behind + (GIVER_PLACES if view.has_just_given else 1)
        delay_ms = min(places * TAKE_DELAY_MS, TAKE_DELAY_MAX_MS)
        stale = [n for n in left if n < view.height and view.free_for_ms.get(n, 0) >= delay_ms]
        takes.update(stale[: view.missing - len(takes)])
    if view.holder_id not in view.state.queue:
        usable = takes.union(number for number in free if number < view.height)
        takes = set() if view.is_crowded else _scattered(view, usable, len(takes))
    return Outlook(frozenset(takes), behind, tuple(unserved), tuple(everyone.values()), leaves=bool(left))


def _want_now(view: View, one: Standing) -> int:
    """Return how many slots another most likely wants by now: its entry is as old as its last write."""
    entry = view.state.queue[one.holder_id]
    if not (one.held and entry.call_ms):
        return one.want
    done_count = max(0, view.estimate_ms - written_at_ms(entry, view.times)) * one.held // entry.call_ms
    return min(one.want, max(one.held, entry.left_count - done_count))


def _count(unserved: Iterable[Standing]) -> int:
    """Return how many participants there are, however many slots each lacks."""
    return len({one.holder_id for one in unserved})


def _scattered(view: View, numbers: Iterable[int], count: int) -> set[int]:
    """Return *count* of the numbers, other ones for each newcomer: nobody in the queue reckons with it yet."""
    return set(sorted(numbers, key=lambda number: crc32(f"{view.holder_id}{number}".encode()))[:count])


def _is_takeable(view: View, number: int) -> bool:
    slot = view.state.slots.get(number)
    is_own_leftover = slot is not None and slot.holder_id == view.holder_id
    return is_own_leftover or is_free(slot, now_lo_ms=view.now_lo_ms, times=view.times)


def _pick(free: list[int], bound: int, *, is_highest: bool) -> int | None:
    usable = [number for number in free if number < bound]
    if not usable:
        return None
    return usable[-1] if is_highest else usable[0]


def give_ups(view: View, ahead: Outlook) -> frozenset[int]:
    """Return the idle slots to let go now, at a task boundary.

    1. Numbers at or above the limit: it was lowered.
    2. Slots that it has no more work for, as many as others want.
    3. Slots that the next in line are more entitled to.
    """
    beyond = {number for number in view.idle if number >= view.height}
    idle = sorted(view.idle - beyond, reverse=True)
    spare = len(view.useful) - min(view.want, view.terms.hold_max)
    if spare > 0:
        others = (one for one in ahead.unserved if one.holder_id != view.holder_id)
        return frozenset(beyond.union(number for number, _ in islice(_matched(idle, others), spare)))
    return frozenset(beyond.union(_owed(view, ahead, idle)))


def _owed(view: View, ahead: Outlook, idle: Sequence[int]) -> Iterator[int]:
    """Yield the idle slots that are due to whoever would be the most entitled to them, once they are let go."""
    everyone = {one.holder_id: one for one in ahead.standings}
    load = load_of(everyone.values())
    for number in idle:
        giver = everyone[view.holder_id]
        less = replace(giver, held=giver.held - 1, since_ms=view.estimate_ms)  # it has just been served
        usable = [one for one in {**everyone, view.holder_id: less}.values() if number < one.bound]
        taker = everyone[next(line(usable), view.holder_id)]
        if taker is giver or not is_due(giver, taker, load, held_ms=view.served_ms):
            continue
        if number in view.unused and giver.is_background == taker.is_background:
            continue  # who was too late to take it gets it after one call; else the giver lost its place for nothing
        yield number
        everyone.update({giver.holder_id: less, taker.holder_id: replace(taker, held=taker.held + 1)})
        load.update({giver.app: -1, taker.app: 1})


def _matched(idle: Sequence[int], takers: Iterable[Standing]) -> Iterator[tuple[int, Standing]]:
    """Yield which of the idle slots each taker could use, in turn; those that can use none are passed over."""
    left = list(idle)
    for taker in takers:
        number = next((number for number in left if number < taker.bound), None)
        if number is not None:
            left.remove(number)
            yield number, taker


def is_renewal_due(view: View) -> bool:
    """Tell whether its entry or a slot that it needs was last written `renew_ms` ago or longer.

    Its entry sooner, when others can't see from it any more that it has work: its calls take longer than they did.
    """
    entry = view.state.queue.get(view.holder_id)
    if entry is None:
        return False
    due_ms = view.estimate_ms + view.times.lease_ms - view.times.renew_ms
    return (
        any(view.owned[number].expires_at_ms <= due_ms for number in view.useful)
        or entry.expires_at_ms <= view.estimate_ms + entry_lease_ms(view.times) - view.times.renew_ms
        or _is_overlooked(view, entry)
    )


def _is_overlooked(view: View, entry: Entry) -> bool:
    """Tell whether it lacks slots that others think it needs no more."""
    is_stale = view.estimate_ms - written_at_ms(entry, view.times) >= view.times.renew_ms // 4
    return is_stale and view.missing > 0 and _want_now(view, view.standing) < view.standing.want


def next_write(view: View, ahead: Outlook) -> PoolState | None:
    """Return the state after the write that is due now; None when none is.

    One write does all that is due: join, take, give up, renew, settle the limit, cut it, sweep.
    """
    has_joined = view.holder_id in view.state.queue
    if not (has_joined or view.want or view.owned):
        return None
    gives = sorted((give_ups(view, ahead) | view.leftover) - ahead.takes)[:ROOM]
    renews = not has_joined or is_renewal_due(view)
    if not (renews or ahead.takes or gives or view.refused_count):
        return None
    is_known = has_joined or view.owned  # who holds slots and was swept comes back, however full the queue is
    evicted = None if is_known else eviction(view)
    if evicted is not None and not evicted:
        return None  # the queue is full, and nobody in it has to give way
    slots = dict(view.state.slots)
    for number in gives:
        del slots[number]
    lease = Slot(view.holder_id, view.estimate_ms + view.times.lease_ms)
    kept = sorted(
        number
        for number in view.useful.difference(gives)
        if slots[number].expires_at_ms < lease.expires_at_ms - (0 if renews else view.times.renew_ms // 4)
    )
    for number in [*sorted(ahead.takes), *kept][: ROOM - len(gives)]:
        slots[number] = lease
    queue = dict(view.state.queue)
    if evicted:
        del queue[evicted]
    is_served = bool(ahead.takes) or bool(gives)
    queue[view.holder_id] = view.entry(revision=view.revision + 1, is_served=is_served)
    after = replace(view.state, slots=slots, queue=queue, limit=view.settled, cap=next_cap(view))
    return _swept(view, replace(after, kept_until_s=view.kept_until_s)) if renews else after


def gives_up(view: View, after: PoolState) -> bool:
    """Tell whether a write lets go of a slot that could serve its holder."""
    return not view.owned.keys() <= after.held_by(view.holder_id).keys()


def _swept(view: View, after: PoolState) -> PoolState:
    """Remove the entries of participants that are long gone, as far as the write has room."""
    gone = [key for key, entry in view.state.queue.items() if key != view.holder_id and _is_gone(view, entry)]
    change = Change.between(view.state, after)
    room = ENTRIES_A_WRITE_MAX - len(change.slots) - len(change.queue)
    removed = set(gone[:room])
    return replace(after, queue={key: entry for key, entry in after.queue.items() if key not in removed})


def _is_gone(view: View, entry: Entry) -> bool:
    """Tell whether an entry has surely expired."""
    return view.now_lo_ms is not None and entry.expires_at_ms + view.times.skew_ms < view.now_lo_ms


def eviction(view: View) -> str | None:
    """Return who gives way to this newcomer in a full queue: the youngest waiter of the app with the most entries.

    None when there is room; "" when nobody has to, since its own app has as many.
    """
    queue = {key: entry for key, entry in view.state.queue.items() if entry.want and not _is_gone(view, entry)}
    if len(queue) < QUEUE_MAX:
        return None
    count = Counter(entry.app for entry in queue.values())
    holding = {slot.holder_id for slot in view.state.slots.values()}
    app, most = max(count.items(), key=lambda item: (item[1], item[0]))
    waiters = [(entry.since_ms, key) for key, entry in queue.items() if entry.app == app and key not in holding]
    if not waiters or count[view.terms.app] + 1 >= most:
        return ""
    return max(waiters)[1]


def next_cap(view: View) -> Cap | None:
    """Return the cut of the limit after this write: deeper after refusals, gone when it has climbed back."""
    cap = view.state.cap
    if view.refused_count:
        floor = cap.n if cap is not None and cap.is_climbing(view.now_lo_ms) else 1  # what was there before it climbed
        return Cap(max(floor, view.pool_height - view.refused_count), view.estimate_ms + CAP_MS)
    if cap is not None and view.now_lo_ms is not None and cap.now(view.now_lo_ms) >= view.settled.n:
        return None
    return cap


def leaving(view: View, *, is_in_doubt: bool) -> PoolState:
    """Return the state without this participant; slots in drain become shut ones, owned by nobody.

    With a write still in doubt it leaves a tombstone (want 0), so that a late join of its own makes no ghost.
    """
    slots = dict(view.state.slots)
    mine = [number for number, slot in slots.items() if slot.holder_id == view.holder_id]
    for number in sorted(mine, key=lambda n: n in view.shut)[: ENTRIES_A_WRITE_MAX - 1]:
        if number in view.shut:
            began_hi_ms = view.shut[number] - view.times.send_max_ms - view.times.upstream_call_max_ms
            drained = shut_until(began_hi_ms, view.times)
            # Its lease covers the call too, and is the shorter bound when the time is not known.
            slots[number] = replace(drained, expires_at_ms=min(drained.expires_at_ms, slots[number].expires_at_ms))
        else:
            del slots[number]
    queue = dict(view.state.queue)
    is_last = len(mine) <= ENTRIES_A_WRITE_MAX - 1
    if is_last and not is_in_doubt:
        queue.pop(view.holder_id, None)
    else:
        stone = view.entry(revision=view.revision + 1)
        queue[view.holder_id] = replace(stone, want=0, expires_at_ms=view.estimate_ms + view.times.lease_ms)
    return replace(view.state, slots=slots, queue=queue)
