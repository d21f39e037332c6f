"""The shape of a state of the model: plain tuples of small numbers, and one form for all states that are alike.

Times are ticks from now on, so that passing time makes no new states; what is long over is all alike. A participant
is a number; the table's entry of a participant lies with the participant, since nobody else reads or writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from volcengine_client.limits import PoolTimes
from volcengine_client.pool.slots import Limit
from volcengine_client.pool.view import entry_lease_ms

Slot = tuple[int, int] | tuple[()]  # holder and expiry; empty: missing
Pair = tuple[int, int] | tuple[()]  # a limit and its version, or a cap and whether it is in force; empty: none
Owned = tuple[int, ...]  # by number: the expiry of a slot that is believed one's own, or `NOT`

SHUT = -1  # the holder of a shut slot
NOT = -99  # the expiry of a slot that is not one's own
ENDED = 0  # what became of a call: it is over,
BUSY = 1  # its caller waits for its end,
DRAINING = 2  # or its caller knows that its end is in doubt,
FORGOTTEN = 3  # or its caller has forgotten it (in broken variants only)
IN, LEAVING, LEFT, VANISHED = range(4)  # the phases of a participant


class Request(NamedTuple):
    """A write on its way: what it compares and writes, each as (before, after)."""

    slots: tuple[tuple[int, Slot, Slot], ...]
    entry: tuple[int, int]
    limit: tuple[Pair, Pair]
    cap: tuple[Pair, Pair]


class Table(NamedTuple):
    """The item, but for its queue."""

    slots: tuple[Slot, ...]
    limit: Pair
    cap: Pair


class Snapshot(NamedTuple):
    """What a participant saw: the item, and its own entry in it."""

    table: Table
    entry: int


class Call(NamedTuple):
    """A call on a slot: what its caller knows of it, and for how long the upstream may count it at most."""

    kind: int
    left: int


class Part(NamedTuple):
    """A participant, its entry in the table, and all of its requests that may still arrive.

    Attributes:
        phase: Where it is in its life.
        entry: The revision of its entry in the table; 0: none.
        age: Ticks since its entry was written.
        revision: The highest that it ever wrote (`Holder._revision`).
        snapshot: What it goes by; None: it reads before its next write, as after a lost reply.
        owned: `Holder._owned`.
        calls: By number.
        may_join_late: `Holder._may_join_late`.
        request: The write whose reply it waits for.
        reply: The slots that a write left it, in a reply on its way.
        late: Writes whose reply it no longer waits for, that may still arrive.
        old: A snapshot in a reply that may still arrive (in broken variants only).
        absence: Ticks since it is gone.
    """

    phase: int
    entry: int
    revision: int
    snapshot: Snapshot | None
    owned: Owned
    calls: tuple[Call, ...]
    may_join_late: bool = False
    request: Request | None = None
    reply: Owned | None = None
    late: tuple[Request, ...] = ()
    old: Snapshot | None = None
    absence: int = 0
    age: int = 0


NO_CALL = Call(ENDED, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of the world a model holds. Times are in ticks.

    Attributes:
        participants: How many there are at a time; one that is gone makes room for a newcomer.
        slots: The highest limit.
        times: The pool's times.
        clock_behind: By how much the latest time that a participant thinks possible may be before the true one.
        clock_ahead: By how much the earliest time that it thinks possible may be after the true one.
        estimates: By how much the time may be wrong from which an expiry is counted.
        delayed_max: How many requests, replies and snapshots may be late at a time; all others are swift.
        has_repeats: Whether a write may be applied any number of times.
        has_old_snapshots: Whether a participant may go by an older snapshot than the newest.
        has_late_replies: Whether replies may arrive later than what they tell of.
        has_crashes: Whether participants vanish.
        has_leaving: Whether participants leave.
        has_doubt: Whether calls end in doubt.
        has_sweeps: Whether anybody's entry may be swept or evicted, at any moment.
        terms: The limit that each participant knows; none: all know the highest, and they are interchangeable.
        has_refusals: Whether the upstream's refusals may cut the limit, and cuts climb back.
        has_losses: Whether somebody may delete the item.
        counts_absence: Whether to know for how long a participant has been gone.
        drops_dead_writes: Whether to forget writes whose condition can't be met any more.
    """

    participants: int = 2
    slots: int = 1
    times: PoolTimes = PoolTimes(upstream_call_max_ms=1, skew_ms=1, send_max_ms=1, renew_ms=1, lease_ms=4)
    clock_behind: int = 1
    clock_ahead: int = 0
    estimates: tuple[int, ...] = (0,)
    delayed_max: int = 2
    has_repeats: bool = True
    has_old_snapshots: bool = True
    has_late_replies: bool = True
    has_crashes: bool = True
    has_leaving: bool = True
    has_doubt: bool = True
    has_sweeps: bool = True
    terms: tuple[Limit, ...] = ()
    has_refusals: bool = False
    has_losses: bool = False
    counts_absence: bool = False
    drops_dead_writes: bool = True

    @property
    def floor(self) -> int:
        """Expiries are never lower: such a slot is free for everyone, by any clock."""
        return -self.times.skew_ms - self.times.send_max_ms

    @property
    def call_ticks(self) -> int:
        """For how long after the check of its lease a call may be counted."""
        return self.times.send_max_ms + self.times.upstream_call_max_ms

    @property
    def sweep_age(self) -> int:
        """How old an entry is at the least when anybody finds it expired (`plan._is_gone`); -1: never swept."""
        if not self.has_sweeps:
            return -1
        return entry_lease_ms(self.times) + self.times.skew_ms + min(self.estimates) - self.clock_ahead + 1

    @property
    def newcomer(self) -> Part:
        """One that has not joined yet."""
        return Part(IN, 0, 0, None, (NOT,) * self.slots, (NO_CALL,) * self.slots)

    @property
    def empty(self) -> Table:
        """The item before anybody joined."""
        limit = () if self.terms else (self.slots, 1)
        return Table(((),) * self.slots, limit, ())


# --- one form for all that is alike -----------------------------------------------


def normal(part: Part, size: Size) -> Part:
    """Return the one form of all participants that will do the same: old revisions renumbered, dead writes dropped."""
    if part.phase in {LEFT, VANISHED}:
        gone = size.newcomer._replace(phase=part.phase, entry=part.entry, age=part.age, calls=part.calls)
        part = gone._replace(late=part.late, absence=part.absence)
    if (
        part.request
        and part.request.entry[1] != HOPELESS
        and size.drops_dead_writes
        and not _is_alive(part, part.request)
    ):
        part = part._replace(request=Request((), (min(1, part.request.entry[0]), HOPELESS), ((), ()), ((), ())))
    late = _alive(part) if size.drops_dead_writes else tuple(sorted(set(part.late)))
    part = part._replace(late=late, calls=tuple(call if any(call) else NO_CALL for call in part.calls))
    return _renumbered(part)


def _alive(part: Part) -> tuple[Request, ...]:
    """Return the writes that may still be applied: their condition on the writer's entry may yet be met."""
    late = set(part.late)
    while True:
        written = {part.entry, 0, *(one.entry[1] for one in late), *(part.request.entry[1:] if part.request else ())}
        alive = {one for one in late if one.entry[0] in written}
        alive = {one for one in alive if one.entry[0] == 0 or one.entry[0] >= part.entry}
        if alive == late:
            return tuple(sorted(late))
        late = alive


def _is_alive(part: Part, request: Request) -> bool:
    return request in _alive(part._replace(late=(*part.late, request), request=None))


def _renumbered(part: Part) -> Part:
    """Return the participant with revisions that keep their order, but are as low as can be."""
    seen = {part.entry, part.revision}
    is_hopeless = part.request is not None and part.request.entry[1] == HOPELESS
    requests = [*part.late, *([part.request] if part.request and not is_hopeless else [])]
    seen.update(revision for one in requests for revision in one.entry)
    seen.update(one.entry for one in (part.snapshot, part.old) if one)
    lower = {revision: place for place, revision in enumerate(sorted(seen | {0}))}
    if all(revision == place for revision, place in lower.items()):
        return part

    def request(one: Request) -> Request:
        return one if one.entry[1] == HOPELESS else one._replace(entry=(lower[one.entry[0]], lower[one.entry[1]]))

    def snapshot(one: Snapshot | None) -> Snapshot | None:
        return one and one._replace(entry=lower[one.entry])

    return part._replace(
        entry=lower[part.entry],
        revision=lower[part.revision],
        snapshot=snapshot(part.snapshot),
        request=part.request and request(part.request),
        late=tuple(sorted(map(request, part.late))),
        old=snapshot(part.old),
    )


# --- writes that can only fail -------------------------------------------------------

HOPELESS = -1  # the revision that a write has written whose condition can't be met any more


def made(part: Part) -> frozenset[tuple[int, Slot]]:
    """Return the slots that the participant's requests may yet make."""
    requests = (*part.late, *([part.request] if part.request else []))
    return frozenset((number, new) for one in requests for number, _, new in one.slots if new)


def without_hopeless(part: Part, table: Table, made_by_all: frozenset[tuple[int, Slot]], size: Size) -> Part:
    """Return the participant without writes that can only fail: a slot that they compare will never be so again.

    An expiry once past can't be made anew, but by a write that is on its way already.
    """
    soonest = size.times.lease_ms + min(size.estimates)

    def is_hopeless(one: Request) -> bool:
        return any(
            old
            and old[0] != SHUT
            and old != table.slots[number]
            and old[1] < soonest
            and (number, old) not in made_by_all
            for number, old, _ in one.slots
        )

    request = part.request
    if request and is_hopeless(request):
        request = Request((), (min(1, request.entry[0]), HOPELESS), ((), ()), ((), ()))
    return part._replace(request=request, late=tuple(one for one in part.late if not is_hopeless(one)))


# --- all slots of a state, changed alike ------------------------------------------


def later(table: Table, size: Size) -> Table:
    """Return the table a tick later."""
    return table._replace(slots=tuple(_slot_later(slot, size) for slot in table.slots))


def part_later(part: Part, size: Size) -> Part:
    """Return the participant a tick later."""
    least = size.times.upstream_call_max_ms + size.times.skew_ms - size.clock_behind - 1  # no call may start any more

    def owned_later(owned: Owned) -> Owned:
        return tuple(NOT if at == NOT else max(least, at - 1) for at in owned)

    calls = tuple(Call(kind, max(0, left - 1)) for kind, left in part.calls)
    is_gone = part.phase in {LEFT, VANISHED} and size.counts_absence
    return _with_slots(part, lambda slot: _slot_later(slot, size), lambda table: later(table, size))._replace(
        owned=owned_later(part.owned),
        reply=part.reply and owned_later(part.reply),
        calls=tuple(NO_CALL if call.kind in {DRAINING, FORGOTTEN} and not call.left else call for call in calls),
        age=min(part.age + 1, size.sweep_age) if part.entry and size.has_sweeps else 0,
        absence=min(part.absence + 1, size.times.recovery_ms + 1) if is_gone else 0,
    )


def lapsed(table: Table) -> Table:
    """Return the table when the time of its cap is over."""
    return table._replace(cap=_cap_lapsed(table.cap))


def part_lapsed(part: Part) -> Part:
    """Return the participant when the time of every cap is over."""
    after = _with_slots(part, lambda slot: slot, lapsed)

    def request(one: Request) -> Request:
        return one._replace(cap=(_cap_lapsed(one.cap[0]), _cap_lapsed(one.cap[1])))

    return after._replace(
        request=after.request and request(after.request), late=tuple(sorted(map(request, after.late)))
    )


def _cap_lapsed(cap: Pair) -> Pair:
    return (cap[0], 0) if cap else cap


def renamed(table: Table, names: tuple[int, ...]) -> Table:
    """Return the table with other numbers for the participants."""
    return table._replace(slots=tuple(_slot_renamed(slot, names) for slot in table.slots))


def part_renamed(part: Part, names: tuple[int, ...]) -> Part:
    """Return the participant with other numbers for all participants."""
    return _with_slots(part, lambda slot: _slot_renamed(slot, names), lambda table: renamed(table, names))


def mentions(part: Part, number: int) -> bool:
    """Tell whether the participant knows of a slot that is tied to another, or could still write one."""
    found = False

    def look(slot: Slot) -> Slot:
        nonlocal found
        found = found or bool(slot and slot[0] == number)
        return slot

    _with_slots(part, look, lambda table: table._replace(slots=tuple(map(look, table.slots))))
    return found


def _with_slots(part: Part, change: Callable[[Slot], Slot], change_table: Callable[[Table], Table]) -> Part:
    def request(one: Request) -> Request:
        return one._replace(slots=tuple((number, change(old), change(new)) for number, old, new in one.slots))

    def snapshot(one: Snapshot | None) -> Snapshot | None:
        return one and one._replace(table=change_table(one.table))

    return part._replace(
        snapshot=snapshot(part.snapshot),
        request=part.request and request(part.request),
        late=tuple(sorted(map(request, part.late))),
        old=snapshot(part.old),
    )


def _slot_later(slot: Slot, size: Size) -> Slot:
    return (slot[0], max(size.floor, slot[1] - 1)) if slot else slot


def _slot_renamed(slot: Slot, names: tuple[int, ...]) -> Slot:
    return (names[slot[0]], slot[1]) if slot and slot[0] != SHUT else slot
