"""What the gateway tells its operator: counts, times and codes; never a credential or a text (I6)."""

from __future__ import annotations

import json
import logging
import traceback
from dataclasses import asdict, dataclass
from typing import Protocol

from volcengine_client.errors import VolcengineError


@dataclass(frozen=True, slots=True)
class Spoken:
    """A batch that was spoken, or tried.

    Attributes:
        pool: The pool's name if it is the server's, else `caller`.
        tasks: How many it had.
        failed: How many of them have no audio.
        cut: How many of those were under way when the deadline came, and may have been paid for.
        refused: How many calls the upstream refused for concurrency, tried again or not.
        waited_ms: From joining the pool to the first slot; None when none came.
    """

    pool: str
    tasks: int
    failed: int
    cut: int
    refused: int
    waited_ms: int | None


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered.

    Attributes:
        request_id: As in the answer.
        route: The route's rule, not the path, which a caller may fill with anything.
        method: Of HTTP; `?` for one that no route knows.
        status: Of HTTP.
        code: The error's; None when all is well.
        duration_ms: In this process.
    """

    request_id: str
    route: str
    method: str
    status: int
    code: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class CalledBack:
    """A try to tell whoever wanted it that a job is over.

    Attributes:
        job_id: The job.
        attempt: Which try it was, from 1.
        state: `delivered`; `announced`: there will be another try; `failed`: given up; `gone`: nobody waits any more.
        reason: `http_` and the status, or what was in the way.
    """

    job_id: str
    attempt: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Worked:
    """A slice of work on a job.

    Attributes:
        job_id: The job.
        pool: The pool's name.
        state: Of the job after it.
        spoken: Tasks that got audio, bought or found.
        failed: Tasks that got an error for good.
        put_off: Tasks that were left to a later slice.
        refused: Calls that the upstream refused for concurrency.
        trouble: The code of what stood in the way; None: nothing did but time.
    """

    job_id: str
    pool: str
    state: str
    spoken: int
    failed: int
    put_off: int
    refused: int
    trouble: str | None


@dataclass(frozen=True, slots=True)
class PutOff:
    """A message that comes again, since something was out of reach.

    Attributes:
        message_id: Its name in the queue.
        code: The error's.
    """

    message_id: str
    code: str


class Journal(Protocol):
    """Where it is written."""

    def spoken(self, event: Spoken) -> None:
        """Note a batch."""
        ...

    def answered(self, event: Answered) -> None:
        """Note a request."""
        ...

    def worked(self, event: Worked) -> None:
        """Note a slice of work."""
        ...

    def put_off(self, event: PutOff) -> None:
        """Note a message that comes again."""
        ...

    def called_back(self, event: CalledBack) -> None:
        """Note a try to tell of a job's end."""
        ...

    def bug(self, error: BaseException, *, request_id: str) -> None:
        """Note a mistake of ours."""
        ...


class LogJournal:
    """A journal in the standard library's log, one JSON object a line."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def spoken(self, event: Spoken) -> None:
        self._write(logging.INFO, "spoken", asdict(event))

    def answered(self, event: Answered) -> None:
        self._write(logging.INFO, "answered", asdict(event))

    def worked(self, event: Worked) -> None:
        self._write(logging.INFO, "worked", asdict(event))

    def put_off(self, event: PutOff) -> None:
        self._write(logging.WARNING, "put_off", asdict(event))

    def called_back(self, event: CalledBack) -> None:
        self._write(logging.INFO, "called_back", asdict(event))

    def bug(self, error: BaseException, *, request_id: str) -> None:
        self._write(logging.ERROR, "bug", {"request_id": request_id, **told_of_bug(error)})

    def _write(self, level: int, message: str, facts: dict[str, object]) -> None:
        self._log.log(level, "%s", json.dumps({"message": message, **facts}))


def note_failure(journal: Journal, error: Exception, *, message_id: str) -> None:
    """Note why a message comes again: something was out of reach, or a mistake of ours."""
    if isinstance(error, VolcengineError):
        journal.put_off(PutOff(message_id, error.code))
    else:
        journal.bug(error, request_id=message_id)


def told_of_bug(error: BaseException) -> dict[str, object]:
    """Return where a bug is: types and lines of code, not the errors' own words, which may quote a request."""
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 8:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {"kinds": kinds, "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}
