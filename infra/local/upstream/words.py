"""Words: when each is heard, as far as that can be told of a voice that only counts. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_SENTENCE = re.compile(r"[^。！？.!?\n]+[。！？.!?\n]*")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Heard:
    """A word, and when it is heard, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and its words."""

    text: str
    words: tuple[Heard, ...]


def sentences_of(text: str, duration_ms: int) -> list[Sentence]:
    """Return the sentences of a text that is spoken in so long, every letter taking the same time."""
    seconds_a_letter = duration_ms / 1_000 / max(1, len(text))
    return [
        Sentence(
            found[0].strip(),
            tuple(
                Heard(word, round((found.start() + at) * seconds_a_letter, 3), round(end * seconds_a_letter, 3))
                for at, word in _words(found[0])
                for end in (found.start() + at + len(word),)
            ),
        )
        for found in _SENTENCE.finditer(text)
    ]


def _words(sentence: str) -> Iterator[tuple[int, str]]:
    """Yield where each word begins; every ideograph is one."""
    for found in _WORD.finditer(sentence):
        if any(unicodedata.east_asian_width(character) in "WF" for character in found[0]):
            yield from ((found.start() + at, character) for at, character in enumerate(found[0]))
        else:
            yield found.start(), found[0]
