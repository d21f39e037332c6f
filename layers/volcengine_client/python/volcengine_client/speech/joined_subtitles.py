"""Pure: subtitles of several files as those of the one that was joined of them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence

from volcengine_client.speech.speech import Word
from volcengine_client.speech.subtitles import Cue, Format, written

_TIMES = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{3}) --> (\d+):(\d\d):(\d\d)[,.](\d{3})")
_Piece = tuple[str, int, int]  # what is read or heard, from when to when


def joined_subtitles(files: Sequence[tuple[str, int]], kind: Format, *, duration_ms: int) -> str:
    """Return the subtitles of a joined file.

    Args:
        files: Each part's subtitles in the form *kind*, as this library writes them, and when the part begins.
        kind: The form.
        duration_ms: How long the joined file plays.

    Raises:
        ValueError: One is no such file.
    """
    cues: list[Cue] = []
    words: list[Word] | None = []
    ends = [*(start_ms for _, start_ms in files[1:]), duration_ms]
    for (text, start_ms), end_ms in zip(files, ends, strict=True):
        said, heard = _read(text) if kind == "json" else (list(_cues(text, kind)), None)
        cues += [Cue(*times) for times in _shifted(said, start_ms, end_ms)]
        if heard is None:
            words = None
        elif words is not None:
            words += [Word(*times) for times in _shifted(heard, start_ms, end_ms)]
    return written(cues, words, kind, duration_ms=duration_ms)


def _shifted(pieces: Sequence[_Piece], start_ms: int, end_ms: int) -> Iterator[_Piece]:
    """Yield pieces of a part as they are heard in the whole, none after the end of the part."""
    for text, from_ms, to_ms in pieces:
        yield text, min(start_ms + from_ms, end_ms), min(start_ms + to_ms, end_ms)


def _read(text: str) -> tuple[list[_Piece], list[_Piece] | None]:
    """Return the cues and the words of a json."""
    try:
        told = json.loads(text)
        cues, words = (
            None
            if told[name] is None
            else [(one["text"], int(one["start_ms"]), int(one["end_ms"])) for one in told[name]]
            for name in ("cues", "words")
        )
    except (KeyError, TypeError) as exc:
        raise ValueError("these are no subtitles") from exc
    return cues or [], words


def _cues(text: str, kind: Format) -> Iterator[_Piece]:
    """Yield the cues of an srt or a vtt."""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        times = _TIMES.search(block)
        if times is not None:
            said = block[times.end() :].strip("\n")
            start_ms, end_ms = (_ms(times.groups()[first : first + 4]) for first in (0, 4))
            yield html.unescape(said) if kind == "vtt" else said, start_ms, end_ms


def _ms(parts: Sequence[str]) -> int:
    hours, minutes, seconds, milliseconds = map(int, parts)
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000 + milliseconds
