"""What one process knows of a pool: the newest snapshot, and the table's clock."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, replace

from volcengine_client.clock import Clock, TableTime
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import (
    CALL_TIME_FIRST_MS,
    CALL_TIMES_AGE_MS,
    CALL_TIMES_ENOUGH,
    CALL_TIMES_KEPT,
    DEFAULT_TIMES,
    ENTRIES_A_WRITE_MAX,
    REFUSED_AGAIN_MS,
    REFUSED_KEPT_MS,
    REGRESSES_MAX,
    PoolTimes,
)
from volcengine_client.pool.slots import SHUT, Limit, PoolState, Slot, is_free, rebuilt
from volcengine_client.pool.table import PoolTable, Reply


@dataclass(frozen=True, slots=True)
class Asking:
    """The moment in which a request left: what its reply can tell depends on it.

    Attributes:
        at_ms: On our monotonic clock.
        wall_lead_ms: How far our wall clock was ahead of it.
        invocation: In which invocation of this process.
    """

    at_ms: int
    wall_lead_ms: int
    invocation: int


class Pool:
    """One pool, as seen by all participants of this process.

    Survives between invocations; what it remembers lets the first write of the next one succeed without a read.

    Args:
        name: The pool's key in the table.
        table: Where it lives.
        times: The same for everyone in the pool.
        clock: This process's clocks.
        kept_ms: For how long after its last use the table keeps the item; None: for ever.
    """

    def __init__(
        self,
        name: str,
        *,
        table: PoolTable,
        times: PoolTimes = DEFAULT_TIMES,
        clock: Clock,
        kept_ms: int | None = None,
    ) -> None:
        self.name = name
        self.table = table
        self.times = times
        self.clock = clock
        self.snapshot: PoolState | None = None
        self.seen_at_ms = 0
        self.watchers: set[asyncio.Event] = set()
        self.leavings: set[asyncio.Task[None]] = set()
        self._kept_ms = kept_ms
        self._time: TableTime | None = None
        self._remembered_time: TableTime | None = None
        self._wall_lead_ms = 0
        self._invocation = 0
        self._lost: PoolState | None = None
        self._free_since_ms: dict[int, int] = {}
        self._regress_count = 0
        self._refused_at_ms: dict[int, int] = {}
        self._refused_since_ms: dict[int, int] = {}
        self._pid = os.getpid()
        self._call_times: deque[tuple[int, int, bool]] = deque(maxlen=CALL_TIMES_KEPT)

    def begin_invocation(self) -> None:
        """Trust no clock from before: the process may have been frozen. What else is remembered stays a guess."""
        self._time = None
        self._invocation += 1

    async def state(self) -> PoolState | None:
        """Read the pool; None when there is no such pool.

        Raises:
            PoolTableError: No answer in time.
        """
        return (await self.read()).state

    async def read(self) -> Reply:
        """Read the pool and remember what it says."""
        return await self.hear(self.table.read(self.name))

    async def hear(self, request: Awaitable[Reply]) -> Reply:
        """Send a request and remember what its reply says.

        Raises:
            PoolTableError: No answer in time. A write may have happened.
        """
        asking = Asking(self.clock.monotonic_ms(), self._lead_ms(), self._invocation)
        reply = await request
        self.adopt(reply, asking)
        return reply

    @property
    def is_lost(self) -> bool:
        """Whether the item that this process knew is gone, and what took its place was not yet made safe."""
        return self._lost is not None

    @property
    def is_open(self) -> bool:
        """Whether the item was seen, and is safe to take slots from."""
        return self.snapshot is not None and not self.is_lost

    async def open(self, limit: Limit) -> None:
        """See the pool, and make the item where it is missing.

        One that this process knew and that is gone is never just made anew, nor is a stranger's new one taken for it:
        whoever deleted it, calls may be running. So every slot that is free is shut first (I1). Safe to repeat after a
        failure.

        Raises:
            PoolTableError: No answer in time; the pool is not open then.
        """
        reply = await self.read()
        if reply.state is None:
            fresh = PoolState(limit=limit)
            if self._lost is not None:
                height = _height_used(self._lost, limit)
                fresh = rebuilt(self._lost, now_hi_ms=self._known_now_hi_ms(), height=height, times=self.times)
            fresh = replace(fresh, kept_until_s=self.kept_until_s())
            reply = await self.hear(self.table.create(self.name, fresh))
        if self._lost is not None:
            await self._shut_free_slots(reply.state, self._lost)

    async def _shut_free_slots(self, state: PoolState | None, lost: PoolState) -> None:
        while state is not None:
            missing = [n for n in range(_height_used(lost, state.limit)) if n not in state.slots]
            if not missing:
                self._lost = None
                return
            shut = Slot(SHUT, self._known_now_hi_ms() + self.times.lease_ms)
            slots = {**state.slots, **dict.fromkeys(missing[:ENTRIES_A_WRITE_MAX], shut)}
            state = (await self.hear(self.table.write(self.name, state, replace(state, slots=slots)))).state

    def adopt(self, reply: Reply, asking: Asking) -> None:
        """Remember what a reply says; a snapshot older than one already seen is dropped."""
        now_ms = self.clock.monotonic_ms()
        self._adopt_time(reply.time, asking)
        is_later = asking.at_ms >= self.seen_at_ms
        known = self.snapshot
        if reply.state is None:
            if known is not None and is_later:
                self._lose(known)
            return
        if known is not None and reply.state.rev < known.rev:
            self._regress_count += is_later
            if self._regress_count < REGRESSES_MAX:
                return
            self._lose(known)
        self._regress_count = 0
        self.snapshot = reply.state
        self.seen_at_ms = now_ms
        self._note_free_slots(reply.state, now_ms)
        if self._free_since_ms:
            for changed in self.watchers:
                changed.set()

    def _adopt_time(self, sample: TableTime, asking: Asking) -> None:
        """Narrow what is known of the table's clock, unless one of ours stood still while the reply was on its way."""
        self.is_time_trusted()
        self._pid = os.getpid()
        if asking.invocation == self._invocation and self._is_steady(asking.wall_lead_ms):
            time = sample if self._time is None else self._time.narrowed(sample)
            if time is sample:  # otherwise an old bound lives on, and with it the lead it came with
                self._wall_lead_ms = self._lead_ms()
            self._time = time
        self._remembered_time = self._time or sample

    def _lose(self, known: PoolState) -> None:
        """Remember that the item is gone or another's, unless its time was over and nobody can be using it."""
        self.snapshot = None
        now_lo_ms = self.now_lo_ms()
        kept_until_s = known.kept_until_s
        has_expired = now_lo_ms is not None and kept_until_s is not None and kept_until_s * 1_000 < now_lo_ms
        if not has_expired:
            self._lost = self._lost or known

    def _known_now_hi_ms(self) -> int:
        now_hi_ms = self.now_hi_ms()
        if now_hi_ms is None:
            raise PoolTableError("the clocks of this machine jumped while the pool's table was asked; ask again")
        return now_hi_ms

    def _lead_ms(self) -> int:
        return self.clock.wall_ms() - self.clock.monotonic_ms()

    def _is_steady(self, wall_lead_ms: int) -> bool:
        """Tell whether our two clocks have gone together since the wall clock was so far ahead.

        A quarter of the skew, since a wall clock set back unnoticed may hide as much again of a later suspension.
        """
        return abs(self._lead_ms() - wall_lead_ms) <= self.times.skew_ms // 4

    def is_time_trusted(self) -> bool:
        """Whether there is a sample of this invocation, and neither clock of this machine has jumped since.

        A jump once seen is not forgotten, though a second one may hide it.
        """
        if self._pid != os.getpid() or not self._is_steady(self._wall_lead_ms):
            self._time = None
        return self._time is not None

    def now_lo_ms(self) -> int | None:
        """Return the earliest that the table's clock can show; None when nothing is known."""
        if not self.is_time_trusted() or self._time is None:
            return None
        return self._time.now_lo_ms(self.clock.monotonic_ms())

    def now_hi_ms(self) -> int | None:
        """Return the latest that the table's clock can show; None when nothing is known."""
        if not self.is_time_trusted() or self._time is None:
            return None
        return self._time.now_hi_ms(self.clock.monotonic_ms())

    def estimate_ms(self) -> int:
        """Return the table's time as far as is known or remembered; for expiries only, never to reclaim.

        Too early is harmless: the lease is then renewed before its first call.
        """
        assert self._remembered_time is not None, "a pool is read before it is written"
        return self._remembered_time.now_lo_ms(self.clock.monotonic_ms())

    def kept_until_s(self) -> int | None:
        """Return until when the table must keep the item, Unix seconds; None: for ever."""
        return None if self._kept_ms is None else (self.estimate_ms() + self._kept_ms) // 1_000

    def free_for_ms(self) -> dict[int, int]:
        """Return for how long each free slot has been seen free, up to the newest snapshot."""
        return {number: self.seen_at_ms - since_ms for number, since_ms in self._free_since_ms.items()}

    def note_call(self, number: int, *, duration_ms: int, is_refused: bool, is_spoken: bool = True) -> None:
        """Remember a call that the upstream answered: how long it took, or that it was refused for concurrency."""
        now_ms = self.clock.monotonic_ms()
        if is_refused:
            if number not in self.refused():
                self._refused_since_ms.pop(number, None)
            self._refused_since_ms.setdefault(number, now_ms)
            self._refused_at_ms[number] = now_ms
            for changed in self.watchers:
                changed.set()
        else:
            self._refused_at_ms.pop(number, None)
            self._refused_since_ms.pop(number, None)
            self._call_times.append((now_ms, duration_ms, is_spoken))

    def call_time_ms(self) -> int:
        """Return how long all but one in a hundred calls take; with a margin while few were seen, a guess before."""
        since_ms = self.clock.monotonic_ms() - CALL_TIMES_AGE_MS
        seen = sorted(duration_ms for at_ms, duration_ms, _ in self._call_times if at_ms >= since_ms)
        if len(seen) < CALL_TIMES_ENOUGH:
            return max([CALL_TIME_FIRST_MS, *seen])
        usual_ms = seen[len(seen) * 99 // 100]
        return usual_ms if len(seen) >= 100 else usual_ms * 5 // 4

    def usual_call_ms(self) -> int:
        """Return how long a call takes on average that ends with audio; 0 when none was seen lately."""
        since_ms = self.clock.monotonic_ms() - CALL_TIMES_AGE_MS
        spoken = [duration_ms for at_ms, duration_ms, is_spoken in self._call_times if is_spoken and at_ms >= since_ms]
        return sum(spoken) // len(spoken) if spoken else 0

    def refused(self) -> frozenset[int]:
        """Return the slots whose last call was lately refused for concurrency."""
        since_ms = self.clock.monotonic_ms() - REFUSED_KEPT_MS
        return frozenset(number for number, at_ms in self._refused_at_ms.items() if at_ms >= since_ms)

    def refused_count(self) -> int:
        """Return how many slots somebody else seems to use, by the calls refused on them since the last cut.

        0 while none was refused for long: then the upstream's count lags behind. Where a cut of the limit climbs, one
        refusal says that it has climbed too high.
        """
        refused = self.refused() & self._refused_since_ms.keys()
        cap = None if self.snapshot is None else self.snapshot.cap
        is_sure = (cap is not None and cap.is_climbing(self.now_lo_ms())) or any(
            self._refused_at_ms[number] - self._refused_since_ms[number] >= REFUSED_AGAIN_MS for number in refused
        )
        return len(refused) if is_sure else 0

    def forget_refusals(self) -> None:
        """Start counting anew: the limit was cut."""
        self._refused_since_ms.clear()

    def _note_free_slots(self, state: PoolState, now_ms: int) -> None:
        height = state.limit.n if state.limit is not None else 0
        now_lo_ms = self.now_lo_ms()
        free = {n for n in range(height) if is_free(state.slots.get(n), now_lo_ms=now_lo_ms, times=self.times)}
        self._free_since_ms = {number: self._free_since_ms.get(number, now_ms) for number in free}


def _height_used(lost: PoolState, limit: Limit | None) -> int:
    """Return below which number anybody may have used slots, before an item was lost or after."""
    limits = [known.n for known in (lost.limit, limit) if known is not None]
    return max([0, *limits, *(number + 1 for number in lost.slots)])
