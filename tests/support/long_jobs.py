"""Chapters spoken as jobs of the deployed local stack, and whether what comes of them is what was asked for."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from infra.local.simulator import Record
from infra.local.upstream import Audio, Wishes, audio_of
from infra.local.upstream.words import sentences_of
from tests.support.chapters import chapter
from tests.support.crowd import Task
from tests.support.listening import listened, places_ms
from volcengine_client.models import TaskItem
from volcengine_client.segments import segments_of_task

VOICES = {"zh": "BV001_streaming", "en": "en_female_allison_uranus_bigtts"}  # over v1, over v3; both tell words' times
OFF_MAX_MS = 50  # between what is told and what is heard


def chapter_tasks(characters: int, *, encodings: Sequence[str], sample_rate: int | None = None) -> list[Task]:
    """Return a Chinese and an English chapter, each new to the world, which want subtitles."""
    seed = secrets.randbelow(1_000_000)
    rate = {} if sample_rate is None else {"sample_rate": sample_rate}
    return [
        {
            "task_id": f"{language}-{seed}",
            "text": chapter(language, characters, seed=seed),
            "voice_type": voice,
            "encoding": encoding,
            "subtitles": "json",
            **rate,
        }
        for (language, voice), encoding in zip(VOICES.items(), encodings, strict=True)
    ]


def segments_of(task: Task) -> list[str]:
    """Return the texts that have to be bought for a task."""
    return [segment.text for segment in segments_of_task(TaskItem(text=task["text"]))]


# --- what the upstream saw ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the upstream saw of the only account, over all its products.

    Attributes:
        bought: How often each text was.
        spans_ms: When each call began and ended, in order.
        refused_count: Calls over the limit.
    """

    bought: dict[str, int]
    spans_ms: list[tuple[int, int]]
    refused_count: int

    @classmethod
    def of(cls, record: Record) -> Spoken:
        """Return what *record* says; all its calls must have ended."""
        texts = [(text, counts) for gauge in record.gauges for text, counts in gauge["texts"].items()]
        return cls(
            {text: counts.get("bought", 0) for text, counts in texts},
            sorted((call["began_at_ms"], call["ended_at_ms"]) for call in record.calls),
            record.refused,
        )

    @property
    def peak(self) -> int:
        """The most calls at once."""
        steps = sorted(step for began, ended in self.spans_ms for step in ((began, 1), (ended, -1)))
        count = peak = 0
        for _, step in steps:
            count += step
            peak = max(peak, count)
        return peak

    def busy(self, limit: int, *, from_ms: int = 0, to_ms: int | None = None) -> float:
        """Return the share of the slots' time that was used, from the first call's beginning to the last one's end.

        Args:
            limit: Slots.
            from_ms: Count calls from then on.
            to_ms: And what they used up to then; None: to the end.
        """
        spans = [(began, end if to_ms is None else min(end, to_ms)) for began, end in self.spans_ms if began >= from_ms]
        spans = [(began, end) for began, end in spans if began < end]
        used_ms = sum(end - began for began, end in spans)
        return used_ms / (limit * (max(end for _, end in spans) - spans[0][0]))

    def bought_twice(self, tasks: Sequence[Task]) -> int:
        """Return how many texts were bought more often than once; every one was bought, and nothing else."""
        assert {text for text, count in self.bought.items() if count} == {
            text for task in tasks for text in segments_of(task)
        }
        return sum(self.bought.values()) - len(self.bought)


# --- what is heard --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A chapter as it is heard.

    Attributes:
        byte_count: Of its file.
        segment_count: Of which it was made.
        told_ms: How long the result says that it is.
        decoded_ms: How long it is.
        parts_ms: How long its segments are together, each decoded by itself.
        off_ms: The most by which the first subtitle of a segment is before or behind the first word in the file.
    """

    byte_count: int
    segment_count: int
    told_ms: int
    decoded_ms: int
    parts_ms: int
    off_ms: int

    def assert_right(self) -> None:
        """The file is as long as its segments and as it is told to be, and subtitles are where the words are."""
        assert abs(self.decoded_ms - self.parts_ms) <= self.parts_ms / 100
        assert abs(self.told_ms - self.decoded_ms) <= OFF_MAX_MS
        assert self.off_ms <= OFF_MAX_MS


async def heard(session: aiohttp.ClientSession, task: Task, result: dict[str, Any]) -> Heard:
    """Fetch and decode a result; its subtitles must be in order and have every letter of the text."""
    assert (result["task_id"], result["error"]) == (task["task_id"], None)
    file = await _fetched(session, result["audio_url"])
    subtitles = json.loads(await _fetched(session, result["subtitles_url"]))
    return await asyncio.to_thread(_heard, task, file, result["duration_ms"], subtitles)


async def _fetched(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        assert response.status == 200
        return await response.read()


def _heard(task: Task, file: bytes, told_ms: int, subtitles: dict[str, Any]) -> Heard:
    whole = listened(file, task["encoding"])
    parts, first_words_ms = [], []
    for text in segments_of(task):
        audio = _audio_of(task, text)
        parts.append(listened(audio.file, task["encoding"]))
        words = [word for sentence in sentences_of(text, audio.duration_ms) for word in sentence.words]
        first_words_ms.append(round(words[0].start * 1_000))
    assert {(part.codec, part.rate, part.channel_count) for part in parts} == {
        (whole.codec, whole.rate, whole.channel_count)
    }
    return Heard(
        len(file),
        len(parts),
        told_ms,
        whole.duration_ms,
        sum(part.duration_ms for part in parts),
        _off_ms(task, subtitles["cues"], places_ms(parts, whole), first_words_ms),
    )


def _audio_of(task: Task, text: str) -> Audio:
    """Return what the simulated upstream gives for a segment, without its cache: there are many."""
    wishes = Wishes(text, task["voice_type"], task["encoding"], task.get("sample_rate", 24_000))
    audio: Audio = audio_of.__wrapped__(wishes)
    return audio


def _off_ms(task: Task, cues: list[dict[str, Any]], begins_ms: list[int], first_words_ms: list[int]) -> int:
    """Return the most by which a segment's first cue is off the place where its first word is heard."""
    times = [time for cue in cues for time in (cue["start_ms"], cue["end_ms"])]
    assert times == sorted(times), "subtitles overlap or go back"
    firsts = _firsts_of([cue["text"] for cue in cues], segments_of(task))
    assert len(firsts) == len(begins_ms), "a subtitle lies over two segments"
    starts_ms: list[int] = [cues[first]["start_ms"] for first in firsts]
    due_ms = [begin_ms + word_ms for begin_ms, word_ms in zip(begins_ms, first_words_ms, strict=True)]
    return max(abs(start_ms - due) for start_ms, due in zip(starts_ms, due_ms, strict=True))


def _firsts_of(cues: Sequence[str], segments: Sequence[str]) -> list[int]:
    """Return which cue is the first of each segment, by the letters before it."""
    at = 0
    begins: dict[int, int] = {}
    for number, cue in enumerate(cues):
        begins.setdefault(at, number)
        at += _letter_count(cue)
    firsts, at_segment = [], 0
    for segment in segments:
        firsts += [begins[at_segment]] if at_segment in begins else []
        at_segment += _letter_count(segment)
    assert at == at_segment, "a letter is missing in the subtitles"
    return firsts


def _letter_count(text: str) -> int:
    return sum(map(str.isalnum, text))
