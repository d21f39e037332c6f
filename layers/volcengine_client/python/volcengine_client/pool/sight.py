"""What one process knows of a pool: the newest snapshot, and the table's clock."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from dataclasses import replace

from volcengine_client.clock import Clock, TableTime
from volcengine_client.limits import (
    CALL_TIME_FIRST_MS,
    CALL_TIMES_ENOUGH,
    CALL_TIMES_KEPT,
    DEFAULT_TIMES,
    ENTRIES_A_WRITE_MAX,
    REFUSALS_BEFORE_CAP,
    REFUSALS_WINDOW_MS,
    PoolTimes,
)
from volcengine_client.pool.plan import rebuilt
from volcengine_client.pool.slots import Limit, PoolState, is_free, shut_until
from volcengine_client.pool.table import PoolTable, Reply


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
        self._free_since_ms: dict[int, int] = {}
        self._regress_count = 0
        self._refused_at_ms: deque[int] = deque(maxlen=100)
        self._pid = os.getpid()
        self._call_times_ms: deque[int] = deque(maxlen=CALL_TIMES_KEPT)

    def begin_invocation(self) -> None:
        """Trust no clock from before: the process may have been frozen. What else is remembered stays a guess."""
        self._time = None

    async def state(self) -> PoolState | None:
        """Read the pool; None when there is no such pool.

        Raises:
            PoolTableError: No answer in time.
        """
        return (await self.read()).state

    async def read(self) -> Reply:
        """Read the pool and remember what it says."""
        sent_at_ms = self.clock.monotonic_ms()
        reply = await self.table.read(self.name)
        self.adopt(reply, sent_at_ms=sent_at_ms)
        return reply

    async def open(self, limit: Limit) -> None:
        """See the pool for the first time in this process, and make the item where it is missing.

        An item that this process knew is never just made anew: whoever deleted it, calls may be running. Then every
        slot starts shut (I1).
        """
        known = self.snapshot
        if (await self.read()).state is not None:
            return
        fresh = PoolState(limit=limit)
        now_hi_ms = self.now_hi_ms()
        assert now_hi_ms is not None, "a read has just told the time"
        has_expired = known is not None and known.kept_until_s is not None and known.kept_until_s * 1_000 < now_hi_ms
        if known is not None and not has_expired:
            height = max([limit.n, known.limit.n if known.limit else 0, *(number + 1 for number in known.slots)])
            fresh = rebuilt(known, now_hi_ms=now_hi_ms, height=height, times=self.times)
        self.snapshot = None
        sent_at_ms = self.clock.monotonic_ms()
        reply = await self.table.create(self.name, replace(fresh, kept_until_s=self.kept_until_s()))
        self.adopt(reply, sent_at_ms=sent_at_ms)

    async def shut_replaced(self) -> None:
        """Shut every missing slot of an item that was replaced behind our back: calls may be running on them (I1)."""
        self.snapshot = None
        self._regress_count = 0
        state = (await self.read()).state
        while state is not None and state.limit is not None:
            missing = [number for number in range(state.limit.n) if number not in state.slots]
            now_hi_ms = self.now_hi_ms()
            if not missing or now_hi_ms is None:
                break
            shut = {number: shut_until(now_hi_ms, self.times) for number in missing[:ENTRIES_A_WRITE_MAX]}
            sent_at_ms = self.clock.monotonic_ms()
            reply = await self.table.write(self.name, state, replace(state, slots={**state.slots, **shut}))
            self.adopt(reply, sent_at_ms=sent_at_ms)
            state = reply.state

    def adopt(self, reply: Reply, *, sent_at_ms: int) -> None:
        """Remember what a reply says; a snapshot older than one already seen is dropped."""
        now_ms = self.clock.monotonic_ms()
        known = self._time if self.is_time_trusted() else None
        self._pid = os.getpid()
        self._time = reply.time if known is None else known.narrowed(reply.time)
        self._remembered_time = self._time
        self._wall_lead_ms = self.clock.wall_ms() - now_ms
        if reply.state is None:
            return
        if self.snapshot is not None and reply.state.rev < self.snapshot.rev:
            self._regress_count += sent_at_ms >= self.seen_at_ms
            return
        self._regress_count = 0
        self.snapshot = reply.state
        self.seen_at_ms = now_ms
        self._note_free_slots(reply.state, now_ms)
        if self._free_since_ms:
            for changed in self.watchers:
                changed.set()

    @property
    def has_regressed(self) -> bool:
        """Whether reads keep showing an older item than one already seen: it was replaced behind our back."""
        return self._regress_count >= 3

    def is_time_trusted(self) -> bool:
        """Whether there is a sample of this invocation, and neither clock of this machine has jumped since."""
        if self._time is None or self._pid != os.getpid():
            return False
        lead_ms = self.clock.wall_ms() - self.clock.monotonic_ms()
        return abs(lead_ms - self._wall_lead_ms) <= self.times.skew_ms // 2

    def now_lo_ms(self) -> int | None:
        """Return the earliest that the table's clock can show; None when nothing is known."""
        if self._time is None or not self.is_time_trusted():
            return None
        return self._time.now_lo_ms(self.clock.monotonic_ms())

    def now_hi_ms(self) -> int | None:
        """Return the latest that the table's clock can show; None when nothing is known."""
        if self._time is None or not self.is_time_trusted():
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
        """Return for how long each free slot has been seen free."""
        now_ms = self.clock.monotonic_ms()
        return {number: now_ms - since_ms for number, since_ms in self._free_since_ms.items()}

    def note_call_time(self, duration_ms: int) -> None:
        """Remember how long a call took that the upstream worked on."""
        self._call_times_ms.append(duration_ms)

    def call_time_ms(self) -> int:
        """Return how long all but one in a hundred calls take; a guess until enough were seen."""
        seen = sorted(self._call_times_ms)
        if len(seen) < CALL_TIMES_ENOUGH:
            return max([CALL_TIME_FIRST_MS, *seen])
        return seen[len(seen) * 99 // 100]

    def note_refusal(self) -> None:
        """Remember that the upstream refused a call for concurrency."""
        self._refused_at_ms.append(self.clock.monotonic_ms())

    def refused_count(self) -> int:
        """Return how many calls were refused lately; 0 as long as it may be the upstream's count lagging."""
        since_ms = self.clock.monotonic_ms() - REFUSALS_WINDOW_MS
        count = sum(1 for at_ms in self._refused_at_ms if at_ms >= since_ms)
        return count if count >= REFUSALS_BEFORE_CAP else 0

    def forget_refusals(self) -> None:
        """Start counting anew: the limit was cut."""
        self._refused_at_ms.clear()

    def _note_free_slots(self, state: PoolState, now_ms: int) -> None:
        height = state.limit.n if state.limit is not None else 0
        now_lo_ms = self.now_lo_ms()
        free = {n for n in range(height) if is_free(state.slots.get(n), now_lo_ms=now_lo_ms, times=self.times)}
        self._free_since_ms = {number: self._free_since_ms.get(number, now_ms) for number in free}
