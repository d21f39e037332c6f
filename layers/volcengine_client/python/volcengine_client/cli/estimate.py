"""What a batch will take: pure figures, nothing is bought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from volcengine_client.limits import CALL_TIME_GUESS_MS
from volcengine_client.out_folder import OutFolder, Piece
from volcengine_client.speech.text import characters_billed


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a batch.

    Attributes:
        tasks: In the list.
        found: Whose audio is there already.
        alike: That sound like an earlier one, and are not spoken again.
        calls: To the upstream, when none has to be repeated.
        characters: Of these calls, as the upstream bills them.
        expected_ms: From the first call to the last, with *limit* calls at once; a guess.
        limit: None when it is not known; then for one call at a time.
    """

    tasks: int
    found: int
    alike: int
    calls: int
    characters: int
    expected_ms: int
    limit: int | None


def estimate_of(folder: OutFolder, *, limit: int | None) -> Estimate:
    """Return what is left to do in a folder."""
    calls = len(folder.missing)
    return Estimate(
        tasks=len(folder.pieces),
        found=folder.found_count,
        alike=len(folder.pieces) - folder.found_count - calls,
        calls=calls,
        characters=characters_of(folder.missing),
        expected_ms=-(-calls // (limit or 1)) * CALL_TIME_GUESS_MS,
        limit=limit,
    )


def characters_of(pieces: Sequence[Piece]) -> int:
    """Return what pieces cost, in characters."""
    return sum(characters_billed(piece.task.text) for piece in pieces)
