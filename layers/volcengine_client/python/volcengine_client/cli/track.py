"""A batch joined to one track with chapters."""

from __future__ import annotations

import os
from pathlib import Path

from volcengine_client.errors import InvalidRequestError
from volcengine_client.fields import encoding_by_ending
from volcengine_client.joined_files import CHAPTERS, join_files
from volcengine_client.manifest import MANIFEST
from volcengine_client.out_folder import OutFolder
from volcengine_client.speech.audio import SAMPLE_RATE_DEFAULT
from volcengine_client.speech.chapters import Chapter


class Track:
    """The one file of all tasks, in their order; beside it its chapters, and its subtitles if there are any.

    Args:
        to: The file.
        folder: What it is made of.

    Attributes:
        is_written: Whether it is there.

    Raises:
        InvalidRequestError: It can't be made of these tasks, or not there; told before anything is bought.
    """

    def __init__(self, to: Path, folder: OutFolder) -> None:
        self.is_written = False
        self._to = to
        self._folder = folder
        self._trouble = ""
        self._chapters: list[Chapter] = []
        self._sample_rate = self._checked()

    def write(self) -> None:
        """Write it, if every task has all that it wants; what can't be joined is told, and leaves no file.

        Raises:
            OSError: A file can't be read or written.
        """
        if not self._folder.is_finished or self._folder.unsubtitled_count:
            return
        folder, pieces = self._folder.folder, self._folder.pieces
        try:
            self._chapters = join_files(
                [folder / piece.file for piece in pieces],
                self._to,
                titles=[piece.task.task_id or Path(piece.file).stem for piece in pieces],
                subtitles=[None if piece.subtitles is None else folder / piece.subtitles for piece in pieces],
                sample_rate=self._sample_rate,
            )
        except ValueError as exc:
            self._trouble = str(exc)
        else:
            self.is_written = True

    def told(self) -> str:
        """Return what became of it, in a sentence."""
        if self.is_written:
            return f"{self._to}: {self._chapters[-1].end_ms / 1_000:.1f} s, {len(self._chapters):,} chapters"
        why = self._trouble or "not every task has its files yet"
        return f"{self._to} was not written: {why}"

    def _checked(self) -> int | None:
        """Return the one sample rate of all."""
        tasks = [piece.task for piece in self._folder.pieces]
        named = encoding_by_ending(self._to.name)
        encodings = {task.encoding for task in tasks}
        if encodings != {named}:
            among = " and ".join(sorted(encodings))
            raise InvalidRequestError(
                f"{self._to.name} can't be joined of {among}: one encoding, and a name that says it"
            )
        if len({task.sample_rate or SAMPLE_RATE_DEFAULT for task in tasks}) > 1:
            raise InvalidRequestError(f"{self._to.name} can't be joined of tasks with several sample rates")
        forms = {task.subtitles for task in tasks if task.subtitles is not None}
        if len(forms) > 1:
            raise InvalidRequestError(f"{self._to.name} can't be joined of tasks with several forms of subtitles")
        self._check_place([CHAPTERS, *(f".{form}" for form in forms)])
        return tasks[0].sample_rate

    def _check_place(self, endings: list[str]) -> None:
        place, folder = self._to.parent, self._folder.folder
        if place.resolve() == folder.resolve():
            names = {name.casefold() for piece in self._folder.pieces for name in (piece.file, piece.subtitles) if name}
            own = {self._to.name, *(self._to.with_suffix(ending).name for ending in endings)}
            if names & {name.casefold() for name in own} or MANIFEST in own:
                raise InvalidRequestError(f"{self._to.name} is the name of a task's file; take another")
        elif not place.is_dir() or not os.access(place, os.W_OK):
            raise InvalidRequestError(f"there is no folder {place}, or it can't be written")
