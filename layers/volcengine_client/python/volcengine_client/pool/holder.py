"""One participant's life in a pool: join, take, renew, give up, leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from volcengine_client.errors import LeaseLostError, PoolTableError
from volcengine_client.limits import (
    CLOCK_GAP_MS,
    GIVE_AGE_MAX_MS,
    LEAVE_MAX_MS,
    TABLE_FAILURES_MAX,
    TABLE_RETRY_BASE_MS,
    TABLE_RETRY_MAX_MS,
    TICK_MS,
)
from volcengine_client.pool.lease import Lease
from volcengine_client.pool.pace import next_read_ms
from volcengine_client.pool.plan import give_ups, gives_up, leaving, next_write, outlook
from volcengine_client.pool.sight import Pool
from volcengine_client.pool.slots import PoolState, Slot, may_start_call
from volcengine_client.pool.table import Reply
from volcengine_client.pool.view import Terms, View

__all__ = ["Holder", "Lease", "Pool", "Terms"]


class Holder:
    """A participant: an asynchronous context that holds slots for one batch and leaves at its end.

    Args:
        pool: The pool as this process sees it.
        terms: How it takes part.
        leave_by_ms: On our monotonic clock, when the context must have ended; None: whenever.

    One task in the background reads and writes, so that one write is in flight at a time. Which slots are usable is
    learned only from its own writes that were applied, never from a read.
    """

    def __init__(self, pool: Pool, terms: Terms, *, leave_by_ms: int | None = None) -> None:
        self.pool = pool
        self.terms = terms
        self.holder_id = secrets.token_urlsafe(6)
        self.waited_ms: int | None = None
        self.trouble: PoolTableError | None = None
        self._leave_by_ms = leave_by_ms
        self._want = 0
        self._owned: dict[int, Slot] = {}
        self._busy: set[int] = set()
        self._unused: set[int] = set()
        self._drained_at_ms: dict[int, int] = {}
        self._revision = 0
        self._is_crowded = False
        self._has_yielded = False
        self._is_in_doubt = False
        self._may_join_late = False
        self._is_leaving = False
        self._gap_count = 0
        self._gap_count_mended = 0
        self._pid = os.getpid()
        self._failure_count = 0
        self._ticked_at_ms = 0
        self._joined_at_ms = 0
        self._waiters: deque[asyncio.Future[Lease]] = deque()
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start taking part; slots come when they are wanted."""
        self._joined_at_ms = self._ticked_at_ms = self.pool.clock.monotonic_ms()
        self._keeper = asyncio.create_task(self._keep())
        self._keeper.add_done_callback(self._tell_of_bug)
        self._pulse = asyncio.create_task(self._beat())
        self.pool.watchers.add(self._changed)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the pool: bounded in time, finished in the background when that is over or this is cancelled (I2)."""
        assert self._keeper is not None
        assert self._pulse is not None
        self._is_leaving = True
        self._pulse.cancel()
        self.pool.watchers.discard(self._changed)
        self._changed.set()
        leaving = asyncio.create_task(self._leave(self._keeper))
        self.pool.leavings.add(leaving)
        leaving.add_done_callback(self.pool.leavings.discard)
        left_ms = LEAVE_MAX_MS if self._leave_by_ms is None else self._leave_by_ms - self.pool.clock.monotonic_ms()
        await asyncio.wait({leaving}, timeout=max(0, min(left_ms, LEAVE_MAX_MS)) / 1_000)

    def want(self, count: int) -> None:
        """Say for how many slots there is work now, those in use included."""
        has_grown = count > self._want
        self._want = count
        if has_grown:
            self._changed.set()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Lease]:
        """Wait for a slot and hold it for one call.

        Raises:
            PoolTableError: The table is out of reach or refuses for good.
        """
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._keeper is not None and self._keeper.done():
            self._tell_of_bug(self._keeper)
        self._serve()
        self._changed.set()
        try:
            lease = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(waiter.result())
            raise
        try:
            yield lease
        finally:
            self._release(lease)

    def check(self, number: int) -> None:
        """Make sure that a call may start on the slot now.

        Raises:
            LeaseLostError: It may not.
        """
        if not self._may_start(number):
            self._changed.set()
            raise LeaseLostError("the slot's lease no longer covers a call; the task waits for another")

    def _may_start(self, number: int) -> bool:
        """Tell whether the call rule lets a call start on the slot now; a process just back from a pause says no."""
        now_hi_ms = self.pool.now_hi_ms()
        slot = self._owned.get(number)
        is_awake = self.pool.clock.monotonic_ms() - self._ticked_at_ms <= CLOCK_GAP_MS and not self._is_dazed
        is_ours = self.pool.is_open and self._pid == os.getpid()
        if slot is None or now_hi_ms is None or not is_awake or not is_ours:
            return False
        return may_start_call(slot, now_hi_ms=now_hi_ms, times=self.pool.times)

    # --- the background tasks -------------------------------------------------

    async def _beat(self) -> None:
        """Notice pauses of this process, however long the table takes to answer; after one nothing is trusted."""
        while True:
            now_ms = self.pool.clock.monotonic_ms()
            if now_ms - self._ticked_at_ms > CLOCK_GAP_MS:
                self._gap_count += 1
                self._changed.set()
            self._ticked_at_ms = now_ms
            self.pool.is_time_trusted()  # looks at both clocks, before a second jump can hide a first
            await self.pool.clock.sleep(TICK_MS)

    @property
    def _is_dazed(self) -> bool:
        """Whether the table has not spoken since a pause."""
        return self._gap_count != self._gap_count_mended

    async def _keep(self) -> None:
        """Read and write until it is time to leave."""
        while not self._is_leaving:
            try:
                wait_ms = await self._step()
            except PoolTableError as error:
                wait_ms = self._note_failure(error)
            self._serve()
            await self._rest(wait_ms)

    async def _rest(self, wait_ms: int) -> None:
        """Wait until something has changed, for a moment at most; in any case let others run."""
        await asyncio.sleep(0)
        if wait_ms > 0 and not self._is_leaving:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(wait_ms, TICK_MS) / 1_000)
        self._changed.clear()

    async def _step(self) -> int:
        """Do the one thing that is due, and return how long to rest, milliseconds."""
        pool = self.pool
        if not pool.is_open:
            await pool.open(self.terms.limit)
            self._note_success()
            return 0
        if self._is_in_doubt or self._is_dazed:
            return await self._look()
        if not (self._want or self._busy):
            return TICK_MS  # about to leave, which gives all up in one write
        view = self._view()
        ahead = outlook(view)
        after = next_write(view, ahead)
        age_ms = pool.clock.monotonic_ms() - pool.seen_at_ms
        if after is None:
            wait_ms = next_read_ms(view, ahead, pace_ms=pool.table.pace_ms, age_ms=age_ms)
            return max(1, wait_ms - age_ms) if not self._want or age_ms < wait_ms else await self._look()
        if age_ms > GIVE_AGE_MAX_MS and view.want and gives_up(view, after):
            return await self._look()  # whoever waited may have been served meanwhile
        return await self._write(view, after)

    async def _look(self) -> int:
        """Read, and be sure again of what there is; there may be something to do at once."""
        gap_count = self._gap_count
        await self.pool.read()
        self._note_success()
        self._is_in_doubt = False
        self._gap_count_mended = gap_count
        return 0

    async def _write(self, view: View, after: PoolState) -> int:
        """Write what is due. Given up is gone: from before the first await, whatever the reply."""
        kept = after.held_by(self.holder_id)
        self._owned = {number: slot for number, slot in view.owned.items() if number in kept}
        self._revision = after.queue[self.holder_id].revision
        reply = await self._send(view.state, after)
        self._note_success()
        self._is_crowded = not reply.is_applied
        self._has_yielded = not reply.is_applied and (self._has_yielded or gives_up(view, after))
        if reply.is_applied and reply.state is not None:
            self._own(reply.state)
            if view.refused_count:
                self.pool.forget_refusals()
        return 0 if reply.is_applied else random.randrange(1, self.pool.table.pace_ms + 1)

    async def _send(self, before: PoolState, after: PoolState) -> Reply:
        """Write; as long as no reply came, the outcome is in doubt, and a join may come late as a ghost."""
        is_join = self.holder_id not in before.queue
        self._is_in_doubt = True
        may_join_late, self._may_join_late = self._may_join_late, self._may_join_late or is_join
        reply = await self.pool.hear(self.pool.table.write(self.pool.name, before, after))
        self._is_in_doubt = False
        self._may_join_late = may_join_late  # a join before this one may still be on its way
        return reply

    def _own(self, state: PoolState) -> None:
        """Take as usable what an applied write of our own shows as ours, and nothing else."""
        held = state.held_by(self.holder_id)
        self._unused = {number for number in held if number in self._unused or number not in self._owned}
        self._owned = held

    def _note_success(self) -> None:
        self._failure_count = 0
        self.trouble = None

    def _note_failure(self, error: PoolTableError) -> int:
        """Remember the trouble, tell the waiters when it is lasting, and return how long to rest."""
        self.trouble = error
        self._failure_count += 1
        is_lasting = self._failure_count >= TABLE_FAILURES_MAX and not any(map(self._may_start, self._owned))
        if is_lasting or not error.retryable:
            self._fail_waiters(error)
        bound_ms = min(TABLE_RETRY_MAX_MS, TABLE_RETRY_BASE_MS << min(self._failure_count, 10))
        return 1 + random.randrange(bound_ms)

    def _fail_waiters(self, error: BaseException) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _tell_of_bug(self, keeper: asyncio.Task[None]) -> None:
        """Pass a bug of the background task on to those who wait for it, who would wait for ever."""
        if not keeper.cancelled() and (bug := keeper.exception()) is not None:
            self._fail_waiters(bug)

    # --- slots and those who wait for them in this process ---------------------

    def _view(self) -> View:
        pool = self.pool
        state = pool.snapshot
        assert state is not None
        held = state.held_by(self.holder_id)
        self._owned = {number: slot for number, slot in self._owned.items() if number in held}
        now_ms = pool.clock.monotonic_ms()
        self._drained_at_ms = {n: at_ms for n, at_ms in self._drained_at_ms.items() if at_ms > now_ms}
        seen = state.queue.get(self.holder_id)
        hi_ms = pool.now_hi_ms() or pool.estimate_ms() + self.pool.times.lease_ms
        return View(
            holder_id=self.holder_id,
            terms=self.terms,
            times=pool.times,
            state=state,
            want=self._want,
            owned=self._owned,
            busy=frozenset(self._busy),
            shut={number: at_ms - now_ms + hi_ms for number, at_ms in self._drained_at_ms.items()},
            free_for_ms=pool.free_for_ms(),
            revision=max(self._revision, 0 if seen is None else seen.revision),
            now_lo_ms=pool.now_lo_ms(),
            now_hi_ms=hi_ms,
            estimate_ms=pool.estimate_ms(),
            call_ms=pool.usual_call_ms(),
            has_yielded=self._has_yielded,
            is_crowded=self._is_crowded,
            refused=pool.refused(),
            refused_count=pool.refused_count(),
            kept_until_s=pool.kept_until_s(),
            unused=frozenset(self._unused if self._next_waiter() else ()),
        )

    def _serve(self) -> None:
        """Hand usable slots to those who wait in this process, but for slots that others are more entitled to."""
        if not self.pool.is_open or self._is_leaving or not self._next_waiter():
            return
        view = self._view()
        due = give_ups(view, outlook(view)) if view.idle else frozenset()
        for number in sorted(view.idle - due - view.resting):
            waiter = self._next_waiter()
            if waiter is not None and number < view.height and self._may_start(number):
                self._waiters.popleft()
                self._busy.add(number)
                self._unused.discard(number)
                waiter.set_result(Lease(self, number))
                if self.waited_ms is None:
                    self.waited_ms = self.pool.clock.monotonic_ms() - self._joined_at_ms
        if due:
            self._changed.set()

    def _next_waiter(self) -> asyncio.Future[Lease] | None:
        """Return the first that still waits; None when nobody does."""
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        return self._waiters[0] if self._waiters else None

    def _release(self, lease: Lease) -> None:
        """End a slot's use for one call; a call of uncertain end shuts it until the drain is over (I1)."""
        self._busy.discard(lease.number)
        if lease.in_doubt_since_ms is not None:
            self._drained_at_ms[lease.number] = lease.in_doubt_since_ms + self.pool.times.drain_ms
        self._serve()
        self._changed.set()

    # --- the end ---------------------------------------------------------------

    async def _leave(self, keeper: asyncio.Task[None]) -> None:
        """Let the keeper finish its request, then go; give up trying after `LEAVE_MAX_MS`, leases run out anyway."""
        await asyncio.wait({keeper})
        self._want = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_MAX_MS / 1_000):
                while not await self._try_leave():
                    pass

    async def _try_leave(self) -> bool:
        """Write the leaving; True when nothing of this participant is left in the pool."""
        pool = self.pool
        try:
            if pool.is_lost:
                await pool.open(self.terms.limit)
            elif pool.snapshot is not None and (self._is_in_doubt or not pool.is_time_trusted()):
                await self._look()
            if pool.snapshot is None:
                return not pool.is_lost
            is_gone = self.holder_id not in pool.snapshot.queue and not pool.snapshot.held_by(self.holder_id)
            if is_gone and not self._may_join_late:
                return True
            view = self._view()
            reply = await self._send(view.state, leaving(view, is_in_doubt=self._may_join_late))
        except PoolTableError:
            await pool.clock.sleep(1 + random.randrange(TABLE_RETRY_BASE_MS))
            return False
        return reply.is_applied and reply.state is not None and not reply.state.held_by(self.holder_id)
