"""What the pool's own pure functions say about a state of the model. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations

from tests.support.model.shape import BUSY, DRAINING, NOT, SHUT, Owned, Pair, Part, Request, Size, Slot, Table
from volcengine_client.limits import CAP_MS, CONCURRENCY_MAX
from volcengine_client.pool import slots as pool_slots
from volcengine_client.pool.plan import Outlook, leaving, next_write, outlook
from volcengine_client.pool.share import Standing
from volcengine_client.pool.slots import Cap, Change, Entry, Limit, PoolState, may_start_call, rebuilt
from volcengine_client.pool.view import Terms, View

NOW_MS = 1_000_000  # the true time of every state
NAMES = "ABCD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clauses:
    """The clauses of the protocol that a broken variant may leave out; as they stand they are the pool's own.

    Attributes:
        applied: What a write does to the table.
        may_start_call: The call rule.
        gives_up_first: Given up is gone, from before the first await (`Holder._write`).
        has_drain: A call of uncertain end shuts its slot (`Holder._release`).
        believes_reads: A read tells what is one's own.
        has_tombstone: One that may join late leaves a tombstone.
        reads_in_doubt: After a lost reply comes a read; without it, or with a read that tells nothing new, a guess.
        drops_old: A snapshot older than the one adopted is dropped (`Pool.adopt`).
        hands_over: A slot that is given up is given to another participant.
    """

    applied: Callable[[PoolState, PoolState, PoolState], PoolState | None] = pool_slots.applied
    may_start_call: Callable[..., bool] = may_start_call
    gives_up_first: bool = True
    has_drain: bool = True
    believes_reads: bool = False
    has_tombstone: bool = True
    reads_in_doubt: bool = True
    drops_old: bool = True
    hands_over: bool = False


class Decisions:
    """The pure functions, asked in the model's shapes."""

    def __init__(self, size: Size, clauses: Clauses) -> None:
        self.size = size
        self.clauses = clauses
        top = Limit(size.slots, 1)
        limits = size.terms or (top,) * size.participants
        self.terms = [Terms(limit=limit, hold_max=CONCURRENCY_MAX) for limit in limits]

    # --- writes ------------------------------------------------------------------

    def writes(self, who: int, part: Part) -> set[tuple[Request, Owned]]:
        """Return every write that could be due to a participant, and what it owns from then on.

        Which free slots it takes, which idle ones it gives up and whether it renews is open; what such a write says
        and compares is `next_write`'s.
        """
        found = set()
        for estimate in self.size.estimates:
            for renews in (False, True) if any(at != NOT for at in part.owned) else (False,):
                for refused_count in range(1 + self.size.has_refusals):
                    view = self.view(who, part, estimate=estimate, renews=renews)
                    view = replace(view, refused_count=refused_count)
                    for after in self._afters(view):
                        found.add((self.request(who, view.state, after), self._kept(who, view, after)))
        return found

    def _afters(self, view: View) -> Iterator[PoolState]:
        takeable = outlook(replace(view, want=CONCURRENCY_MAX)).takes
        for takes in _subsets(takeable):
            for gives in _subsets(view.idle):
                want = len(view.useful) - len(gives) if gives else len(view.useful) + len(takes) + 1
                willing = replace(view, want=max(0, want))
                after = next_write(willing, _ahead(willing, takes, gives))
                if after is None:
                    continue
                yield after
                if self.clauses.hands_over:
                    yield from self._handed_over(view, after)

    def _handed_over(self, view: View, after: PoolState) -> Iterator[PoolState]:
        for number in view.state.slots.keys() - after.slots.keys():
            for other in NAMES[: self.size.participants]:
                slot = pool_slots.Slot(other, view.estimate_ms + view.times.lease_ms)
                yield replace(after, slots={**after.slots, number: slot})

    def due_write(self, who: int, part: Part) -> tuple[Request, Owned] | None:
        """Return the write that is due to a participant with an exact clock; None when none is."""
        view = self.view(who, part, estimate=0, renews=False, clock_ahead=0)
        view = replace(view, want=self.size.slots)
        after = next_write(view, outlook(view))
        return None if after is None else (self.request(who, view.state, after), self._kept(who, view, after))

    def leaving(self, who: int, part: Part, estimate: int) -> Request:
        """Return the write with which a participant leaves."""
        view = replace(self.view(who, part, estimate=estimate, renews=False), want=0)
        is_in_doubt = part.may_join_late and self.clauses.has_tombstone
        return self.request(who, view.state, leaving(view, is_in_doubt=is_in_doubt))

    def _kept(self, who: int, view: View, after: PoolState) -> Owned:
        """Return what is owned from before the first await of a write (`Holder._write`)."""
        held = after.held_by(NAMES[who]) if self.clauses.gives_up_first else view.owned
        return tuple(
            _at(view.owned[number].expires_at_ms) if number in held and number in view.owned else NOT
            for number in range(self.size.slots)
        )

    def apply(self, who: int, entry: int, table: Table, request: Request) -> tuple[Table, int] | None:
        """Return the table and the writer's entry after its write; None when the write's condition isn't met."""
        before = PoolState(
            slots=_slots(enumerate_slots(request, is_after=False)),
            queue=self._queue(who, request.entry[0]),
            limit=_limit(request.limit[0]),
            cap=_cap(request.cap[0]),
        )
        after = PoolState(
            slots=_slots(enumerate_slots(request, is_after=True)),
            queue=self._queue(who, request.entry[1]),
            limit=_limit(request.limit[1]),
            cap=_cap(request.cap[1]),
        )
        state = self.clauses.applied(self.state(who, table, entry), before, after)
        if state is None:
            return None
        own = state.queue.get(NAMES[who])
        return self._table(state), 0 if own is None else own.revision

    def rebuilt(self, table: Table) -> Table:
        """Return the item that takes the place of one that vanished."""
        now_hi_ms = NOW_MS - self.size.clock_behind
        known = self.state(0, table, 0)
        return self._table(rebuilt(known, now_hi_ms=now_hi_ms, height=self.size.slots, times=self.size.times))

    # --- views -------------------------------------------------------------------

    def view(self, who: int, part: Part, *, estimate: int, renews: bool, clock_ahead: int | None = None) -> View:
        """Return what a participant goes by (`Holder._view`), with clocks wrong in the most permissive way."""
        assert part.snapshot is not None
        state = self.state(who, part.snapshot.table, part.snapshot.entry, is_old=renews)
        held = state.held_by(NAMES[who])
        owned = {n: slot(who, at) for n, at in enumerate(part.owned) if at != NOT and n in held}
        if self.clauses.believes_reads:
            owned = held
        hi_ms = NOW_MS - self.size.clock_behind
        return View(
            holder_id=NAMES[who],
            terms=self.terms[who],
            times=self.size.times,
            state=state,
            want=0,
            owned=owned,
            busy=frozenset(number for number, call in enumerate(part.calls) if call.kind == BUSY),
            shut={n: hi_ms + call.left for n, call in enumerate(part.calls) if call.kind == DRAINING},
            free_for_ms={},
            revision=max(part.revision, part.snapshot.entry),
            now_lo_ms=NOW_MS + (self.size.clock_ahead if clock_ahead is None else clock_ahead),
            now_hi_ms=hi_ms,
            estimate_ms=NOW_MS + estimate,
            call_ms=0,
        )

    def may_start(self, who: int, part: Part, number: int) -> bool:
        """Tell whether the call rule, and the limit as last seen, let a call start now (`Holder._serve`, `check`)."""
        if part.owned[number] == NOT or part.calls[number].kind in {BUSY, DRAINING}:
            return False
        if part.snapshot and number >= self.view(who, part, estimate=0, renews=False).height:
            return False
        now_hi_ms = NOW_MS - self.size.clock_behind
        owned = slot(who, part.owned[number])
        return self.clauses.may_start_call(owned, now_hi_ms=now_hi_ms, times=self.size.times)

    def height(self, table: Table) -> int:
        """Return the highest that the limit and the cap of the table can be thought to be."""
        return self.state(0, table, 0).height(self.size.slots, NOW_MS + self.size.clock_ahead)

    # --- shapes ------------------------------------------------------------------

    def state(self, who: int, table: Table, entry: int, *, is_old: bool = False) -> PoolState:
        return PoolState(
            slots=_slots(enumerate(table.slots)),
            queue=self._queue(who, entry, is_old=is_old),
            limit=_limit(table.limit),
            cap=_cap(table.cap),
        )

    def _queue(self, who: int, entry: int, *, is_old: bool = False) -> dict[str, Entry]:
        """Return the queue as far as a participant touches it; what else an entry says has no part in any law."""
        if not entry:
            return {}
        at_ms = NOW_MS - CAP_MS if is_old else NOW_MS + CAP_MS
        one = Entry(revision=entry, app="", weight=1, want=1, limit=1, since_ms=0, expires_at_ms=at_ms)
        return {NAMES[who]: one}

    def request(self, who: int, before: PoolState, after: PoolState) -> Request:
        change = Change.between(before, after)
        old, new = change.queue.get(NAMES[who], (None, None))
        is_limit_compared = change.limit or change.takes
        is_cap_compared = change.cap or change.takes
        return Request(
            slots=tuple((n, _small(pair[0]), _small(pair[1])) for n, pair in sorted(change.slots.items())),
            entry=(0 if old is None else old.revision, 0 if new is None else new.revision),
            limit=(_pair(before.limit), _pair(after.limit)) if is_limit_compared else ((), ()),
            cap=(_pair(before.cap), _pair(after.cap)) if is_cap_compared else ((), ()),
        )

    def _table(self, state: PoolState) -> Table:
        slots = tuple(_small(state.slots.get(number)) for number in range(self.size.slots))
        return Table(slots, _pair(state.limit), _pair(state.cap))


def enumerate_slots(request: Request, *, is_after: bool) -> Iterator[tuple[int, Slot]]:
    return ((number, new if is_after else old) for number, old, new in request.slots)


def slot(who: int, at: int) -> pool_slots.Slot:
    """Return a slot of a participant as the pool knows it."""
    return pool_slots.Slot(pool_slots.SHUT if who == SHUT else NAMES[who], NOW_MS + at)


def owned_of(who: int, table: Table) -> Owned:
    """Return which slots the table ties to a participant, as it owns them when they are its own."""
    return tuple(one[1] if one and one[0] == who else NOT for one in table.slots)


def _ahead(view: View, takes: frozenset[int], gives: frozenset[int]) -> Outlook:
    """Return the outlook of one whom others are ready to take exactly *gives* from, and leave *takes* to."""
    takers = tuple(replace(view.standing, holder_id=f"for {n}", bound=n + 1) for n in sorted(gives, reverse=True))
    alone: tuple[Standing, ...] = (view.standing,)
    return Outlook(takes=takes, behind=None, unserved=takers, standings=alone, leaves=False)


def _subsets(numbers: Iterable[int]) -> Iterator[frozenset[int]]:
    known = sorted(numbers)
    return map(frozenset, chain.from_iterable(combinations(known, count) for count in range(len(known) + 1)))


def _at(at_ms: int) -> int:
    return at_ms - NOW_MS


def _slots(numbered: Iterable[tuple[int, Slot]]) -> dict[int, pool_slots.Slot]:
    return {number: slot(*one) for number, one in numbered if one}


def _small(one: pool_slots.Slot | None) -> Slot:
    if one is None:
        return ()
    return (SHUT if one.holder_id == pool_slots.SHUT else NAMES.index(one.holder_id), _at(one.expires_at_ms))


def _pair(one: Limit | Cap | None) -> Pair:
    if one is None:
        return ()
    return (one.n, one.version) if isinstance(one, Limit) else (one.n, int(one.until_ms > NOW_MS))


def _limit(pair: Pair) -> Limit | None:
    return Limit(*pair) if pair else None


def _cap(pair: Pair) -> Cap | None:
    """Return a cut that is in force for long, or was until lately."""
    return Cap(pair[0], NOW_MS + CAP_MS if pair[1] else NOW_MS - 1) if pair else None
