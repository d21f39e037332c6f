"""One caller's process at an account cut into shards."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from random import Random

from tests.support.scale.line import Line
from tests.support.scale.shards import Shards, waiters, work_of
from tests.support.scale.table import MeteredTable
from volcengine_client.clock import Clock
from volcengine_client.errors import LeaseLostError, PoolTableError
from volcengine_client.limits import DEFAULT_TIMES, PoolTimes
from volcengine_client.models import TaskItem
from volcengine_client.pool.holder import Holder, Pool, Terms
from volcengine_client.pool.slots import Limit
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech

CHOICES = 2  # shards that a newcomer looks at
LOOK_MS = 200  # how often one in an ebbing pool looks at other shards
LINE_LOOK_MS = 400  # how often those look at their line who are called next
LINE_SLOWEST_MS = 4_000
LINE_GAIN = 1  # by how many places a slot another line must be shorter before one moves
LINE_LOOK_PART = 0.25  # of the looks at its own line in which one looks at another too
CALL_GAP_MS = 500  # after tickets were called, until more are: they need time to come
STALL_MS = 2_000  # after which those in a line that does not move look after it themselves, one after the other


class Home:
    """A batch's stay in one shard's pool."""

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
    def has_room(self) -> bool:
        """Whether it has a free slot that nobody waits for."""
        return self.pool.snapshot is not None and work_of(self.pool.snapshot) < self.slots


class Member:
    """Speaks one batch through whichever shard is quick.

    Args:
        shards: How the account is cut.
        table: Where the items are.
        clock: This process's.
        chance: Which shards it looks at, and its names.
        speaker: The account.
        app: Whose share it takes from.
        times: The pools'.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        table: MeteredTable,
        clock: Clock,
        chance: Random,
        speaker: Speaker,
        app: str,
        times: PoolTimes = DEFAULT_TIMES,
    ) -> None:
        self.move_count = 0
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
        """Find a shard, wait in its line and then in its pool; go elsewhere when that has room and this has not."""
        self._open.extend(enumerate(tasks))
        home = await self._come()
        async with asyncio.TaskGroup() as stays:
            self._move_in(home, stays)
            while self._shards.count > 1 and not await self._have_all_begun():
                if len(self._homes) == 1 and self._is_ebbing(self._homes[0]):
                    await self._look_elsewhere(self._homes[0], stays)
        return [self.speeches[index] for index in range(len(tasks))]

    # --- the way in ---------------------------------------------------

    async def _come(self) -> Home:
        """Choose the quickest of a few shards, and wait in its line until it is called."""
        numbers = self._chance.sample(range(self._shards.count), min(CHOICES, self._shards.count))
        lines = await asyncio.gather(*map(self._line, numbers))
        length, shard = min((line.length, number) for line, number in zip(lines, numbers, strict=True))
        if length:
            return await self._queue(shard)
        homes = [await self._seen(number) for line, number in zip(lines, numbers, strict=True) if not line.length]
        home = min(homes, key=lambda home: home.rounds)
        return await self._enter(home)

    async def _enter(self, home: Home) -> Home:
        """Go in where there is no line and room to wait; draw a ticket elsewhere."""
        if not self._shards.has_lines or waiters(home.pool.snapshot).total() < self._shards.waiters_high(home.shard):
            return home
        return await self._queue(home.shard)

    async def _queue(self, shard: int) -> Home:
        """Draw a ticket and wait until it is called; leave the line, and the ticket, for a shorter one."""
        ticket, line = await self._drawn(shard)
        began_ms, first = self._clock.monotonic_ms(), line.place(self._app, ticket)
        stirred_ms = began_ms
        while (place := line.place(self._app, ticket)) > 0:
            passed_ms = self._clock.monotonic_ms() - began_ms
            pace_ms = passed_ms / (first - place) if first > place else LINE_SLOWEST_MS / first
            ahead = max(0, place - self._shards.slots(shard))
            wait_ms = min(LINE_SLOWEST_MS, max(LINE_LOOK_MS, pace_ms * ahead / 2)) * self._chance.uniform(0.75, 1.25)
            await asyncio.sleep(wait_ms / 1_000)
            seen = await self._line(shard)
            now_ms = self._clock.monotonic_ms()
            stirred_ms = now_ms if seen.called != line.called else stirred_ms
            line = seen
            if now_ms - stirred_ms > STALL_MS + place * LINE_LOOK_MS:
                await self._call_in(await self._seen(shard), line)
                stirred_ms = now_ms
            if place > self._shards.slots(shard) and self._chance.random() < LINE_LOOK_PART:
                other = self._chance.choice([n for n in range(self._shards.count) if n != shard])
                if place - (await self._line(other)).length > self._shards.slots(shard) * LINE_GAIN:
                    self.move_count += 1
                    return await self._enter(await self._seen(other))
        return await self._seen(shard)

    async def _call_in(self, home: Home, line: Line | None = None) -> None:
        """Call the next from the line into the pool when few are left in it. Anyone may; one succeeds."""
        present = waiters(home.pool.snapshot)
        if not self._shards.has_lines or present.total() >= self._shards.waiters_low(home.shard):
            return
        line = line or await self._line(home.shard)
        now_ms = self._clock.wall_ms()
        if line.length and now_ms - line.called_at_ms >= CALL_GAP_MS:
            count = self._shards.waiters_high(home.shard) - present.total()
            with contextlib.suppress(PoolTableError):
                name = self._shards.line_name(home.shard)
                await self._table.call_tickets(name, line, line.with_called(count, now_ms, present=present))

    async def _line(self, shard: int) -> Line:
        """Look at a line; one that can't be read now counts as empty."""
        if self._shards.has_lines:
            with contextlib.suppress(PoolTableError):
                return await self._table.read_line(self._shards.line_name(shard))
        return Line()

    async def _drawn(self, shard: int) -> tuple[int, Line]:
        while True:
            try:
                return await self._table.draw_ticket(self._shards.line_name(shard), self._app)
            except PoolTableError:
                await self._clock.sleep(self._chance.randrange(1, LINE_LOOK_MS))

    async def _seen(self, shard: int) -> Home:
        """Look at a pool; one that can't be read now counts as empty, and will be read when it is joined."""
        pool = Pool(self._shards.pool_name(shard), table=self._table, times=self._times, clock=self._clock)
        with contextlib.suppress(PoolTableError):
            await pool.read()
        return Home(shard, self._shards.slots(shard), pool)

    # --- in a pool ----------------------------------------------------

    async def _have_all_begun(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_begun.wait(), LOOK_MS * self._chance.uniform(0.75, 1.25) / 1_000)
        return not self._open

    def _is_ebbing(self, home: Home) -> bool:
        """Tell whether a shard's line is over: by then others may have room, and before hardly."""
        return waiters(home.pool.snapshot).total() < self._shards.waiters_low(home.shard)

    async def _look_elsewhere(self, home: Home, stays: asyncio.TaskGroup) -> None:
        """Look at a few other shards; one who has no slot moves there, one who has takes a second home."""
        others = self._chance.sample([n for n in range(self._shards.count) if n != home.shard], self._look_count)
        other = min(await asyncio.gather(*map(self._seen, others)), key=lambda home: home.rounds)
        if not self._open or not other.has_room or home.has_room:
            return
        if not home.running_count:
            home.is_over.set()
            self._homes.remove(home)
        self.move_count += 1
        self._move_in(other, stays)

    @property
    def _look_count(self) -> int:
        return min(CHOICES, self._shards.count - 1)

    def _move_in(self, home: Home, stays: asyncio.TaskGroup) -> None:
        self._homes.append(home)
        stays.create_task(self._live(home, stays))

    async def _live(self, home: Home, stays: asyncio.TaskGroup) -> None:
        """Take part in a pool until there is nothing more to do in it."""
        terms = Terms(limit=Limit(home.slots, 0), hold_max=home.slots, app=self._app)
        async with Holder(home.pool, terms) as holder:
            holder.holder_id = f"{self._chance.getrandbits(32):08x}"  # so that a run can be repeated
            home.holder = holder
            self._tell_wants()
            workers = [
                asyncio.create_task(self._work(home, holder, stays)) for _ in range(min(len(self._open), home.slots))
            ]
            await home.is_over.wait()
            for worker in workers:
                worker.cancel()
            for end in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end

    def _tell_wants(self) -> None:
        """Say in each home how much work there is; go where there is none."""
        for home in self._homes:
            count = home.running_count + len(self._open)
            if not count:
                home.is_over.set()
            elif home.holder is not None:
                home.holder.want(count)
        if not self._open:
            self._all_begun.set()

    async def _work(self, home: Home, holder: Holder, stays: asyncio.TaskGroup) -> None:
        is_first = True
        while self._open:
            with contextlib.suppress(PoolTableError, LeaseLostError):
                async with holder.slot() as lease:
                    if not self._open:
                        break
                    index, task = self._open.popleft()
                    home.running_count += 1
                    self._tell_wants()
                    if is_first:
                        stays.create_task(self._call_in(home))
                        is_first = False
                    try:
                        speech = await self._speaker.speak(
                            task, call=lease, timeout_ms=self._times.upstream_call_max_ms
                        )
                    except LeaseLostError:
                        self._open.appendleft((index, task))
                        raise
                    finally:
                        home.running_count -= 1
                    lease.ended(is_spoken=True)
                    self.speeches[index] = speech
        self._tell_wants()
