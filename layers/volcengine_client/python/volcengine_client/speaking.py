"""A batch whose results come one by one, as they are spoken."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing, closing
from typing import Any

from volcengine_client.background import Background
from volcengine_client.errors import BatchStoppedError, CredentialsError, LoginRejectedError, VolcengineError
from volcengine_client.models import TaskError, TaskItem, TaskResult
from volcengine_client.segments import segment_count
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.text import characters_billed
from volcengine_client.voice_list import warning_of

Arrival = tuple[int, TaskResult]
LOGIN_REJECTED = "the upstream rejected the login of this account; nothing was bought"


class Arrivals:
    """The work of a batch, and its results in the order in which they come; lives on one event loop.

    Args:
        tasks: Of the batch.
        window: Tasks that may be under way, or have results that nobody has dealt with, at once; so a batch of any
            length needs the memory of a short one.
    """

    def __init__(self, tasks: Sequence[TaskItem], *, window: int) -> None:
        self._tasks = tasks
        self._window = window
        self._is_one_out = False
        self._open: set[int] = set()
        self._dropped: set[int] = set()
        self._next = 0
        self._settled: deque[tuple[int, Speech | VolcengineError]] = deque()
        self._has_spoken = False
        self._is_stopped = False
        self._is_over = False
        self._failure: VolcengineError | None = None
        self._changed = asyncio.Event()

    @property
    def task_count(self) -> int:
        """Tasks of the batch."""
        return len(self._tasks)

    def segment_count(self, *, enough: int) -> int:
        """Return how many calls the batch needs, as far as *enough*."""
        return segment_count(self._tasks, enough=enough)

    # --- as the batch sees it ---------------------------------------------------

    @property
    def open_count(self) -> int:
        return len(self._open)

    async def tasks(self) -> AsyncIterator[tuple[int, TaskItem]]:
        while self._next < len(self._tasks):
            await self._until(self._has_room)
            index = self._next
            self._next += 1
            self._open.add(index)
            yield index, self._tasks[index]
        await self._until(lambda: not self._open)

    def _has_room(self) -> bool:
        return len(self._open) + len(self._settled) + self._is_one_out < self._window

    def is_wanted(self, index: int) -> bool:
        return index in self._open and index not in self._dropped

    def settle(self, index: int, outcome: Speech | VolcengineError) -> None:
        if index in self._open:
            self._open.remove(index)
            self._has_spoken = self._has_spoken or isinstance(outcome, Speech)
            self._settled.append((index, outcome))
            self._tell()

    def settle_rest(self, error: VolcengineError) -> None:
        self._open.update(range(self._next, len(self._tasks)))
        self._next = len(self._tasks)
        for index in sorted(self._open):
            self.settle(index, error)

    # --- as its caller sees it --------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Arrival]:
        return self

    async def __anext__(self) -> Arrival:
        """Return the next result; the one before is dealt with.

        Raises:
            CredentialsError: The account was rejected, and nothing was bought.
            VolcengineError: The batch could not be spoken at all.
        """
        self._is_one_out = False
        self._tell()
        while not self._settled:
            if self._failure is not None:
                raise self._failure
            if self._is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        index, outcome = self._settled.popleft()
        self._is_one_out = True
        if isinstance(outcome, LoginRejectedError) and not self._has_spoken:
            raise CredentialsError(LOGIN_REJECTED) from outcome
        return index, _result(index, self._tasks[index], outcome)

    def stop(self) -> None:
        """Let no further call start; calls under way end as usual."""
        self._is_stopped = True
        self._tell()

    def drop(self, index: int) -> None:
        """Let no call start for a task; one that is under way ends as usual."""
        self._dropped.add(index)

    def end(self, failure: VolcengineError | None = None) -> None:
        """Say that nothing more comes."""
        self._is_over = True
        self._failure = failure
        self._tell()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises:
            BatchStoppedError: The batch was stopped.
        """
        while not is_so() or self._is_stopped:
            if self._is_stopped:
                raise BatchStoppedError("the batch was stopped before this task's turn came; nothing was bought")
            self._changed.clear()
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()


def _result(index: int, task: TaskItem, outcome: Speech | VolcengineError) -> TaskResult:
    about = {
        "task_id": task.task_id or f"task_{index + 1}",
        "characters": characters_billed(task.text),
        "warning": warning_of(task.voice_type),
    }
    if isinstance(outcome, VolcengineError):
        return TaskResult(**about, error=TaskError.of(outcome))
    audio_base64 = base64.b64encode(outcome.audio).decode()
    return TaskResult(
        **about,
        audio_base64=audio_base64,
        duration_ms=outcome.duration_ms,
        bought=True,
        subtitles=outcome.subtitles,
    )


class Speaking:
    """A batch that is being spoken; iterate over it once, blocking or not, for `(index, result)` as they come.

    Leaving the loop early, or cancelling it, abandons the calls under way, as closing does.

    Args:
        arrivals: Its work.
        speak: Speaks what it is given.
        background: Where it does.
    """

    def __init__(
        self, arrivals: Arrivals, speak: Callable[[Arrivals], Coroutine[Any, Any, object]], background: Background
    ) -> None:
        self._arrivals = arrivals
        self._speak = speak
        self._background = background
        self._speaking: Future[None] | None = None

    def stop(self) -> None:
        """Let no further call start; what is being spoken comes as usual, the rest as `batch_stopped`."""
        self._background.start(self._stop())

    def drop(self, index: int) -> None:
        """Let no call start for a task that nobody waits for any more; it comes as `batch_stopped` unless it began."""
        self._background.start(self._drop(index))

    def __iter__(self) -> Iterator[Arrival]:
        self._begin()
        with closing(self):
            yield from self._background.each(self._arrivals)

    async def __aiter__(self) -> AsyncGenerator[Arrival, None]:
        self._begin()
        try:
            async with aclosing(self._background.each_async(self._arrivals)) as arrivals:
                async for arrival in arrivals:
                    yield arrival
        finally:
            self._abandon()

    def close(self) -> None:
        """Abandon what is under way, and wait until its slots are given back; bounded in time."""
        if self._abandon():
            self._background.settle()

    def _begin(self) -> None:
        assert self._speaking is None, "a batch is spoken once"
        self._speaking = self._background.start(self._run())

    def _abandon(self) -> bool:
        return self._speaking is not None and self._speaking.cancel()

    async def _run(self) -> None:
        failure: VolcengineError | None = None
        try:
            await self._speak(self._arrivals)
        except VolcengineError as exc:
            failure = exc
        finally:
            self._arrivals.end(failure)

    async def _stop(self) -> None:
        self._arrivals.stop()

    async def _drop(self, index: int) -> None:
        self._arrivals.drop(index)
