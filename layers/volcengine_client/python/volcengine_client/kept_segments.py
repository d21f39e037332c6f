"""The segments of long texts that are not whole yet, kept in a hidden folder: what was bought is not bought again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from volcengine_client.joined_segments import Part
from volcengine_client.manifest import fingerprint_of
from volcengine_client.models import TaskItem
from volcengine_client.whole_file import remove_parts, write_whole

FOLDER = ".segments"
TOLD = ".json"  # the ending of the file that says when a segment's words are heard


class KeptSegments:
    """The segments of one folder of audio; whoever has the folder's lock may use them.

    A file is named by a hash of all that shapes the sound, so the same sentences of an edited text are found again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    @staticmethod
    def name_of(segment: TaskItem) -> str:
        """Return the name of a segment's file."""
        return f"{fingerprint_of(segment)}.{segment.encoding}"

    def has(self, name: str) -> bool:
        """Tell whether a segment was spoken."""
        return (self._folder / name).is_file()

    def part(self, name: str) -> Part:
        """Return a segment that was spoken.

        Raises:
            OSError: It can't be read.
        """
        path = self._folder / name
        told = self._folder / f"{name}{TOLD}"
        return Part(path.read_bytes, told.read_text("utf-8") if told.is_file() else None)

    def keep(self, name: str, audio: bytes, told: str | None) -> None:
        """Keep a segment, its audio last: what that lies beside is whole.

        Raises:
            OSError: It can't be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if told is not None:
            write_whole(self._folder / f"{name}{TOLD}", told.encode())
        write_whole(self._folder / name, audio)

    def drop(self, names: Iterable[str]) -> None:
        """Remove segments whose task is finished."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
            (self._folder / f"{name}{TOLD}").unlink(missing_ok=True)

    def tidy(self, *, is_all_finished: bool) -> None:
        """Remove what nobody will ask for: parts of files, and all when no task is left."""
        if is_all_finished:
            shutil.rmtree(self._folder, ignore_errors=True)
        elif self._folder.is_dir():
            remove_parts(self._folder)
