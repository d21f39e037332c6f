"""Pools, machines and snapshots, as tests want them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from tests.support.counting_speaker import CountingSpeaker
from tests.support.lagging_table import LaggingTable, shared_table
from tests.support.virtual_time import TrueTime, VirtualClock
from volcengine_client.batch import speak_batch
from volcengine_client.limits import TEST_TIMES, PoolTimes
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.pool.holder import Holder, Lease, Pool, Terms
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.plan import next_write, outlook
from volcengine_client.pool.slots import SHUT, Change, Entry, Limit, PoolState, Slot
from volcengine_client.pool.view import View

NAME = "server"
TIMES = TEST_TIMES
NOW_MS = 1_800_000_000_000  # the table's time in snapshots


def terms(limit: int = 10, *, version: int = 0, hold_max: int | None = None, **changes: Any) -> Terms:
    """Return terms under which a batch may hold every slot."""
    return Terms(limit=Limit(limit, version), hold_max=limit if hold_max is None else hold_max, **changes)


def entry(**changes: Any) -> Entry:
    """Return the entry of a live waiter for one slot."""
    fields: dict[str, Any] = {
        "revision": 1,
        "app": "default",
        "weight": 1,
        "want": 1,
        "limit": 10,
        "since_ms": NOW_MS - 1_000,
        "expires_at_ms": NOW_MS + 2_000,
    }
    return Entry(**fields | changes)


def slot(holder_id: str, *, left_ms: int = TIMES.lease_ms) -> Slot:
    """Return a slot whose lease has that long to go."""
    return Slot(holder_id, NOW_MS + left_ms)


def held(**numbers: tuple[int, ...]) -> dict[int, Slot]:
    """Return fresh slots by who holds which numbers."""
    return {number: slot(holder_id) for holder_id, own in numbers.items() for number in own}


def state(
    slots: Mapping[int, Slot] | None = None, queue: Mapping[str, Entry] | None = None, **changes: Any
) -> PoolState:
    """Return a pool with the limit 10 that was written a few times."""
    fields: dict[str, Any] = {"rev": 7, "limit": Limit(10, 0)} | changes
    return PoolState(slots=slots or {}, queue=queue or {}, **fields)


def view(pool: PoolState, holder_id: str = "me", **changes: Any) -> View:
    """Return what *holder_id* goes by when it knows all of *pool*, its slots are idle and it wants one."""
    own = pool.queue.get(holder_id)
    fields: dict[str, Any] = {
        "holder_id": holder_id,
        "terms": terms(),
        "times": TIMES,
        "state": pool,
        "want": 1,
        "owned": pool.held_by(holder_id),
        "busy": frozenset[int](),
        "shut": {},
        "free_for_ms": {},
        "revision": 0 if own is None else own.revision,
        "now_lo_ms": NOW_MS,
        "now_hi_ms": NOW_MS,
        "estimate_ms": NOW_MS,
        "call_ms": 0,
    }
    return View(**fields | changes)


def write_due(seen: View) -> PoolState | None:
    """Return the state after the write that is due, which has no more entries than a write may have."""
    after = next_write(seen, outlook(seen))
    if after is not None:
        Change.between(seen.state, after)
    return after


def written(seen: View) -> PoolState:
    """Return the state after the write that must be due."""
    after = write_due(seen)
    assert after is not None
    return after


def own_numbers(pool: PoolState) -> set[int]:
    """Return which slots "me" holds."""
    return set(pool.held_by("me"))


class Machine:
    """One process far from the table: its clock, its network and what it knows of the pool."""

    def __init__(
        self,
        table: MemoryTable,
        truth: TrueTime,
        *,
        times: PoolTimes = TIMES,
        lag_ms: int = 6,
        clock: VirtualClock | None = None,
    ) -> None:
        self.clock = clock or VirtualClock(truth)
        self.table = LaggingTable(table, clock=self.clock, lag_ms=lag_ms)
        self.pool = Pool(NAME, table=self.table, times=times, clock=self.clock)

    def holder(self, how: Terms | None = None) -> Holder:
        return Holder(self.pool, how or terms())

    async def speak(
        self, texts: list[str], speaker: CountingSpeaker, how: Terms | None = None, **changes: Any
    ) -> BatchResponse:
        """Speak *texts* as one batch."""
        return await speak_batch(
            [TaskItem(text=text) for text in texts],
            speaker=speaker,
            pool=self.pool,
            terms=how or terms(),
            clock=self.clock,
            **changes,
        )


async def leased(stack: AsyncExitStack, holder: Holder, *, want: int = 1) -> Lease:
    """Take part with *holder* for as long as *stack* lasts, and get a slot."""
    await stack.enter_async_context(holder)
    holder.want(want)
    return await stack.enter_async_context(holder.slot())


async def call(holder: Holder, machine: Machine, *, call_ms: int = 0) -> None:
    """Make a call that is answered."""
    async with holder.slot() as lease:
        lease.ready()
        lease.sent()
        await machine.clock.sleep(call_ms)
        lease.answered()


async def call_in_doubt(holder: Holder) -> None:
    """Send a call, and never learn what became of it."""
    async with holder.slot() as lease:
        lease.ready()
        lease.sent()


class World:
    """A shared table and the machines around it."""

    def __init__(self, *, times: PoolTimes = TIMES) -> None:
        self.truth = TrueTime()
        self.table = shared_table(self.truth)
        self.times = times

    def machine(self, **changes: Any) -> Machine:
        return Machine(self.table, self.truth, **{"times": self.times} | changes)

    def clock(self) -> VirtualClock:
        return VirtualClock(self.truth)

    async def state(self) -> PoolState:
        """Return the pool as it stands in the table."""
        reply = await self.table.read(NAME)
        assert reply.state is not None
        return reply.state

    async def put(self, pool: PoolState) -> None:
        """Make the pool as *pool* says."""
        assert (await self.table.create(NAME, pool)).is_applied

    async def shut_count(self) -> int:
        """Return how many slots are shut."""
        return len((await self.state()).held_by(SHUT))
