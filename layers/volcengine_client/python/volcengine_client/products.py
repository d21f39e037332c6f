"""One work whose tasks are counted in several pools: the account allows each product so many calls of its own.

The tasks are dealt out as they come, each product's to a batch over its own pool, and all settle in the one work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from volcengine_client.answer import AnswerRoom, Outcomes
from volcengine_client.batch import speak
from volcengine_client.clock import Clock
from volcengine_client.errors import NoSlotInTimeError, VolcengineError
from volcengine_client.models import BatchResponse, PoolReport, TaskItem
from volcengine_client.pool.holder import Pool, Terms
from volcengine_client.segments import Whole, segment_count
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.work import Work


@dataclass(frozen=True, slots=True)
class Counter:
    """Where a product's calls are counted.

    Attributes:
        pool: The product's own, or the account's for all without one.
        terms: How this work takes part in it.
    """

    pool: Pool
    terms: Terms

    def at_most(self, call_count: int) -> Counter:
        """Return the same for a work of so many calls, which holds no more slots than that."""
        return replace(self, terms=replace(self.terms, hold_max=min(self.terms.hold_max, call_count)))


async def speak_by_product(
    work: Work,
    *,
    counters: Mapping[str, Counter],
    product_of: Callable[[TaskItem], str],
    speaker: Speaker,
    clock: Clock,
    deadline_at_ms: int | None = None,
    room: AnswerRoom | None = None,
) -> PoolReport:
    """Speak what *work* hands out as `speak` does, each task within the limit of its product (I1).

    A pool is joined when its first task comes. What ends one product's batch ends the others too, after the calls
    under way, but for the want of time, which each meets by itself. Cancelling it cancels them all.

    Args:
        work: The tasks.
        counters: By product, "" for every other.
        product_of: Tells a task's product.
        speaker: The account to speak with.
        clock: Whose monotonic time the deadline is on.
        deadline_at_ms: When this must have returned; None: never mind.
        room: Of the answer; None: any.

    Returns:
        The sum of the limits of the pools that were joined, and the longest wait for a first slot.

    Raises:
        Whatever `work.tasks` raises, but for errors of ours, which become the outcome of what is left.
    """
    if len(counters) == 1:
        counter = counters[""]
        return await speak(
            work,
            speaker=speaker,
            pool=counter.pool,
            terms=counter.terms,
            clock=clock,
            deadline_at_ms=deadline_at_ms,
            room=room,
        )
    deal = _Deal(work, counters, product_of, room or AnswerRoom((), None), has_deadline=deadline_at_ms is not None)

    async def spoken(part: _Part) -> PoolReport:
        return await speak(
            part,
            speaker=speaker,
            pool=part.counter.pool,
            terms=part.counter.terms,
            clock=clock,
            deadline_at_ms=deadline_at_ms,
            room=part.room,
        )

    return await deal.run(spoken)


async def speak_batch_by_product(
    tasks: Sequence[TaskItem],
    *,
    counters: Mapping[str, Counter],
    product_of: Callable[[TaskItem], str],
    speaker: Speaker,
    clock: Clock,
    deadline_at_ms: int | None = None,
    answer_bytes_max: int | None = None,
) -> BatchResponse:
    """Speak all tasks as `speak_batch` does, each within the limit of its product.

    Raises:
        LoginRejectedError: The upstream refused the login, and nothing was bought.
    """
    most = segment_count(tasks, enough=max(counter.terms.hold_max for counter in counters.values()))
    outcomes = Outcomes(tasks)
    report = await speak_by_product(
        outcomes,
        counters={product: counter.at_most(most) for product, counter in counters.items()},
        product_of=product_of,
        speaker=speaker,
        clock=clock,
        deadline_at_ms=deadline_at_ms,
        room=AnswerRoom(tasks, answer_bytes_max),
    )
    return outcomes.response(report)


class _Deal:
    """The parts of a work, and what deals the tasks out to them."""

    def __init__(
        self,
        work: Work,
        counters: Mapping[str, Counter],
        product_of: Callable[[TaskItem], str],
        room: AnswerRoom,
        *,
        has_deadline: bool,
    ) -> None:
        self._work = work
        self._counters = counters
        self._product_of = product_of
        self._room = room
        self._parts: dict[str, _Part] = {}
        self._has_deadline = has_deadline
        self._ended_by: VolcengineError | None = None
        room.on_change = self._tell_room

    async def run(self, spoken: Callable[[_Part], Coroutine[Any, Any, PoolReport]]) -> PoolReport:
        try:
            async with asyncio.TaskGroup() as group:
                dealing = group.create_task(self._deal(lambda part: group.create_task(self._speak(part, spoken))))
                self._stop_dealing = dealing.cancel
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        late = NoSlotInTimeError("no slot came in time, so nothing was bought; ask again", retry_after_ms=1_000)
        self._work.settle_rest(self._ended_by or late)
        reports = [part.report for part in self._parts.values() if part.report is not None]
        waits = [report.waited_ms for report in reports if report.waited_ms is not None]
        limit = sum(report.limit for report in reports) or self._counters[""].terms.limit.n
        return PoolReport(limit=limit, waited_ms=max(waits, default=None))

    async def _deal(self, begin: Callable[[_Part], object]) -> None:
        """Hand each task to its product's part, which begins with its first one."""
        try:
            async for index, task in self._work.tasks():
                product = self._product_of(task)
                name = product if product in self._counters else ""
                part = self._parts.get(name)
                if part is None:
                    part = self._parts[name] = _Part(self._work, self._counters[name], self._room)
                    begin(part)
                part.add(index, task)
        except VolcengineError as error:
            self._end(error)
        for part in self._parts.values():
            part.end()

    async def _speak(self, part: _Part, spoken: Callable[[_Part], Coroutine[Any, Any, PoolReport]]) -> None:
        part.report = await spoken(part)
        if part.is_done:
            return
        error = part.left_by
        assert error is not None, "a batch leaves nothing without saying why"
        if not isinstance(error, NoSlotInTimeError) or not self._has_deadline:
            self._end(error)
        elif all(one.report is not None for one in self._parts.values()):
            self._ended_by = self._ended_by or error
            self._stop_dealing()

    def _end(self, error: VolcengineError) -> None:
        """Let no further call start, in any part."""
        self._ended_by = self._ended_by or error
        for part in self._parts.values():
            part.end(error)
        self._stop_dealing()

    def _tell_room(self) -> None:
        for part in self._parts.values():
            part.room.on_change()


class _Part:
    """The tasks of one product: a work of its own.

    Attributes:
        counter: Where its calls are counted.
        room: Its view of the one answer.
        report: How its pool served it; None until it is over.
        left_by: Why it left what it left; None while it goes on.
    """

    def __init__(self, whole: Work, counter: Counter, room: AnswerRoom) -> None:
        self.counter = counter
        self.room = _RoomOfPart(room)
        self.report: PoolReport | None = None
        self.left_by: VolcengineError | None = None
        self._whole = whole
        self._waiting: deque[tuple[int, TaskItem]] = deque()
        self._open: set[int] = set()
        self._is_all_here = False
        self._ended_by: VolcengineError | None = None
        self._changed = asyncio.Event()

    @property
    def is_done(self) -> bool:
        """Whether all tasks came and each has its outcome."""
        return self._is_all_here and self._ended_by is None and not self._open

    def add(self, index: int, task: TaskItem) -> None:
        self._open.add(index)
        self._waiting.append((index, task))
        self._changed.set()

    def end(self, error: VolcengineError | None = None) -> None:
        """Say that no more tasks come; with *error* that those which wait are not to be begun either."""
        self._is_all_here = True
        self._ended_by = self._ended_by or error
        self._changed.set()

    # --- as its batch sees it ---------------------------------------------------

    @property
    def open_count(self) -> int:
        return len(self._open)

    async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        while True:
            if self._ended_by is not None:
                raise self._ended_by
            if self._waiting:
                yield self._waiting.popleft()
            elif self._is_all_here:
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    def is_wanted(self, index: int) -> bool:
        return index in self._open and self._whole.is_wanted(index)

    def settle(self, index: int, outcome: Speech | VolcengineError) -> None:
        self._open.discard(index)
        self._whole.settle(index, outcome)

    def settle_rest(self, error: VolcengineError) -> None:
        """Leave what is open to the whole, which settles it when all parts are over."""
        self.left_by = error


class _RoomOfPart(AnswerRoom):
    """The room of an answer that several batches share; each is told of changes."""

    def __init__(self, shared: AnswerRoom) -> None:
        super().__init__((), None)
        self._shared = shared

    @asynccontextmanager
    async def reserved(self, task: TaskItem, *, of: Whole | None = None) -> AsyncIterator[bool]:
        async with self._shared.reserved(task, of=of) as has_room:
            yield has_room

    def callable_count(self, open_count: int) -> int:
        return min(open_count, self._shared.callable_count(open_count))

    def spend(self, task: TaskItem, audio_bytes: int, *, of: Whole | None = None) -> None:
        self._shared.spend(task, audio_bytes, of=of)
