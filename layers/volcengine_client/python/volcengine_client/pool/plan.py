"""What a participant does next: what to write, what to give up, when to read. Pure.

A participant writes only what is its own: it joins, takes slots that are missing or expired, renews or gives up its
own, leaves. Nobody grants or edits another's slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from zlib import crc32

from volcengine_client.limits import (
    CAP_MS,
    CONCURRENCY_MAX,
    ENTRIES_A_WRITE_MAX,
    QUEUE_MAX,
    READ_HOLDING_FACTOR,
    READ_HOLDING_MS,
    READ_SLOWEST_MS,
    READ_SPARE_MS,
    TAKE_DELAY_MS,
    WEIGHT_MAX,
    PoolTimes,
)
from volcengine_client.pool.share import Standing, is_due, line, standing_of, standings
from volcengine_client.pool.slots import (
    Cap,
    Change,
    Entry,
    Limit,
    PoolState,
    Slot,
    bound_of,
    is_free,
    settled_limit,
    shut_until,
)

ROOM = ENTRIES_A_WRITE_MAX - 2  # slots a write, beside its writer's entry and one that gives way to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a batch takes part in a pool.

    Attributes:
        limit: The account's limit as this participant knows it, and the version of what set it: the secret's date
            in Unix milliseconds; 0 for callers' own accounts and direct clients, who follow any other.
        hold_max: Slots that it may hold at most.
        app: Whose share it takes from.
        weight: The app's share against other apps', 1 to 100.
        is_background: Served after all that is not.
    """

    limit: Limit
    hold_max: int
    app: str = "default"
    weight: int = 1
    is_background: bool = False

    def __post_init__(self) -> None:
        """Hold the bounds."""
        assert 1 <= self.limit.n <= CONCURRENCY_MAX
        assert 1 <= self.hold_max <= CONCURRENCY_MAX
        assert 1 <= self.weight <= WEIGHT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a participant goes by when it decides.

    Attributes:
        holder_id: Its name in the pool.
        terms: How it takes part.
        times: The pool's times.
        state: The newest snapshot.
        want: Slots that it has work for.
        owned: Slots that its last applied write left it; never learned from a read.
        busy: Those of them with a call in progress.
        shut: Those in drain: the number and when the drain is over, on the table's clock at the latest.
        tired: Those held for longer than a quantum.
        weary: Those held for many of them.
        free_for_ms: For how long a free slot has been seen free, by number.
        revision: The highest that it ever wrote in its own entry.
        now_lo_ms: The earliest that the table's clock can show; None without a sample of this invocation.
        estimate_ms: A guess at it from an earlier invocation when there is no sample; never used to reclaim.
        refused_count: Calls lately refused for concurrency although the pool kept its limit: foreign use.
        kept_until_s: When the table may forget the item; None: never.
    """

    holder_id: str
    terms: Terms
    times: PoolTimes
    state: PoolState
    want: int
    owned: Mapping[int, Slot]
    busy: frozenset[int]
    shut: Mapping[int, int]
    tired: frozenset[int]
    weary: frozenset[int]
    free_for_ms: Mapping[int, int]
    revision: int
    now_lo_ms: int | None
    estimate_ms: int
    refused_count: int = 0
    kept_until_s: int | None = None

    @property
    def settled(self) -> Limit:
        """The account's limit, once this participant has written."""
        return settled_limit(self.state.limit, self.terms.limit)

    @property
    def bound(self) -> int:
        """It uses slot numbers below this, limit and cap apart."""
        return bound_of(self.terms.limit, self.settled)

    @property
    def height(self) -> int:
        """It may start calls on slot numbers below this now."""
        return replace(self.state, limit=self.settled).height(self.bound, self.now_lo_ms)

    @property
    def idle(self) -> frozenset[int]:
        """Slots without a call in progress or in doubt."""
        return frozenset(self.owned.keys() - self.busy - self.shut.keys())

    @property
    def leftover(self) -> frozenset[int]:
        """Slots that the table still ties to it, though it gave them up or never learned that it got them."""
        return frozenset(self.state.held_by(self.holder_id).keys() - self.owned.keys() - self.busy - self.shut.keys())

    @property
    def useful(self) -> frozenset[int]:
        """Slots that serve tasks now or at the next boundary."""
        return frozenset(number for number in self.owned if number not in self.shut and number < self.height)

    @property
    def missing(self) -> int:
        """How many more slots it has work for."""
        return max(0, min(self.want, self.terms.hold_max) - len(self.useful))

    @property
    def standing(self) -> Standing:
        """Its own standing, by what it knows better than the snapshot."""
        return standing_of(self.holder_id, self.entry(revision=0), held=len(self.useful | self.busy), bound=self.height)

    def entry(self, *, revision: int, is_served: bool = False) -> Entry:
        """Return its entry in the queue, written now."""
        seen = self.state.queue.get(self.holder_id)
        return Entry(
            revision=revision,
            app=self.terms.app,
            weight=self.terms.weight,
            want=min(self.want, self.terms.hold_max),
            limit=self.bound,
            since_ms=self.estimate_ms if seen is None or is_served else seen.since_ms,
            expires_at_ms=self.estimate_ms + entry_lease_ms(self.times),
            is_background=self.terms.is_background,
        )


def entry_lease_ms(times: PoolTimes) -> int:
    """Return for how long an entry counts after its last write."""
    return times.renew_ms * 5 // 2


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
    others = [one for one in standings(view.state, now_lo_ms=view.now_lo_ms) if one.holder_id != view.holder_id]
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
            behind = len(unserved)
        unserved.append(everyone[holder_id])
        is_answered = len(unserved) > len(view.owned) and (behind is not None or view.missing <= len(takes))
        if is_answered or len(unserved) > QUEUE_MAX:
            break
    if view.missing > len(takes):
        behind = len(unserved) if behind is None else behind
        stale = [n for n in left if n < view.height and view.free_for_ms.get(n, 0) >= (behind + 1) * TAKE_DELAY_MS]
        takes.update(stale[: view.missing - len(takes)])
    if view.holder_id not in view.state.queue:
        takes = _scattered(view, takes.union(number for number in free if number < view.height), len(takes))
    return Outlook(frozenset(takes), behind, tuple(unserved), tuple(everyone.values()), leaves=bool(left))


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
    load: Counter[str] = Counter()
    for one in everyone.values():
        load[one.app] += one.held
    for number in idle:
        giver = everyone[view.holder_id]
        less = replace(giver, held=giver.held - 1, since_ms=view.estimate_ms)  # it has just been served
        usable = [one for one in {**everyone, view.holder_id: less}.values() if number < one.bound]
        taker = everyone[next(line(usable), view.holder_id)]
        is_tired = number in (view.weary if taker.held else view.tired)
        if taker is giver or not is_due(giver, taker, load, is_tired=is_tired):
            continue
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
    """Tell whether its entry or a slot that it needs was last written `renew_ms` ago or longer."""
    entry = view.state.queue.get(view.holder_id)
    if entry is None:
        return False
    due_ms = view.estimate_ms + view.times.lease_ms - view.times.renew_ms
    return (
        any(view.owned[number].expires_at_ms <= due_ms for number in view.useful)
        or entry.expires_at_ms <= view.estimate_ms + entry_lease_ms(view.times) - view.times.renew_ms
    )


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
        if renews and slots[number].expires_at_ms < lease.expires_at_ms
    )
    for number in [*sorted(ahead.takes), *kept][: ROOM - len(gives)]:
        slots[number] = lease
    queue = dict(view.state.queue)
    if evicted:
        del queue[evicted]
    queue[view.holder_id] = view.entry(revision=view.revision + 1, is_served=bool(ahead.takes) or bool(gives))
    after = replace(view.state, slots=slots, queue=queue, limit=view.settled, cap=next_cap(view))
    return _swept(view, replace(after, kept_until_s=view.kept_until_s)) if renews else after


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
    queue = {key: entry for key, entry in view.state.queue.items() if not _is_gone(view, entry)}
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
    height = view.height
    if view.refused_count:
        return Cap(max(1, height - view.refused_count), view.estimate_ms + CAP_MS)
    cap = view.state.cap
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
            slots[number] = shut_until(began_hi_ms, view.times)
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


def next_read_ms(view: View, ahead: Outlook, *, pace_ms: int) -> int:
    """Return how long to wait before the next look at the table, so that a pool's reads stay bounded.

    Those next in line look often, the others less; a busy holder looks for waiters, one with slots to spare sooner.
    """
    slowest_ms = READ_HOLDING_MS if len(view.useful) > 1 else READ_SLOWEST_MS
    if not view.missing or ahead.behind is None:
        return READ_SPARE_MS if view.idle else slowest_ms
    place = ahead.behind + 1
    turns = max(place, 2 * place**2 // view.height)  # in a pool of few slots the others' turn is far off
    interval_ms = pace_ms * turns * (READ_HOLDING_FACTOR if view.useful else 1)
    return min(interval_ms, slowest_ms, place * TAKE_DELAY_MS if ahead.leaves else slowest_ms)
