"""Jobs of the self-hosted server: kept in its folder, worked on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from volcengine_client.clock import Clock
from volcengine_client.errors import StoreError
from volcengine_client.limits import DEFAULT_TIMES, SLICE_MARGIN_MS
from volcengine_gateway.jobs.callbacks import message_of
from volcengine_gateway.jobs.crew import Crew
from volcengine_gateway.jobs.errands import Errands
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.local import FolderFiles, SQLiteJobTable, kept_key
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.journal import Journal, PutOff
from volcengine_gateway.settings import DAY_MS, SLICE_MS, SettingsError

SWEEP_MS = 3_600_000  # how often what has expired is removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long things are kept, days."""

    jobs_days: int
    speech_days: int


class EmbeddedJobs:
    """Jobs in a folder that one server at a time uses.

    Args:
        folder: Made when it is missing.
        retention: How long jobs and audio are kept.
        clock: Of this process.
        journal: Told of mistakes of ours.
        receivers: The way to those who want to be told of a job's end.

    Attributes:
        store: Where the jobs are.
        files: Of the store; audio is served from there.
        jobs: As callers know them.
    """

    def __init__(
        self, folder: Path, *, retention: Retention, clock: Clock, journal: Journal, receivers: Receivers
    ) -> None:
        self._folder = folder
        self._retention = retention
        self._clock = clock
        self._journal = journal
        self._crew = Crew(clock=clock, journal=journal)
        self._table = SQLiteJobTable(folder / "jobs.sqlite3")
        self._lock: int | None = None
        self._sweeping: asyncio.Task[None] | None = None
        found_max_ms = (retention.speech_days - retention.jobs_days) * DAY_MS
        self.files = FolderFiles(folder / "files", clock=clock, found_max_ms=found_max_ms)
        self.store = JobStore(table=self._table, turns=self._table, files=self.files, queue=self._crew)
        self.jobs = Jobs(self.store, kept_days=retention.jobs_days, clock=clock, receivers=receivers)

    async def start(self, errands: Errands) -> None:
        """Take up all jobs that are not over, or of whose end nobody was told, and those to come.

        Raises:
            SettingsError: The folder can't be used, or another server uses it.
        """
        self._lock = await asyncio.to_thread(_locked, self._folder)
        self.files.sign_with(await asyncio.to_thread(_key_in, self._folder))
        self._errands = errands
        self._crew.start(self._deliver)
        await self._table.forget_open_turns()
        for job_id in await self._table.open_jobs():
            job = await self._free(job_id)
            if job is not None:
                await self._crew.send(message_of(job))
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Let no further call start, and wait for those under way."""
        if self._lock is None:
            return
        assert self._sweeping is not None
        self._errands.stop()
        await self._crew.stop()
        self._sweeping.cancel()
        await asyncio.wait({self._sweeping})
        await asyncio.to_thread(os.close, self._lock)
        self._lock = None

    async def _deliver(self, message: str, attempt: int) -> bool:
        claim_ms = SLICE_MS + DEFAULT_TIMES.upstream_call_max_ms + SLICE_MARGIN_MS
        return await self._errands.run(message, slice_ms=SLICE_MS, claim_ms=claim_ms, attempt=attempt)

    async def _free(self, job_id: str) -> Job | None:
        """Take a job out of the hands of a worker of the server before this one, which is gone."""
        job = await self._table.get(job_id)
        if job is not None and job.worker_id:
            await self._table.write(replace(job, worker_id="", claimed_until_ms=0, revision=job.revision + 1))
        return job

    async def _sweep(self) -> None:
        """Remove what has expired, now and every hour."""
        while True:
            now_ms = self._clock.wall_ms()
            try:
                await self._table.forget(now_s=now_ms // 1_000)
                await asyncio.to_thread(self._remove_old, now_ms)
            except (StoreError, OSError):
                self._journal.put_off(PutOff("sweep", StoreError.code))  # the next one may do it
            await self._clock.sleep(SWEEP_MS)

    def _remove_old(self, now_ms: int) -> None:
        for kind, days in (("jobs", self._retention.jobs_days + 1), ("speech", self._retention.speech_days)):
            for path in _files_in(self._folder / "files" / kind):
                with contextlib.suppress(FileNotFoundError):
                    if now_ms - path.stat().st_mtime_ns // 1_000_000 > days * DAY_MS:
                        path.unlink()
                        _remove_empty(path.parent, above=self._folder / "files")


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _remove_empty(folder: Path, *, above: Path) -> None:
    while folder != above:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _key_in(folder: Path) -> bytes:
    try:
        return kept_key(folder / "address.key")
    except OSError as exc:
        raise SettingsError(f"VOLCENGINE_TTS_DATA can't be used: {exc.strerror}") from exc


def _locked(folder: Path) -> int:
    """Return a lock on the folder, held until it is closed or the process ends."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as exc:
        raise SettingsError(f"VOLCENGINE_TTS_DATA can't be used: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise SettingsError("VOLCENGINE_TTS_DATA is in use by another server; give each a folder of its own") from exc
    return lock
