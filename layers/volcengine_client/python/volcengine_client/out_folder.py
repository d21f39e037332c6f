"""A folder that fills with audio: what is there already, what is missing, and a manifest that is always right."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volcengine_client.errors import VolcengineError
from volcengine_client.file_names import file_names
from volcengine_client.folder_lock import FolderLock
from volcengine_client.manifest import MANIFEST, Entry, Manifest, fingerprint_of
from volcengine_client.models import TaskError, TaskItem, TaskResult
from volcengine_client.speech.text import characters_billed
from volcengine_client.whole_file import part_beside, remove_parts, write_whole


@dataclass(frozen=True, slots=True)
class Piece:
    """A task, and the file that its audio belongs in."""

    index: int
    task: TaskItem
    file: str
    fingerprint: str

    def entry(self, result: TaskResult | None = None, *, duration_ms: int | None = None) -> Entry:
        """Return what the manifest says of it; without a result: that its audio is there."""
        error = result.error if result is not None else None
        return Entry(
            index=self.index,
            name=self.task.task_id or f"task_{self.index + 1}",
            file=None if error else self.file,
            duration_ms=result.duration_ms if result is not None else duration_ms,
            characters=characters_billed(self.task.text),
            voice=self.task.voice_type,
            error=error,
            fingerprint=self.fingerprint,
        )


class OutFolder:
    """The folder that a list of tasks is spoken into.

    Tasks that sound the same are spoken once. Audio that an earlier run left is used again, wherever its task stands
    in the list now. Nothing is written before `begin`.

    Args:
        folder: May be missing.
        tasks: The whole list.

    Attributes:
        pieces: The list, with a file for each task.
        missing: What has to be spoken, each sound once.
    """

    def __init__(self, folder: Path, tasks: Sequence[TaskItem]) -> None:
        names = file_names(tasks, taken=frozenset({MANIFEST}))
        self.folder = folder
        self.pieces = [Piece(index, task, names[index], fingerprint_of(task)) for index, task in enumerate(tasks)]
        self._alike: dict[str, list[Piece]] = {}
        for piece in self.pieces:
            self._alike.setdefault(piece.fingerprint, []).append(piece)
        self._manifest = Manifest(folder)
        self._known: dict[str, dict[str, Entry]] = {}
        for entry in self._manifest.read():
            if entry.file is not None and entry.error is None and (folder / entry.file).is_file():
                self._known.setdefault(entry.fingerprint, {})[entry.file] = entry
        self.missing = [alike[0] for fingerprint, alike in self._alike.items() if fingerprint not in self._known]
        self._entries: dict[int, Entry] = {}
        self._lock = threading.Lock()
        self._own = FolderLock(folder)

    @property
    def found_count(self) -> int:
        """Tasks whose audio was there."""
        return sum(piece.fingerprint in self._known for piece in self.pieces)

    @property
    def to_speak_count(self) -> int:
        """Tasks whose audio was not there."""
        return len(self.pieces) - self.found_count

    def alike_count(self, piece: Piece) -> int:
        """Return how many tasks get their audio with this one."""
        return len(self._alike[piece.fingerprint])

    def begin(self) -> None:
        """Make the folder, and bring what is there to the names that its tasks have now.

        Raises:
            InvalidRequestError: Another run is at work in the folder.
            OSError: The folder can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own.take()
        remove_parts(self.folder)
        found = [piece for piece in self.pieces if piece.fingerprint in self._known]
        moved = [piece for piece in found if piece.file not in self._known[piece.fingerprint]]
        # Copied first, since a name may be another's that moves as well; and a name whose file changes is not to be
        # believed until its own sound is there.
        parts = {piece.index: self._copied(piece) for piece in moved}
        changing = {piece.file for piece in moved}
        kept = [piece for piece in found if piece.file not in changing]
        self._entries = {piece.index: self._found(piece) for piece in kept}
        self._manifest.write(self._entries.values())
        for piece in moved:
            parts[piece.index].replace(self.folder / piece.file)
            self._add(self._found(piece))

    def keep(self, piece: Piece, result: TaskResult, audio: bytes) -> None:
        """Write the audio of a piece, and of all that sound like it, each file whole; then say so.

        Raises:
            OSError: A file can't be written.
        """
        for one in self._alike[piece.fingerprint]:
            write_whole(self.folder / one.file, audio)
            self._add(one.entry(result))

    def fail(self, piece: Piece, error: TaskError) -> None:
        """Say why a piece, and all that sound like it, have no audio."""
        for one in self._alike[piece.fingerprint]:
            self._add(one.entry(TaskResult(task_id="", error=error)))

    def fail_with(self, piece: Piece, error: VolcengineError) -> None:
        """Say that a piece's audio could not be had."""
        self.fail(piece, TaskError.of(error))

    def finish(self) -> None:
        """Let the manifest have one line a task, in their order, and let other runs in.

        Raises:
            OSError: The folder can't be written.
        """
        try:
            with self._lock:
                self._manifest.write(self._entries.values())
        finally:
            self._own.give()

    def errors(self) -> Counter[str]:
        """Return how many tasks have no audio for which reason, the most frequent first."""
        codes = Counter(entry.error.code for entry in self._entries.values() if entry.error is not None)
        return Counter(dict(codes.most_common()))

    def _found(self, piece: Piece) -> Entry:
        entry, *_ = self._known[piece.fingerprint].values()
        return piece.entry(duration_ms=entry.duration_ms)

    def _copied(self, piece: Piece) -> Path:
        file, *_ = self._known[piece.fingerprint]
        part = part_beside(self.folder / piece.file)
        shutil.copyfile(self.folder / file, part)
        return part

    def _add(self, entry: Entry) -> None:
        with self._lock:
            self._entries[entry.index] = entry
            self._manifest.add(entry)
