"""A batch over a pool: every task ends as audio or as an error, in input order, in time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import replace

from volcengine_client.answer import AnswerRoom, Outcomes
from volcengine_client.clock import Clock
from volcengine_client.deadline import Deadline, seconds
from volcengine_client.errors import (
    AnswerFullError,
    ConcurrencyExceededError,
    DeadlineCutError,
    LeaseLostError,
    LoginRejectedError,
    NoSlotInTimeError,
    PoolTableError,
    UpstreamTimeoutError,
    VolcengineError,
)
from volcengine_client.models import BatchResponse, PoolReport, TaskItem
from volcengine_client.pool.holder import Holder, Lease, Pool, Terms
from volcengine_client.segments import Segment, Segments, segment_count
from volcengine_client.speech.retry import wait_before_retry_ms
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_client.work import Work


async def speak_batch(
    tasks: Sequence[TaskItem],
    *,
    speaker: Speaker,
    pool: Pool,
    terms: Terms,
    clock: Clock,
    deadline_at_ms: int | None = None,
    answer_bytes_max: int | None = None,
) -> BatchResponse:
    """Speak all tasks within the pool's limit (I1), and answer in input order (I3).

    A call is started only if such calls usually end before the deadline; what was not started was not bought (I5).
    Audio that was bought is always in the answer. When this is cancelled, calls under way are abandoned and their
    slots drained.

    Args:
        tasks: At least one.
        speaker: The account to speak with.
        pool: The account's pool.
        terms: How this batch takes part in it.
        clock: Whose monotonic time the deadline is on.
        deadline_at_ms: When this must have returned; None: never mind.
        answer_bytes_max: How large the answer may be, base64 included; None: any size.

    Raises:
        LoginRejectedError: The upstream refused the login, and nothing was bought.
    """
    outcomes = Outcomes(tasks)
    room = AnswerRoom(tasks, answer_bytes_max)
    terms = replace(terms, hold_max=segment_count(tasks, enough=terms.hold_max))
    pool_report = await speak(
        outcomes, speaker=speaker, pool=pool, terms=terms, clock=clock, deadline_at_ms=deadline_at_ms, room=room
    )
    return outcomes.response(pool_report)


async def speak(
    work: Work,
    *,
    speaker: Speaker,
    pool: Pool,
    terms: Terms,
    clock: Clock,
    deadline_at_ms: int | None = None,
    room: AnswerRoom | None = None,
) -> PoolReport:
    """Speak what *work* hands out, as `speak_batch` does, however much that is.

    Raises:
        Whatever `work.tasks` raises, but for errors of ours, which become the outcome of what is left.
    """
    batch = _Batch(Segments(work), speaker, pool, Deadline(deadline_at_ms, clock=clock), room or AnswerRoom((), None))
    async with Holder(pool, terms, leave_by_ms=deadline_at_ms) as holder:
        await batch.run(holder, worker_count=terms.hold_max)
    limit = terms.limit if pool.snapshot is None or pool.snapshot.limit is None else pool.snapshot.limit
    return PoolReport(limit=limit.n, waited_ms=holder.waited_ms)


class _Batch:
    """The work of one batch: segments that wait for a slot, calls under way, outcomes."""

    def __init__(self, segments: Segments, speaker: Speaker, pool: Pool, deadline: Deadline, room: AnswerRoom) -> None:
        self._segments = segments
        self._speaker = speaker
        self._pool = pool
        self._deadline = deadline
        self._room = room
        self._ready: asyncio.Queue[Segment] = asyncio.Queue()
        self._calling: set[asyncio.Task[None]] = set()
        self._is_all_handed_out = False
        self._closed_by: VolcengineError | None = None
        self._closed = asyncio.Event()

    async def run(self, holder: Holder, *, worker_count: int) -> None:
        """Speak until every task has its outcome or no call may start any more, then wait for those under way."""
        self._room.on_change = lambda: self._tell_want(holder)
        workers = [asyncio.create_task(self._speak(holder)) for _ in range(worker_count)]
        workers.append(asyncio.create_task(self._hand_out(holder)))
        try:
            await self._until_closed(workers)
            for worker in workers:
                if worker not in self._calling:
                    worker.cancel()
            if self._calling:
                await asyncio.wait(self._calling, timeout=seconds(self._deadline.left_ms()))
        finally:
            for worker in workers:
                worker.cancel()
            for end in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                    raise end
        late = NoSlotInTimeError("no slot came in time, so nothing was bought; ask again", retry_after_ms=1_000)
        self._segments.settle_rest(self._closed_by or holder.trouble or late)

    async def _hand_out(self, holder: Holder) -> None:
        """Line up the segments of the tasks as they come."""
        try:
            async for segment in self._segments.each():
                self._ready.put_nowait(segment)
                self._tell_want(holder)
        except VolcengineError as error:
            self._close(error)
        self._is_all_handed_out = True
        self._tell_want(holder)
        await self._closed.wait()

    async def _until_closed(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Wait until all is settled, something ends the batch, or no call may start any more."""
        closed = asyncio.create_task(self._closed.wait())
        try:
            while not closed.done() and not any(worker.done() for worker in workers):
                left_ms = self._deadline.left_to_start_ms(self._pool.call_time_ms())
                if left_ms is not None and left_ms <= 0:
                    break
                await asyncio.wait({closed, *workers}, timeout=seconds(left_ms), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
            self._closed.set()

    async def _speak(self, holder: Holder) -> None:
        """Take one segment after another to a slot."""
        worker = asyncio.current_task()
        assert worker is not None
        while not self._closed.is_set():
            segment = await self._ready.get()
            if not self._segments.is_wanted(segment):
                self._tell_want(holder)
                continue
            async with self._room.reserved(segment.task, of=segment.whole) as has_room:
                if not has_room:
                    full = AnswerFullError("the answer has no room for this task's audio; ask for it again")
                    self._settle(holder, segment, full)
                    continue
                try:
                    async with holder.slot() as lease:
                        if self._segments.is_wanted(segment):  # its task may have failed while it waited
                            self._calling.add(worker)
                            await self._call(holder, segment, lease)
                except PoolTableError as error:
                    self._close(error)
                finally:
                    self._calling.discard(worker)

    async def _call(self, holder: Holder, segment: Segment, lease: Lease) -> None:
        """Make one attempt; settle the segment, or have it tried again."""
        try:
            speech = await self._speaker.speak(
                segment.task, call=lease, timeout_ms=self._pool.times.upstream_call_max_ms
            )
        except LeaseLostError:
            self._ready.put_nowait(segment)
        except asyncio.CancelledError:
            self._segments.settle(segment, _cut())
            raise
        except VolcengineError as error:
            segment.attempt_count += 1
            lease.ended(is_refused=isinstance(error, ConcurrencyExceededError))
            is_cut = isinstance(error, UpstreamTimeoutError) and self._deadline.left_ms() == 0
            await self._retry_or_settle(holder, segment, _cut() if is_cut else error)
        else:
            self._room.spend(segment.task, len(speech.audio), of=segment.whole)
            lease.ended(is_spoken=True)
            self._settle(holder, segment, speech)

    async def _retry_or_settle(self, holder: Holder, segment: Segment, error: VolcengineError) -> None:
        wait_ms = wait_before_retry_ms(error, attempt=segment.attempt_count, chance=random.random())
        left_ms = self._deadline.left_to_start_ms(self._pool.call_time_ms())
        if wait_ms is None or (left_ms is not None and wait_ms >= left_ms):
            self._settle(holder, segment, error)
            if isinstance(error, LoginRejectedError):
                self._close(error)
        elif isinstance(error, ConcurrencyExceededError):
            # The slot rests too: on another task it would only be refused again.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), seconds(wait_ms))
            self._ready.put_nowait(segment)
        else:
            asyncio.get_running_loop().call_later(wait_ms / 1_000, self._ready.put_nowait, segment)

    def _settle(self, holder: Holder, segment: Segment, outcome: Speech | VolcengineError) -> None:
        self._segments.settle(segment, outcome)
        self._tell_want(holder)

    def _tell_want(self, holder: Holder) -> None:
        holder.want(self._room.callable_count(self._segments.open_count))
        if self._is_all_handed_out and not self._segments.open_count:
            self._closed.set()

    def _close(self, error: VolcengineError) -> None:
        """Start nothing more: the error would meet every other task too."""
        self._closed_by = self._closed_by or error
        self._closed.set()


def _cut() -> DeadlineCutError:
    return DeadlineCutError("the deadline came while this was spoken; ask again")
