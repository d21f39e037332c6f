"""What a gateway can be asked for, on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from volcengine_client.clock import Clock
from volcengine_client.errors import BatchTooLargeError, GatewayUnavailableError, VolcengineError, class_of
from volcengine_client.gateway_answers import unreadable
from volcengine_client.gateway_wire import GatewayWire
from volcengine_client.jobs import Estimate, Job, JobList, JobPage, JobResult, JobState, PoolStatus
from volcengine_client.limits import (
    JOB_BODY_BYTES,
    JOB_CHUNK_TASKS,
    JOB_PAGE_TASKS_MAX,
    JOB_TASKS_MAX,
    POLL_MAX_MS,
    POLL_MS,
    TASKS_MAX,
    UPLOAD_BYTES_MAX,
)
from volcengine_client.models import BatchResponse, TaskItem, TaskResult
from volcengine_client.voice_list import warn
from volcengine_client.whole_file import part_beside, write_whole

T = TypeVar("T", bound=BaseModel)

POOL_DEFAULT = "server"  # of a gateway's own account
RESULTS_LATE_MAX = 20  # looks at a job that is over for results that are not told yet
TROUBLED_LOOKS_MAX = 30  # looks in a row, each of several requests, that may come to nothing: minutes of an outage
_TASK = TypeAdapter(TaskItem)
_TASKS = TypeAdapter(list[TaskItem])


class _Upload(BaseModel):
    """An address for a list of tasks."""

    upload_id: str
    url: str
    headers: dict[str, str] = {}


class _HandedOut(BaseModel):
    upload: _Upload


class GatewayAsks:
    """The requests to one gateway, for one of its accounts; `GatewayClient` says what they do.

    Args:
        wire: The way there.
        account: None: the gateway's main one.
        batch_ms: How long a batch's answer may take.
        clock: For waits.
    """

    def __init__(self, wire: GatewayWire, *, account: str | None, batch_ms: int, clock: Clock) -> None:
        self._wire = wire
        self._account = account
        self._batch_ms = batch_ms
        self._clock = clock

    async def batch(self, tasks: Sequence[TaskItem], fields: dict[str, Any]) -> list[TaskResult]:
        if len(tasks) > TASKS_MAX:
            job = await self.submit(tasks, {"priority": "interactive", **fields})
            results: list[TaskResult] = [result async for result in self.results(job.job_id, -1)]
            warn(results, tasks)
            return results
        if not tasks:
            return []
        body = await self._body(tasks, fields)
        said = await self._wire.ask("POST", "/generate-batch", body=body, answer_ms=self._batch_ms)
        response = await asyncio.to_thread(_read, BatchResponse, said)
        if len(response.results) != len(tasks):
            raise unreadable(f"it has {len(response.results)} results for {len(tasks)} tasks")
        return await self._finished(response)

    async def _finished(self, response: BatchResponse) -> list[TaskResult]:
        """Return a batch's results, those included with which a job goes on."""
        results = list(response.results)
        pending = {index for index, result in enumerate(results) if result.pending}
        if pending and response.job is not None:
            async for result in self.results(response.job.job_id, min(pending) - 1):
                if result.index in pending:
                    pending.remove(result.index)
                    results[result.index] = result.model_copy(update={"warning": results[result.index].warning})
                if not pending:
                    break
        return results

    async def estimate(self, tasks: Sequence[TaskItem], fields: dict[str, Any]) -> Estimate:
        body = await self._body(tasks, fields)
        return _read(Estimate, await self._wire.ask("POST", "/jobs", query={"dry_run": "true"}, body=body))

    async def submit(self, tasks: Sequence[TaskItem], fields: dict[str, Any]) -> Job:
        byte_count = await asyncio.to_thread(byte_count_of, tasks)
        if byte_count > JOB_BODY_BYTES:
            return await self._submit_by_upload(tasks, fields, byte_count)
        return _read(Job, await self._wire.ask("POST", "/jobs", body=await self._body(tasks, fields)))

    async def _submit_by_upload(self, tasks: Sequence[TaskItem], fields: dict[str, Any], byte_count: int) -> Job:
        """Hand in what is too large for a body: a list first, then the job that is to be made of it."""
        if byte_count > UPLOAD_BYTES_MAX or len(tasks) > JOB_TASKS_MAX:
            most = f"{JOB_TASKS_MAX:,} tasks of {UPLOAD_BYTES_MAX:,} bytes"
            raise BatchTooLargeError(f"A job has at most {most}; make several jobs of these")
        wish = {"upload": True, "bytes": byte_count}
        upload = _read(_HandedOut, await self._wire.ask("POST", "/jobs", body=wish)).upload
        await self._wire.put(upload.url, lambda: _sent(tasks), byte_count=byte_count, headers=upload.headers)
        body = {"upload_id": upload.upload_id, **_given({"account": self._account, **fields})}
        return _read(Job, await self._wire.ask("POST", "/jobs", body=body, answer_ms=self._batch_ms))

    async def _body(self, tasks: Sequence[TaskItem], fields: dict[str, Any]) -> dict[str, Any]:
        told = await asyncio.to_thread(_TASKS.dump_python, list(tasks), exclude_none=True)
        return {"tasks": told, **_given({"account": self._account, **fields})}

    async def page(self, job_id: str, *, after: int = -1, limit: int = JOB_PAGE_TASKS_MAX) -> JobPage:
        query = {"after": str(after), "limit": str(limit)}
        return _read(JobPage, await self._wire.ask("GET", _job_path(job_id), query=query))

    async def wait(self, job_id: str, timeout_ms: int | None) -> Job:
        until_ms = None if timeout_ms is None else self._clock.monotonic_ms() + timeout_ms
        watch = _Watch(self, job_id, clock=self._clock)
        while not (job := await watch.page(limit=0)).is_over:
            left_ms = POLL_MAX_MS if until_ms is None else until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                raise TimeoutError(f"job {job_id} is not over yet: {job.done + job.failed} of {job.tasks} tasks are")
            await watch.rest(most_ms=left_ms)
        return job

    async def results(self, job_id: str, after: int) -> AsyncGenerator[JobResult, None]:
        watch = _Watch(self, job_id, clock=self._clock)
        late_count = 0
        while True:
            page = await watch.page(after=after)
            for result in page.results:
                yield result
            if page.next_after is None:
                return
            if page.results:
                after, late_count = page.next_after, 0
                watch.stir()
                continue
            late_count += page.is_over
            if late_count >= RESULTS_LATE_MAX:
                raise GatewayUnavailableError("the job is over, and the gateway does not tell all of its results")
            await watch.rest()

    async def cancel(self, job_id: str) -> Job:
        return _read(Job, await self._wire.ask("DELETE", _job_path(job_id)))

    async def jobs(self, app: str | None, state: JobState | None) -> AsyncGenerator[Job, None]:
        after: str | None = None
        while True:
            query = _given({"app": app, "state": state, "account": self._account, "after": after})
            page = _read(JobList, await self._wire.ask("GET", "/jobs", query=query))
            for job in page.jobs:
                yield job
            after = page.next_after
            if after is None:
                return

    async def audio(self, result: TaskResult) -> bytes:
        _raise_error(result)
        audio = result.audio if result.audio_url is None else await self._wire.fetch(result.audio_url)
        if not audio:
            raise VolcengineError("the audio's file is empty")
        return audio

    async def download(self, result: TaskResult, path: Path) -> None:
        if result.audio_url is None:
            audio = await self.audio(result)
            await asyncio.to_thread(write_whole, path, audio)
            return
        _raise_error(result)
        part = part_beside(path)
        try:
            await self._wire.fetch_into(result.audio_url, part)
            await asyncio.to_thread(_take_place, part, path)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)

    async def subtitles(self, result: TaskResult) -> str:
        _raise_error(result)
        if result.subtitles is not None:
            return result.subtitles
        if result.subtitles_url is None:
            raise VolcengineError(
                result.warning or "the task wanted no subtitles", retryable=result.warning is not None
            )
        try:
            return (await self._wire.fetch(result.subtitles_url)).decode()
        except UnicodeDecodeError:
            raise unreadable("the subtitles are not UTF-8") from None

    async def download_subtitles(self, result: TaskResult, path: Path) -> None:
        subtitles = await self.subtitles(result)
        await asyncio.to_thread(write_whole, path, subtitles.encode())

    async def status(self, pool: str | None) -> PoolStatus:
        name = pool or (POOL_DEFAULT if self._account is None else f"account:{self._account}")
        return _read(PoolStatus, await self._wire.ask("GET", f"/pools/{quote(name, safe='')}"))


class _Watch:
    """Looks at one job again and again: seldomer while nothing happens, and through passing trouble.

    Args:
        asks: The gateway.
        job_id: The job's.
        clock: For waits.
    """

    def __init__(self, asks: GatewayAsks, job_id: str, *, clock: Clock) -> None:
        self._asks = asks
        self._job_id = job_id
        self._clock = clock
        self._wait_ms = POLL_MS
        self._trouble_count = 0

    async def page(self, *, after: int = -1, limit: int = JOB_PAGE_TASKS_MAX) -> JobPage:
        """Look; raises only what does not pass, or has not for long."""
        while True:
            try:
                page = await self._asks.page(self._job_id, after=after, limit=limit)
            except VolcengineError as error:
                self._trouble_count += 1
                if not error.retryable or self._trouble_count >= TROUBLED_LOOKS_MAX:
                    raise
            else:
                self._trouble_count = 0
                return page
            await self.rest()

    async def rest(self, *, most_ms: int = POLL_MAX_MS) -> None:
        """Wait for the next look."""
        await self._clock.sleep(min(self._wait_ms, most_ms))
        self._wait_ms = min(POLL_MAX_MS, self._wait_ms * 3 // 2)

    def stir(self) -> None:
        """Look more often again: something happened."""
        self._wait_ms = POLL_MS


def _take_place(part: Path, path: Path) -> None:
    if not part.stat().st_size:
        raise VolcengineError("the audio's file is empty")
    part.replace(path)


def _raise_error(result: TaskResult) -> None:
    if result.error is not None:
        raise class_of(result.error.code)(result.error.message, retryable=result.error.retryable)


def byte_count_of(tasks: Iterable[TaskItem]) -> int:
    """Return how many bytes a list of tasks has."""
    return sum(map(len, _lines(tasks)))


def _lines(tasks: Iterable[TaskItem]) -> Iterator[bytes]:
    return (_TASK.dump_json(task, exclude_none=True) + b"\n" for task in tasks)


async def _sent(tasks: Sequence[TaskItem]) -> AsyncIterator[bytes]:
    """Yield a list of tasks in pieces, none of which holds up others for long."""
    for first in range(0, len(tasks), JOB_CHUNK_TASKS):
        yield b"".join(_lines(tasks[first : first + JOB_CHUNK_TASKS]))


def _job_path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _read(model: type[T], said: Any) -> T:
    try:
        return model.model_validate(said)
    except ValidationError:
        raise unreadable(f"it is no {model.__name__}") from None
