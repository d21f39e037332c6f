"""A folder that fills with audio: what is there already, what is missing, and a manifest that is always right."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from volcengine_client.errors import VolcengineError
from volcengine_client.file_names import file_names, subtitle_names
from volcengine_client.folder_lock import FolderLock
from volcengine_client.joined_segments import Joined, subtitles_of_audio
from volcengine_client.manifest import MANIFEST, Entry, Manifest, fingerprint_of
from volcengine_client.models import TaskError, TaskItem
from volcengine_client.speech.text import characters_billed
from volcengine_client.whole_file import part_beside, remove_parts, write_whole


@dataclass(frozen=True, slots=True)
class Piece:
    """A task, and the files that its audio and its subtitles belong in.

    Attributes:
        index: Of the task in its list.
        task: What is to be said.
        file: Of its audio.
        subtitles: Of its subtitles; None: it wants none.
        fingerprint: Of its sound.
    """

    index: int
    task: TaskItem
    file: str
    subtitles: str | None
    fingerprint: str

    @property
    def key(self) -> str:
        """What tasks have in common whose files are the same: the sound, and the form of subtitles."""
        return self.fingerprint if self.subtitles is None else f"{self.fingerprint}.{self.task.subtitles}"

    def entry(self, duration_ms: int | None, starts_ms: Sequence[int] | None, *, has_subtitles: bool) -> Entry:
        """Return what the manifest says when the audio is there."""
        return self._entry(None).model_copy(
            update={
                "file": self.file,
                "subtitles": self.subtitles if has_subtitles else None,
                "duration_ms": duration_ms,
                "starts_ms": list(starts_ms) if starts_ms is not None and len(starts_ms) > 1 else None,
            }
        )

    def failure(self, error: TaskError) -> Entry:
        """Return what the manifest says when there is no audio."""
        return self._entry(error)

    def _entry(self, error: TaskError | None) -> Entry:
        return Entry(
            index=self.index,
            name=self.task.task_id or f"task_{self.index + 1}",
            characters=characters_billed(self.task.text),
            voice=self.task.voice_type,
            error=error,
            fingerprint=self.fingerprint,
        )


class OutFolder:
    """The folder that a list of tasks is spoken into.

    Tasks that sound the same are spoken once. What an earlier run left is used again, wherever its task stands in the
    list now. Nothing is written before `begin`.

    Args:
        folder: May be missing.
        tasks: The whole list.

    Attributes:
        pieces: The list, with files for each task.
        missing: Whose audio or subtitles are missing, those whose files will be the same once.
    """

    def __init__(self, folder: Path, tasks: Sequence[TaskItem]) -> None:
        taken = frozenset({MANIFEST})
        names = file_names(tasks, taken=taken)
        subtitles = subtitle_names(tasks, names, taken=taken)
        self.folder = folder
        self.pieces = [
            Piece(index, task, names[index], subtitles[index], fingerprint_of(task)) for index, task in enumerate(tasks)
        ]
        self._alike: dict[str, list[Piece]] = {}
        for piece in self.pieces:
            self._alike.setdefault(piece.key, []).append(piece)
        self._manifest = Manifest(folder)
        self._known: dict[str, dict[str, Entry]] = {}
        for entry in self._manifest.read():
            if entry.file is not None and entry.error is None and (folder / entry.file).is_file():
                has_subtitles = entry.subtitles is not None and (folder / entry.subtitles).is_file()
                known = entry if has_subtitles else entry.model_copy(update={"subtitles": None})
                self._known.setdefault(entry.fingerprint, {})[entry.file] = known
        self._complete = {key: self._complete_like(alike[0]) for key, alike in self._alike.items()}
        self.missing = [alike[0] for alike in self._alike.values() if not self._is_there(alike[0])]
        self._entries: dict[int, Entry] = {}
        self._lock = threading.Lock()
        self._own = FolderLock(folder)

    @property
    def found_count(self) -> int:
        """Tasks of which nothing was missing."""
        return sum(map(self._is_there, self.pieces))

    @property
    def to_do_count(self) -> int:
        """Tasks of which something was missing."""
        return len(self.pieces) - self.found_count

    @property
    def unsubtitled_count(self) -> int:
        """Tasks whose audio is there, but not the subtitles that they want."""
        return sum(
            entry.error is None and entry.subtitles is None and self.pieces[index].subtitles is not None
            for index, entry in self._entries.items()
        )

    def alike_count(self, piece: Piece) -> int:
        """Return how many tasks get their files with this one."""
        return len(self._alike[piece.key])

    def audio_of(self, piece: Piece) -> Entry | None:
        """Return what an earlier run said of a piece's audio; None: it is missing.

        The entry that has its subtitles comes first, then the one that is in its place.
        """
        known = self._known.get(piece.fingerprint, {})
        own = known.get(piece.file)
        if own is not None and _is_subtitled(piece, own):
            return own
        return self._complete[piece.key] or own or next(iter(known.values()), None)

    def begin(self) -> None:
        """Make the folder, and bring what is there to the names that its tasks have now.

        Raises:
            InvalidRequestError: Another run is at work in the folder.
            OSError: The folder can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own.take()
        remove_parts(self.folder)
        found = [(piece, entry) for piece in self.pieces if (entry := self.audio_of(piece)) is not None]
        # Copied first, since a name may be another's that moves as well; and a name whose file changes is not to be
        # believed until its own sound is there.
        parts = {piece.index: list(self._copied(piece, entry)) for piece, entry in found}
        moved = [(piece, entry) for piece, entry in found if parts[piece.index]]
        self._entries = {piece.index: _found(piece, entry) for piece, entry in found if not parts[piece.index]}
        self._manifest.write(self._entries.values())
        for piece, entry in moved:
            for part, name in parts[piece.index]:
                part.replace(self.folder / name)
            self._add(_found(piece, entry))

    def part(self) -> Path:
        """Return a name for a file in the folder that will be kept."""
        return part_beside(self.folder / MANIFEST)

    def keep(self, piece: Piece, made: Joined, part: Path | None) -> None:
        """Bring the files of a piece, and of all that are like it, to their places, each whole; then say so.

        Args:
            piece: The piece.
            made: What is known of its audio, and its subtitles.
            part: The audio, which is moved; None: it is in its place.

        Raises:
            OSError: A file can't be written.
        """
        for one in self._alike[piece.key]:
            if one.subtitles is not None and made.subtitles is not None:
                write_whole(self.folder / one.subtitles, made.subtitles.encode())
            if part is not None:
                copy = part_beside(part)
                shutil.copyfile(part, copy) if one is not self._alike[piece.key][-1] else part.replace(copy)
                copy.replace(self.folder / one.file)
            self._add(one.entry(made.duration_ms, made.starts_ms, has_subtitles=made.subtitles is not None))

    def subtitle(self, piece: Piece) -> None:
        """Make the subtitles of a piece, and of all that are like it, of the audio that is there; nothing is bought.

        Raises:
            OSError: A file can't be written.
        """
        known = self.audio_of(piece)
        assert known is not None
        duration_ms = known.duration_ms or 0
        subtitles = subtitles_of_audio(piece.task, duration_ms, known.starts_ms)
        self.keep(piece, Joined(duration_ms, known.starts_ms or (), subtitles), None)

    def fail(self, piece: Piece, error: TaskError) -> None:
        """Say why a piece, and all that are like it, have no audio."""
        for one in self._alike[piece.key]:
            self._add(one.failure(error))

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

    @property
    def is_finished(self) -> bool:
        """Whether every task has its audio."""
        return len(self._entries) == len(self.pieces) and not self.errors()

    def errors(self) -> Counter[str]:
        """Return how many tasks have no audio for which reason, the most frequent first."""
        codes = Counter(entry.error.code for entry in self._entries.values() if entry.error is not None)
        return Counter(dict(codes.most_common()))

    def _is_there(self, piece: Piece) -> bool:
        return self._complete[piece.key] is not None

    def _complete_like(self, piece: Piece) -> Entry | None:
        known = self._known.get(piece.fingerprint, {}).values()
        return next((entry for entry in known if _is_subtitled(piece, entry)), None)

    def _copied(self, piece: Piece, entry: Entry) -> Iterator[tuple[Path, str]]:
        """Copy the files of a piece that have other names now; yield each copy and the name that it will have."""
        names: list[tuple[str | None, str | None]] = [(entry.file, piece.file)]
        if _is_subtitled(piece, entry):
            names.append((entry.subtitles, piece.subtitles))
        for name, now in names:
            if name is not None and now is not None and name != now:
                part = part_beside(self.folder / now)
                shutil.copyfile(self.folder / name, part)
                yield part, now

    def _add(self, entry: Entry) -> None:
        with self._lock:
            self._entries[entry.index] = entry
            self._manifest.add(entry)


def _is_subtitled(piece: Piece, entry: Entry) -> bool:
    """Tell whether an entry has the subtitles that a piece wants, if it wants any."""
    wanted = piece.task.subtitles
    return wanted is None or (entry.subtitles is not None and entry.subtitles.endswith(f".{wanted}"))


def _found(piece: Piece, entry: Entry) -> Entry:
    return piece.entry(entry.duration_ms, entry.starts_ms, has_subtitles=_is_subtitled(piece, entry))
