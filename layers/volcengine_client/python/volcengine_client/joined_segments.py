"""The segments of a task that were spoken one by one, joined to its audio and its subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from volcengine_client.models import TaskItem
from volcengine_client.segments import heard, segments_of_task
from volcengine_client.speech.audio import duration_ms
from volcengine_client.speech.join import Joiner
from volcengine_client.speech.speech import Word
from volcengine_client.speech.subtitles import subtitles_of


@dataclass(frozen=True, slots=True)
class Part:
    """A segment that was spoken.

    Attributes:
        audio: Reads its file; called more than once.
        told: Its own subtitles, as `json`; None: nobody asked for them when it was spoken.
    """

    audio: Callable[[], bytes]
    told: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of a task.

    Attributes:
        duration_ms: Of its audio.
        starts_ms: Where each segment begins in it.
        subtitles: In the form that it wanted; None: it wanted none.
    """

    duration_ms: int
    starts_ms: Sequence[int]
    subtitles: str | None = field(default=None, repr=False)


def asked_segments(task: TaskItem) -> list[TaskItem]:
    """Return the segments of a task as they are spoken to be joined: with words' times, if it wants subtitles."""
    segments = segments_of_task(task)
    return list(segments) if task.subtitles is None else [replace(segment, subtitles="json") for segment in segments]


def join_parts(task: TaskItem, parts: Sequence[Part], write: Callable[[bytes], object]) -> Joined:
    """Write the audio of a task, with one of its segments in memory at a time.

    Raises:
        ValueError: The segments don't fit together; some may be written.
    """
    joiner = Joiner(task.encoding, task.sample_rate)
    durations = []
    for part in parts:
        audio = part.audio()
        joiner.measure(audio)
        durations.append(0 if task.subtitles is None else duration_ms(audio, task.encoding, task.sample_rate))
    write(joiner.head())
    for part in parts:
        write(joiner.body(part.audio()))
    write(joiner.tail())
    if task.subtitles is None:
        return Joined(joiner.duration_ms, joiner.starts_ms)
    said = [
        heard(segment, start_ms, lasts_ms, words_told(part.told))
        for segment, part, start_ms, lasts_ms in zip(
            segments_of_task(task), parts, joiner.starts_ms, durations, strict=True
        )
    ]
    return Joined(joiner.duration_ms, joiner.starts_ms, subtitles_of(said, task.subtitles))


def subtitles_of_audio(task: TaskItem, duration_ms: int, starts_ms: Sequence[int] | None) -> str:
    """Return the subtitles of a task that was spoken without any: its text laid evenly over its audio.

    Args:
        task: What was said, and the form that it wants.
        duration_ms: Of its audio.
        starts_ms: Where each segment begins in it, between which the text is laid; None: not known, or one segment.
    """
    assert task.subtitles is not None
    segments = segments_of_task(task)
    if starts_ms is None or len(starts_ms) != len(segments):
        return subtitles_of([heard(task, 0, duration_ms, None)], task.subtitles)
    spans = zip(segments, starts_ms, [*starts_ms[1:], duration_ms], strict=True)
    said = [heard(segment, start_ms, max(0, end_ms - start_ms), None) for segment, start_ms, end_ms in spans]
    return subtitles_of(said, task.subtitles)


def words_told(told: str | None) -> list[Word] | None:
    """Return the words in subtitles of the form `json`; None where they tell none."""
    words = None if told is None else json.loads(told)["words"]
    return None if words is None else [Word(word["text"], word["start_ms"], word["end_ms"]) for word in words]
