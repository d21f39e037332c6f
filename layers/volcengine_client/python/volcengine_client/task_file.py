"""Tasks in a file: JSON Lines or CSV, every broken line named before anything is bought."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import JOB_TASKS_MAX, TASK_FILE_BYTES_MAX
from volcengine_client.models import TaskItem

PROBLEMS_TOLD_MAX = 20
FIELDS = (
    "task_id",
    "text",
    "prompt",
    "voice_type",
    "output_filename",
    "encoding",
    "sample_rate",
    "speed",
    "volume",
    "pitch",
    "emotion",
    "language",
    "silence_ms",
    "text_type",
    "model",
    "resource_id",
    "subtitles",
)
_TASK = TypeAdapter(TaskItem)


class _LineError(Exception):
    """What is wrong with one line; never its text."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_tasks(path: Path, *, usual: Mapping[str, str] | None = None) -> list[TaskItem]:
    """Return the tasks in a file, in its order.

    A `.csv` has a header row with the fields' names, and an empty cell leaves its field out. Any other file has one
    JSON object a line; empty lines are skipped. Both are UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        usual: Fields, as `voice_type`, of tasks that don't have them; None: none.

    Raises:
        InvalidRequestError: A line is broken, or there are none; `details["lines"]` names each, as far as the first 20.
        OSError: The file can't be read.
    """
    if path.stat().st_size > TASK_FILE_BYTES_MAX:
        raise InvalidRequestError(f"{path.name} is larger than {TASK_FILE_BYTES_MAX:,} bytes")
    content = path.read_bytes()
    is_csv = path.suffix.lower() == ".csv"
    tasks: list[TaskItem] = []
    problems: list[tuple[int, str]] = []
    try:
        for line, fields in (_csv_rows if is_csv else _json_lines)(_decoded(content)):
            try:
                tasks.append(_task(line, fields, usual or {}))
            except _LineError as exc:
                problems.append((exc.line, str(exc)))
    except _LineError as exc:
        problems.append((exc.line, str(exc)))
    if problems:
        raise _refusal(path, problems)
    if not tasks:
        raise InvalidRequestError(f"{path.name} has no tasks")
    if len(tasks) > JOB_TASKS_MAX:
        raise InvalidRequestError(f"{path.name} has {len(tasks):,} tasks; {JOB_TASKS_MAX:,} are the most")
    return tasks


def _refusal(path: Path, problems: list[tuple[int, str]]) -> InvalidRequestError:
    told = [f"line {line}: {message}" for line, message in problems[:PROBLEMS_TOLD_MAX]]
    count = len(problems)
    return InvalidRequestError(
        f"{path.name} has {count:,} broken {'line' if count == 1 else 'lines'}; nothing was bought",
        details={"lines": told, "lines_count": count},
    )


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise _LineError(line, "not UTF-8; save the file as UTF-8") from None


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each line's number and fields, or what is wrong with it."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as exc:
            yield number, f"not JSON: {exc.msg} at column {exc.colno}"
        except (RecursionError, ValueError):
            yield number, "not JSON that can be read"
        else:
            yield number, fields if isinstance(fields, dict) else "a task is a JSON object, as in {…}"


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each row's first line and fields, or what is wrong with it."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    begins = 1
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                if names is None:
                    names = _header(begins, row)
                else:
                    yield begins, _fields(names, row)
            begins = rows.line_num + 1
    except csv.Error as exc:
        raise _LineError(begins, f"not CSV: {exc}") from None


def _header(line: int, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    unknown = [name for name in names if name not in FIELDS]
    if unknown or not {"text", "prompt"} & set(names) or len(set(names)) < len(names):
        message = f"the first row should name the columns, text and any of {', '.join(FIELDS)}; each once"
        raise _LineError(line, message)
    return names


def _fields(names: list[str], row: list[str]) -> dict[str, Any] | str:
    if len(row) > len(names):
        return f"{len(row)} cells, but {len(names)} columns; a cell with commas needs quotes"
    fields: dict[str, Any] = {name: cell for name, cell in zip(names, row, strict=False) if cell.strip()}
    if fields.get("sample_rate", "").strip().isdecimal():
        fields["sample_rate"] = int(fields["sample_rate"])
    return fields


def _task(line: int, fields: dict[str, Any] | str, usual: Mapping[str, str]) -> TaskItem:
    if isinstance(fields, str):
        raise _LineError(line, fields)
    try:
        return _TASK.validate_python({**usual, **fields})
    except ValidationError as exc:
        # Without its cause, which quotes the line.
        raise _LineError(line, told_of(exc)) from None


def told_of(error: ValidationError) -> str:
    """Return what is wrong with a task, by its fields; never what was given."""
    problems = []
    for one in error.errors(include_input=False, include_url=False):
        field = str(one["loc"][0]) if one["loc"] else "task"
        unknown = one["type"] in {"unexpected_keyword_argument", "extra_forbidden"}
        if unknown:
            known = field if field.isidentifier() and len(field) <= 40 else "?"
            problems.append(f"{known}: no such field")
        else:
            problems.append(f"{field}: {one['msg']}")
    return "; ".join(problems)
