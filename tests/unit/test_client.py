"""The client library over a real connection: blocking and not, from a notebook, from many threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from infra.local.upstream import Account, Rules, Upstream, Wishes, audio_of
from volcengine_client import TaskItem, VolcengineConcurrentTTS

LIMIT = 4
CALL_MS = 30


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream in a thread of its own, so that a blocking client does not stop it."""
    loop = asyncio.new_event_loop()
    account = Account(app_id="app", token=SecretStr("the-key"), limit=LIMIT)
    served = Upstream(Rules(accounts=(account,), mean_ms=CALL_MS, sigma=0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(served.start(), loop).result()
    yield served
    asyncio.run_coroutine_threadsafe(served.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def client(upstream: Upstream) -> Iterator[VolcengineConcurrentTTS]:
    with VolcengineConcurrentTTS("app", "the-key", LIMIT, endpoint=upstream.url) as made:
        yield made


def test_a_batch_comes_back_in_order_within_the_limit(client: VolcengineConcurrentTTS, upstream: Upstream) -> None:
    tasks = [TaskItem("same", f"Number {number}.") for number in range(20)]
    results = client.generate_batch_sync(tasks)

    assert [result.error for result in results] == [None] * 20
    expected = [audio_of(Wishes(task.text, task.voice_type, "mp3")).file for task in tasks]
    assert [client.get_audio_bytes(result) for result in results] == expected
    assert upstream.gauge("app").peak == LIMIT


async def test_the_blocking_methods_work_inside_a_running_event_loop(client: VolcengineConcurrentTTS) -> None:
    blocking = client.generate_single_sync("Hello.", task_id="a")
    awaited = await client.generate_single_async("Hello.", "BV001_streaming", "b")

    assert (blocking.task_id, awaited.task_id) == ("a", "b")
    assert blocking.audio_base64 == awaited.audio_base64 != ""
    assert blocking.duration_ms


def test_threads_and_event_loops_share_the_limit(client: VolcengineConcurrentTTS, upstream: Upstream) -> None:
    def speak(number: int) -> list[object]:
        tasks = [TaskItem(text=f"Thread {number}, {n}.") for n in range(4)]
        results = asyncio.run(client.generate_batch_async(tasks)) if number % 2 else client.generate_batch_sync(tasks)
        return [result.error for result in results]

    with ThreadPoolExecutor(8) as threads:
        errors = list(threads.map(speak, range(8)))

    assert errors == [[None] * 4] * 8
    assert upstream.gauge("app").peak == LIMIT


def test_a_rejected_login_is_a_configuration_error(upstream: Upstream) -> None:
    with (
        VolcengineConcurrentTTS("app", "wrong-key", endpoint=upstream.url) as client,
        pytest.raises(ValueError, match="rejected"),
    ):
        client.generate_batch_sync([TaskItem("a", "Hello.")])


def test_a_failed_task_has_an_error_and_no_audio(client: VolcengineConcurrentTTS) -> None:
    good, bad = client.generate_batch_sync([TaskItem("a", "Hello."), TaskItem("b", "Hello.", "no_such_voice")])

    assert good.error is None
    assert bad.error is not None
    assert (bad.error.code, bad.error.retryable) == ("voice_not_granted", False)
    assert client.get_audio_bytes(bad) == b""
    assert bad.to_dict()["audio_base64"] == ""


def test_a_voice_that_nobody_knows_is_warned_of_and_left_to_the_upstream(client: VolcengineConcurrentTTS) -> None:
    known, strange = client.generate_batch_sync([TaskItem(text="1"), TaskItem(text="2", voice_type="BV01_streaming")])
    [(_, one)] = client.generate_each([TaskItem(text="2", voice_type="BV01_streaming")])

    assert known.warning is None
    assert strange.warning == one.warning == "unknown voice BV01_streaming; did you mean BV001_streaming?"
    assert strange.error is not None
    assert strange.error.code == "voice_not_granted"


def test_what_is_late_is_told_in_time(client: VolcengineConcurrentTTS, upstream: Upstream) -> None:
    results = client.generate_batch_sync([TaskItem(text=f"{n}") for n in range(500)], timeout_ms=1_500)

    assert len(results) == 500
    codes = {result.error.code for result in results if result.error}
    assert codes <= {"no_slot_in_time", "cut_at_deadline"}
    assert upstream.gauge("app").peak <= LIMIT


def test_a_closed_client_may_be_used_again(client: VolcengineConcurrentTTS) -> None:
    first = client.generate_single_sync("Hello.")
    client.close()

    assert client.generate_single_sync("Hello.").audio_base64 == first.audio_base64
