"""Which jobs a folder waits for, kept in the folder, so that the next run goes on with them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from volcengine_client.whole_file import write_whole

FILE = ".jobs.json"


class HandedIn(BaseModel):
    """A job that a folder waits for.

    Attributes:
        gateway: Where it was handed in.
        job_id: Its id there.
        fingerprints: Of its tasks, in its order.
    """

    gateway: str
    job_id: str
    fingerprints: list[str]


class _Record(BaseModel):
    jobs: list[HandedIn] = []


class JobRecord:
    """The jobs of a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> list[HandedIn]:
        """Return the jobs; none when nothing sensible is there."""
        try:
            return _Record.model_validate_json(self._path.read_bytes()).jobs
        except (FileNotFoundError, ValidationError):
            return []

    def add(self, job: HandedIn) -> None:
        """Remember a job."""
        self._write([*self.read(), job])

    def drop(self, job_id: str) -> None:
        """Forget a job: all that it has was fetched, or it is no more."""
        self._write([job for job in self.read() if job.job_id != job_id])

    def _write(self, jobs: list[HandedIn]) -> None:
        if jobs:
            write_whole(self._path, _Record(jobs=jobs).model_dump_json().encode())
        else:
            self._path.unlink(missing_ok=True)
