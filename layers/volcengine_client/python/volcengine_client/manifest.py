"""What a folder of audio holds: one line of JSON a task, never its text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from volcengine_client.file_names import is_bare
from volcengine_client.models import TaskError, TaskItem
from volcengine_client.speech.sound import shape_of
from volcengine_client.whole_file import write_whole

MANIFEST = "manifest.jsonl"


def _is_none(value: object) -> bool:
    return value is None


class Entry(BaseModel):
    """One task.

    Attributes:
        index: Its place in the list, from 0.
        name: Its id, or `task_1`.
        file: Where its audio is, in the same folder; None for a failed task.
        subtitles: Where its subtitles are, in the same folder; None, and not in JSON: it has none.
        duration_ms: How long the audio plays.
        starts_ms: Where each call's part of a long text begins in it; None, and not in JSON: one call, or not known.
        characters: As the upstream bills them.
        voice: Who speaks.
        error: Why there is no audio.
        fingerprint: A hash of all that shapes the sound: a task with another one has to be spoken anew.
    """

    index: int
    name: str
    file: str | None = None
    subtitles: Annotated[str | None, Field(exclude_if=_is_none)] = None
    duration_ms: int | None = None
    starts_ms: Annotated[list[int] | None, Field(exclude_if=_is_none)] = None
    characters: int = 0
    voice: str | None = None
    error: TaskError | None = None
    fingerprint: str


def fingerprint_of(task: TaskItem) -> str:
    """Return a hash of what shapes the sound of a task, and of nothing else."""
    return sha256(json.dumps(shape_of(task)).encode()).hexdigest()


class Manifest:
    """The manifest of a folder: lines are added as tasks end, so that it is right at any moment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST

    def read(self) -> list[Entry]:
        """Return the entries, the last word on each index; a line that was cut in the middle says nothing."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        entries: dict[int, Entry] = {}
        for line in lines:
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError:
                continue
            if all(name is None or is_bare(name) for name in (entry.file, entry.subtitles)):
                entries[entry.index] = entry
        return [entries[index] for index in sorted(entries)]

    def write(self, entries: Iterable[Entry]) -> None:
        """Let the manifest say just this, in one step."""
        write_whole(self._path, b"".join(_line(entry) for entry in sorted(entries, key=lambda entry: entry.index)))

    def add(self, entry: Entry) -> None:
        """Add a line."""
        with self._path.open("ab") as file:
            file.write(_line(entry))


def _line(entry: Entry) -> bytes:
    return f"{entry.model_dump_json()}\n".encode()
