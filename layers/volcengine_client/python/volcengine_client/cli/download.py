"""A job's audio in a folder, for whoever has only the job's id."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from volcengine_client.cli.remote import fewer
from volcengine_client.errors import VolcengineError
from volcengine_client.file_names import EXTENSIONS, file_names
from volcengine_client.folder_lock import FolderLock
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.jobs import JobResult
from volcengine_client.limits import DOWNLOADS_MAX
from volcengine_client.manifest import MANIFEST, Entry, Manifest
from volcengine_client.models import SUBTITLES, TaskError, TaskItem
from volcengine_client.whole_file import remove_parts

DIGITS = 5  # of a task's number in a file's name


class DownloadedJob:
    """What is fetched of a job; files that an earlier run fetched are left as they are.

    The gateway does not tell a job's texts and voices, so the manifest has no voice, and a file is known again by its
    job and place.

    Attributes:
        done_count: Tasks whose audio is in the folder.
        failed_count: Tasks without audio.
        unsubtitled_count: Tasks whose subtitles could not be fetched.
    """

    def __init__(self, client: GatewayClient, job_id: str, folder: Path) -> None:
        self.done_count = 0
        self.failed_count = 0
        self.unsubtitled_count = 0
        self._client = client
        self._job_id = job_id
        self._folder = folder
        self._manifest = Manifest(folder)
        self._own = FolderLock(folder)
        self._entries: dict[int, Entry] = {}
        self._has_begun = False

    async def fetch(self) -> None:
        """Fetch all, as it comes.

        Raises:
            VolcengineError: There is no such job, or the gateway can't be asked.
            OSError: The folder can't be written.
        """
        await self._client.job_async(self._job_id)
        await asyncio.to_thread(self._begin)
        fetches: set[asyncio.Task[None]] = set()
        async for result in self._client.results_async(self._job_id):
            fetches.add(asyncio.create_task(self._fetch(result)))
            fetches = await fewer(fetches, DOWNLOADS_MAX)
        await fewer(fetches, 1)

    def finish(self) -> None:
        """Let the manifest say what is there."""
        if self._has_begun:
            self._manifest.write(self._entries.values())
            self._own.give()

    async def _fetch(self, result: JobResult) -> None:
        entry = self._entries.get(result.index)
        if entry is None or entry.file is None or (result.subtitles_url is not None and entry.subtitles is None):
            entry = await self._entry(result)
            self._entries[entry.index] = entry
            await asyncio.to_thread(self._manifest.add, entry)
        if entry.error is None:
            self.done_count += 1
        else:
            self.failed_count += 1

    async def _entry(self, result: JobResult) -> Entry:
        entry = Entry(
            index=result.index,
            name=result.task_id,
            duration_ms=result.duration_ms,
            characters=result.characters,
            error=result.error,
            fingerprint=f"{self._job_id}:{result.index}",
        )
        if result.error is not None:
            return entry
        file, known = _file_name(result), self._entries.get(result.index)
        try:
            if known is None:
                await self._client.download_async(result, self._folder / file)
        except VolcengineError as error:
            return entry.model_copy(update={"error": TaskError.of(error)})
        return entry.model_copy(update={"file": file, "subtitles": await self._subtitles(result, file)})

    async def _subtitles(self, result: JobResult, file: str) -> str | None:
        """Fetch a task's subtitles beside its audio; return the file's name, None when there are none to be had."""
        form = _ending(result.subtitles_url)
        if form not in SUBTITLES:
            return None
        name = f"{file}.{form}" if form == _ending(file) else str(Path(file).with_suffix(f".{form}"))
        try:
            await self._client.download_subtitles_async(result, self._folder / name)
        except VolcengineError:
            self.unsubtitled_count += 1
            return None
        return name

    def _begin(self) -> None:
        """Make the folder, and see what an earlier run fetched of this job."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own.take()
        remove_parts(self._folder)
        self._entries = {
            entry.index: entry if self._is_there(entry.subtitles) else entry.model_copy(update={"subtitles": None})
            for entry in self._manifest.read()
            if entry.fingerprint == f"{self._job_id}:{entry.index}" and self._is_there(entry.file)
        }
        self._has_begun = True

    def _is_there(self, name: str | None) -> bool:
        return name is not None and (self._folder / name).is_file()


def _ending(path: str | None) -> str:
    """Return how a file's name or its address ends, in small letters."""
    return Path(urlsplit(path or "").path).suffix.removeprefix(".").lower()


def _file_name(result: JobResult) -> str:
    """Return a name that no other task of the job has: its number and its id."""
    ending = _ending(result.audio_url)
    encoding = ending if ending in EXTENSIONS else "mp3"
    task = TaskItem(text="-", output_filename=None, task_id=result.task_id)
    stem = file_names([task], taken=frozenset({MANIFEST}))[0].removesuffix(".mp3")
    return f"{result.index + 1:0{DIGITS}}-{stem}{EXTENSIONS[encoding]}"
