"""The progress of a batch on a terminal: done, failed, characters, slots, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from volcengine_client.out_folder import Piece
from volcengine_client.speech.text import characters_billed


class BatchProgress:
    """A bar, and the counts of what became of a run's tasks.

    Args:
        console: Where it is drawn; a line at the end is all when that is no terminal.
        task_count: Tasks that are to be spoken.

    Attributes:
        done_count: Spoken.
        failed_count: Not spoken.
        characters: Of the calls for those that were.
        subtitled_count: Whose audio was there, and which have subtitles now.
    """

    def __init__(self, console: Console, task_count: int) -> None:
        self.done_count = 0
        self.failed_count = 0
        self.characters = 0
        self.subtitled_count = 0
        self._begun: dict[str, float] = {}  # how much of pieces that are not finished was heard
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TextColumn("{task.fields[slots]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("Speaking", total=task_count, counts="", slots="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def heard(self, piece: Piece, characters: int, *, share: float) -> None:
        """Count what a call brought for a piece that is not finished: so much of it, from 0 to 1."""
        self.characters += characters
        self._begun[piece.key] = self._begun.get(piece.key, 0.0) + share
        self._tell()

    def spoken(self, piece: Piece, count: int, *, characters: int | None = None) -> None:
        """Count a piece that has its audio, which *count* tasks share; None: its calls were not counted before."""
        self.done_count += count
        self.characters += characters_billed(piece.task.text) if characters is None else characters
        self._begun.pop(piece.key, None)
        self._tell()

    def subtitled(self, count: int) -> None:
        """Count a piece that had its audio and has subtitles now, which *count* tasks share."""
        self.subtitled_count += count
        self._tell()

    def failed(self, piece: Piece, count: int) -> None:
        """Count a piece that has an error, which *count* tasks share."""
        self.failed_count += count
        self._begun.pop(piece.key, None)
        self._tell()

    def slots(self, in_use: int, limit: int | None) -> None:
        """Show how busy the pool is."""
        self._progress.update(self._bar, slots=f"slots {in_use}/{'?' if limit is None else limit}")

    def say(self, what: str) -> None:
        """Say what is being done now."""
        self._progress.update(self._bar, description=what)

    def _tell(self) -> None:
        failed = f" · {self.failed_count} failed" if self.failed_count else ""
        completed = self.done_count + self.subtitled_count + self.failed_count + sum(self._begun.values())
        self._progress.update(self._bar, completed=completed, counts=f"{self.characters:,} characters{failed}")
