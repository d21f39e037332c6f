"""A table whose items have DynamoDB's ceilings, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random

from tests.support.lagging_table import dated
from tests.support.scale.costs import (
    READ_UNITS_A_SECOND_MAX,
    WRITE_UNITS_A_SECOND_MAX,
    quick_item_bytes,
    read_units,
    write_units,
)
from tests.support.scale.line import Line
from volcengine_client.clock import Clock
from volcengine_client.errors import PoolTableError
from volcengine_client.pool.dynamodb import DynamoDBTable
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import PoolState
from volcengine_client.pool.table import Reply

LAG_MS, LAG_SPREAD = 6.0, 0.4  # there and back, log-normal
DATE_RESOLUTION_MS = 1_000
MISSING_BYTES = 1  # a read of nothing uses one unit, too


@dataclass(slots=True)
class Meter:
    """What one item was asked in each second.

    Attributes:
        writes: Units by second.
        reads: The same.
        size_bytes: Of the item now.
        size_peak_bytes: The largest that it ever was.
    """

    writes: Counter[int] = field(default_factory=Counter)
    reads: Counter[int] = field(default_factory=Counter)
    size_bytes: int = MISSING_BYTES
    size_peak_bytes: int = MISSING_BYTES

    def resize(self, size_bytes: int) -> int:
        """Note the item's new size; return what its write is charged by: the larger of before and after."""
        charged_bytes = max(self.size_bytes, size_bytes)
        self.size_bytes = size_bytes
        self.size_peak_bytes = max(self.size_peak_bytes, size_bytes)
        return charged_bytes


class MeteredTable:
    """A table far away that throttles whatever would bring one of its items over a ceiling.

    Attributes:
        meters: By pool.
        read_count: Reads that were answered.
        write_count: Writes that were answered, refused conditions included.
        conflict_count: Of those, the refused ones.
        throttle_count: Requests that an item had no units for.

    Ceilings are those of each whole second; burst capacity, which DynamoDB grants but does not promise, is left out.
    """

    pace_ms = DynamoDBTable.pace_ms

    def __init__(self, *, clock: Clock, chance: Random) -> None:
        self.meters: defaultdict[str, Meter] = defaultdict(Meter)
        self.read_count = 0
        self.write_count = 0
        self.conflict_count = 0
        self.throttle_count = 0
        self._lines: defaultdict[str, Line] = defaultdict(Line)
        self._inner = MemoryTable(clock=clock)
        self._clock = clock
        self._chance = chance

    async def read(self, pool: str) -> Reply:
        sent_at_ms = await self._go()
        meter = self.meters[pool]
        await self._use(meter.reads, read_units(meter.size_bytes), READ_UNITS_A_SECOND_MAX)
        self.read_count += 1
        return await self._come_back(await self._inner.read(pool), sent_at_ms)

    async def create(self, pool: str, state: PoolState) -> Reply:
        sent_at_ms = await self._go()
        return await self._written(pool, await self._inner.create(pool, state), sent_at_ms)

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        sent_at_ms = await self._go()
        meter = self.meters[pool]
        left = WRITE_UNITS_A_SECOND_MAX - meter.writes[self._second]
        if left <= write_units(meter.size_bytes):  # it may grow by one
            await self._throttle()
        reply = await self._inner.write(pool, before, after)
        self.conflict_count += not reply.is_applied
        return await self._written(pool, reply, sent_at_ms)

    async def names(self) -> list[str]:
        return await self._inner.names()

    async def read_line(self, name: str) -> Line:
        """Return a line as it is now."""
        await self._go()
        meter = self.meters[name]
        await self._use(meter.reads, read_units(meter.size_bytes), READ_UNITS_A_SECOND_MAX)
        self.read_count += 1
        line = self._lines[name]
        await self._lag()
        return line

    async def draw_ticket(self, name: str, app: str) -> tuple[int, Line]:
        """Draw the next ticket of an app; return its number, and the line with it."""
        await self._go()
        line = await self._put_line(name, self._lines[name].with_ticket(app))
        return line.drawn[app], line

    async def call_tickets(self, name: str, seen: Line, after: Line) -> bool:
        """Call tickets, unless others were called since; tickets drawn since stay drawn."""
        await self._go()
        line = self._lines[name]
        is_applied = line.called == seen.called
        self.conflict_count += not is_applied
        await self._put_line(name, Line(line.drawn, after.called, after.called_at_ms) if is_applied else line)
        return is_applied

    async def _put_line(self, name: str, line: Line) -> Line:
        meter = self.meters[name]
        await self._use(meter.writes, write_units(meter.resize(line.size_bytes)), WRITE_UNITS_A_SECOND_MAX)
        self.write_count += 1
        self._lines[name] = line
        await self._lag()
        return line

    @property
    def _second(self) -> int:
        return self._clock.monotonic_ms() // 1_000

    async def _go(self) -> int:
        sent_at_ms = self._clock.monotonic_ms()
        await self._lag()
        return sent_at_ms

    async def _lag(self) -> None:
        await asyncio.sleep(self._chance.lognormvariate(math.log(LAG_MS / 2), LAG_SPREAD) / 1_000)

    async def _use(self, used: Counter[int], units: int, units_max: int) -> None:
        if used[self._second] + units > units_max:
            await self._throttle()
        used[self._second] += units

    async def _throttle(self) -> None:
        self.throttle_count += 1
        await self._lag()
        raise PoolTableError("the item has no units left in this second")

    async def _written(self, pool: str, reply: Reply, sent_at_ms: int) -> Reply:
        assert reply.state is not None
        meter = self.meters[pool]
        meter.writes[self._second] += write_units(meter.resize(quick_item_bytes(reply.state)))
        self.write_count += 1
        return await self._come_back(reply, sent_at_ms)

    async def _come_back(self, reply: Reply, sent_at_ms: int) -> Reply:
        date_ms = self._clock.wall_ms()
        await self._lag()
        return dated(
            reply,
            date_ms,
            resolution_ms=DATE_RESOLUTION_MS,
            sent_at_ms=sent_at_ms,
            received_at_ms=self._clock.monotonic_ms(),
        )
