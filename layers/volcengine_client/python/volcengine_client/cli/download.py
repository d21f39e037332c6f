"""A job's audio in a folder, for whoever has only the job's id."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from volcengine_client.errors import VolcengineError
from volcengine_client.file_names import EXTENSIONS, file_names
from volcengine_client.gateway_client import GatewayClient
from volcengine_client.jobs import JobResult
from volcengine_client.manifest import MANIFEST, Entry, Manifest
from volcengine_client.models import TaskError, TaskItem
from volcengine_client.whole_file import write_whole

DIGITS = 5  # of a task's number in a file's name


class DownloadedJob:
    """What is fetched of a job; files that an earlier run fetched are left as they are.

    The gateway does not tell a job's texts and voices, so the manifest has no voice, and a file is known again by its
    job and place.

    Attributes:
        done_count: Tasks whose audio is in the folder.
        failed_count: Tasks without audio.
    """

    def __init__(self, client: GatewayClient, job_id: str, folder: Path) -> None:
        self.done_count = 0
        self.failed_count = 0
        self._client = client
        self._job_id = job_id
        self._folder = folder
        self._manifest = Manifest(folder)
        self._known: dict[str, Entry] = {}
        self._entries: dict[int, Entry] = {}
        self._has_begun = False

    async def fetch(self) -> None:
        """Fetch all, as it comes.

        Raises:
            VolcengineError: There is no such job, or the gateway can't be asked.
            OSError: The folder can't be written.
        """
        async for result in self._client.results_async(self._job_id):
            entry = await self._entry(result)
            self._entries[entry.index] = entry
            if entry.error is None:
                self.done_count += 1
            else:
                self.failed_count += 1

    def finish(self) -> None:
        """Let the manifest say what is there."""
        if self._has_begun:
            self._manifest.write(self._entries.values())

    async def _entry(self, result: JobResult) -> Entry:
        if not self._has_begun:
            await asyncio.to_thread(self._begin)
        fingerprint = f"{self._job_id}:{result.index}"
        known = self._known.get(fingerprint)
        if known is not None:
            return known
        file = None if result.error else _file_name(result)
        entry = Entry(
            index=result.index,
            name=result.task_id,
            file=file,
            duration_ms=result.duration_ms,
            characters=result.characters,
            error=result.error,
            fingerprint=fingerprint,
        )
        if file is not None:
            try:
                audio = await self._client.audio_async(result)
            except VolcengineError as error:
                entry = entry.model_copy(update={"file": None, "error": TaskError.of(error)})
            else:
                await asyncio.to_thread(write_whole, self._folder / file, audio)
        await asyncio.to_thread(self._manifest.add, entry)
        return entry

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known = {
            entry.fingerprint: entry
            for entry in self._manifest.read()
            if entry.file is not None and (self._folder / entry.file).is_file()
        }
        self._has_begun = True


def _file_name(result: JobResult) -> str:
    """Return a name that no other task of the job has: its number and its id."""
    ending = Path(urlsplit(result.audio_url or "").path).suffix.removeprefix(".").lower()
    encoding = ending if ending in EXTENSIONS else "mp3"
    task = TaskItem(text="-", output_filename=None, task_id=result.task_id)
    stem = file_names([task], taken=frozenset({MANIFEST}))[0].removesuffix(".mp3")
    return f"{result.index + 1:0{DIGITS}}-{stem}{EXTENSIONS[encoding]}"
