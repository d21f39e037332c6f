"""A file of speech that is kept. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of speech.

    Attributes:
        name: Of the file.
        duration_ms: How long it plays.
        byte_count: How large it is; 0: not known here.
        has_words: Whether another file beside it says when each word is heard.
    """

    name: str
    duration_ms: int
    byte_count: int = 0
    has_words: bool = False


@dataclass(frozen=True, slots=True)
class Subtitled:
    """Subtitles, and the name of the file in which they are kept."""

    name: str
    text: str = field(repr=False)
