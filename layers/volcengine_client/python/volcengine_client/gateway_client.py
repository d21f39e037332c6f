"""The client of a gateway: batches, jobs of any size and the pool, over HTTP.

    client = GatewayClient("https://…", admin_api_key="…")
    job = client.submit_sync([TaskItem("hello", "Hello world", "BV001_streaming")], app="bookshop")
    for result in client.results_sync(job.job_id):
        if result.error is None:
            client.download_sync(result, f"{result.index}.mp3")

Every method is there twice, awaited and blocking. All of them, from any thread and any event loop, run on one
background event loop and share its connections.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Unpack

from volcengine_client.background import Background, InBackground
from volcengine_client.clock import SystemClock
from volcengine_client.gateway_asks import GatewayAsks
from volcengine_client.gateway_wire import GatewayWire
from volcengine_client.jobs import Estimate, Job, JobResult, JobState, JobWishes, PoolStatus
from volcengine_client.limits import CLIENT_BATCH_MS
from volcengine_client.models import TaskItem, TaskResult


class GatewayClient(InBackground):
    """Speak through a gateway.

    Requests are repeated, with growing waits and never sooner than the gateway says, where that can help; nothing is
    bought twice for it.

    Args:
        url: The gateway's base URL.
        admin_api_key: The key that lets callers use the gateway's account; jobs need it. None: none is shown.
        account: One of the gateway's accounts; None: its main one.
        batch_ms: How long `generate_batch` waits for an answer before it asks again.

    Attributes:
        address: The gateway's base URL.

    Raises:
        ValueError: The URL is no base URL, or the key could not stand in a header.
    """

    def __init__(
        self,
        url: str,
        admin_api_key: str | None = None,
        *,
        account: str | None = None,
        batch_ms: int = CLIENT_BATCH_MS,
    ) -> None:
        clock = SystemClock()
        wire = GatewayWire(url, admin_api_key, clock=clock)
        self.address = wire.address
        self._asks = GatewayAsks(wire, account=account, batch_ms=batch_ms, clock=clock)
        self._background = Background(settle=_nothing, close=wire.close)

    def __repr__(self) -> str:
        return f"GatewayClient({self.address!r})"

    # --- batches ----------------------------------------------------------------

    async def generate_batch_async(
        self, tasks: Sequence[TaskItem], *, app: str = "default", cache: bool = True
    ) -> list[TaskResult]:
        """Speak a batch of any size, and return one result a task, in their order.

        What the gateway has no time for in one answer goes on there as a job, for which this waits. Audio is in the
        results or, where it is too much, behind an `audio_url`; `audio_async` returns it in both cases.

        Args:
            tasks: Up to 100,000.
            app: Whose share of the pool it takes from.
            cache: Whether audio that was spoken before will do.

        Raises:
            VolcengineError: The request failed, or every task did; then `details["results"]` has the results.
        """
        return await self._background.call(self._asks.batch(tasks, {"app": app, "cache": cache}))

    def generate_batch_sync(
        self, tasks: Sequence[TaskItem], *, app: str = "default", cache: bool = True
    ) -> list[TaskResult]:
        """Speak a batch of any size; see `generate_batch_async`."""
        return self._background.run(self._asks.batch(tasks, {"app": app, "cache": cache}))

    async def estimate_async(self, tasks: Sequence[TaskItem], *, cache: bool = True) -> Estimate:
        """Tell what a batch would take; nothing is bought."""
        return await self._background.call(self._asks.estimate(tasks, {"cache": cache}))

    def estimate_sync(self, tasks: Sequence[TaskItem], *, cache: bool = True) -> Estimate:
        """Tell what a batch would take; see `estimate_async`."""
        return self._background.run(self._asks.estimate(tasks, {"cache": cache}))

    # --- jobs -------------------------------------------------------------------

    async def submit_async(self, tasks: Sequence[TaskItem], **wishes: Unpack[JobWishes]) -> Job:
        """Hand in a job of up to 100,000 tasks. A list that is too large for a request is uploaded first.

        Raises:
            BatchTooLargeError: There are more tasks, or more than 128 MiB of them.
            InvalidRequestError: The gateway refuses a field; `details["fields"]` names it.
        """
        return await self._background.call(self._asks.submit(tasks, {**wishes}))

    def submit_sync(self, tasks: Sequence[TaskItem], **wishes: Unpack[JobWishes]) -> Job:
        """Hand in a job; see `submit_async`."""
        return self._background.run(self._asks.submit(tasks, {**wishes}))

    async def job_async(self, job_id: str) -> Job:
        """Return how a job stands.

        Raises:
            UnknownJobError: There is none, or no longer.
        """
        return await self._background.call(self._asks.page(job_id, limit=0))

    def job_sync(self, job_id: str) -> Job:
        """Return how a job stands; see `job_async`."""
        return self._background.run(self._asks.page(job_id, limit=0))

    async def wait_async(self, job_id: str, timeout_ms: int | None = None) -> Job:
        """Wait until a job is over: done, failed or cancelled.

        Raises:
            TimeoutError: It was not, *timeout_ms* later; it goes on.
        """
        return await self._background.call(self._asks.wait(job_id, timeout_ms))

    def wait_sync(self, job_id: str, timeout_ms: int | None = None) -> Job:
        """Wait until a job is over; see `wait_async`."""
        return self._background.run(self._asks.wait(job_id, timeout_ms))

    async def results_async(self, job_id: str, *, after: int = -1) -> AsyncGenerator[JobResult, None]:
        """Yield a job's results in input order, each as soon as it and all before it are finished.

        Args:
            job_id: The job's.
            after: The index of the last result that the caller has; -1: none yet.
        """
        async with aclosing(self._background.each_async(self._asks.results(job_id, after))) as results:
            async for result in results:
                yield result

    def results_sync(self, job_id: str, *, after: int = -1) -> Iterator[JobResult]:
        """Yield a job's results in input order; see `results_async`."""
        yield from self._background.each(self._asks.results(job_id, after))

    async def cancel_async(self, job_id: str) -> Job:
        """Cancel a job: no further call starts, finished audio stays. One that is over stays as it is."""
        return await self._background.call(self._asks.cancel(job_id))

    def cancel_sync(self, job_id: str) -> Job:
        """Cancel a job; see `cancel_async`."""
        return self._background.run(self._asks.cancel(job_id))

    async def jobs_async(self, *, app: str | None = None, state: JobState | None = None) -> AsyncGenerator[Job, None]:
        """Yield the account's jobs, the youngest first; only those of *app*, and in *state*, if one is given."""
        async with aclosing(self._background.each_async(self._asks.jobs(app, state))) as jobs:
            async for job in jobs:
                yield job

    def jobs_sync(self, *, app: str | None = None, state: JobState | None = None) -> Iterator[Job]:
        """Yield the account's jobs; see `jobs_async`."""
        yield from self._background.each(self._asks.jobs(app, state))

    # --- audio and the pool -----------------------------------------------------

    async def audio_async(self, result: TaskResult) -> bytes:
        """Return a result's audio, wherever the gateway left it.

        Raises:
            VolcengineError: The result has an error, which is raised, or its audio can't be had.
        """
        return await self._background.call(self._asks.audio(result))

    def audio_sync(self, result: TaskResult) -> bytes:
        """Return a result's audio; see `audio_async`."""
        return self._background.run(self._asks.audio(result))

    async def download_async(self, result: TaskResult, path: str | os.PathLike[str]) -> None:
        """Save a result's audio under *path*, whole or not at all, wherever the gateway left it.

        Raises:
            VolcengineError: The result has an error, which is raised, or its audio can't be had.
            OSError: The file can't be written.
        """
        await self._background.call(self._asks.download(result, Path(path)))

    def download_sync(self, result: TaskResult, path: str | os.PathLike[str]) -> None:
        """Save a result's audio; see `download_async`."""
        self._background.run(self._asks.download(result, Path(path)))

    async def subtitles_async(self, result: TaskResult) -> str:
        """Return a result's subtitles, in the form that its task asked for, wherever the gateway left them.

        Raises:
            VolcengineError: The result has an error, which is raised, or its subtitles can't be had.
        """
        return await self._background.call(self._asks.subtitles(result))

    def subtitles_sync(self, result: TaskResult) -> str:
        """Return a result's subtitles; see `subtitles_async`."""
        return self._background.run(self._asks.subtitles(result))

    async def download_subtitles_async(self, result: TaskResult, path: str | os.PathLike[str]) -> None:
        """Save a result's subtitles under *path*, in UTF-8, whole or not at all.

        Raises:
            VolcengineError: The result has an error, which is raised, or its subtitles can't be had.
            OSError: The file can't be written.
        """
        await self._background.call(self._asks.download_subtitles(result, Path(path)))

    def download_subtitles_sync(self, result: TaskResult, path: str | os.PathLike[str]) -> None:
        """Save a result's subtitles; see `download_subtitles_async`."""
        self._background.run(self._asks.download_subtitles(result, Path(path)))

    async def status_async(self, pool: str | None = None) -> PoolStatus:
        """Tell who holds and who waits in a pool; None: the account's."""
        return await self._background.call(self._asks.status(pool))

    def status_sync(self, pool: str | None = None) -> PoolStatus:
        """Tell who holds and who waits in a pool; see `status_async`."""
        return self._background.run(self._asks.status(pool))


async def _nothing() -> None:
    """Leave nothing behind: what is abandoned ends by itself."""
