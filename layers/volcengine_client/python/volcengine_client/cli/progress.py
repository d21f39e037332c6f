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
    """

    def __init__(self, console: Console, task_count: int) -> None:
        self.done_count = 0
        self.failed_count = 0
        self.characters = 0
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

    def spoken(self, piece: Piece, count: int) -> None:
        """Count a piece that has its audio, which *count* tasks share."""
        self.done_count += count
        self.characters += characters_billed(piece.task.text)
        self._tell(count)

    def failed(self, count: int) -> None:
        """Count a piece that has an error, which *count* tasks share."""
        self.failed_count += count
        self._tell(count)

    def slots(self, in_use: int, limit: int | None) -> None:
        """Show how busy the pool is."""
        self._progress.update(self._bar, slots=f"slots {in_use}/{'?' if limit is None else limit}")

    def say(self, what: str) -> None:
        """Say what is being done now."""
        self._progress.update(self._bar, description=what)

    def _tell(self, count: int) -> None:
        failed = f" · {self.failed_count} failed" if self.failed_count else ""
        self._progress.update(self._bar, advance=count, counts=f"{self.characters:,} characters{failed}")
