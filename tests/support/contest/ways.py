"""Ways of sharing an account among processes, each as its users would write it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

from tests.support.contest.cases import Case
from tests.support.contest.watch import Line, Upstream, now_s
from tests.support.lagging_table import dated, shared_table
from tests.support.virtual_time import TrueTime, VirtualClock
from volcengine_client.batch import speak_batch
from volcengine_client.limits import READ_NEXT_IN_LINE_MS
from volcengine_client.models import TaskItem
from volcengine_client.pool.holder import Lease, Pool, Terms
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import Limit, PoolState
from volcengine_client.pool.table import Reply
from volcengine_client.speech.call import Call
from volcengine_client.speech.speech import Speech

BACKOFF_MS, BACKOFF_MAX_MS = 50, 1_000  # of the conditional write, doubled with each failure, full jitter
POLL_MS = 100  # how often fixed polling looks
DATE_MS = 1_000  # the resolution of the table's `Date` header

Way = Callable[[Case, int, Upstream, Line], Callable[[int], Awaitable[None]]]


# --- the limit of what is possible ----------------------------------------------


def one_process(case: Case, seed: int, upstream: Upstream, line: Line) -> Callable[[int], Awaitable[None]]:
    """Everything in one process under one `asyncio.Semaphore`."""
    del seed, line
    semaphore = asyncio.Semaphore(case.limit)

    async def task(caller: int) -> None:
        async with semaphore:
            await upstream.call(caller)

    async def batch(caller: int) -> None:
        await asyncio.gather(*(task(caller) for _ in range(case.tasks)))

    return batch


# --- a counter in the table -----------------------------------------------------


class Counted:
    """An item with a counter that is raised on condition and lowered, as in AWS's sample."""

    def __init__(self, limit: int, line: Line) -> None:
        self._limit = limit
        self._count = 0
        self._line = line

    async def read(self) -> int:
        """Return how many slots are in use."""
        self._line.reads += 1
        await self._line.travel()
        count = self._count
        await self._line.travel()
        return count

    async def try_raise(self) -> bool:
        """Raise the counter unless it stands at the limit."""
        self._line.writes += 1
        await self._line.travel()
        is_free = self._count < self._limit
        self._count += is_free
        self._line.conflicts += not is_free
        await self._line.travel()
        return is_free

    async def lower(self) -> None:
        """Let go of a slot."""
        self._line.writes += 1
        await self._line.travel()
        self._count -= 1
        await self._line.travel()


def _per_task(
    case: Case, upstream: Upstream, line: Line, acquired: Callable[[Counted], Awaitable[None]]
) -> Callable[[int], Awaitable[None]]:
    counted = Counted(case.limit, line)

    @asynccontextmanager
    async def slot() -> AsyncIterator[None]:
        await acquired(counted)
        try:
            yield
        finally:
            await counted.lower()

    async def work(caller: int, left: list[int]) -> None:
        while left:
            left.pop()
            async with slot():
                await upstream.call(caller)

    async def batch(caller: int) -> None:
        left = [1] * case.tasks
        await asyncio.gather(*(work(caller, left) for _ in range(min(case.limit, case.tasks))))

    return batch


def conditional_writes(case: Case, seed: int, upstream: Upstream, line: Line) -> Callable[[int], Awaitable[None]]:
    """A conditional write for each task, repeated with exponential backoff and full jitter until it succeeds."""
    chance = Random(f"backoff {case.name} {seed}")

    async def acquire(counted: Counted) -> None:
        bound_ms = BACKOFF_MS
        while not await counted.try_raise():
            await asyncio.sleep(chance.uniform(0, bound_ms) / 1_000)
            bound_ms = min(2 * bound_ms, BACKOFF_MAX_MS)

    return _per_task(case, upstream, line, acquire)


def fixed_polling(case: Case, seed: int, upstream: Upstream, line: Line) -> Callable[[int], Awaitable[None]]:
    """The counter is read at a fixed interval, and raised when it is below the limit."""
    chance = Random(f"polling {case.name} {seed}")

    async def acquire(counted: Counted) -> None:
        await asyncio.sleep(chance.uniform(0, POLL_MS) / 1_000)
        is_ours = False
        while not is_ours:
            is_ours = await counted.read() < case.limit and await counted.try_raise()
            await asyncio.sleep(0 if is_ours else POLL_MS / 1_000)

    return _per_task(case, upstream, line, acquire)


# --- our pool --------------------------------------------------------------------


class FarTable:
    """The way of one process to the shared table; replies carry a `Date` of whole seconds."""

    pace_ms = READ_NEXT_IN_LINE_MS

    def __init__(self, shared: MemoryTable, clock: VirtualClock, upstream: Upstream, line: Line) -> None:
        self._shared = shared
        self._upstream = upstream
        self._clock = clock
        self._line = line

    async def read(self, pool: str) -> Reply:
        self._line.reads += 1
        return await self._asked(lambda: self._shared.read(pool))

    async def create(self, pool: str, state: PoolState) -> Reply:
        self._line.writes += 1
        return await self._asked(lambda: self._shared.create(pool, state))

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        self._line.writes += 1
        reply = await self._asked(lambda: self._written(pool, before, after))
        self._line.conflicts += not reply.is_applied
        return reply

    async def names(self) -> list[str]:
        return await self._shared.names()

    async def _written(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        reply = await self._shared.write(pool, before, after)
        if reply.is_applied and self._upstream.waiting_count:
            for number in before.slots.keys() - after.slots.keys():
                self._line.freed_at_s[number] = now_s()
        return reply

    async def _asked(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        sent_at_ms = self._clock.monotonic_ms()
        await self._line.travel()
        reply = await send()
        date_ms = reply.time.lo_ms + reply.time.at_ms
        await self._line.travel()
        return dated(
            reply,
            date_ms,
            resolution_ms=DATE_MS,
            sent_at_ms=sent_at_ms,
            received_at_ms=self._clock.monotonic_ms(),
        )


class CountedSpeaker:
    """Speaks as the upstream of the contest does."""

    def __init__(self, caller: int, upstream: Upstream, line: Line) -> None:
        self._caller = caller
        self._upstream = upstream
        self._line = line

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        """Make a call on the slot of *call*."""
        del task, timeout_ms
        assert isinstance(call, Lease)
        call.ready()
        call.sent()
        self._line.take(call.number)
        await self._upstream.call(self._caller)
        call.answered()
        return Speech(audio=b"-", duration_ms=1, log_id=None)


def our_pool(case: Case, seed: int, upstream: Upstream, line: Line) -> Callable[[int], Awaitable[None]]:
    """Our pool: every caller is a process of its own that has never seen the pool before."""
    del seed
    truth = TrueTime()
    shared = shared_table(truth)

    async def batch(caller: int) -> None:
        await shared.create("pool", PoolState(limit=Limit(case.limit, 0)))
        clock = VirtualClock(truth)
        response = await speak_batch(
            [TaskItem(text="-") for _ in range(case.tasks)],
            speaker=CountedSpeaker(caller, upstream, line),
            pool=Pool("pool", table=FarTable(shared, clock, upstream, line), clock=clock),
            terms=Terms(limit=Limit(case.limit, 0), hold_max=case.limit, app=f"app{caller % case.apps}"),
            clock=clock,
        )
        assert all(result.error is None for result in response.results)

    return batch


WAYS: dict[str, Way] = {
    "one process": one_process,
    "our pool": our_pool,
    "conditional write a task": conditional_writes,
    "fixed polling": fixed_polling,
}
