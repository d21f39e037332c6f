"""Everything that can happen next in a model: to one participant and the table, or to the world.

A move's story is what it tells a reader; `{}` stands for the participant's name. What is done here around the pure
functions is what `Holder` does around them, and is named so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.model.decide import Clauses, Decisions, owned_of
from tests.support.model.shape import (
    BUSY,
    DRAINING,
    ENDED,
    FORGOTTEN,
    HOPELESS,
    IN,
    LEAVING,
    LEFT,
    NO_CALL,
    NOT,
    SHUT,
    VANISHED,
    Call,
    Part,
    Request,
    Size,
    Snapshot,
    Table,
)


@dataclass(frozen=True, slots=True)
class Move:
    """A step of one participant or of one of its requests: what there is after it, and the law that it breaks."""

    story: str
    table: Table
    part: Part
    breach: str = ""


class Moves:
    """All moves of one participant; what others do does not concern them, but through the table."""

    def __init__(self, size: Size, clauses: Clauses) -> None:
        self.size = size
        self.clauses = clauses
        self.decisions = Decisions(size, clauses)

    def of(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        """Yield whatever can happen to a participant next."""
        if part.phase == IN:
            yield from self._calls(who, table, part)
            yield from self._writes(who, table, part)
        if part.phase == LEAVING:
            yield from self._leaves(who, table, part)
        if part.phase in {IN, LEAVING}:
            yield from self._reads(who, table, part)
            yield from self._replies(who, table, part)
            if self.size.has_crashes:
                for late in self._remembered(part.late, part.request) if part.request else (part.late,):
                    yield Move("vanishes", table, self._gone(part._replace(late=late, request=None), VANISHED))
        yield from self._late(who, table, part)
        if part.entry and part.age == self.size.sweep_age and not (part.phase == LEFT and part.late):
            yield Move("'s entry is swept", table, part._replace(entry=0, age=0))

    # --- calls -------------------------------------------------------------------

    def _calls(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        for number, call in enumerate(part.calls):
            if self.decisions.may_start(who, part, number):
                breach = "I1: two calls of one participant on one slot" if call.left else ""
                began = Call(BUSY, self.size.call_ticks)
                yield Move(f"starts a call on slot {number}", table, _with_call(part, number, began), breach)
            if call.kind == BUSY:
                yield Move(f"'s call on slot {number} ends", table, _with_call(part, number, NO_CALL))
                if self.size.has_doubt:
                    kind = DRAINING if self.clauses.has_drain else FORGOTTEN
                    story = f"'s call on slot {number} ends in doubt, the upstream may count it for {call.left} more"
                    yield Move(story, table, _with_call(part, number, Call(kind if call.left else ENDED, call.left)))

    # --- reads and writes ----------------------------------------------------------

    def _reads(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        """`Holder._look`: what is read is only a snapshot, by which it may go however old it is then.

        One that has none reads in the moment in which it writes, so a read without delay needs no move.
        """
        fresh = Snapshot(table, part.entry)
        if self.clauses.believes_reads and not part.request:
            yield Move("reads, and believes it", table, part._replace(owned=owned_of(who, table)))
        if not self.clauses.drops_old:
            yield from self._old_reads(fresh, table, part)
        if self.size.has_old_snapshots and not part.request and part.reply is None and part.snapshot != fresh:
            yield Move("reads", table, part._replace(snapshot=fresh))

    def _old_reads(self, fresh: Snapshot, table: Table, part: Part) -> Iterator[Move]:
        """A reply that comes so late that others have told of newer states; here it is adopted (broken variants)."""
        if part.old is None:
            yield Move("'s read is answered, the reply is slow", table, part._replace(old=fresh))
        elif not part.request and part.reply is None:
            yield Move("gets the old reply, and adopts it", table, part._replace(snapshot=part.old, old=None))

    def _ready(self, table: Table, part: Part) -> Part | None:
        """Return a participant that may write, with what it goes by: one request at a time (`Holder._step`)."""
        if part.request or part.reply is not None:
            return None
        return part if part.snapshot else part._replace(snapshot=Snapshot(table, part.entry))

    def _writes(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        """`Holder._write`: given up is gone before the request leaves."""
        ready = self._ready(table, part)
        if ready is None:
            return
        for request, kept in self.decisions.writes(who, ready):
            sent = self._sent(ready, request)._replace(owned=kept, revision=request.entry[1])
            yield Move(f"sends a write to {told(who, request)}", table, sent)
            yield from self._arrivals(who, table, sent, request, f"writes, to {told(who, request)}")
        if self.size.has_leaving and not any(call.kind == BUSY for call in part.calls):
            away = part._replace(phase=LEAVING, owned=(NOT,) * self.size.slots)
            yield Move("begins to leave", table, away)

    def _sent(self, part: Part, request: Request) -> Part:
        """`Holder._send`."""
        return part._replace(request=request, snapshot=None if self.clauses.reads_in_doubt else part.snapshot)

    def _leaves(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        """`Holder._try_leave`."""
        ready = self._ready(table, part)
        if ready is None or ready.snapshot is None:
            return
        part = ready
        is_tied = any(one and one[0] == who for one in ready.snapshot.table.slots)
        if not ready.snapshot.entry and not is_tied and not (part.may_join_late and self.clauses.has_tombstone):
            yield Move("sees that nothing of it is left, and is gone", table, self._gone(part, LEFT))
            return
        for estimate in self.size.estimates:
            request = self.decisions.leaving(who, part, estimate)
            sent = self._sent(part, request)
            yield Move(f"sends its leave, to {told(who, request, is_last=True)}", table, sent)
            yield from self._arrivals(who, table, sent, request, f"leaves, to {told(who, request, is_last=True)}")

    def _replies(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        """What may become of the request under way: `Holder._write` and `_send` after their await."""
        if part.reply is not None:
            yield Move("gets the late reply", table, self._answered(part, part.reply))
        if part.request is None:
            return
        request = part.request
        told_late = f"gets no reply in time, its write to {told(who, request)} may still arrive"
        for late in self._remembered(part.late, request):
            may_join_late = part.may_join_late or not request.entry[0]
            lost = part._replace(request=None, late=late, may_join_late=may_join_late)
            yield Move(told_late, table, lost)
        arrivals = list(self._arrivals(who, table, part, request, "'s write is applied"))
        yield from arrivals
        if not arrivals:
            failed = self._answered(part._replace(snapshot=None), None)
            yield Move("learns that its write's condition failed", table, failed)

    def _arrivals(self, who: int, table: Table, part: Part, request: Request, story: str) -> Iterator[Move]:
        """Apply the request under way, if its condition is met: the reply comes at once or later."""
        if request.entry[1] == HOPELESS or (after := self.decisions.apply(who, part.entry, table, request)) is None:
            return
        breach = self._breach(who, table._replace(limit=after[0].limit), request)
        done = part._replace(entry=after[1], age=0, snapshot=None)
        owned = owned_of(who, after[0])
        for late in self._remembered(part.late, request) if self.size.has_repeats else (part.late,):
            answered = self._answered(done._replace(late=late), owned)
            yield Move(f"{story}, and gets the reply", after[0], answered, breach)
            if self.size.has_late_replies:
                seen = Snapshot(*after) if self.size.has_old_snapshots else None
                waits = done._replace(late=late, request=None, reply=owned, snapshot=seen)
                yield Move(f"{story}, the reply is slow", after[0], waits, breach)

    def _answered(self, part: Part, owned: tuple[int, ...] | None) -> Part:
        """Own what an applied write left (`Holder._own`); one that has left in order is gone (`_try_leave`)."""
        part = part._replace(request=None, reply=None)
        if owned is None:
            return part
        if part.phase == LEAVING:
            is_tied = any(at != NOT for at in owned)
            return part if is_tied else self._gone(part, LEFT)
        return part._replace(owned=owned)

    def _remembered(self, late: tuple[Request, ...], request: Request) -> Iterator[tuple[Request, ...]]:
        """Yield which writes may still arrive when there is one more: all, or one is lost."""
        more = {*late, request} if request.entry[1] != HOPELESS else {*late}
        yield tuple(sorted(more))
        for one in sorted(more):
            yield tuple(sorted(more - {one}))

    def _late(self, who: int, table: Table, part: Part) -> Iterator[Move]:
        """Writes whose reply nobody waits for arrive at any time."""
        for request in part.late:
            after = self.decisions.apply(who, part.entry, table, request)
            if after is not None:
                late = part.late if self.size.has_repeats else tuple(one for one in part.late if one != request)
                story = f"'s late write arrives, to {told(who, request)}"
                yield Move(
                    story, after[0], part._replace(entry=after[1], age=0, late=late), self._breach(who, table, request)
                )

    # --- when nothing goes wrong any more ---------------------------------------------

    def calm(self, who: int, table: Table, part: Part) -> tuple[Table, Part] | None:
        """Return what a participant does at once when nothing goes wrong any more; None when it only waits.

        Replies come, what is due is written, who is leaving leaves; nothing late arrives.
        """
        part = part._replace(late=(), snapshot=None, old=None)
        if part.reply is not None:
            return table, self._answered(part, part.reply)
        request = part.request
        if request is None:
            ready = part._replace(snapshot=Snapshot(table, part.entry))
            if part.phase == LEAVING:
                move = next(self._leaves(who, table, ready))
                part, request = move.part, move.part.request
            elif part.phase == IN and (due := self.decisions.due_write(who, ready)):
                request = due[0]
                part = self._sent(part, request)._replace(owned=due[1], revision=request.entry[1])
            if request is None:
                return None if part.phase in {IN, VANISHED, LEFT} else (table, part)
        for move in self._arrivals(who, table, part, request, ""):
            return move.table, move.part
        return table, self._answered(part, None)

    def holds_slot(self, who: int, part: Part) -> bool:
        """Tell whether a living participant has a slot for its work."""
        if part.phase != IN:
            return False
        numbers = range(self.size.slots)
        return any(part.calls[n].kind == BUSY or self.decisions.may_start(who, part, n) for n in numbers)

    # --- the end, and laws about steps ------------------------------------------------

    def _gone(self, part: Part, phase: int) -> Part:
        """End a participant: the upstream goes on counting its calls, its requests may still arrive."""
        calls = tuple(Call(DRAINING, call.left) if call.left else NO_CALL for call in part.calls)
        return part._replace(phase=phase, calls=calls, reply=None)

    def _breach(self, who: int, table: Table, request: Request) -> str:
        """Return which law an applied write breaks: slots are taken below the new limit and the cap there was (I1)."""
        height = self.decisions.height(table)
        for number, old, new in request.slots:
            if new and new[0] == who and (not old or old[0] != who) and number >= height:
                return f"I1: slot {number} is taken, though the limit is {height}"
        return ""


def _with_call(part: Part, number: int, call: Call) -> Part:
    return part._replace(calls=(*part.calls[:number], call, *part.calls[number + 1 :]))


def told(who: int, request: Request, *, is_last: bool = False) -> str:
    """Tell a request in words."""
    if request.entry[1] == HOPELESS:
        return "change what is no longer so"
    words = []
    for number, old, new in request.slots:
        if not new:
            words.append(f"give up slot {number}")
        elif new[0] == SHUT:
            words.append(f"shut slot {number} until {new[1]:+}")
        elif new[0] != who:
            words.append(f"hand slot {number} to another until {new[1]:+}")
        elif old and old[0] == who:
            words.append(f"renew slot {number} until {new[1]:+}")
        else:
            words.append(f"take slot {number} until {new[1]:+}")
    if request.limit[0] != request.limit[1]:
        words.append(f"set the limit to {request.limit[1][0] if request.limit[1] else 'none'}")
    if request.cap[0] != request.cap[1]:
        words.append(f"set the cap to {request.cap[1][0] if request.cap[1] else 'none'}")
    before, after = request.entry
    own = "remove its entry" if not after else "join" if not before else "bump its revision"
    words.append("leave a tombstone" if is_last and after else own)
    return ", ".join(words)
