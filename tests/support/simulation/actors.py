"""Those who act on a stage: machines, the batches that they speak, and the participants that these make."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from random import Random
from typing import Protocol

from tests.support.simulation.laws import Batch, Laws
from tests.support.simulation.schedule import BatchPlan, Plan
from tests.support.simulation.table import POOL, SimulatedTable, TableWay
from tests.support.simulation.upstream import SimulatedSpeaker, SimulatedUpstream
from tests.support.simulation.world import Machine, ViolationError, World
from volcengine_client.batch import speak_batch
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.pool.holder import Holder, Pool, Terms


class Stage(Protocol):
    """Where they act."""

    plan: Plan
    world: World
    laws: Laws
    table: SimulatedTable
    upstream: SimulatedUpstream


class Actor:
    """One machine of a plan, and the batches that it speaks."""

    def __init__(self, stage: Stage, number: int) -> None:
        plan = stage.plan.machines[number]
        self.stage = stage
        self.plan = plan
        self.machine = Machine(
            stage.world,
            "ABCDEFGHIJ"[number],
            rate=1 + plan.drift_ppm / 1_000_000,
            boot_ms=plan.boot_ms,
            wall_error_ms=plan.wall_error_ms,
        )
        chance = Random(f"way {stage.plan.seed} {number}")
        self.way = TableWay(stage.table, self.machine, chance, pace_ms=plan.pace_ms)
        self.way.weather = plan.weather
        self.pool = Pool(POOL, table=self.way, times=stage.plan.times, clock=self.machine)
        self.pool.watchers = InOrder()
        self.speaker = SimulatedSpeaker(stage.upstream, self.machine)
        self.is_between = False
        self.holder_count = 0
        self._batches = sorted((one for one in stage.plan.batches if one.machine == number), key=lambda one: one.at_ms)
        self._left = len(self._batches)
        self._tasks: dict[str, asyncio.Task[BatchResponse]] = {}
        ACTORS[self.machine] = self

    @property
    def is_over(self) -> bool:
        """Whether it has nothing more to do."""
        return self.machine.is_dead or not self._left

    def begin(self) -> None:
        """Let its batches come: all at their times, or one after the other in a function."""
        if self.plan.is_function:
            self.is_between = bool(self._batches)
            self._invoke_next()
            return
        for one in self._batches:
            self.stage.world.after(one.at_ms, lambda one=one: self.machine.deliver(self._start, one))  # type: ignore[misc]

    def cancel(self) -> None:
        """Cancel the batch that began last."""
        running = [task for task in self._tasks.values() if not task.done()]
        if running:
            self.stage.world.tell(self.machine.name, "a batch is cancelled")
            running[-1].cancel()

    def mend(self) -> None:
        """Let requests to the table through again."""
        self.way.is_cut = False

    def _invoke_next(self) -> None:
        if not self._batches:
            return
        one = self._batches.pop(0)

        def invoke() -> None:
            if self.machine.is_dead:
                return
            self.is_between = False
            self.stage.world.befell["invoked again"] += self.holder_count > 0
            self.machine.thaw(self.plan.parked)
            self.machine.deliver(self._start, one)

        self.stage.world.after(max(1.0, one.at_ms - self.stage.world.now_ms), invoke)

    def _start(self, plan: BatchPlan) -> None:
        machine = self.machine
        tasks = [TaskItem(task_id=key, text=f"{plan.name}-{n}") for n, key in enumerate(plan.task_ids)]
        deadline_at_ms = None if plan.deadline_ms is None else machine.monotonic_ms() + plan.deadline_ms
        batch = Batch(plan.name, machine, tasks, machine.world.now_ms, deadline_at_ms, machine.frozen_ms)
        self.stage.laws.batch_began(batch)
        limit = plan.limit
        terms = Terms(
            limit=limit,
            hold_max=plan.hold_max,
            app=plan.app,
            weight=plan.weight,
            is_background=plan.is_background,
        )

        async def speak() -> BatchResponse:
            if self.plan.is_function:
                self.pool.begin_invocation()
            return await speak_batch(
                tasks,
                speaker=self.speaker,
                pool=self.pool,
                terms=terms,
                clock=machine,
                deadline_at_ms=deadline_at_ms,
                answer_bytes_max=plan.answer_bytes_max,
            )

        task = machine.loop.create_task(speak())
        self._tasks[plan.name] = task
        task.add_done_callback(lambda done: self._ended(batch, done))

    def _ended(self, batch: Batch, task: asyncio.Task[BatchResponse]) -> None:
        if self.machine.loop.is_quiet:
            return
        self._left -= 1
        response = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self.stage.laws.breach(f"bug: {batch.name} fails with {error!r}")
                raise ViolationError(str(error)) from error
            response = task.result()
            ends = [result.error.code if result.error else "audio" for result in response.results]
            self.stage.world.befell.update(ends)
        else:
            self.stage.world.befell["cancelled"] += 1
        self.stage.laws.batch_ended(batch, response)
        if self.plan.is_function and self._batches:
            self.is_between = True
            self.machine.strike_after(0, lambda: self.machine.freeze(self.plan.parked))
            self._invoke_next()


ACTORS: weakref.WeakKeyDictionary[Machine, Actor] = weakref.WeakKeyDictionary()


class InOrder(set[asyncio.Event]):
    """A set that is gone through in the order in which it was filled, so that a seed replays exactly."""

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[asyncio.Event, None] = {}

    def add(self, element: asyncio.Event) -> None:
        self._order[element] = None

    def discard(self, element: object) -> None:
        if isinstance(element, asyncio.Event):
            self._order.pop(element, None)

    def __iter__(self) -> Iterator[asyncio.Event]:
        return iter(list(self._order))


class RecordingHolder(Holder):
    """The holder of the code under test, known to the laws, and with a name that a story can tell."""

    def __init__(self, pool: Pool, terms: Terms, *, leave_by_ms: int | None = None) -> None:
        super().__init__(pool, terms, leave_by_ms=leave_by_ms)
        machine = pool.clock
        assert isinstance(machine, Machine)
        actor = ACTORS[machine]
        actor.holder_count += 1
        self.holder_id = f"{machine.name}{actor.holder_count}"
        self._laws = actor.stage.laws
        self._laws.holders[self.holder_id] = (machine, self)

    async def _try_leave(self) -> bool:
        has_left = await super()._try_leave()
        if has_left:
            self._laws.gone.add(self.holder_id)
        return has_left
