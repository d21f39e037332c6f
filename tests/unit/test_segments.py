"""Tasks in segments: one outcome a task, none bought in vain."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.long_texts import long_task, sentences
from volcengine_client.answer import Outcomes
from volcengine_client.errors import (
    BatchStoppedError,
    NoSlotInTimeError,
    PoolTableError,
    TextRefusedError,
    VolcengineError,
)
from volcengine_client.limits import SEGMENT_BYTES_MAX, SSML_CHARACTERS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.segments import Segment, Segments, segment_count, segments_of_task
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.ssml import ssml_text_of
from volcengine_client.speech.text import cleaned

PIECES = st.sampled_from(
    [
        *(
            "你好。" * 60,
            "word " * 90,
            "!" * 400,
            "\u200b" * 400,
            "&#xFFFD;" * 20,
            "&#xFDD0;" * 20,
            "&amp;" * 40,
            " " * 200,
        ),
        *(
            "<break/>" * 20,
            "<!-- a note -->" * 12,
            "<p>段落。</p>" * 12,
            "😀" * 90,
            "e\u0301" * 200,
            "\ufffd",
            "\x1f\b",
        ),
    ]
) | st.text(max_size=60)
SHORT = TaskItem(text="short")


def _speech(text: str) -> Speech:
    return Speech(audio=text.encode(), duration_ms=1, log_id=None)


async def _of(*tasks: TaskItem) -> tuple[Outcomes, Segments, list[Segment]]:
    outcomes = Outcomes(tasks)
    segments = Segments(outcomes)
    return outcomes, segments, [segment async for segment in segments.each()]


def _code(outcome: Speech | VolcengineError) -> str:
    assert isinstance(outcome, VolcengineError)
    return outcome.code


def test_what_one_call_can_speak_is_one_segment_as_it_is() -> None:
    task = TaskItem(text=" a" * (SEGMENT_BYTES_MAX // 2))

    assert list(segments_of_task(task)) == [task]


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["plain", "ssml"]), st.none() | st.just(300))
def test_whatever_is_taken_can_be_cut_into_what_a_call_takes(text: str, kind: Any, silence_ms: int | None) -> None:
    """None of it may surprise a batch that is under way."""
    try:
        task = TaskItem(
            text=f"<speak>{text}</speak>" if kind == "ssml" else text, text_type=kind, silence_ms=silence_ms
        )
    except ValueError:
        return
    segments = segments_of_task(task)
    texts = [segment.text for segment in segments]

    assert [segment.silence_ms for segment in segments] == [None] * (len(segments) - 1) + [silence_ms]
    assert all(not cleaned(text) or len(text.encode()) <= SEGMENT_BYTES_MAX for text in texts)
    if kind == "ssml" and all(map(cleaned, map(ssml_text_of, texts))):
        assert all(len(text) <= SSML_CHARACTERS_MAX for text in texts)


def test_what_stands_around_ssml_is_not_sent() -> None:
    task = TaskItem(text=f"<!-- {'note ' * 100} --><speak>你好。</speak>", text_type="ssml")

    assert [segment.text for segment in segments_of_task(task)] == ["<speak>你好。</speak>"]


def test_segments_sound_like_their_task() -> None:
    task = TaskItem(text="".join(sentences(3)), voice_type="BV002_streaming", encoding="wav", speed=1.5)

    assert [segment.text for segment in segments_of_task(task)] == sentences(3)
    assert {(one.voice_type, one.encoding, one.speed) for one in segments_of_task(task)} == {
        ("BV002_streaming", "wav", 1.5)
    }


def test_calls_are_counted_as_far_as_it_matters() -> None:
    tasks = [SHORT, long_task(3), long_task(4)]

    assert segment_count(tasks, enough=100) == 8
    assert segment_count(tasks, enough=2) == 2


async def test_a_long_task_is_audio_when_its_last_segment_is() -> None:
    """I3 within a task, and I4."""
    outcomes, segments, handed_out = await _of(SHORT, long_task(3))
    assert segments.open_count == 4
    for number in (3, 1, 0):
        segments.settle(handed_out[number], _speech(handed_out[number].task.text))
    assert outcomes.open_count == 1
    segments.settle(handed_out[2], _speech(handed_out[2].task.text))

    assert segments.open_count == outcomes.open_count == 0
    whole = outcomes.of(1)
    assert isinstance(whole, Speech)
    assert whole.audio.decode() == "".join(sentences(3))


async def test_one_failed_segment_fails_its_task_and_no_other_is_needed() -> None:
    """I4; nobody pays for what can't be answered."""
    outcomes, segments, handed_out = await _of(long_task(3), SHORT)
    segments.settle(handed_out[0], _speech("0000"))
    segments.settle(handed_out[1], TextRefusedError("no"))

    assert _code(outcomes.of(0)) == "text_refused"
    assert [segments.is_wanted(segment) for segment in handed_out] == [False, False, False, True]
    assert segments.open_count == 1
    segments.settle(handed_out[2], _speech("late"))
    assert _code(outcomes.of(0)) == "text_refused"
    assert segments.open_count == 1


async def test_segments_that_do_not_fit_together_fail_their_task() -> None:
    outcomes, segments, handed_out = await _of(long_task(2))
    segments.settle(handed_out[0], _speech("even"))
    segments.settle(handed_out[1], _speech("odd"))

    assert _code(outcomes.of(0)) == "upstream_unavailable"


@pytest.mark.parametrize(
    ("error", "of_begun", "of_others"),
    [
        (NoSlotInTimeError("late"), "cut_at_deadline", "no_slot_in_time"),
        (BatchStoppedError("stopped; nothing was bought"), "batch_stopped", "batch_stopped"),
        (PoolTableError("gone"), "pool_table", "pool_table"),
    ],
)
async def test_what_was_spoken_in_part_is_not_told_as_unbought(
    error: VolcengineError, of_begun: str, of_others: str
) -> None:
    outcomes, segments, handed_out = await _of(long_task(2), long_task(2, first=2), SHORT)
    segments.settle(handed_out[0], _speech("even"))
    segments.settle_rest(error)

    begun = outcomes.of(0)
    assert isinstance(begun, VolcengineError)
    assert "nothing was bought" not in begun.message
    assert [_code(outcomes.of(index)) for index in range(3)] == [of_begun, of_others, of_others]
    assert segments.open_count == 0
    assert not any(map(segments.is_wanted, handed_out))


async def test_what_the_work_no_longer_wants_is_not_spoken() -> None:
    outcomes, segments, handed_out = await _of(SHORT, SHORT)
    outcomes.settle(1, TextRefusedError("settled by others"))

    assert [segments.is_wanted(segment) for segment in handed_out] == [True, False]
    assert segments.open_count == 1
