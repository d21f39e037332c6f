from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.answer import AnswerRoom, Outcomes
from volcengine_client.errors import LoginRejectedError, NoSlotInTimeError, TextRefusedError, VolcengineError
from volcengine_client.limits import ANSWER_LEARNED_AFTER, ANSWER_LEARNED_MARGIN, RESULT_BYTES, TASK_ID_CHARACTERS_MAX
from volcengine_client.models import BatchResponse, PoolReport, TaskItem
from volcengine_client.segments import Whole
from volcengine_client.speech.audio import audio_bytes_expected
from volcengine_client.speech.speech import Speech

pytestmark = IN_VIRTUAL_TIME

TASK = TaskItem(text="a sentence of some length")
EXPECTED = -(-audio_bytes_expected(TASK) // 3) * 4  # in base64


def _speech(audio: bytes = b"audio") -> Speech:
    return Speech(audio=audio, duration_ms=1_234, log_id=None)


# --- outcomes ---------------------------------------------------------------------------------------------------------


async def test_results_come_in_input_order_whatever_was_settled_first() -> None:
    """I3."""
    outcomes = Outcomes([TaskItem(task_id=name, text=name) for name in "abc"])
    outcomes.settle(2, _speech(b"third"))
    outcomes.settle(0, _speech(b"first"))
    outcomes.settle(1, TextRefusedError("no"))

    results = outcomes.results()
    assert [result.task_id for result in results] == ["a", "b", "c"]
    assert [result.audio for result in results] == [b"first", b"", b"third"]
    assert results[1].error is not None
    assert results[1].error.code == "text_refused"


async def test_repeated_ids_do_not_mix_results_up() -> None:
    """I3: by position, never by id."""
    outcomes = Outcomes([TaskItem(task_id="same", text=text) for text in "ab"])
    outcomes.settle(1, _speech(b"b"))
    outcomes.settle(0, _speech(b"a"))

    assert [result.audio for result in outcomes.results()] == [b"a", b"b"]


async def test_the_first_outcome_stands() -> None:
    """I4: what was bought is not lost to a late error."""
    outcomes = Outcomes([TASK])
    outcomes.settle(0, _speech())
    outcomes.settle(0, TextRefusedError("late"))
    outcomes.settle_rest(TextRefusedError("later"))

    assert outcomes.results()[0].audio == b"audio"


async def test_what_is_open_is_counted_and_settled_at_the_end() -> None:
    outcomes = Outcomes([TASK] * 3)
    assert outcomes.open_count == 3
    outcomes.settle(1, _speech())
    outcomes.settle(1, _speech())
    assert outcomes.open_count == 2
    outcomes.settle_rest(NoSlotInTimeError("late"))

    assert outcomes.open_count == 0
    assert [result.error.code if result.error else None for result in outcomes.results()] == [
        "no_slot_in_time",
        None,
        "no_slot_in_time",
    ]


async def test_a_result_says_id_length_and_billed_characters() -> None:
    outcomes = Outcomes([TaskItem(task_id="x", text="two  \u200bwords\r\n"), TaskItem(text="好的")])
    outcomes.settle(0, _speech())
    outcomes.settle(1, TextRefusedError("no"))
    first, second = outcomes.results()

    assert (first.task_id, first.duration_ms, first.characters) == ("x", 1_234, 10)
    assert (second.task_id, second.duration_ms, second.characters) == ("task_2", None, 2)


@pytest.mark.parametrize("other", [LoginRejectedError("no"), TextRefusedError("no")])
async def test_a_rejected_login_is_raised_when_nothing_was_bought(other: VolcengineError) -> None:
    outcomes = Outcomes([TASK] * 2)
    outcomes.settle(0, other)
    outcomes.settle(1, LoginRejectedError("the key is wrong"))

    with pytest.raises(LoginRejectedError):
        outcomes.results()


async def test_a_rejected_login_is_a_tasks_error_when_something_was_bought() -> None:
    """I8: audio already bought is always returned."""
    outcomes = Outcomes([TASK] * 2)
    outcomes.settle(0, _speech())
    outcomes.settle(1, LoginRejectedError("the key is wrong"))
    results = outcomes.results()

    assert results[0].audio == b"audio"
    assert results[1].error is not None
    assert results[1].error.code == "login_rejected"


# --- room -------------------------------------------------------------------------------------------------------------


def _room(*, tasks: int, files: float) -> AnswerRoom:
    """Return the room of an answer with so many results and room for so many files of the expected size."""
    return AnswerRoom([TASK] * tasks, tasks * RESULT_BYTES + int(files * EXPECTED))


async def _has_room(room: AnswerRoom, task: TaskItem = TASK) -> bool:
    async with room.reserved(task) as has_room:
        return has_room


async def test_an_answer_of_any_size_has_room() -> None:
    room = AnswerRoom([TASK] * 1_000, None)
    async with AsyncExitStack() as stack:
        for _ in range(1_000):
            assert await stack.enter_async_context(room.reserved(TASK))


async def test_every_result_takes_room_though_it_has_no_audio() -> None:
    assert await _has_room(_room(tasks=3, files=1))
    assert not await _has_room(AnswerRoom([TASK] * 3, 2 * RESULT_BYTES + EXPECTED))


async def test_long_ids_take_room_even_escaped() -> None:
    tasks = [TaskItem(task_id="号" * TASK_ID_CHARACTERS_MAX, text=TASK.text)] * 100
    room = 100 * RESULT_BYTES + EXPECTED

    assert not await _has_room(AnswerRoom(tasks, room))
    assert await _has_room(AnswerRoom(tasks, room + 100 * 6 * TASK_ID_CHARACTERS_MAX))


async def test_room_is_refused_when_nothing_will_free_any() -> None:
    assert not await _has_room(_room(tasks=2, files=0.99))


async def test_room_that_is_kept_for_one_is_not_given_to_another() -> None:
    """No overcommitment: the other waits to see what the first one really needs."""
    room = _room(tasks=2, files=1.5)
    async with room.reserved(TASK) as has_room:
        assert has_room
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        assert not other.done()

    assert await other


async def test_one_that_waited_is_refused_when_the_first_took_all() -> None:
    room = _room(tasks=2, files=1.5)
    async with room.reserved(TASK):
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        room.spend(TASK, audio_bytes_expected(TASK))

    assert not await other


async def test_all_who_wait_are_woken() -> None:
    room = _room(tasks=4, files=3.5)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(room.reserved(TASK))
        others = [asyncio.create_task(_has_room(room)) for _ in range(5)]
        await asyncio.sleep(1)
        assert not any(other.done() for other in others)

    assert await asyncio.gather(*others) == [True] * 5


async def test_every_open_task_may_be_called_while_none_waits_for_room() -> None:
    room = _room(tasks=4, files=4)
    async with room.reserved(TASK):
        assert room.callable_count(3) == 3


async def test_while_some_wait_for_room_only_those_that_have_it_may_be_called() -> None:
    """Slots for the others would stand idle, and those who wait for slots would go without."""
    room = _room(tasks=4, files=2.5)
    async with room.reserved(TASK):
        async with room.reserved(TASK):
            other = asyncio.create_task(_has_room(room))
            await asyncio.sleep(1)
            assert room.callable_count(4) == 2
        await other
        assert room.callable_count(4) == 4


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_one_that_no_longer_waits_for_room_is_forgotten(is_cancelled: bool) -> None:
    room = _room(tasks=3, files=1.5)
    async with room.reserved(TASK):
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        if is_cancelled:
            other.cancel()
        else:
            room.spend(TASK, audio_bytes_expected(TASK))
    await asyncio.wait({other})

    assert room.callable_count(3) == 3


async def test_room_tells_when_a_task_gets_it_or_has_to_wait() -> None:
    room = _room(tasks=3, files=1.5)
    counts: list[int] = []
    room.on_change = lambda: counts.append(room.callable_count(3))
    async with room.reserved(TASK):
        assert counts == [3]
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        assert counts == [3, 1]
    await other

    assert counts == [3, 1, 3]


async def test_one_that_gave_its_room_back_may_not_be_called() -> None:
    room = _room(tasks=4, files=2.5)
    async with room.reserved(TASK):
        async with room.reserved(TASK):
            room.spend(TASK, audio_bytes_expected(TASK))
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        assert room.callable_count(3) == 1
    await other


async def test_one_who_stops_waiting_takes_no_room() -> None:
    room = _room(tasks=2, files=1)
    async with room.reserved(TASK):
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        other.cancel()
        await asyncio.wait({other})

    assert await _has_room(room)


async def test_room_is_given_back_when_a_call_fails() -> None:
    room = _room(tasks=2, files=1)
    with pytest.raises(ConnectionError):
        async with room.reserved(TASK):
            raise ConnectionError

    assert await _has_room(room)


async def test_estimates_come_down_with_what_files_really_take() -> None:
    """Later tasks get through."""
    room = _room(tasks=20, files=1 + ANSWER_LEARNED_AFTER * 0.1)
    for _ in range(ANSWER_LEARNED_AFTER):
        assert await _has_room(room)
        room.spend(TASK, audio_bytes_expected(TASK) // 10)

    async with AsyncExitStack() as stack:
        for _ in range(int(1 / (0.1 * ANSWER_LEARNED_MARGIN))):
            assert await stack.enter_async_context(room.reserved(TASK))


async def test_a_few_small_files_are_no_reason_to_expect_small_ones() -> None:
    room = _room(tasks=9, files=1)
    for _ in range(ANSWER_LEARNED_AFTER - 1):
        room.spend(TASK, 1)

    assert not await _has_room(room)


async def test_the_largest_file_tells_what_to_expect() -> None:
    room = _room(tasks=9, files=1.5)
    for share in (0.01, 0.6, 0.01):
        room.spend(TASK, int(audio_bytes_expected(TASK) * share))

    assert not await _has_room(room)


async def test_files_larger_than_estimated_raise_what_is_expected() -> None:
    """What may not fit is not bought."""
    room = _room(tasks=9, files=ANSWER_LEARNED_AFTER * 1.2 + 1.1)
    for _ in range(ANSWER_LEARNED_AFTER):
        room.spend(TASK, int(audio_bytes_expected(TASK) * 1.2))

    assert not await _has_room(room)


async def test_a_full_answer_is_no_longer_than_was_said() -> None:
    """The bytes of the JSON itself."""
    tasks = [TaskItem(task_id="号" * (number % 100 + 1), text=TASK.text) for number in range(60)]
    bytes_max = 700_000
    room, outcomes = AnswerRoom(tasks, bytes_max), Outcomes(tasks)
    for index, task in enumerate(tasks):
        async with room.reserved(task) as has_room:
            if has_room:
                audio = bytes(audio_bytes_expected(task) * (index % 10 + 1) // 10)
                room.spend(task, len(audio))
                outcomes.settle(index, _speech(audio))
    outcomes.settle_rest(NoSlotInTimeError("x" * 200))

    answer = BatchResponse(results=outcomes.results(), pool=PoolReport(limit=10, waited_ms=5)).model_dump_json()
    assert bytes_max * 0.8 < len(answer.encode()) <= bytes_max


# --- room for long tasks ----------------------------------------------------------------------------------------------


def _whole(segments: int) -> Whole:
    return Whole(index=0, segments=[TaskItem(text=TASK.text) for _ in range(segments)])


async def _segment_has_room(room: AnswerRoom, whole: Whole, place: int) -> bool:
    async with room.reserved(whole.segments[place], of=whole) as has_room:
        return has_room


async def test_a_long_task_begins_only_if_all_of_it_would_fit() -> None:
    """What could not be answered is not bought in part."""
    assert not await _segment_has_room(_room(tasks=1, files=2.9), _whole(3), 0)
    assert await _segment_has_room(_room(tasks=1, files=3), _whole(3), 0)


async def test_room_promised_to_a_long_task_is_nobody_elses() -> None:
    room, whole = _room(tasks=2, files=3.5), _whole(3)
    async with room.reserved(whole.segments[0], of=whole):
        other = asyncio.create_task(_has_room(room))
        await asyncio.sleep(1)
        assert not other.done()
        whole.spoken[0] = _speech()
        room.spend(whole.segments[0], audio_bytes_expected(TASK))
    assert not await other

    assert [await _segment_has_room(room, whole, place) for place in (1, 2)] == [True, True]


async def test_a_segment_that_is_tried_again_finds_its_room() -> None:
    room, whole = _room(tasks=2, files=2), _whole(2)
    for _ in range(3):
        assert await _segment_has_room(room, whole, 0)
    assert not await _has_room(room)

    assert [await _segment_has_room(room, whole, place) for place in (1, 0)] == [True, True]


async def test_what_was_promised_to_a_long_task_that_failed_is_free_again() -> None:
    room, whole = _room(tasks=2, files=2), _whole(2)
    async with room.reserved(whole.segments[0], of=whole):
        whole.is_over = True

    assert await _segment_has_room(room, _whole(2), 0)


async def test_who_waits_for_room_does_not_wait_for_one_that_nobody_fills() -> None:
    """A promise alone is nothing under way: waiting for it could last for ever."""
    room, whole = _room(tasks=2, files=2), _whole(2)
    assert await _segment_has_room(room, whole, 0)

    assert not await asyncio.wait_for(_has_room(room), 1)


async def test_segments_that_waited_together_get_the_room_of_their_task_once() -> None:
    """What one of them was promised is the others' too: no task bought in part is told that it has no room."""
    room, whole = _room(tasks=2, files=2.5), _whole(2)
    async with room.reserved(TASK):
        segments = [asyncio.create_task(_segment_has_room(room, whole, place)) for place in (0, 1)]
        await asyncio.sleep(1)
        assert not any(segment.done() for segment in segments)

    assert await asyncio.gather(*segments) == [True, True]
    assert await _has_room(room) is False


async def test_what_was_spoken_of_a_long_task_that_failed_takes_no_room() -> None:
    room, whole = _room(tasks=2, files=2), _whole(2)
    async with room.reserved(whole.segments[0], of=whole):
        room.spend(whole.segments[0], audio_bytes_expected(TASK), of=whole)
        whole.spoken[0] = _speech()
    async with room.reserved(whole.segments[1], of=whole):
        whole.is_over = True
        room.spend(whole.segments[1], audio_bytes_expected(TASK), of=whole)

    assert await _segment_has_room(room, _whole(2), 0)


async def test_subtitles_take_room_too() -> None:
    room = _room(tasks=1, files=1)

    assert not await _has_room(room, TaskItem(text=TASK.text, subtitles="json"))
    assert await _has_room(room)
