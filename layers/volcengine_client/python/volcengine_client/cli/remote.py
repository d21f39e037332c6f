"""A batch that a gateway speaks: handed in as jobs, and fetched as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from volcengine_client.cli.handed_in import HandedIn, JobRecord
from volcengine_client.cli.progress import BatchProgress
from volcengine_client.errors import CallerError, UnknownJobError, VolcengineError
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.jobs import JobResult, JobWishes
from volcengine_client.joined_segments import Joined
from volcengine_client.limits import DOWNLOADS_MAX, JOB_TASKS_MAX, SLOTS_LOOK_MS, UPLOAD_BYTES_MAX
from volcengine_client.models import TaskItem
from volcengine_client.out_folder import OutFolder, Piece

T = TypeVar("T")

LOOKED_AT_ONCE = 50  # tasks for which a gateway is asked together whether it keeps all of them

_TASK = TypeAdapter(TaskItem)


class RemoteBatch:
    """What is missing in a folder, spoken by a gateway.

    Cancelling it leaves the jobs to the gateway; the next run goes on with them.
    """

    def __init__(self, client: GatewayClient, folder: OutFolder, progress: BatchProgress, wishes: JobWishes) -> None:
        self._client = client
        self._folder = folder
        self._progress = progress
        self._wishes = wishes
        self._record = JobRecord(folder.folder)

    async def run(self) -> bool:
        """Hand in, wait and fetch; tell that nothing interrupted it.

        Raises:
            VolcengineError: The gateway can't be asked.
            OSError: The folder can't be written.
        """
        looking = asyncio.create_task(self._look())
        try:
            for job in await self._handed_in():
                await self._fetch_all(job)
        finally:
            looking.cancel()
        return True

    async def _handed_in(self) -> list[HandedIn]:
        """Return the jobs that speak all that is missing: those of an earlier run, then new ones."""
        missing = {piece.key: piece for piece in self._folder.missing}
        jobs = []
        for job in await asyncio.to_thread(self._record.read):
            if job.gateway == self._client.address and await self._is_of_use(job, missing):
                jobs.append(job)
                for fingerprint in job.fingerprints:
                    missing.pop(fingerprint, None)
        parts = parts_of(await self._to_ask(list(missing.values())), bytes_max=UPLOAD_BYTES_MAX)
        return jobs + [await _to_its_end(self._hand_in(pieces)) for pieces in parts]

    async def _to_ask(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what the gateway is to speak, or only to subtitle.

        Audio that is here is not bought again for its subtitles: they are made here where the gateway has lost it.
        """
        asked = [piece for piece in pieces if self._folder.audio_of(piece) is None]
        here = [piece for piece in pieces if self._folder.audio_of(piece) is not None]
        for first in range(0, len(here), LOOKED_AT_ONCE):
            some = here[first : first + LOOKED_AT_ONCE]
            estimate = await self._client.estimate_async([piece.task for piece in some])
            if not estimate.calls:
                asked += some
                continue
            for piece in some:
                await asyncio.to_thread(self._folder.subtitle, piece)
                self._progress.subtitled(self._folder.alike_count(piece))
        return asked

    async def _is_of_use(self, job: HandedIn, missing: dict[str, Piece]) -> bool:
        if missing.keys() & set(job.fingerprints):
            try:
                told = await self._client.job_async(job.job_id)
            except UnknownJobError:
                pass
            else:
                return told.state not in {"failed", "cancelled"}
        await asyncio.to_thread(self._record.drop, job.job_id)
        return False

    async def _hand_in(self, pieces: Sequence[Piece]) -> HandedIn:
        job = await self._client.submit_async([piece.task for piece in pieces], **self._wishes)
        fingerprints = [piece.key for piece in pieces]
        handed_in = HandedIn(gateway=self._client.address, job_id=job.job_id, fingerprints=fingerprints)
        await asyncio.to_thread(self._record.add, handed_in)
        return handed_in

    async def _fetch_all(self, job: HandedIn) -> None:
        pieces = {piece.key: piece for piece in self._folder.missing}
        fetches: set[asyncio.Task[None]] = set()
        try:
            async for result in self._client.results_async(job.job_id):
                piece = pieces.pop(job.fingerprints[result.index], None)
                if piece is not None:
                    fetches.add(asyncio.create_task(self._fetch(job, piece, result)))
                    fetches = await fewer(fetches, DOWNLOADS_MAX)
            await fewer(fetches, 1)
        finally:
            for fetch in fetches:
                fetch.cancel()
        await asyncio.to_thread(self._record.drop, job.job_id)

    async def _fetch(self, job: HandedIn, piece: Piece, result: JobResult) -> None:
        """Fetch and keep one piece's files; an error of its own is the piece's outcome."""
        if result.error is not None:
            await asyncio.to_thread(self._folder.fail, piece, result.error)
            self._progress.failed(piece, self._folder.alike_count(piece))
            return
        known = self._folder.audio_of(piece)
        # Audio that is here already stays, unless the gateway's is another one, which its subtitles belong to.
        part = None if known is not None and known.duration_ms == result.duration_ms else self._folder.part()
        try:
            made = await self._made(job, piece, result, part)
            await asyncio.to_thread(self._folder.keep, piece, made, part)
        except VolcengineError as error:
            await asyncio.to_thread(self._folder.fail_with, piece, error)
            self._progress.failed(piece, self._folder.alike_count(piece))
        else:
            self._count(piece, is_new=part is not None)
        finally:
            if part is not None:
                await asyncio.to_thread(part.unlink, missing_ok=True)

    def _count(self, piece: Piece, *, is_new: bool) -> None:
        count = self._folder.alike_count(piece)
        if is_new:
            self._progress.spoken(piece, count)
        else:
            self._progress.subtitled(count)

    async def _made(self, job: HandedIn, piece: Piece, result: JobResult, part: Path | None) -> Joined:
        """Write the audio to *part*; return its subtitles, which are None when they can't be had now."""
        if part is not None:
            result = await self._downloaded(job, result, part)
        subtitles = None
        if piece.subtitles is not None:
            with suppress(VolcengineError):
                subtitles = await self._client.subtitles_async(result)
        assert result.duration_ms is not None
        return Joined(result.duration_ms, (), subtitles)

    async def _downloaded(self, job: HandedIn, result: JobResult, part: Path) -> JobResult:
        """Write the audio; return the result with a new address when the old one was not good any more."""
        try:
            await self._client.download_async(result, part)
        except CallerError:
            async for again in self._client.results_async(job.job_id, after=result.index - 1):
                await self._client.download_async(again, part)
                return again
            raise
        return result

    async def _look(self) -> None:
        """Look at the pool now and then; what can't be seen is not shown."""
        while True:
            try:
                status = await self._client.status_async()
            except VolcengineError:
                pass
            else:
                self._progress.slots(status.slots_in_use, status.limit)
            await asyncio.sleep(SLOTS_LOOK_MS / 1_000)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do what is better not done by half, then let a cancellation through."""
    doing = asyncio.create_task(work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await doing
        raise


async def fewer(fetches: set[asyncio.Task[None]], count: int) -> set[asyncio.Task[None]]:
    """Wait until fewer than *count* are under way, and return those; raises what any of the others raised."""
    while len(fetches) >= count:
        done, fetches = await asyncio.wait(fetches, return_when=asyncio.FIRST_COMPLETED)
        for fetch in done:
            fetch.result()
    return fetches


def parts_of(pieces: Sequence[Piece], *, bytes_max: int) -> Iterator[list[Piece]]:
    """Yield pieces as many as fit into one job each, in lists of at most *bytes_max*."""
    part: list[Piece] = []
    part_bytes = 0
    for piece in pieces:
        size = len(_TASK.dump_json(piece.task, exclude_none=True)) + 1
        if part and (part_bytes + size > bytes_max or len(part) == JOB_TASKS_MAX):
            yield part
            part, part_bytes = [], 0
        part.append(piece)
        part_bytes += size
    if part:
        yield part
