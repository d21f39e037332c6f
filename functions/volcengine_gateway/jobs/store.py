"""The ports to what keeps jobs: a table of items, files, and a queue of messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from volcengine_client.errors import StoreError
from volcengine_client.limits import JOB_WRITE_ATTEMPTS_MAX, JOBS_LISTED_MAX
from volcengine_gateway.jobs.job import Job, JobState

LINES_TYPE = "application/x-ndjson"
REPLACED = "the list was uploaded anew while it was being read; send the same request again"
AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm", "ogg_opus": "audio/ogg"}
CONTENT_TYPES = {
    **AUDIO_TYPES,
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
}


class JobTable(Protocol):
    """Where jobs are. Reads see every write that was answered before."""

    async def add(self, job: Job) -> None:
        """Keep a new job.

        Raises:
            StoreError: No answer in time; it may have been kept.
        """
        ...

    async def add_once(self, job: Job) -> bool:
        """Keep a new job; False when there is one of this id already: another's, or this one and a reply was lost.

        Raises:
            StoreError: No answer in time; it may have been kept.
        """
        ...

    async def get(self, job_id: str) -> Job | None:
        """Return a job; None when there is none, or no longer.

        Raises:
            StoreError: No answer in time.
        """
        ...

    async def write(self, job: Job) -> bool:
        """Put a changed job in the place of the revision before it; False when that is not what is there.

        Raises:
            StoreError: No answer in time; it may have been written.
        """
        ...

    async def of_account(self, account: str, wanted: Wanted, *, after: str | None) -> JobList:
        """Return an account's jobs, the youngest first.

        No more than `JOBS_LOOKED_AT_MAX` are looked at. So there may be fewer than `JOBS_LISTED_MAX`, or none, and
        more of them later.

        Args:
            account: The pool of the account.
            wanted: Which of them.
            after: Where the last list ended; None: from the youngest on.

        Raises:
            StoreError: No answer in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs: of one app, in one state; None: whichever."""

    app: str | None = None
    state: JobState | None = None

    @property
    def is_all(self) -> bool:
        """Whether every job is wanted."""
        return self.app is None and self.state is None

    def includes(self, job: Job) -> bool:
        """Tell whether a job is one of them."""
        return self.app in {None, job.app} and self.state in {None, job.state}


@dataclass(frozen=True, slots=True)
class JobList:
    """Some jobs, and where the next ones begin; None when there are no more."""

    jobs: Sequence[Job]
    after: str | None

    @classmethod
    def of(cls, jobs: Sequence[Job], *, looked_at_up_to: str | None) -> JobList:
        """Return the list of what was found, up to `JOBS_LISTED_MAX`.

        Args:
            jobs: In order; more may have been found than a list takes.
            looked_at_up_to: The last one that was looked at; None: there are none behind it.
        """
        listed = jobs[:JOBS_LISTED_MAX]
        return cls(listed, sorted_by(listed[-1]) if len(listed) < len(jobs) else looked_at_up_to)


def sorted_by(job: Job) -> str:
    """Return what the jobs of an account are sorted by."""
    return f"{job.created_at_ms:015}{job.job_id}"


@dataclass(frozen=True, slots=True)
class Turn:
    """What is known of a request that came before.

    Attributes:
        digest: Of its body.
        until_ms: When it must have ended, or, when it has, until when it is remembered; Unix milliseconds.
        is_over: Whether it has ended.
        job_id: The job that it led to; None: all its audio was in the answer, or can be found.
        token: Who began it, so that it is known again when the reply to its beginning was lost.
    """

    digest: str
    until_ms: int
    is_over: bool = False
    job_id: str | None = None
    token: str = ""

    def makes_way(self, digest: str, *, now_ms: int, past: str | None) -> bool:
        """Tell whether a request may begin: this one is forgotten, or has ended and left only audio or a past job."""
        return self.until_ms < now_ms or (self.is_over and self.job_id in {None, past} and self.digest == digest)


class Turns(Protocol):
    """Whose turn it is among requests of one name: one at a time."""

    async def begin(self, name: str, turn: Turn, *, now_ms: int, past: str | None = None) -> Turn | None:
        """Begin a turn; None: it has begun, else the one that stands in its way (see `Turn.makes_way`).

        Args:
            name: Of the turn.
            turn: Its beginning.
            now_ms: Unix milliseconds.
            past: A job that answers nobody any more; None: none.

        Raises:
            StoreError: No answer in time; it may have begun.
        """
        ...

    async def end(self, name: str, turn: Turn) -> None:
        """Put down how a turn ended.

        Raises:
            StoreError: No answer in time; it may have been put down.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it is now; one that takes its place has another version."""

    byte_count: int
    version: str


@dataclass(frozen=True, slots=True)
class UploadAddress:
    """Where a file may be PUT, with which headers, until when (Unix milliseconds)."""

    url: str
    headers: Mapping[str, str]
    expires_at_ms: int


class Files(Protocol):
    """Private files that expire by themselves."""

    async def put(self, name: str, content: bytes, *, about: Mapping[str, str] | None = None) -> None:
        """Keep a file, in the place of one of this name; whole or not at all.

        Raises:
            StoreError: No answer in time; it may have been kept.
        """
        ...

    async def write(self, name: str, pieces: AsyncIterator[bytes], *, about: Mapping[str, str]) -> None:
        """Keep a file of any size as its pieces come; whole or not at all.

        Raises:
            StoreError: No answer in time; it may have been kept.
        """
        ...

    async def get(self, name: str) -> bytes | None:
        """Return a file; None when there is none.

        Raises:
            StoreError: No answer in time.
        """
        ...

    async def about(self, name: str) -> Mapping[str, str] | None:
        """Return what was said about a file that will be there for as long as a job is; None: there is none.

        Raises:
            StoreError: No answer in time.
        """
        ...

    async def stored(self, name: str) -> Stored | None:
        """Return how large a file is; None when there is none.

        Raises:
            StoreError: No answer in time.
        """
        ...

    async def part(self, name: str, *, of: Stored, first: int, count: int) -> bytes:
        """Return *count* bytes of a file from the byte *first* on.

        Raises:
            StoreError: No answer in time, or the file is no longer the one that was asked about.
        """
        ...

    def url(self, name: str) -> str:
        """Return an address under which anyone may fetch the file, for `AUDIO_URL_MS`."""
        ...

    def upload_address(self, name: str, *, byte_count: int | None) -> UploadAddress:
        """Return an address to which anyone may PUT the file, for `UPLOAD_URL_MS`.

        Args:
            name: Of the file.
            byte_count: How large it must be; None: any size.
        """
        ...


class Queue(Protocol):
    """Messages that say what is to be done: a job's id alone wants a slice of it worked on."""

    async def send(self, message: str, *, delay_ms: int = 0) -> None:
        """Have something done, after a delay of at most 15 minutes.

        Raises:
            StoreError: No answer in time; the message may have been sent.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStore:
    """Where jobs are kept; `dead_letters` are messages that no worker came through with, None: there are none."""

    table: JobTable
    turns: Turns
    files: Files
    queue: Queue
    dead_letters: Queue | None = None

    async def change(self, job_id: str, change: Callable[[Job], Job | None]) -> Job | None:
        """Change a job as it is now; None when there is none, or *change* says no.

        Raises:
            StoreError: No answer in time, or others change it all the time.
        """
        for _ in range(JOB_WRITE_ATTEMPTS_MAX):
            job = await self.table.get(job_id)
            changed = None if job is None else change(job)
            if changed is None or await self.table.write(changed):
                return changed
        raise StoreError("the job is being changed by others all the time; ask again later")
