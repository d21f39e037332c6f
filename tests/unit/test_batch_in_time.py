"""A batch before its deadline, in the room of its answer, and cancelled."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.support.counting_speaker import CountingSpeaker, Turn
from tests.support.lagging_table import Fate
from tests.support.pools import TIMES, Machine, World, leased, terms
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.errors import ConcurrencyExceededError, UpstreamTimeoutError, UpstreamUnavailableError
from volcengine_client.limits import (
    ANSWER_RESERVE_MS,
    CALL_TIME_FIRST_MS,
    CALL_TIMES_AGE_MS,
    CAP_MS,
    DEFAULT_TIMES,
    LEAVE_MAX_MS,
    RESULT_BYTES,
)
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.speech.audio import audio_bytes_expected

pytestmark = IN_VIRTUAL_TIME

DRAIN_MS = TIMES.drain_ms


def texts(count: int, *, name: str = "t") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def codes(response: BatchResponse) -> list[str | None]:
    """Return the error codes of the results, None for audio."""
    return [None if result.error is None else result.error.code for result in response.results]


def bench(
    limit: int = 10, *, call_ms: int = 1_000, world: World | None = None
) -> tuple[World, Machine, CountingSpeaker]:
    world = world or World()
    machine = world.machine()
    return world, machine, CountingSpeaker(limit=limit, clock=machine.clock, call_ms=call_ms)


# --- deadline ---------------------------------------------------------------------------------------------------------


async def test_no_call_starts_when_less_is_left_than_calls_take() -> None:
    """I5: what was not started was not bought."""
    _, machine, speaker = bench()
    deadline_at_ms = machine.clock.monotonic_ms() + 20_000
    response = await machine.speak(texts(300), speaker, deadline_at_ms=deadline_at_ms)

    last_ms = max(call.at_ms for call in speaker.calls)
    usual_ms = speaker.call_ms
    assert machine.pool.call_time_ms() <= usual_ms * 5 // 4
    assert deadline_at_ms - ANSWER_RESERVE_MS - 2 * usual_ms <= last_ms <= deadline_at_ms - ANSWER_RESERVE_MS - usual_ms
    assert codes(response).count(None) == len(speaker.calls)
    assert set(codes(response)) == {None, "no_slot_in_time"}


async def test_what_runs_at_the_end_is_awaited_and_the_answer_is_in_time() -> None:
    """I5: and nothing bought is lost, I8."""
    _, machine, speaker = bench(call_ms=3_000)
    for number in range(100):
        speaker.will(f"t{number}", Turn(call_ms=2_000 + number * 37 % 2_500))
    deadline_at_ms = machine.clock.monotonic_ms() + 28_000
    response = await machine.speak(texts(100), speaker, deadline_at_ms=deadline_at_ms)

    assert machine.clock.monotonic_ms() <= deadline_at_ms
    assert codes(response).count(None) == len(speaker.calls)
    assert Counter(speaker.texts) == Counter(
        result.audio.decode() for result in response.results if result.error is None
    )


async def test_a_new_process_thinks_that_calls_take_long() -> None:
    _, machine, speaker = bench(1, call_ms=8_500, world=World(times=DEFAULT_TIMES))
    deadline_at_ms = machine.clock.monotonic_ms() + 2 * CALL_TIME_FIRST_MS + ANSWER_RESERVE_MS
    response = await machine.speak(texts(3), speaker, terms(1), deadline_at_ms=deadline_at_ms)

    assert codes(response) == [None, "no_slot_in_time", "no_slot_in_time"]
    assert len(speaker.calls) == 1
    assert all(result.error.retryable for result in response.results if result.error is not None)


@pytest.mark.parametrize("timeout_ms", [3_500, 10_000])
async def test_however_long_calls_took_one_may_show_that_it_is_over(timeout_ms: int) -> None:
    """I2: a slow hour must not lock everyone out."""
    _, machine, speaker = bench()
    for number in range(10):
        machine.pool.note_call(number, duration_ms=24_000, is_refused=False)
    deadline_at_ms = machine.clock.monotonic_ms() + timeout_ms
    response = await machine.speak(texts(3), speaker, deadline_at_ms=deadline_at_ms)

    assert codes(response) == [None] * 3


async def test_how_long_calls_take_is_forgotten_after_a_while() -> None:
    _, machine, _speaker = bench()
    for number in range(10):
        machine.pool.note_call(number, duration_ms=24_000, is_refused=False)
    slow_ms = machine.pool.call_time_ms()
    await machine.clock.sleep(CALL_TIMES_AGE_MS + 1)

    assert slow_ms >= 24_000
    assert machine.pool.call_time_ms() == CALL_TIME_FIRST_MS


async def test_a_deadline_that_has_passed_buys_nothing() -> None:
    _, machine, speaker = bench()
    response = await machine.speak(texts(3), speaker, deadline_at_ms=machine.clock.monotonic_ms() - 1)

    assert codes(response) == ["no_slot_in_time"] * 3
    assert speaker.calls == []


async def test_a_call_that_the_deadline_cuts_is_told_as_such_and_drains() -> None:
    """I1 and I5."""
    world = World(times=DEFAULT_TIMES)
    machine = world.machine()
    speaker = CountingSpeaker(limit=2, clock=machine.clock)
    speaker.will("t0", Turn(is_silent=True, call_ms=DEFAULT_TIMES.upstream_call_max_ms))
    deadline_at_ms = machine.clock.monotonic_ms() + CALL_TIME_FIRST_MS + 1_000
    response = await machine.speak(texts(2), speaker, terms(2), deadline_at_ms=deadline_at_ms)

    assert codes(response) == ["cut_at_deadline", None]
    assert machine.clock.monotonic_ms() <= deadline_at_ms
    assert await world.shut_count() == 1


async def test_a_time_out_in_the_moment_of_the_deadline_is_a_cut() -> None:
    """The call's own patience ends with the batch's; whichever is noticed first, it counts as one thing."""
    machine = World(times=DEFAULT_TIMES).machine()
    speaker = CountingSpeaker(limit=10, clock=machine.clock)
    await machine.pool.open(terms().limit)
    began_at_ms = machine.clock.monotonic_ms()
    speaker.will("t0", Turn(error=UpstreamTimeoutError("504"), call_ms=8_494))
    response = await machine.speak(texts(1), speaker, deadline_at_ms=began_at_ms + 9_000)

    assert speaker.calls[0].at_ms == began_at_ms + 6
    assert codes(response) == ["cut_at_deadline"]


@pytest.mark.parametrize("call_ms", [7_350, 7_450, 8_450, 8_499, 8_500, 8_501, 8_550, 20_000])
async def test_every_call_longer_than_the_time_left_is_cut_and_every_shorter_one_counts(call_ms: int) -> None:
    """I8: at the very edge, too."""
    world = World(times=DEFAULT_TIMES)
    machine = world.machine()
    speaker = CountingSpeaker(limit=10, clock=machine.clock, call_ms=call_ms)
    await machine.pool.open(terms().limit)
    deadline_at_ms = machine.clock.monotonic_ms() + 9_000
    response = await machine.speak(texts(1), speaker, deadline_at_ms=deadline_at_ms)

    assert codes(response) == [None if call_ms < 8_490 else "cut_at_deadline"]
    assert machine.clock.monotonic_ms() <= deadline_at_ms


async def test_a_retry_that_would_come_too_late_is_not_waited_for() -> None:
    _, machine, speaker = bench()
    speaker.then = Turn(error=UpstreamUnavailableError("busy", retry_after_ms=5_000))
    began_at_ms = machine.clock.monotonic_ms()
    response = await machine.speak(texts(1), speaker, deadline_at_ms=began_at_ms + CALL_TIME_FIRST_MS + 4_000)

    assert codes(response) == ["upstream_unavailable"]
    assert machine.clock.monotonic_ms() - began_at_ms <= 1_500


async def test_who_never_gets_a_slot_is_told_in_time() -> None:
    world, machine, speaker = bench(limit=1)
    holding = asyncio.create_task(world.machine().speak(["long"], _patient(world), terms(1)))
    await machine.clock.sleep(100)
    deadline_at_ms = machine.clock.monotonic_ms() + 12_000
    response = await machine.speak(texts(5), speaker, terms(1), deadline_at_ms=deadline_at_ms)

    assert codes(response) == ["no_slot_in_time"] * 5
    assert response.pool.waited_ms is None
    assert machine.clock.monotonic_ms() <= deadline_at_ms
    assert all(result.error is not None and result.error.retryable for result in response.results)
    await holding


def _patient(world: World) -> CountingSpeaker:
    return CountingSpeaker(limit=1, clock=world.clock(), call_ms=5_900)


async def test_leaving_does_not_make_the_answer_late() -> None:
    """I5: the table is gone, so the leaving goes on behind the answer."""
    _, machine, speaker = bench()
    deadline_at_ms = machine.clock.monotonic_ms() + 20_000

    def lose_table(_: object) -> None:
        machine.table.fate = Fate.LOST

    speaker.on_call = lose_table
    response = await machine.speak(texts(200), speaker, deadline_at_ms=deadline_at_ms)

    assert None in codes(response)
    assert machine.clock.monotonic_ms() <= deadline_at_ms


async def test_no_call_starts_after_a_pause_over_the_time_to_start() -> None:
    """I5: though it had its slot before."""
    _, machine, speaker = bench()
    speaker.connect_ms = 10
    deadline_at_ms = machine.clock.monotonic_ms() + 60_000

    async def pause() -> None:
        await machine.clock.sleep(5_505)
        machine.clock.pause(deadline_at_ms - machine.clock.monotonic_ms() - 600)

    pausing = asyncio.create_task(pause())
    await machine.speak(texts(200), speaker, deadline_at_ms=deadline_at_ms)
    await pausing

    assert max(call.at_ms for call in speaker.calls) <= deadline_at_ms - 1_600


# --- room in the answer -----------------------------------------------------------------------------------------------


def _bytes_max(count: int, *, files: float) -> int:
    file_bytes = -(-audio_bytes_expected(TaskItem(text="t00")) // 3) * 4
    return count * RESULT_BYTES + int(files * file_bytes)


def _fill(speaker: CountingSpeaker, *, share: float) -> None:
    audio = bytes(int(audio_bytes_expected(TaskItem(text="t00")) * share))
    speaker.then = Turn(audio=audio)


async def test_no_call_starts_whose_audio_may_not_fit() -> None:
    _, machine, speaker = bench()
    _fill(speaker, share=1.0)
    names = [f"t{number:02}" for number in range(30)]
    response = await machine.speak(names, speaker, answer_bytes_max=_bytes_max(30, files=12.5))

    assert codes(response).count(None) == 12
    assert codes(response).count("answer_full") == 18
    assert len(speaker.calls) == 12
    assert len(response.model_dump_json()) <= _bytes_max(30, files=12.5)
    assert all(result.error is None or result.error.retryable for result in response.results)


async def test_small_files_let_later_tasks_through() -> None:
    """The estimate comes down with what is seen; nothing is refused that fits in the end."""
    _, machine, speaker = bench()
    _fill(speaker, share=0.1)
    names = [f"t{number:02}" for number in range(60)]
    response = await machine.speak(names, speaker, answer_bytes_max=_bytes_max(60, files=10))

    assert codes(response) == [None] * 60


async def test_tasks_that_wait_for_room_in_the_answer_keep_no_slots_from_others() -> None:
    """I7: they start no call before another's audio is in."""
    world, machine, speaker = bench()
    _fill(speaker, share=0.5)
    names = [f"t{number:02}" for number in range(30)]
    batch = asyncio.create_task(machine.speak(names, speaker, answer_bytes_max=_bytes_max(30, files=3.5)))
    await machine.clock.sleep(500)
    state = await world.state()
    await machine.clock.sleep(60_000)

    assert len(speaker.calls) >= 6
    assert {one.want for one in state.queue.values()} == {3}
    assert {one.left_count for one in state.queue.values()} == {3}
    assert len(state.slots) == 3
    assert batch.done()


async def test_one_long_text_without_room_does_not_keep_out_the_short_ones() -> None:
    _, machine, speaker = bench()
    _fill(speaker, share=1.0)
    names = ["t00", "long " * 200, *(f"t{number:02}" for number in range(2, 12))]
    response = await machine.speak(names, speaker, answer_bytes_max=_bytes_max(12, files=11))

    assert codes(response) == [None, "answer_full", *[None] * 10]


# --- foreign use ------------------------------------------------------------------------------------------------------


async def test_a_lone_refusal_is_asked_again_and_cuts_nothing() -> None:
    world, machine, speaker = bench()
    speaker.will("t5", Turn(error=ConcurrencyExceededError("too many"), call_ms=5))
    response = await machine.speak(texts(40), speaker)

    assert codes(response) == [None] * 40
    assert speaker.attempts["t5"] == 2
    assert (await world.state()).cap is None


async def test_repeated_refusals_cut_the_limit_for_all_and_it_climbs_back() -> None:
    """Somebody outside uses half of the account."""
    world, machine, speaker = bench()
    heights = []

    async def watch() -> None:
        while True:
            state = await world.state()
            heights.append(10 if state.cap is None else state.cap.now(world.truth.now_ms()))
            await machine.clock.sleep(250)

    speaker.turn = lambda _: (
        Turn(error=ConcurrencyExceededError("too many"), call_ms=5) if speaker.in_flight_count >= 5 else None
    )
    running = asyncio.create_task(machine.speak(texts(100), speaker))
    await machine.clock.sleep(100)
    watching = asyncio.create_task(watch())
    response = await running
    watching.cancel()

    assert codes(response).count(None) >= 95
    assert min(heights) <= 7
    refused = sum(speaker.attempts.values()) - 100
    assert refused <= 40
    assert refused > 0
    assert CAP_MS > 0


# --- cancellation -----------------------------------------------------------------------------------------------------


async def test_a_cancelled_batch_drains_its_calls_and_leaves_nothing_running() -> None:
    """I1 and I2."""
    world, machine, speaker = bench()
    batch = asyncio.create_task(machine.speak(texts(300), speaker))
    await machine.clock.sleep(2_500)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    await machine.clock.sleep(LEAVE_MAX_MS)

    state = await world.state()
    assert state.queue == {}
    assert await world.shut_count() == 10
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_slots_of_a_cancelled_batch_serve_others_when_its_calls_must_be_over() -> None:
    """I1 and I2: the upstream works on for as long as it may."""
    world, machine, speaker = bench(call_ms=TIMES.upstream_call_max_ms)
    batch = asyncio.create_task(machine.speak(texts(300), speaker))
    await machine.clock.sleep(2_500)
    batch.cancel()
    await asyncio.wait({batch})
    cancelled_at_ms = machine.clock.monotonic_ms()
    speaker.call_ms = 1_000
    response = await world.machine().speak(texts(10), speaker)

    assert codes(response) == [None] * 10
    assert speaker.peak == 10
    assert machine.clock.monotonic_ms() - cancelled_at_ms <= DRAIN_MS + TIMES.skew_ms + 4_000


async def test_a_batch_that_is_cancelled_while_it_waits_leaves_the_queue() -> None:
    """I2."""
    world, machine, speaker = bench(limit=1)
    async with AsyncExitStack() as stack:
        holder = world.machine().holder(terms(1))
        await leased(stack, holder)
        batch = asyncio.create_task(machine.speak(texts(3), speaker, terms(1)))
        await machine.clock.sleep(500)
        assert len((await world.state()).queue) == 2
        batch.cancel()
        await asyncio.wait({batch})

        assert set((await world.state()).queue) == {holder.holder_id}
        assert speaker.calls == []
