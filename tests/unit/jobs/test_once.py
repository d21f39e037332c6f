"""Batches that are answered at once: nothing is paid twice, and nothing falls off the end."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, CALLER_LOGIN, Told
from tests.support.jobs import Workshop
from tests.support.scripted_upstream import RecordedCall
from volcengine_client.answer import Outcomes
from volcengine_client.errors import TextRefusedError, UpstreamUnavailableError, VolcengineError
from volcengine_client.models import BatchRequest, PoolReport, TaskItem
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.speaker import Speaker
from volcengine_client.speech.speech import Speech
from volcengine_gateway.credentials import payer_of
from volcengine_gateway.jobs.once import Ask, Once
from volcengine_gateway.jobs.store import Turn

TEXTS = [f"text {number}" for number in range(30)]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def _body(texts: list[str] = TEXTS, **fields: Any) -> dict[str, Any]:
    return {"tasks": [{"text": text} for text in texts], **fields}


def _audio(told: Told) -> list[str]:
    return [base64.b64decode(result["audio_base64"]).decode() for result in told.said["results"]]


async def test_what_was_spoken_before_is_found(workshop: Workshop) -> None:
    """I8, an hour later and from another process too."""
    first = await workshop.bench().post(_body())
    workshop.clock.ahead_ms += 3_600_000
    second = await workshop.bench().post(_body(app="another"))

    assert _audio(first) == _audio(second) == TEXTS
    assert workshop.bought() == dict.fromkeys(TEXTS, 1)
    assert first.said["characters"] == {"bought": sum(map(len, TEXTS)), "saved": 0}
    assert second.said["characters"] == {"bought": 0, "saved": sum(map(len, TEXTS))}
    assert [result["bought"] for result in second.said["results"]] == [False] * 30


async def test_the_same_request_twice_at_once_is_bought_once(workshop: Workshop) -> None:
    """I8."""
    workshop.voice.speak_ms = 100
    both = await asyncio.gather(*(workshop.bench().post(_body()) for _ in range(2)))

    assert [_audio(told) for told in both] == [TEXTS, TEXTS]
    assert workshop.bought() == dict.fromkeys(TEXTS, 1)


async def test_equal_tasks_of_a_batch_are_spoken_once(workshop: Workshop) -> None:
    told = await workshop.bench().post(_body(["same", "other", "same", "same"]))

    assert _audio(told) == ["same", "other", "same", "same"]
    assert workshop.bought() == {"same": 1, "other": 1}
    assert [result["bought"] for result in told.said["results"]] == [True, True, False, False]


async def test_without_the_cache_everything_is_bought_and_nobody_finds_it(workshop: Workshop) -> None:
    bench = workshop.bench()
    await bench.post(_body(["a"], cache=False))
    await bench.post(_body(["a"], cache=False))
    await bench.post(_body(["a"]))

    assert workshop.bought() == {"a": 3}


async def test_callers_own_accounts_are_not_cached(workshop: Workshop) -> None:
    """Their audio is not ours to keep."""
    own = {"volcengine_tts_appid": CALLER_LOGIN.app_id, "volcengine_tts_access_key": CALLER_LOGIN.access_key}
    bench = workshop.bench()
    for _ in range(2):
        await bench.post(_body(["a"], credentials=own))

    assert workshop.bought() == {"a": 2}


async def test_what_has_no_time_goes_on_as_a_job(workshop: Workshop) -> None:
    """I8, and nothing is lost."""
    workshop.voice.speak_ms = 300
    told = await workshop.bench().post(_body([f"text {number}" for number in range(120)]), remaining_ms=5_000)
    pending = [result["pending"] for result in told.said["results"]]
    spoken_count = len(workshop.voice.spoken)
    job_id = told.said["job"]["job_id"]
    await workshop.slice(job_id)
    results = await workshop.results(job_id)

    assert told.status == 200
    assert 0 < spoken_count < 120
    assert sum(pending) == 120 - spoken_count
    assert [await workshop.audio(result) for result in results] == [f"text {n}".encode() for n in range(120)]
    assert set(workshop.bought().values()) == {1}
    assert sum(result["bought"] for result in results) == 120


async def test_the_same_request_again_gets_the_same_job(workshop: Workshop) -> None:
    workshop.voice.speak_ms = 300
    body = _body([f"text {number}" for number in range(60)])
    first = await workshop.bench().post(body, remaining_ms=4_500)
    second = await workshop.bench().post(body, remaining_ms=4_500)
    await workshop.slice(first.said["job"]["job_id"])
    third = await workshop.bench().post(body, remaining_ms=4_500)

    assert first.said["job"] == second.said["job"]
    assert third.said["job"] is None
    assert not any(result["pending"] for result in third.said["results"])
    assert set(workshop.bought().values()) == {1}


async def test_what_has_no_room_is_fetched_by_its_address(workshop: Workshop) -> None:
    workshop.voice.outcome = lambda _login, task: task.text.encode() * 1_000
    told = await workshop.bench(answer_bytes_max=150_000).post(_body())
    results = told.said["results"]
    by_address = [result for result in results if result["audio_url"]]

    assert len(told.body) <= 150_000
    assert 0 < len(by_address) < 30
    for result, text in zip(results, TEXTS, strict=True):
        audio = base64.b64decode(result["audio_base64"]) or await workshop.audio(result)
        assert audio == text.encode() * 1_000


async def test_a_caller_who_prefers_it_gets_a_job_at_once(workshop: Workshop) -> None:
    told = await workshop.bench().post(_body(), prefer="respond-async, wait=10")

    assert told.status == 202
    assert told.headers["Location"] == told.said["status_url"]
    assert not workshop.voice.spoken


async def test_an_idempotency_key_stands_for_one_body(workshop: Workshop) -> None:
    bench = workshop.bench()
    first = await bench.post(_body(["a"], cache=False), idempotency_key="k1")
    again = await bench.post(_body(["a"], cache=False), idempotency_key="k2")
    other = await bench.post(_body(["b"]), idempotency_key="k1")

    assert (first.status, again.status, other.status) == (200, 200, 422)
    assert other.error["details"]["fields"][0]["field"] == "Idempotency-Key"
    assert workshop.bought() == {"a": 2}


@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
async def test_a_key_that_is_none_is_refused(workshop: Workshop, key: str) -> None:
    told = await workshop.bench().post(_body(["a"]), idempotency_key=key)

    assert told.status == 422
    assert not workshop.voice.spoken


async def test_a_retry_under_its_key_is_bought_once_without_the_cache_too(workshop: Workshop) -> None:
    """I8: the answer to the first may have been lost."""
    for _ in range(2):
        told = await workshop.bench().post(_body(["a", "b"], cache=False), idempotency_key="k")
        assert _audio(told) == ["a", "b"]

    assert workshop.bought() == {"a": 1, "b": 1}


async def test_errors_stay_the_tasks_own(workshop: Workshop) -> None:
    def outcome(_login: Login, task: TaskItem) -> bytes | VolcengineError:
        return TextRefusedError("unreadable") if task.text == "bad" else task.text.encode()

    workshop.voice.outcome = outcome
    told = await workshop.bench().post(_body(["good", "bad"]))

    assert [result["error"] and result["error"]["code"] for result in told.said["results"]] == [None, "text_refused"]
    assert told.said["job"] is None


async def test_a_batch_of_which_nothing_was_spoken_is_an_error_and_may_be_sent_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volcengine_client.speech.retry.BASE_MS", 1)
    workshop.voice.outcome = lambda _login, _task: UpstreamUnavailableError("broken")
    broken = await workshop.bench().post(_body(["a"]), idempotency_key="k")
    workshop.voice.outcome = lambda _login, task: task.text.encode()
    mended = await workshop.bench().post(_body(["a"]), idempotency_key="k")

    assert (broken.status, mended.status) == (502, 200)


async def test_a_job_sent_twice_is_one_job(workshop: Workshop) -> None:
    first, second = await asyncio.gather(*(workshop.submit(TEXTS) for _ in range(2)))
    await workshop.slice(first)
    third = await workshop.submit(TEXTS)
    await workshop.slice(third)

    assert first == second != third
    assert workshop.bought() == dict.fromkeys(TEXTS, 1)


async def test_a_job_sent_again_after_an_hour_buys_nothing(workshop: Workshop) -> None:
    """I8: by then it is another job, which finds what the first one bought."""
    first = await workshop.submit(TEXTS)
    await workshop.slice(first)
    workshop.clock.ahead_ms += 3_600_000
    second = await workshop.submit(TEXTS)
    await workshop.slice(second)

    assert first != second
    assert len(await workshop.results(second)) == len(TEXTS)
    assert workshop.bought() == dict.fromkeys(TEXTS, 1)


async def test_two_equal_jobs_at_once_after_one_that_is_over_are_one(workshop: Workshop) -> None:
    """I8."""
    past = await workshop.submit(TEXTS)
    await workshop.slice(past)
    again = await asyncio.gather(*(workshop.submit(TEXTS) for _ in range(5)))

    assert len(set(again)) == 1
    assert past not in again


async def test_two_equal_batches_at_once_after_a_job_that_is_over_are_bought_once(workshop: Workshop) -> None:
    """I8."""
    workshop.voice.speak_ms = 300
    body = _body([f"text {number}" for number in range(60)])
    first = await workshop.bench().post(body, remaining_ms=4_500)
    await workshop.jobs.cancel(first.said["job"]["job_id"])
    workshop.voice.speak_ms = 50
    workshop._table = MemoryTable(clock=workshop.clock)  # where no slot rests after a call that was cut
    both = await asyncio.gather(*(workshop.bench().post(body) for _ in range(2)))

    assert [told.said["job"] for told in both] == [None, None]
    assert set(workshop.bought().values()) == {1}


async def test_a_turn_ends_once_all_is_kept_and_while_the_pool_is_being_left(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: whoever comes next finds it; and the answer does not wait for one after the other."""
    steps: list[str] = []
    has_ended = asyncio.Event()
    put, end = workshop.store.files.put, workshop.store.turns.end

    async def slow_put(name: str, content: bytes, *, about: Mapping[str, str] | None = None) -> None:
        await asyncio.sleep(0.05)
        await put(name, content, about=about)
        steps.append("kept")

    async def noted_end(name: str, turn: Turn) -> None:
        steps.append("ended")
        await end(name, turn)
        has_ended.set()

    async def speak(work: Outcomes, around: Callable[[Speaker], Speaker], _deadline_at_ms: int) -> PoolReport:
        speaker = around(_Aloud())
        async for index, task in work.tasks():
            work.settle(index, await speaker.speak(task, call=RecordedCall(), timeout_ms=1_000))
        await has_ended.wait()
        steps.append("left")
        return PoolReport(limit=1, waited_ms=0)

    monkeypatch.setattr(workshop.store.files, "put", slow_put)
    monkeypatch.setattr(workshop.store.turns, "end", noted_end)
    request = BatchRequest.model_validate(_body(["a", "b", "a"]))
    keyring = await workshop.keys.keyring()
    ask = Ask(
        request=request,
        payer=payer_of(keyring, policy="off", shown_admin_key=ADMIN_KEY),
        key=keyring.naming_key,
        idempotency_key=None,
        deadline_at_ms=workshop.clock.monotonic_ms() + 20_000,
        answer_bytes_max=100_000,
    )
    response = await Once(workshop.store, jobs=workshop.jobs, clock=workshop.clock).answer(ask, speak)

    assert [result.audio for result in response.results] == [b"a", b"b", b"a"]
    assert steps == ["kept", "kept", "ended", "left"]


class _Aloud:
    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:  # noqa: ARG002 - the port's
        return Speech(task.text.encode(), 1_000, None)


async def test_a_request_whose_job_was_cancelled_begins_anew(workshop: Workshop) -> None:
    workshop.voice.speak_ms = 300
    body = _body([f"text {number}" for number in range(60)])
    first = await workshop.bench().post(body, remaining_ms=4_500)
    await workshop.jobs.cancel(first.said["job"]["job_id"])
    workshop.voice.speak_ms = 1
    second = await workshop.bench().post(body)

    assert second.said["job"] is None
    assert all(result["audio_base64"] for result in second.said["results"])
    assert set(workshop.bought().values()) == {1}


async def test_a_key_whose_job_was_cancelled_says_so_for_each_task(workshop: Workshop) -> None:
    """I4: nothing is pending for ever."""
    workshop.voice.speak_ms = 300
    body = _body([f"text {number}" for number in range(60)])
    first = await workshop.bench().post(body, remaining_ms=4_500, idempotency_key="k")
    await workshop.jobs.cancel(first.said["job"]["job_id"])
    second = await workshop.bench().post(body, idempotency_key="k")
    codes = {result["error"]["code"] for result in second.said["results"] if result["error"]}

    assert codes == {"job_cancelled"}
    assert not any(result["pending"] for result in second.said["results"])


async def test_files_that_come_too_late_are_fetched_by_their_address(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: the answer leaves in time, whatever the files do."""
    await workshop.bench().post(_body())
    get = workshop.store.files.get

    async def is_slow(name: str) -> bytes | None:
        await asyncio.sleep(60 if name.startswith("speech/") else 0)
        return await get(name)

    monkeypatch.setattr(workshop.store.files, "get", is_slow)
    told = await workshop.bench().post(_body(), remaining_ms=2_000)

    assert all(result["audio_url"] for result in told.said["results"])
