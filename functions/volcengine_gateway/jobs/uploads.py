"""Lists of tasks that are too large for a body: uploaded first, as JSON Lines, and named when their job begins.

The id of an upload is the id of the job that will come of it. So a start that is repeated, because its reply was lost
or its process ended, leads to the same job: its chunks are the same files again, and its item is written once.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from volcengine_client.clock import Clock
from volcengine_client.errors import BatchTooLargeError, InvalidRequestError, StoreError
from volcengine_client.limits import (
    ANSWER_RESERVE_MS,
    HAND_OVER_MS,
    JOB_CHUNK_TASKS,
    UPLOAD_BYTES_MAX,
    UPLOAD_PART_BYTES,
    UPLOAD_WRITES_MAX,
)
from volcengine_client.models import UploadedJobRequest, UploadRequest
from volcengine_client.voice_list import warnings_of
from volcengine_gateway.credentials import Payer
from volcengine_gateway.jobs.chunks import tasks_file
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.service import Jobs, Tally, payer_of_job
from volcengine_gateway.jobs.store import Files, Stored
from volcengine_gateway.jobs.task_lines import Mark, TaskLines
from volcengine_gateway.jobs.turn import Same, digest_of
from volcengine_gateway.secret import Keys
from volcengine_gateway.told import JobTakenTold, JobTold, UploadTold, taken_on

ROUTE = "jobs"
NO_LIST = (
    "No list was uploaded under this id, or it is no longer kept: ask for an address, PUT the list there, then start"
)
OTHER_LIST = (
    "This upload began a job already, and another list was uploaded since; ask for an address of its own for that"
)
OTHER_JOB = "This upload began a job with other fields; upload the list anew for another job"
LATE = "the list could not be read in time; the same request again goes on with it"


def upload_file(upload_id: str) -> str:
    """Return the name of the file that is uploaded."""
    return f"jobs/{upload_id}/upload.jsonl"


def mark_file(upload_id: str) -> str:
    """Return the name of the file that says how far a list was read."""
    return f"jobs/{upload_id}/mark.json"


def _written_mark(mark: Mark, *, of: Stored) -> bytes:
    return json.dumps({"version": of.version, "mark": asdict(mark)}).encode()


def _mark_in(content: bytes | None, *, of: Stored) -> Mark:
    """Return the mark in a file of ours; the beginning when it is of another list, or there is none."""
    told = {} if content is None else json.loads(content)
    return Mark(**told["mark"]) if told.get("version") == of.version else Mark()


class Uploads:
    """Hands out addresses for lists of tasks, and begins their jobs.

    Args:
        jobs: What they become.
        keys: The server's credentials.
        clock: Of this process.
    """

    def __init__(self, jobs: Jobs, *, keys: Keys, clock: Clock) -> None:
        self._jobs = jobs
        self._keys = keys
        self._store = jobs.store
        self._clock = clock
        self._one_at_a_time = jobs.one_at_a_time

    def hand_out(self, request: UploadRequest) -> UploadTold:
        """Return an address to which a list may be PUT, by whoever has it. Nothing is kept before that."""
        upload_id = secrets.token_hex(16)
        address = self._store.files.upload_address(upload_file(upload_id), byte_count=request.bytes)
        return {
            "upload": {
                "upload_id": upload_id,
                "url": address.url,
                "method": "PUT",
                "headers": dict(address.headers),
                "expires_at_ms": address.expires_at_ms,
                "bytes_max": UPLOAD_BYTES_MAX if request.bytes is None else request.bytes,
            }
        }

    async def start(
        self,
        request: UploadedJobRequest,
        *,
        shown_admin_key: str | None,
        idempotency_key: str | None,
        deadline_at_ms: int,
    ) -> JobTold | JobTakenTold:
        """Begin the job of an uploaded list. Safe to repeat: the same upload is one job, whatever was lost before.

        Raises:
            AdminKeyError, CredentialsError, InvalidRequestError: As `Jobs.submit` says, or a line is broken, or there
                is no such list, or its job was begun with other fields.
            BatchTooLargeError: The list is larger than `UPLOAD_BYTES_MAX`.
            StoreError, SecretError: Something is out of reach, or the list could not be read in time; nothing was
                bought, and the same request again leads to the job.
        """
        keyring = await self._keys.keyring()
        payer = payer_of_job(keyring, request, shown_admin_key)
        key = keyring.naming_key
        same = Same.of(request, route=ROUTE, account=payer.pool, key=key, idempotency_key=idempotency_key)
        by = _By(digest_of(request, route=ROUTE, account=payer.pool, key=key), key)
        await self._one_at_a_time.begin(same, deadline_at_ms=deadline_at_ms)
        job, warnings = None, list[str]()
        try:
            left_ms = deadline_at_ms - ANSWER_RESERVE_MS - self._clock.monotonic_ms()
            async with asyncio.timeout(max(0, left_ms) / 1_000):
                job, warnings = await self._begun(request, payer, by, until_ms=deadline_at_ms - HAND_OVER_MS)
        except TimeoutError as exc:
            raise StoreError(LATE) from exc
        finally:
            await self._one_at_a_time.end(same, job_id=None if job is None else job.job_id)
        return taken_on(self._jobs.told(job), warnings)

    async def _begun(
        self, request: UploadedJobRequest, payer: Payer, by: _By, *, until_ms: int
    ) -> tuple[Job, list[str]]:
        """Return the job of an upload, begun now or before; and, now, the warnings that its tasks deserve."""
        warnings: list[str] = []
        job = await self._store.table.get(request.upload_id)
        stored = await self._store.files.stored(upload_file(request.upload_id))
        if job is None:
            await self._jobs.check_callback(request)
            lines = await self._taken_in(request.upload_id, stored, until_ms=until_ms)
            tally, warnings = Tally(lines.task_count, lines.character_count), warnings_of(lines.spoken_by.values())
            made = self._jobs.new_job(request, payer, request.upload_id, tally, digest=by.digest_with(stored))
            await self._jobs.keep_address(made.job_id, request)
            job = made if await self._store.table.add_once(made) else await self._store.table.get(made.job_id)
        if job is None or not job.digest.startswith(by.request):
            raise InvalidRequestError.of_field("upload_id", OTHER_JOB if job and job.digest else NO_LIST)
        if stored is not None and job.digest not in {by.request, by.digest_with(stored)}:
            raise InvalidRequestError.of_field("upload_id", OTHER_LIST)
        if job.is_lost:
            await self._store.queue.send(job.job_id)
        await self._jobs.send_again(job)
        return job, warnings

    async def _taken_in(self, upload_id: str, stored: Stored | None, *, until_ms: int) -> TaskLines:
        """Check a list and write it down in chunks, with little of it in memory; go on where the last start ended.

        What was written of a list with a broken line belongs to no job, and expires.
        """
        name = upload_file(upload_id)
        if stored is None:
            raise InvalidRequestError.of_field("upload_id", NO_LIST)
        if stored.byte_count > UPLOAD_BYTES_MAX:
            message = f"The uploaded list should have at most {UPLOAD_BYTES_MAX:,} bytes; make several jobs of it"
            raise BatchTooLargeError(message, details={"bound": UPLOAD_BYTES_MAX})
        mark = _mark_in(await self._store.files.get(mark_file(upload_id)), of=stored)
        lines = TaskLines(mark)
        writing = _Writing(self._store.files, upload_id, first=mark.task_count // JOB_CHUNK_TASKS)
        try:
            for first in range(mark.offset, stored.byte_count, UPLOAD_PART_BYTES):
                if first > mark.offset and self._clock.monotonic_ms() >= until_ms:
                    await writing.end()
                    await self._store.files.put(mark_file(upload_id), _written_mark(lines.mark, of=stored))
                    raise StoreError(LATE)
                count = min(UPLOAD_PART_BYTES, stored.byte_count - first)
                piece = await self._store.files.part(name, of=stored, first=first, count=count)
                await writing.write(await asyncio.to_thread(lines.feed, piece))
            await writing.write(await asyncio.to_thread(lines.end))
            await writing.end()
        finally:
            writing.abandon()
        return lines


@dataclass(frozen=True, slots=True)
class _By:
    """What a job is begun by: a keyed hash of the request, and the key for that of the list's version."""

    request: str
    key: bytes = field(repr=False)

    def digest_with(self, stored: Stored | None) -> str:
        version = "" if stored is None else stored.version
        return self.request + hmac.digest(self.key, version.encode(), "sha256").hex()


class _Writing:
    """Chunks on their way into files, a few at a time."""

    def __init__(self, files: Files, job_id: str, *, first: int) -> None:
        self._files = files
        self._job_id = job_id
        self._count = first
        self._under_way: set[asyncio.Task[None]] = set()

    async def write(self, chunks: Iterable[bytes]) -> None:
        """Begin to write further chunks; wait while too many are under way.

        Raises:
            StoreError: One could not be written.
        """
        for chunk in chunks:
            name = tasks_file(self._job_id, self._count)
            self._under_way.add(asyncio.create_task(self._files.put(name, chunk)))
            self._count += 1
            await self._fewer(UPLOAD_WRITES_MAX)

    async def end(self) -> None:
        """Wait until all are written."""
        await self._fewer(1)

    def abandon(self) -> None:
        """Care for none any more; after `end` there is none."""
        for one in self._under_way:
            one.cancel()

    async def _fewer(self, count: int) -> None:
        while len(self._under_way) >= count:
            done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
