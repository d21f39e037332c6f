"""Batches whose results come one by one, over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from infra.local.upstream import Upstream, Wishes, audio_of
from tests.support.upstream_thread import ACCESS_KEY, APP_ID, upstream_in_a_thread
from volcengine_client import TaskItem, VolcengineConcurrentTTS

LIMIT = 4


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_in_a_thread(limit=LIMIT, mean_ms=30) as served:
        yield served
        assert served.gauge(APP_ID).peak <= LIMIT


@pytest.fixture
def client(upstream: Upstream) -> Iterator[VolcengineConcurrentTTS]:
    with VolcengineConcurrentTTS(APP_ID, ACCESS_KEY, LIMIT, endpoint=upstream.url) as made:
        yield made


def tasks_of(count: int) -> list[TaskItem]:
    return [TaskItem(text=f"Number {number}.") for number in range(count)]


def test_each_result_comes_once_with_its_index_as_it_is_spoken(
    client: VolcengineConcurrentTTS, upstream: Upstream
) -> None:
    tasks = tasks_of(20)
    in_flight_at_first = None
    results = {}
    for index, result in client.generate_each(tasks):
        in_flight_at_first = in_flight_at_first or upstream.gauge(APP_ID).in_flight
        assert index not in results
        results[index] = result

    assert in_flight_at_first
    assert [results[index].task_id for index in range(20)] == [f"task_{index + 1}" for index in range(20)]
    expected = [audio_of(Wishes(task.text, task.voice_type, "mp3")).file for task in tasks]
    assert [results[index].audio for index in range(20)] == expected
    assert all(results[index].duration_ms for index in range(20))
    assert client.slots() == (0, LIMIT)


async def test_results_may_be_awaited_one_by_one(client: VolcengineConcurrentTTS) -> None:
    indexes = [index async for index, _ in client.generate_each(tasks_of(9))]

    assert sorted(indexes) == list(range(9))


def test_a_task_that_is_dropped_is_not_bought(client: VolcengineConcurrentTTS, upstream: Upstream) -> None:
    speaking = client.generate_each(tasks_of(40))
    codes: dict[int, str | None] = {}
    for index, result in speaking:
        if not codes:
            for dropped in range(20, 40):
                speaking.drop(dropped)
        codes[index] = None if result.error is None else result.error.code

    assert len(codes) == 40
    assert {codes[index] for index in range(20)} == {None}
    assert {codes[index] for index in range(20, 40)} == {"batch_stopped"}
    assert upstream.gauge(APP_ID).bought == 20


def test_a_batch_without_tasks_has_no_results(client: VolcengineConcurrentTTS) -> None:
    assert list(client.generate_each([])) == []


def test_a_stopped_batch_gives_what_was_being_spoken_and_buys_nothing_more(
    client: VolcengineConcurrentTTS, upstream: Upstream
) -> None:
    speaking = client.generate_each(tasks_of(60))
    spoken: list[int] = []
    stopped: list[int] = []
    for index, result in speaking:
        (stopped if result.error else spoken).append(index)
        if len(spoken) == 3:
            speaking.stop()
        assert result.error is None or result.error.code == "batch_stopped"

    assert sorted(spoken + stopped) == list(range(60))
    assert len(spoken) <= 3 + 2 * LIMIT
    assert len(spoken) == upstream.gauge(APP_ID).bought


def test_leaving_the_loop_abandons_the_calls_under_way(client: VolcengineConcurrentTTS, upstream: Upstream) -> None:
    for _ in client.generate_each(tasks_of(60)):
        break

    assert upstream.gauge(APP_ID).peak <= LIMIT
    assert client.slots() is not None


async def test_a_cancelled_batch_ends(client: VolcengineConcurrentTTS) -> None:
    async def speak_all() -> int:
        return len([index async for index, _ in client.generate_each(tasks_of(500))])

    speaking = asyncio.create_task(speak_all())
    await asyncio.sleep(0)
    speaking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await speaking


def test_a_rejected_login_ends_the_batch(upstream: Upstream) -> None:
    with (
        VolcengineConcurrentTTS(APP_ID, "wrong-key", endpoint=upstream.url) as client,
        pytest.raises(ValueError, match="rejected"),
    ):
        list(client.generate_each(tasks_of(5)))


def test_a_failed_task_does_not_end_the_batch(client: VolcengineConcurrentTTS) -> None:
    tasks = [TaskItem("bad", "Hello.", "no_such_voice"), *tasks_of(3)]
    results = dict(client.generate_each(tasks))

    assert [results[index].error is None for index in range(4)] == [False, True, True, True]
    assert results[0].task_id == "bad"
