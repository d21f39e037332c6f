"""A table behind a bad network: slow, lossy, late, refusing; and a count of what it was asked."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import pairwise

from tests.support.virtual_time import TrueTime, VirtualClock
from volcengine_client.clock import TableTime
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import TABLE_TIMEOUT_MS
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import PoolState
from volcengine_client.pool.table import PoolTable, Reply


class Fate(Enum):
    """What becomes of a request."""

    LOST = auto()  # it never arrives, and times out
    UNANSWERED = auto()  # it is applied, but the reply is lost
    LATE = auto()  # it times out, and is applied long after
    SLOW = auto()  # it is answered, after a long time
    THROTTLED = auto()  # refused at once; ask again
    REFUSED = auto()  # refused at once, and for good


class TrueClock:
    """The clock of a table's own machine: true time."""

    def __init__(self, truth: TrueTime) -> None:
        self._truth = truth

    def monotonic_ms(self) -> int:
        return self._truth.now_ms()

    def wall_ms(self) -> int:
        return self._truth.now_ms()

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1_000)


def shared_table(truth: TrueTime) -> MemoryTable:
    """Return the table that many machines reach over their own networks."""
    return MemoryTable(clock=TrueClock(truth))


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was made."""

    kind: str  # read, create or write
    at_ms: int  # on the clock of whoever asked
    before: PoolState | None = None
    after: PoolState | None = None


def dated(reply: Reply, date_ms: int, *, resolution_ms: int, sent_at_ms: int, received_at_ms: int) -> Reply:
    """Return a reply that tells the time as a `Date` header of that resolution does; 0: exactly."""
    time = TableTime.sample(
        date_ms=date_ms // resolution_ms * resolution_ms if resolution_ms else date_ms,
        resolution_ms=resolution_ms,
        sent_at_ms=sent_at_ms,
        received_at_ms=received_at_ms,
    )
    return replace(reply, time=time)


class LaggingTable:
    """The way of one process to a shared table.

    Attributes:
        fates: What becomes of the next requests of a kind, in order; then all is well.
        fate: What becomes of every request, while it is set.
        late_ms: How late a request arrives that is `LATE`, and how long one takes that is `SLOW`.
        requests: All that were made.
        conflict_count: Writes that were refused since an entry had changed.
    """

    pace_ms = 25

    def __init__(self, inner: PoolTable, *, clock: VirtualClock, lag_ms: int = 6, resolution_ms: int = 1_000) -> None:
        self.inner = inner
        self.fates: dict[str, deque[Fate]] = {kind: deque() for kind in ("read", "create", "write")}
        self.fate: Fate | None = None
        self.late_ms = 5_000
        self.requests: list[Request] = []
        self.conflict_count = 0
        self.busy_count = 0
        self.busy_peak = 0
        self._clock = clock
        self._lag_ms = lag_ms
        self._resolution_ms = resolution_ms
        self._late: set[asyncio.Task[Reply]] = set()

    @property
    def counts(self) -> Counter[str]:
        """How many requests of each kind were made."""
        return Counter(request.kind for request in self.requests)

    def gaps_ms(self, kind: str) -> list[int]:
        """Return the times between the requests of a kind."""
        return [later - earlier for earlier, later in pairwise(one.at_ms for one in self.requests if one.kind == kind)]

    async def read(self, pool: str) -> Reply:
        return await self._ask(Request("read", self._clock.monotonic_ms()), lambda: self.inner.read(pool))

    async def create(self, pool: str, state: PoolState) -> Reply:
        request = Request("create", self._clock.monotonic_ms(), after=state)
        return await self._ask(request, lambda: self.inner.create(pool, state))

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        request = Request("write", self._clock.monotonic_ms(), before, after)
        reply = await self._ask(request, lambda: self.inner.write(pool, before, after))
        self.conflict_count += not reply.is_applied
        return reply

    async def names(self) -> list[str]:
        return await self.inner.names()

    async def _ask(self, request: Request, send: Callable[[], Awaitable[Reply]]) -> Reply:
        self.requests.append(request)
        self.busy_count += 1
        self.busy_peak = max(self.busy_peak, self.busy_count)
        try:
            return await self._answered(self._fate_of(request.kind), send)
        finally:
            self.busy_count -= 1

    def _fate_of(self, kind: str) -> Fate | None:
        return self.fates[kind].popleft() if self.fates[kind] else self.fate

    async def _answered(self, fate: Fate | None, send: Callable[[], Awaitable[Reply]]) -> Reply:
        if fate in {Fate.THROTTLED, Fate.REFUSED}:
            await self._clock.sleep(self._lag_ms)
            raise PoolTableError("the table refused", retryable=fate is Fate.THROTTLED)
        sent_at_ms = self._clock.monotonic_ms()
        await self._clock.sleep(self._lag_ms // 2)
        if fate is Fate.LATE:
            self._send_late(send)
        if fate in {Fate.LATE, Fate.LOST, Fate.UNANSWERED}:
            if fate is Fate.UNANSWERED:
                await send()
            await self._clock.sleep(TABLE_TIMEOUT_MS)
            raise PoolTableError("no answer in time")
        reply = await send()
        date_ms = reply.time.lo_ms + reply.time.at_ms
        await self._clock.sleep(self.late_ms if fate is Fate.SLOW else self._lag_ms - self._lag_ms // 2)
        return dated(
            reply,
            date_ms,
            resolution_ms=self._resolution_ms,
            sent_at_ms=sent_at_ms,
            received_at_ms=self._clock.monotonic_ms(),
        )

    def _send_late(self, send: Callable[[], Awaitable[Reply]]) -> None:
        async def arrive() -> Reply:
            await self._clock.sleep(self.late_ms)
            return await send()

        late = asyncio.create_task(arrive())
        self._late.add(late)
        late.add_done_callback(self._late.discard)


class BuggyTable:
    """A table that does what nobody foresaw, once it has answered some requests.

    Attributes:
        good_count: Requests that it still answers.
    """

    pace_ms = 25

    def __init__(self, inner: PoolTable, *, good_count: int) -> None:
        self.good_count = good_count
        self._inner = inner

    async def read(self, pool: str) -> Reply:
        self._count()
        return await self._inner.read(pool)

    async def create(self, pool: str, state: PoolState) -> Reply:
        self._count()
        return await self._inner.create(pool, state)

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        self._count()
        return await self._inner.write(pool, before, after)

    async def names(self) -> list[str]:
        return await self._inner.names()

    def _count(self) -> None:
        self.good_count -= 1
        if self.good_count < 0:
            raise KeyError("a bug")
