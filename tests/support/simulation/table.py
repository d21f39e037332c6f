"""The table of the world, and each machine's bad way to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from tests.support.simulation.world import Machine, World
from volcengine_client.clock import TableTime
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import TABLE_TIMEOUT_MS
from volcengine_client.pool.slots import PoolState, applied
from volcengine_client.pool.table import Reply

POOL = "server"  # the only one in this world

Serve = Callable[[bool], tuple[PoolState | None, bool]]  # told whether the request comes a second time


class TableWatch(Protocol):
    """Who looks at each change of the item."""

    def item_made(self, state: PoolState) -> None:
        """Look at an item just created."""
        ...

    def item_changed(self, who: Machine, before: PoolState, after: PoolState, *, is_repeat: bool) -> None:
        """Judge a write that was applied."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad the way to the table is: chances a request.

    Attributes:
        lag_ms: The usual time there and back, log-normal.
        spread: Of the logarithm.
        lost: It never arrives.
        unanswered: It is applied, and the reply is lost.
        late: It is applied long after its sender gave up.
        late_max_ms: How long after.
        repeated: It arrives a second time, later.
        throttled: It is refused.
    """

    lag_ms: float = 6.0
    spread: float = 0.4
    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    late_max_ms: float = 0.0
    repeated: float = 0.0
    throttled: float = 0.0


CALM = Weather()


class SimulatedTable:
    """One pool's item, changed by the law that every table keeps (`table.py`)."""

    def __init__(self, world: World, watch: TableWatch, *, resolution_ms: int, date_error_ms: float) -> None:
        self.state: PoolState | None = None
        self.resolution_ms = resolution_ms
        self.write_count = self.read_count = self.conflict_count = 0
        self.is_out = False
        self._world = world
        self._watch = watch
        self._date_error_ms = date_error_ms

    def date_ms(self, chance: Random) -> int:
        """Return what a reply says of the time: cut, and wrong as the servers behind a table are."""
        date_ms = self._world.unix_ms + chance.uniform(-1, 1) * self._date_error_ms
        return int(date_ms // self.resolution_ms * self.resolution_ms)

    def read(self) -> tuple[PoolState | None, bool]:
        self.read_count += 1
        return self.state, False

    def create(self, who: Machine, state: PoolState) -> tuple[PoolState | None, bool]:
        is_missing = self.state is None
        if is_missing:
            self.state = replace(state, rev=1)
            self._world.tell(who.name, f"the table: makes {said(self.state)}")
            self._watch.item_made(self.state)
        return self.state, is_missing

    def write(
        self, who: Machine, before: PoolState, after: PoolState, *, is_repeat: bool = False
    ) -> tuple[PoolState | None, bool]:
        known = self.state
        new = None if known is None else applied(known, before, after)
        if known is None or new is None:
            self.conflict_count += 1
            self._world.befell["conflict"] += 1
            self._world.tell(who.name, "the table: a write meets another's and is refused")
            return known, False
        self.write_count += 1
        self.state = new
        self._world.tell(who.name, f"the table: {said(new)}")
        self._watch.item_changed(who, known, new, is_repeat=is_repeat)
        return new, True


class TableWay:
    """The table as one machine reaches it."""

    def __init__(self, table: SimulatedTable, machine: Machine, chance: Random, *, pace_ms: int) -> None:
        self.pace_ms = pace_ms
        self.weather = CALM
        self.is_cut = False
        self.table = table
        self.machine = machine
        self._chance = chance

    async def read(self, pool: str) -> Reply:
        assert pool == POOL
        return await self._ask(lambda _: self.table.read(), kind="read")

    async def create(self, pool: str, state: PoolState) -> Reply:
        assert pool == POOL
        return await self._ask(lambda _: self.table.create(self.machine, state), kind="create")

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        assert pool == POOL

        def serve(is_repeat: bool) -> tuple[PoolState | None, bool]:
            return self.table.write(self.machine, before, after, is_repeat=is_repeat)

        return await self._ask(serve, kind="write")

    async def names(self) -> list[str]:
        return []

    async def _ask(self, serve: Serve, *, kind: str) -> Reply:
        machine, world = self.machine, self.machine.world
        answer: asyncio.Future[Reply] = machine.loop.create_future()
        sent_at_ms = machine.monotonic_ms()
        timer = machine.loop.call_later(TABLE_TIMEOUT_MS / 1_000, self._give_up, answer)

        def arrive(*, is_answered: bool = True, is_repeat: bool = False) -> None:
            if self.table.is_out or self.is_cut:
                return
            state, is_applied = serve(is_repeat)
            date_ms = self.table.date_ms(self._chance)
            if is_answered:
                world.after(self._lag_ms() / 2, lambda: machine.deliver(receive, state, is_applied, date_ms))

        def receive(state: PoolState | None, is_applied: bool, date_ms: int) -> None:
            if not answer.done():
                answer.set_result(Reply(state, self._sample(date_ms, sent_at_ms), is_applied))

        if self._chance.random() < self.weather.throttled:
            world.after(self._lag_ms(), lambda: machine.deliver(_refuse, answer))
        else:
            self._send(arrive, kind)
        try:
            return await answer
        finally:
            timer.cancel()

    def _send(self, arrive: Callable[..., None], kind: str) -> None:
        """Let a request meet its fate."""
        world, weather, chance = self.machine.world, self.weather, self._chance
        fate = chance.random()
        if fate < weather.lost:
            world.befell["lost"] += 1
            world.tell(self.machine.name, f"a {kind} is lost")
        elif (fate := fate - weather.lost) < weather.unanswered:
            world.befell["unanswered"] += 1
            world.tell(self.machine.name, f"a {kind} will stay without reply")
            world.after(self._lag_ms() / 2, lambda: arrive(is_answered=False))
        elif (fate := fate - weather.unanswered) < weather.late:
            late_max_ms = chance.choice((300.0, weather.late_max_ms))
            late_ms = TABLE_TIMEOUT_MS + chance.random() * late_max_ms
            world.befell["late"] += 1
            world.tell(self.machine.name, f"a {kind} will come {late_ms:.0f} ms late")
            world.after(late_ms, lambda: arrive(is_answered=False))
        else:
            world.after(self._lag_ms() / 2, arrive)
            if kind != "read" and fate - weather.late < weather.repeated:
                later_ms = chance.random() ** 2 * max(50.0, weather.late_max_ms)
                world.befell["repeated"] += 1
                world.tell(self.machine.name, f"a {kind} will come again after {later_ms:.0f} ms")
                world.after(self._lag_ms() + later_ms, lambda: arrive(is_answered=False, is_repeat=True))

    def _give_up(self, answer: asyncio.Future[Reply]) -> None:
        if not answer.done():
            answer.set_exception(PoolTableError("no answer in time"))

    def _lag_ms(self) -> float:
        return self._chance.lognormvariate(0, self.weather.spread) * self.weather.lag_ms

    def _sample(self, date_ms: int, sent_at_ms: int) -> TableTime:
        return TableTime.sample(
            date_ms=date_ms,
            resolution_ms=self.table.resolution_ms,
            sent_at_ms=sent_at_ms,
            received_at_ms=self.machine.monotonic_ms(),
        )


def _refuse(answer: asyncio.Future[Reply]) -> None:
    if not answer.done():
        answer.set_exception(PoolTableError("the table is asked too much", retryable=True))


def said(state: PoolState) -> str:
    """Tell an item in a line."""
    slots = " ".join(
        f"{number}:{slot.holder_id or 'shut'}@{slot.expires_at_ms % 1_000_000}"
        for number, slot in sorted(state.slots.items())
    )
    queue = " ".join(f"{key}#{entry.revision}w{entry.want}" for key, entry in sorted(state.queue.items()))
    limit = "-" if state.limit is None else f"{state.limit.n}v{state.limit.version}"
    cap = "" if state.cap is None else f" cap {state.cap.n}@{state.cap.until_ms % 1_000_000}"
    return f"rev {state.rev} limit {limit}{cap} [{slots}] ({queue})"
