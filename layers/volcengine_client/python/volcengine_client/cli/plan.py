"""What has to be spoken for a folder from here, call by call: what is there, or kept, is not bought again."""

from __future__ import annotations

from collections import Counter

from volcengine_client.joined_segments import asked_segments
from volcengine_client.kept_segments import KeptSegments
from volcengine_client.models import TaskItem
from volcengine_client.out_folder import OutFolder, Piece


class Plan:
    """The calls that a folder's missing pieces need; equal ones once.

    Args:
        folder: What is missing.
        kept: Segments of an earlier run.

    Attributes:
        segments: What has to be spoken, by the name of its file.
        wanted_by: The pieces that each of them belongs to.
        at_hand: Pieces for which nothing has to be spoken.
    """

    def __init__(self, folder: OutFolder, kept: KeptSegments) -> None:
        self.segments: dict[str, TaskItem] = {}
        self.wanted_by: dict[str, list[Piece]] = {}
        self.at_hand: list[Piece] = []
        self._names: dict[str, list[str]] = {}
        self._open: dict[str, set[str]] = {}
        self._unfinished: Counter[str] = Counter()  # pieces that are made of each segment
        for piece in folder.missing:
            segments = [] if folder.audio_of(piece) is not None else asked_segments(piece.task)
            named = {kept.name_of(segment): segment for segment in segments}
            self._names[piece.key] = [kept.name_of(segment) for segment in segments]
            missing = {name: segment for name, segment in named.items() if not kept.has(name)}
            self._open[piece.key] = set(missing)
            self._unfinished.update(named.keys())
            if not missing:
                self.at_hand.append(piece)
            for name, segment in missing.items():
                if name not in self.segments or segment.subtitles is not None:
                    self.segments[name] = segment
                self.wanted_by.setdefault(name, []).append(piece)

    def names_of(self, piece: Piece) -> list[str]:
        """Return the names of the segments of which a piece is made; none when its audio is there."""
        return self._names[piece.key]

    def is_one_call(self, piece: Piece) -> bool:
        """Tell whether a piece is what one call brings."""
        return len(self._names[piece.key]) == 1

    def is_open(self, piece: Piece) -> bool:
        """Tell whether something has to be spoken for a piece still."""
        return bool(self._open.get(piece.key))

    def settle(self, name: str) -> list[Piece]:
        """Say that a segment was spoken; return the pieces that are whole by it."""
        whole = []
        for piece in self.wanted_by[name]:
            left = self._open.get(piece.key)
            if left is not None:
                left.discard(name)
                if not left:
                    whole.append(piece)
        return whole

    def finish(self, piece: Piece) -> list[str]:
        """Say that a piece is made; return the segments of which no other one will be made."""
        names = set(self._names[piece.key])
        self._unfinished.subtract(names)
        return [name for name in names if not self._unfinished[name]]

    def give_up(self, piece: Piece) -> list[str]:
        """Say that a piece has failed; return the segments that nobody needs any more."""
        left = self._open.pop(piece.key, set())
        return [name for name in left if not any(map(self.is_open, self.wanted_by[name]))]
