"""Pools in the memory of one process, under the same law as the shared table."""

from __future__ import annotations

from dataclasses import replace

from volcengine_client.clock import Clock, TableTime
from volcengine_client.pool.slots import PoolState, applied
from volcengine_client.pool.table import Reply


class MemoryTable:
    """The table of a process that shares its account with no other.

    Its clock is the process's own, so bounds are exact. Not for threads: one event loop at a time.
    """

    pace_ms = 100  # those who wait in this process are woken by each change

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._pools: dict[str, PoolState] = {}

    async def read(self, pool: str) -> Reply:
        return self._reply(pool)

    async def create(self, pool: str, state: PoolState) -> Reply:
        self._forget_unused()
        is_missing = pool not in self._pools
        if is_missing:
            self._pools[pool] = replace(state, rev=1)
        return self._reply(pool, is_applied=is_missing)

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        state = self._pools.get(pool)
        new = None if state is None else applied(state, before, after)
        if new is not None:
            self._pools[pool] = new
        return self._reply(pool, is_applied=new is not None)

    async def names(self) -> list[str]:
        return sorted(self._pools)

    def _forget_unused(self) -> None:
        """Drop pools whose time is over, as the shared table does by itself."""
        now_s = self._clock.monotonic_ms() // 1_000
        for name, state in list(self._pools.items()):
            if state.kept_until_s is not None and state.kept_until_s < now_s and not state.slots:
                del self._pools[name]

    def _reply(self, pool: str, *, is_applied: bool = False) -> Reply:
        now_ms = self._clock.monotonic_ms()
        time = TableTime.sample(date_ms=now_ms, resolution_ms=0, sent_at_ms=now_ms, received_at_ms=now_ms)
        return Reply(self._pools.get(pool), time, is_applied)
