"""A client's background event loop: all of its work runs there, called from any thread and any event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from volcengine_client.limits import CLOSE_MAX_MS, LEAVE_MAX_MS

T = TypeVar("T")
End = Callable[[], Awaitable[None]]


class Background:
    """An event loop in a thread of its own, which starts with the first work and again after a close or a fork.

    Args:
        settle: Awaited after work was abandoned, until what it leaves behind is in order; bounded in time.
        close: Awaited at the end: closes the connections.
    """

    def __init__(self, *, settle: End, close: End) -> None:
        self._ends = (settle, close)
        self._loop: _Loop | None = None
        self._lock = threading.Lock()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run *work* on the loop."""
        return self._running().start(work)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* and wait for it; Ctrl-C abandons it, and what it leaves behind is put in order first."""
        loop = self._running()
        future = loop.start(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            loop.settle()
            raise

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* and await it; cancelling this cancels it."""
        return await asyncio.wrap_future(self.start(work))

    def each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield what *items* yields, which runs on the loop; what it leaves behind is for the caller to settle."""
        while True:
            future = self.start(_next(items))
            try:
                item = future.result()
            finally:
                future.cancel()
            if item is None:
                return
            yield item

    async def each_async(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield what *items* yields, which runs on the loop."""
        while (item := await self.call(_next(items))) is not None:
            yield item

    def settle(self) -> None:
        """Wait until what was abandoned is in order; bounded in time."""
        loop = self._loop
        if loop is not None and loop.is_usable:
            loop.settle()

    def close(self) -> None:
        """Abandon what is in progress and end the loop; bounded in time."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()

    def _running(self) -> _Loop:
        with self._lock:
            if self._loop is None or not self._loop.is_usable:
                self._loop = _Loop(*self._ends)
                weakref.finalize(self, self._loop.stop)
            return self._loop


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


class InBackground:
    """A client whose work runs on a background loop: a context, blocking or asynchronous, that closes it."""

    _background: Background

    def close(self) -> None:
        """Close the connections; what is in progress is abandoned. The client may be used again."""
        self._background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class _Loop:
    """One life of the background event loop."""

    def __init__(self, settle: End, close: End) -> None:
        self._pid = os.getpid()
        self._settle_rest = settle
        self._close = close
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="volcengine-tts", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """Whether it belongs to this process: a fork has no threads of its parent's."""
        return self._pid == os.getpid()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        future: Future[T] = asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop)
        return future

    def settle(self) -> None:
        settled = asyncio.run_coroutine_threadsafe(self._settle(), self._loop)
        with suppress(FutureTimeoutError):
            settled.result(LEAVE_MAX_MS / 1_000)

    def stop(self) -> None:
        """Abandon what is in progress, let it settle, close the connections, end the loop; bounded in time."""
        if not self.is_usable or not self._thread.is_alive():
            return
        ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        with suppress(FutureTimeoutError):
            ended.result(CLOSE_MAX_MS / 1_000)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_MAX_MS / 1_000)
        if not self._thread.is_alive():
            self._loop.close()

    async def _tracked(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await work

    async def _settle(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._settle_rest()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._settle()
        await self._close()
