"""Pure: when each word is heard, as the upstream tells it; None for whatever is not told as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from volcengine_client.speech.speech import Word

_SECONDS_MAX = 36_000  # what is later is no time in a text's audio
WORDS_MAX = 20_000  # of a text


def words_in_frontend(frontend: Any) -> tuple[Word, ...] | None:
    """Return the words of v1's `addition.frontend`, which is JSON in a string."""
    if isinstance(frontend, str):
        try:
            frontend = json.loads(frontend)
        except (ValueError, RecursionError):
            return None
    return _words([frontend], "start_time", "end_time")


def words_in_sentences(sentences: Iterable[Any]) -> tuple[Word, ...] | None:
    """Return the words of v3's `sentence` objects, in the order in which they are heard.

    A sentence may come after the audio of the next one.
    """
    return _words(sentences, "startTime", "endTime")


def _words(parts: Iterable[Any], start: str, end: str) -> tuple[Word, ...] | None:
    words: list[Word] = []
    for part in parts:
        told = part.get("words") if isinstance(part, dict) else None
        if not isinstance(told, list) or len(words) + len(told) > WORDS_MAX:
            return None
        for one in told:
            word = _word(one, start, end)
            if word is None:
                return None
            words.append(word)
    return tuple(sorted(words, key=lambda word: word.start_ms)) or None


def _word(told: Any, start: str, end: str) -> Word | None:
    if not isinstance(told, dict) or not isinstance(told.get("word"), str):
        return None
    start_ms, end_ms = _ms(told.get(start)), _ms(told.get(end))
    if start_ms is None or end_ms is None or start_ms > end_ms:
        return None
    return Word(told["word"], start_ms, end_ms)


def _ms(seconds: Any) -> int | None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    return round(seconds * 1_000) if 0 <= seconds <= _SECONDS_MAX else None
