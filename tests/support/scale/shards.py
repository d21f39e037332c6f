"""One account cut into shards: where a batch joins, when it moves, when it is at home in two.

Each shard is an ordinary pool with an item and a part of the limit of its own, so the sum of the shards never exceeds
the account's limit (I1), whatever this layer does. It moves participants, never slots.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from volcengine_client.clock import Clock
from volcengine_client.errors import LeaseLostError, PoolTableError
from volcengine_client.limits import DEFAULT_TIMES, PoolTimes
from volcengine_client.models import TaskItem
from volcengine_client.pool.holder import Holder, Pool, Terms
from volcengine_client.pool.slots import Limit, PoolState
from volcengine_client.pool.table import PoolTable
from volcengine_client.speech.v1 import Speaker, Speech

CHOICES = 2  # shards that a newcomer looks at
LOOK_MS = 500  # how often one with work looks at another shard, for each round of tasks before it
LOOK_SLOWEST_MS = 5_000
GAIN_ROUNDS = 0.5  # by how many rounds of tasks another shard must be ahead before a waiter moves


@dataclass(frozen=True, slots=True)
class Shards:
    """How an account's limit is cut.

    Attributes:
        name: The account's pool.
        limit: The account's.
        count: How many shards.
    """

    name: str
    limit: int
    count: int

    def __post_init__(self) -> None:
        """Every shard has a slot, and together they have the account's (I1)."""
        assert 1 <= self.count <= self.limit
        assert sum(map(self.slots, range(self.count))) == self.limit

    def pool_name(self, shard: int) -> str:
        return f"{self.name}#{shard}"

    def slots(self, shard: int) -> int:
        """Return the shard's part of the limit."""
        return self.limit // self.count + (shard < self.limit % self.count)


def work_of(state: PoolState | None, *, until_ms: float = float("inf")) -> int:
    """Return how many tasks the participants of a shard have; of those alone who were served before *until_ms*."""
    return 0 if state is None else sum(one.want for one in state.queue.values() if one.since_ms <= until_ms)


class Home:
    """A batch's stay in one shard."""

    def __init__(self, shard: int, slots: int, pool: Pool) -> None:
        self.shard = shard
        self.slots = slots
        self.pool = pool
        self.running_count = 0
        self.holder: Holder | None = None
        self.is_over = asyncio.Event()

    @property
    def rounds(self) -> float:
        """How much work it has for each of its slots, in tasks."""
        return work_of(self.pool.snapshot) / self.slots

    @property
    def rounds_before(self) -> float:
        """How much of it comes before this batch's own, and with it."""
        state = self.pool.snapshot
        own = None if state is None or self.holder is None else state.queue.get(self.holder.holder_id)
        return self.rounds if own is None else work_of(state, until_ms=own.since_ms) / self.slots

    def has_room(self, count: int) -> bool:
        """Whether it has free slots for as many tasks."""
        return self.pool.snapshot is not None and work_of(self.pool.snapshot) + count <= self.slots


class Member:
    """One caller's process, which speaks its batch through whichever shards are quick.

    Args:
        shards: How the account is cut.
        table: Where the items are.
        clock: This process's.
        chance: Which shards it looks at.
        speaker: The account.
        app: Whose share it takes from.
        times: The pools'.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        table: PoolTable,
        clock: Clock,
        chance: Random,
        speaker: Speaker,
        app: str,
        times: PoolTimes = DEFAULT_TIMES,
    ) -> None:
        self.move_count = 0
        self.second_count = 0
        self.speeches: dict[int, Speech] = {}
        self._shards = shards
        self._table = table
        self._clock = clock
        self._chance = chance
        self._speaker = speaker
        self._app = app
        self._times = times
        self._open: deque[tuple[int, TaskItem]] = deque()
        self._homes: list[Home] = []
        self._all_begun = asyncio.Event()

    async def speak(self, tasks: Sequence[TaskItem]) -> list[Speech]:
        """Join the quickest of a few shards; while tasks wait, move or take a second home where it is quicker."""
        self._open.extend(enumerate(tasks))
        numbers = self._chance.sample(range(self._shards.count), min(CHOICES, self._shards.count))
        homes = await asyncio.gather(*map(self._seen, numbers))
        async with asyncio.TaskGroup() as stays:
            self._move_in(min(homes, key=lambda home: home.rounds), stays)
            while self._shards.count > 1 and not await self._have_all_begun():
                await self._look_elsewhere(stays)
        return [self.speeches[index] for index in range(len(tasks))]

    async def _have_all_begun(self) -> bool:
        """Wait for a while; those far behind look seldom."""
        wait_ms = min(LOOK_SLOWEST_MS, LOOK_MS * max(1.0, min(home.rounds_before for home in self._homes)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_begun.wait(), wait_ms * self._chance.uniform(0.75, 1.25) / 1_000)
        return not self._open

    async def _look_elsewhere(self, stays: asyncio.TaskGroup) -> None:
        """Look at another shard, and go there when that is quicker."""
        known = {home.shard for home in self._homes}
        other = await self._seen(self._chance.choice([n for n in range(self._shards.count) if n not in known]))
        if not self._open or other.pool.snapshot is None:
            return
        has_begun = any(home.running_count for home in self._homes)
        before = min(home.rounds_before for home in self._homes)
        if not has_begun and before > 1 and (other.has_room(1) or other.rounds + GAIN_ROUNDS < before):
            self.move_count += 1
            for home in self._homes:
                home.is_over.set()
            self._homes.clear()
            self._move_in(other, stays)
        elif has_begun and len(self._homes) == 1 and other.has_room(1):
            self.second_count += 1
            self._move_in(other, stays)

    async def _seen(self, shard: int) -> Home:
        """Look at a shard; one that can't be read now counts as empty, and will be read when it is joined."""
        pool = Pool(self._shards.pool_name(shard), table=self._table, times=self._times, clock=self._clock)
        with contextlib.suppress(PoolTableError):
            await pool.read()
        return Home(shard, self._shards.slots(shard), pool)

    def _move_in(self, home: Home, stays: asyncio.TaskGroup) -> None:
        self._homes.append(home)
        stays.create_task(self._live(home))

    async def _live(self, home: Home) -> None:
        """Take part in a shard until there is nothing more to do in it."""
        terms = Terms(limit=Limit(home.slots, 0), hold_max=home.slots, app=self._app)
        async with Holder(home.pool, terms) as holder:
            holder.holder_id = f"{self._chance.getrandbits(32):08x}"  # so that a run can be repeated
            home.holder = holder
            self._tell_wants()
            workers = [asyncio.create_task(self._work(home, holder)) for _ in range(min(len(self._open), home.slots))]
            await home.is_over.wait()
            for worker in workers:
                worker.cancel()
            for end in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end

    def _tell_wants(self) -> None:
        """Tell each shard how much work there is for it; one without any is left."""
        for home in self._homes:
            count = home.running_count + len(self._open)
            if not count:
                home.is_over.set()
            elif home.holder is not None:
                home.holder.want(count)
        if not self._open:
            self._all_begun.set()

    async def _work(self, home: Home, holder: Holder) -> None:
        while self._open:
            with contextlib.suppress(PoolTableError, LeaseLostError):
                async with holder.slot() as lease:
                    if not self._open:
                        return
                    index, task = self._open.popleft()
                    home.running_count += 1
                    self._tell_wants()
                    try:
                        speech = await self._speaker.speak(
                            task, call=lease, timeout_ms=self._times.upstream_call_max_ms
                        )
                    except LeaseLostError:
                        self._open.appendleft((index, task))
                        raise
                    finally:
                        home.running_count -= 1
                    lease.ended(is_refused=False)
                    self.speeches[index] = speech
        self._tell_wants()
