"""Pure: when each sentence of a text is heard, as SubRip, WebVTT or JSON."""

from __future__ import annotations

import html
import json
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from volcengine_client.speech.gaps import Rank, gaps_of
from volcengine_client.speech.segments import places_of_segments
from volcengine_client.speech.speech import Word
from volcengine_client.speech.text import cleaned

Format = Literal["srt", "vtt", "json"]

CUE_COLUMNS_MAX = 64  # of a screen: 64 Latin letters or 32 ideographs, about six seconds of speech
SEARCH_LETTERS = 32  # how far behind the last word the next one is looked for: numbers are read as words


@dataclass(frozen=True, slots=True)
class Heard:
    """A segment as it was spoken.

    Attributes:
        text: What was sent of it.
        start_ms: Where its audio begins in that of the whole.
        duration_ms: Of its audio.
        words: When each word is heard, from the beginning of the segment; None: the voice does not tell.
    """

    text: str = field(repr=False)
    start_ms: int
    duration_ms: int
    words: Sequence[Word] | None = None

    @property
    def end_ms(self) -> int:
        """Where its audio ends in that of the whole."""
        return self.start_ms + self.duration_ms


@dataclass(frozen=True, slots=True)
class Cue:
    """What a viewer reads at once, in milliseconds from the beginning of the audio."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int


def cues_of(heard: Sequence[Heard]) -> list[Cue]:
    """Return the cues of an audio that was joined from segments, in order, none over another.

    A cue is a sentence, or a part of one that is long. Its times are those of its words where the voice tells them;
    else the text is laid evenly over its segment, whose own begin and end are exact.
    """
    cues: list[Cue] = []
    next_ms = heard[-1].end_ms if heard else 0
    for segment in reversed(heard):
        letters = _Letters(segment)
        next_ms = min(next_ms, segment.end_ms)
        for text, first, end in reversed(list(_sentences(cleaned(segment.text)))):
            start_ms = min(next_ms, segment.start_ms + letters.start_ms(first))
            end_ms = min(next_ms, max(start_ms, segment.start_ms + letters.end_ms(end)))
            cues.append(Cue(text, start_ms, end_ms))
            next_ms = start_ms
        next_ms = min(next_ms, segment.start_ms)
    return cues[::-1]


def words_of(heard: Sequence[Heard]) -> list[Word] | None:
    """Return when each word of an audio is heard that was joined from segments; None unless all segments tell."""
    words: list[Word] = []
    for segment in heard:
        if segment.words is None:
            return None
        begin_ms = segment.start_ms
        words += [Word(word.text, begin_ms + word.start_ms, begin_ms + word.end_ms) for word in segment.words]
    return words


def subtitles_of(heard: Sequence[Heard], kind: Format) -> str:
    """Return the subtitles of an audio that was joined from segments.

    `srt` and `vtt` are whole files; `json` is an object with `duration_ms`, `cues` and `words` (null where the voice
    does not tell them), each with `text`, `start_ms`, `end_ms`.
    """
    words = words_of(heard) if kind == "json" else None
    return written(cues_of(heard), words, kind, duration_ms=heard[-1].end_ms if heard else 0)


def written(cues: Sequence[Cue], words: Sequence[Word] | None, kind: Format, *, duration_ms: int) -> str:
    """Return cues as a file; see `subtitles_of`. Words and duration are told in json only."""
    if kind == "srt":
        blocks = (
            f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{cue.text}\n"
            for number, cue in enumerate(cues, 1)
        )
        return "\n".join(blocks)
    if kind == "vtt":
        blocks = (
            f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{html.escape(cue.text, quote=False)}\n"
            for cue in cues
        )
        return "\n".join(["WEBVTT\n", *blocks])
    told = {
        "duration_ms": duration_ms,
        "cues": [_told(cue) for cue in cues],
        "words": None if words is None else [_told(word) for word in words],
    }
    return json.dumps(told, ensure_ascii=False)


def _told(piece: Cue | Word) -> dict[str, object]:
    return {"text": piece.text, "start_ms": piece.start_ms, "end_ms": piece.end_ms}


def _clock(at_ms: int, mark: str) -> str:
    seconds, milliseconds = divmod(at_ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{milliseconds:03}"


def _sentences(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield what is read at once, with the places of its first letter and behind its last one among the letters."""
    letters = 0
    begins_at = 0
    for gap in gaps_of(text):
        if gap.rank > Rank.SENTENCE:
            continue
        sentence = text[begins_at : gap.ends_at]
        for place in places_of_segments(sentence, [_columns(one) for one in sentence], size_max=CUE_COLUMNS_MAX):
            shown = " ".join(sentence[place.start : place.stop].split())
            count = sum(map(str.isalnum, shown)) or 1
            yield shown, letters, letters + count
            letters += count
        begins_at = gap.next_at


def _columns(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class _Letters:
    """When each letter or digit of a segment is heard: known for those of its words, between them evenly laid."""

    def __init__(self, segment: Heard) -> None:
        letters = [character.casefold() for character in cleaned(segment.text) if character.isalnum()]
        self._starts = [(0, 0)]
        self._ends = [(0, 0)]
        at = 0
        for word in segment.words or ():
            said = [character.casefold() for character in word.text if character.isalnum()]
            place = _place_of(said, letters, at)
            if place is not None and self._ends[-1][1] <= word.start_ms <= word.end_ms <= segment.duration_ms:
                at = place + len(said)
                self._starts.append((place, word.start_ms))
                self._ends.append((at, word.end_ms))
        last = (len(letters) or 1, segment.duration_ms)
        self._starts.append(last)
        self._ends.append(last)

    def start_ms(self, letter: int) -> int:
        """Return when a letter begins."""
        return _between(self._starts, bisect_right(self._starts, letter, key=_letter_of), letter)

    def end_ms(self, letter: int) -> int:
        """Return when what lies before a letter ends."""
        return _between(self._ends, bisect_left(self._ends, letter, key=_letter_of), letter)


def _place_of(said: Sequence[str], letters: Sequence[str], at: int) -> int | None:
    """Return where a word stands at or soon behind a place; None when it is said otherwise than written."""
    if not said:
        return None
    for place in range(at, min(at + SEARCH_LETTERS, len(letters) - len(said)) + 1):
        if list(letters[place : place + len(said)]) == list(said):
            return place
    return None


def _letter_of(known: tuple[int, int]) -> int:
    return known[0]


def _between(known: Sequence[tuple[int, int]], right: int, letter: int) -> int:
    """Return the time of a letter by the known ones on both sides, which never go back."""
    if right in {0, len(known)}:
        return known[right and -1][1]
    (before, from_ms), (after, to_ms) = known[right - 1], known[right]
    return from_ms + (to_ms - from_ms) * (letter - before) // (after - before)
