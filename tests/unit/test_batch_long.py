"""Long tasks in a batch: their segments are spoken in parallel within the pool, and each task has one outcome."""

from __future__ import annotations

from collections import Counter

from tests.support.counting_speaker import CountingSpeaker, Turn
from tests.support.long_texts import long_task, sentence, sentences
from tests.support.pools import World, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.batch import speak_batch
from volcengine_client.errors import TextRefusedError, UpstreamUnavailableError
from volcengine_client.limits import RESULT_BYTES
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.speech.audio import audio_bytes_expected

pytestmark = IN_VIRTUAL_TIME

CALL_MS = 1_000


class Room:
    """A pool of ten slots, and the upstream behind it."""

    def __init__(self, limit: int = 10) -> None:
        self.machine = World().machine()
        self.speaker = CountingSpeaker(limit=limit, clock=self.machine.clock, call_ms=CALL_MS)

    async def speak(
        self,
        *tasks: TaskItem,
        deadline_ms: int | None = None,
        answer_bytes_max: int | None = None,
        hold_max: int | None = None,
    ) -> BatchResponse:
        return await speak_batch(
            tasks,
            speaker=self.speaker,
            pool=self.machine.pool,
            terms=terms(self.speaker.limit, hold_max=hold_max),
            clock=self.machine.clock,
            deadline_at_ms=None if deadline_ms is None else self.machine.clock.monotonic_ms() + deadline_ms,
            answer_bytes_max=answer_bytes_max,
        )


def codes(response: BatchResponse) -> list[str | None]:
    return [None if result.error is None else result.error.code for result in response.results]


async def test_the_segments_of_one_task_fill_the_pool() -> None:
    """I1, I3 and I8: each is spoken once, side by side, and heard in order."""
    room = Room()
    began_at_ms = room.machine.clock.monotonic_ms()
    response = await room.speak(long_task(40), TaskItem(text="short"))

    assert [result.audio.decode() for result in response.results] == ["".join(sentences(40)), "short"]
    assert Counter(room.speaker.texts) == Counter([*sentences(40), "short"])
    assert room.speaker.peak == 10
    assert room.machine.clock.monotonic_ms() - began_at_ms <= 5 * CALL_MS + 100
    assert response.characters.bought == sum(map(len, sentences(40))) + len("short")


async def test_a_segment_that_failed_for_a_while_is_tried_again_alone() -> None:
    room = Room()
    room.speaker.will(sentence(1), Turn(error=UpstreamUnavailableError("busy")))
    response = await room.speak(long_task(3))

    assert codes(response) == [None]
    assert room.speaker.attempts == {sentence(0): 1, sentence(1): 2, sentence(2): 1}


async def test_after_a_segment_failed_for_good_no_other_is_called() -> None:
    """I4; the pool goes on with the other tasks."""
    room = Room()
    room.speaker.will(sentence(0), Turn(error=TextRefusedError("no"), call_ms=10))
    response = await room.speak(long_task(40), TaskItem(text="short"))

    assert codes(response) == ["text_refused", None]
    assert len(room.speaker.calls) == 11


async def test_a_long_task_cut_by_the_deadline_is_one_error() -> None:
    """I5: what was bought of it is not called unbought."""
    room = Room()
    room.speaker.will("short", Turn(call_ms=10))
    response = await room.speak(TaskItem(text="short"), long_task(200), deadline_ms=9_000)

    assert codes(response) == [None, "cut_at_deadline"]


async def test_a_long_task_that_may_not_fit_the_answer_is_not_begun() -> None:
    """A part of it would be bought in vain."""
    room = Room()
    short, long = TaskItem(text="short", encoding="pcm"), long_task(10)
    bytes_max = 2 * RESULT_BYTES + 2 * audio_bytes_expected(long)
    response = await room.speak(short, long, answer_bytes_max=bytes_max // 2)

    assert codes(response) == [None, "answer_full"]
    assert room.speaker.texts == ["short"]
    assert codes(await room.speak(short, long, answer_bytes_max=bytes_max)) == [None, None]


async def test_a_segment_that_waited_for_a_slot_while_its_task_failed_is_not_called() -> None:
    """I8; there are more workers than slots as soon as others use the pool too."""
    room = Room(limit=2)
    room.speaker.will(sentence(0), Turn(error=TextRefusedError("no"), call_ms=10))
    response = await room.speak(long_task(8), TaskItem(text="short"), hold_max=8)

    assert codes(response) == ["text_refused", None]
    assert room.speaker.texts == [sentence(0), sentence(1), "short"]


async def test_an_answer_with_subtitles_is_no_longer_than_was_said() -> None:
    """The bound is Lambda's: a longer answer would be lost, with all that was bought."""
    room = Room()
    tasks = [TaskItem(text="好。" * 20, encoding="pcm", sample_rate=8_000, subtitles="json") for _ in range(300)]
    room.speaker.then = Turn(audio=bytes(2_000))
    response = await room.speak(*tasks, answer_bytes_max=600_000)

    assert set(codes(response)) == {"answer_full", None}
    assert len(response.model_dump_json().encode()) <= 600_000


async def test_ssml_with_what_nobody_hears_has_subtitles() -> None:
    room = Room()
    room.speaker.then = Turn(audio=bytes(2_000))
    response = await room.speak(
        TaskItem(text="<speak>你好\x1f。</speak>", text_type="ssml", encoding="pcm", subtitles="srt")
    )

    assert "你好。" in (response.results[0].subtitles or "")
