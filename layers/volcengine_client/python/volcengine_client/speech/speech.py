"""What a call brings back."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """When a piece of the text is heard, in milliseconds from the beginning of the audio."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Speech:
    """A task's audio.

    Attributes:
        audio: The whole file.
        duration_ms: How long it plays.
        log_id: The upstream's name for the call, for its support.
        kept_as: The name under which the audio is kept, when `audio` is empty for that.
        billed_characters: As the upstream says; None when it does not.
        words: When each word is heard; None when nobody asked, or the upstream does not say.
        subtitles: In the form that the task asked for; None: it did not, or this is a segment of it.
    """

    audio: bytes = field(repr=False)
    duration_ms: int
    log_id: str | None
    kept_as: str | None = None
    billed_characters: int | None = None
    words: tuple[Word, ...] | None = field(default=None, repr=False)
    subtitles: str | None = field(default=None, repr=False)
