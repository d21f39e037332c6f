"""A list of tasks in JSON Lines, read as its bytes come, into chunks. Pure.

Whatever is wrong with a line is told with the line's number, and never with what it says (I6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import JOB_CHUNK_TASKS, JOB_TASKS_MAX, UPLOAD_LINE_BYTES_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.jobs.chunks import TASK, written_tasks
from volcengine_gateway.problems import FIELDS_MAX, fields_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
VOICES_MAX = 1_000
PLACE = re.compile(r" at line 1 column (\d+)$")  # in JSON, whose only line is the line itself


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a list was read: just behind a whole chunk, from where another reader may go on.

    Attributes:
        offset: Bytes behind it.
        line_count: Lines behind it.
        task_count: Tasks in these.
        character_count: Of these, as the upstream bills them.
    """

    offset: int = 0
    line_count: int = 0
    task_count: int = 0
    character_count: int = 0


class TaskLines:
    """Turns the bytes of a list into files of tasks, a chunk each, with no more in memory than it was last fed.

    A line is a JSON object, and ends as on any system; empty ones are skipped. UTF-8, with or without a byte order
    mark. After the first broken line no more chunks come, and the rest is only looked at for further ones.

    Args:
        mark: Where to begin; its bytes are fed next.

    Attributes:
        mark: Behind the last chunk that was returned.
        task_count: So far.
        character_count: Of these, as the upstream bills them.
        spoken_by: A task of each voice, as far as the first thousand voices.
    """

    def __init__(self, mark: Mark | None = None) -> None:
        self.mark = mark or Mark()
        self.task_count = self.mark.task_count
        self.character_count = self.mark.character_count
        self.spoken_by: dict[str, TaskItem] = {}
        self._tasks: list[TaskItem] = []
        self._rest = b""
        self._line = self.mark.line_count
        self._offset = self.mark.offset
        self._problems: list[dict[str, Any]] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes, and return the chunks that are whole with them.

        Raises:
            InvalidRequestError: Nothing more can be read, or so many lines are broken that the rest does not matter.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        chunks = [chunk for line in lines if (chunk := self._chunk_with(line))]
        if len(self._rest) > UPLOAD_LINE_BYTES_MAX:
            self._chunk_with(self._rest)
        return chunks

    def end(self) -> list[bytes]:
        """Return the last chunk, if there is one beside those that were returned.

        Raises:
            InvalidRequestError: A line was broken, or there were no tasks.
        """
        whole = self._chunk_with(self._rest)
        if self._problems:
            raise self._refusal()
        if not self.task_count:
            raise InvalidRequestError.of_field("upload_id", "The uploaded list has no tasks")
        return [chunk for chunk in (whole, written_tasks(self._tasks)) if chunk]

    def _chunk_with(self, line: bytes) -> bytes | None:
        """Take a line; return the chunk that is whole with it."""
        self._line += 1
        self._offset += len(line) + 1
        if self._line == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if len(line) > UPLOAD_LINE_BYTES_MAX:
            self._note(f"should have at most {UPLOAD_LINE_BYTES_MAX:,} bytes", bound=UPLOAD_LINE_BYTES_MAX)
            raise self._refusal()
        if not line.strip():
            return None
        task = self._task(line)
        if task is None or self._problems:
            return None
        if self.task_count == JOB_TASKS_MAX:
            self._note(f"is one too many: a job has at most {JOB_TASKS_MAX:,} tasks", bound=JOB_TASKS_MAX)
            raise self._refusal()
        self.task_count += 1
        self.character_count += characters_billed(task.text)
        self._tasks.append(task)
        if len(self.spoken_by) < VOICES_MAX:
            self.spoken_by.setdefault(task.voice_type, task)
        if len(self._tasks) < JOB_CHUNK_TASKS:
            return None
        chunk, self._tasks = written_tasks(self._tasks), []
        self.mark = Mark(self._offset, self._line, self.task_count, self.character_count)
        return chunk

    def _task(self, line: bytes) -> TaskItem | None:
        """Return the task of a line; None when it is broken."""
        try:
            line.decode()
            return TASK.validate_json(line)
        except UnicodeDecodeError:
            self._note("is not UTF-8; save the list as UTF-8")
        except ValidationError as exc:
            for told in fields_of(exc, within=("lines", self._line)):
                message = PLACE.sub(r" at column \1", told["message"])
                self._problems.append({**told, "message": message, "line": self._line})
        if len(self._problems) >= FIELDS_MAX:
            raise self._refusal()
        return None

    def _note(self, message: str, **bound: int) -> None:
        told = {"field": f"lines[{self._line}]", "message": f"Line {message}", "line": self._line}
        self._problems.append({**told, **bound})

    def _refusal(self) -> InvalidRequestError:
        first, count = self._problems[0], len(self._problems)
        field = str(first["field"]).partition("].")[2]
        message = f"line {first['line']}: {field + ': ' if field else ''}{first['message']}"
        if count > 1:
            message += f"; and {count - 1} more, see details"
        return InvalidRequestError(message, details={"fields": self._problems[:FIELDS_MAX], "fields_count": count})
