"""Slices of a job: all spoken, in order, once, whatever ends a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import SERVER_LOGIN, keyring
from tests.support.jobs import Workshop
from volcengine_client.errors import (
    LoginRejectedError,
    StoreError,
    TextRefusedError,
    UpstreamUnavailableError,
    VolcengineError,
)
from volcengine_client.limits import JOB_STALL_WAIT_MS, JOB_STALLS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech.login import Login
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.secret import FixedKeys


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def _texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


async def test_every_task_of_a_job_has_its_own_audio_in_input_order(workshop: Workshop) -> None:
    """I3, over several chunks."""
    job_id = await workshop.submit(_texts(250))
    await workshop.slice(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit="0")
    results = await workshop.results(job_id)

    assert (told["state"], told["done"], told["failed"]) == ("done", 250, 0)
    assert [result["index"] for result in results] == list(range(250))
    assert [await workshop.audio(result) for result in results] == [text.encode() for text in _texts(250)]
    assert workshop.messages.sent == [(job_id, 0)]
    [slice_] = workshop.journal.slices
    assert (slice_.state, slice_.spoken, slice_.failed, slice_.trouble) == ("done", 250, 0, None)


async def test_equal_tasks_are_spoken_once(workshop: Workshop) -> None:
    """I8, within a chunk and over chunks."""
    texts = ["the same"] * 3 + _texts(200) + ["the same"] * 3
    job_id = await workshop.submit(texts)
    await workshop.slice(job_id)
    results = await workshop.results(job_id)

    assert set(workshop.bought().values()) == {1}
    assert sum(result["bought"] for result in results) == 201
    assert [await workshop.audio(result) for result in results] == [text.encode() for text in texts]


async def test_what_an_earlier_job_had_spoken_is_found(workshop: Workshop) -> None:
    """I8."""
    first, second = await workshop.submit(_texts(20)), await workshop.submit(_texts(25))
    await workshop.slice(first)
    await workshop.slice(second)
    told = await workshop.jobs.show(second, after=None, limit=None)

    assert set(workshop.bought().values()) == {1}
    assert told["characters_bought"] == sum(map(len, _texts(25)[20:]))
    assert [result["bought"] for result in told["results"]] == [False] * 20 + [True] * 5


async def test_other_sound_of_the_same_text_is_bought(workshop: Workshop) -> None:
    for encoding in ("mp3", "wav"):
        request = [{"text": "the same", "encoding": encoding}, {"text": "the same", "encoding": encoding, "speed": 2}]
        job_id = await workshop.submit([], tasks=request)
        await workshop.slice(job_id)

    assert workshop.bought() == {"the same": 4}


async def test_a_job_told_of_twice_is_worked_on_by_one(workshop: Workshop) -> None:
    """I8: a message may be delivered twice."""
    job_id = await workshop.submit(_texts(120))
    await asyncio.gather(*(workshop.slice(job_id) for _ in range(5)))
    await workshop.slice(job_id)

    assert workshop.bought() == dict.fromkeys(_texts(120), 1)
    assert len(await workshop.results(job_id)) == 120


async def test_a_worker_that_finds_another_at_a_job_looks_again_when_that_must_be_over(workshop: Workshop) -> None:
    """I2: the other may have vanished with its message."""
    job_id = await workshop.submit(_texts(3))
    work = asyncio.create_task(workshop.slice(job_id))
    await workshop.until(lambda: bool(workshop.voice.spoken))
    work.cancel()
    await asyncio.wait({work})
    await workshop.slice(job_id)
    [(_, delay_ms)] = workshop.messages.sent[1:]
    workshop.clock.ahead_ms += delay_ms
    await workshop.slice(job_id)

    assert 55_000 < delay_ms < 65_000
    assert len(await workshop.results(job_id)) == 3


async def test_what_a_slice_has_no_time_for_is_handed_on(workshop: Workshop) -> None:
    workshop.voice.speak_ms = 100
    job_id = await workshop.submit(_texts(150))
    slices = 0
    while not (await workshop.jobs.show(job_id, after=None, limit="0"))["ended_at_ms"]:
        await workshop.slice(job_id, slice_ms=1_300)
        slices += 1
        assert slices < 20

    assert slices > 1
    assert workshop.messages.sent == [(job_id, 0)] * slices
    assert workshop.bought() == dict.fromkeys(_texts(150), 1)
    assert len(await workshop.results(job_id)) == 150


async def test_after_a_sudden_end_only_what_was_in_the_air_is_bought_again(workshop: Workshop) -> None:
    """I8: at most the limit, each time."""
    workshop.voice.speak_ms = 20
    job_id = await workshop.submit(_texts(300))
    for end in range(1, 4):
        work = asyncio.create_task(workshop.slice(job_id))
        await workshop.until(lambda end=end: len(workshop.voice.spoken) >= 60 * end)  # type: ignore[misc]
        work.cancel()
        await asyncio.wait({work})
        workshop.clock.ahead_ms += 60_000  # its claim is over
    await workshop.slice(job_id)
    results = await workshop.results(job_id)

    assert len(results) == 300
    assert all(result["error"] is None for result in results)
    assert sum(workshop.bought().values()) <= 300 + 3 * 10


async def test_a_worker_that_stood_still_does_not_let_go_of_anothers_job(workshop: Workshop) -> None:
    workshop.voice.speak_ms = 200
    job_id = await workshop.submit(_texts(25))
    slow = asyncio.create_task(workshop.slice(job_id, claim_ms=1))
    await workshop.until(lambda: bool(workshop.voice.spoken))
    other = asyncio.create_task(workshop.slice(job_id))
    await workshop.until(lambda: len(workshop.voice.spoken) >= 15)
    await slow
    job = await workshop.store.table.get(job_id)
    await other

    assert job is not None
    assert job.worker_id or job.is_over
    assert len(await workshop.results(job_id)) == 25


async def test_a_message_that_names_no_job_ends_among_the_dead_letters(workshop: Workshop) -> None:
    for body in ("", "../x", "0" * 31, "{}"):
        assert not await workshop.worker().work(body, slice_ms=1_000, claim_ms=2_000, attempt=1)
    assert await workshop.worker().work("0" * 32, slice_ms=1_000, claim_ms=2_000, attempt=1)


async def test_a_cancelled_job_starts_no_further_call_and_keeps_its_audio(workshop: Workshop) -> None:
    workshop.voice.speak_ms = 300
    job_id = await workshop.submit(_texts(200))
    work = asyncio.create_task(workshop.slice(job_id))
    await workshop.until(lambda: len(workshop.voice.spoken) >= 12)
    first = await workshop.jobs.cancel(job_id)
    await work
    spoken_count = len(workshop.voice.spoken)
    again = await workshop.jobs.cancel(job_id)
    results = await workshop.results(job_id)
    await workshop.slice(job_id)

    assert first["state"] == again["state"] == "cancelled"
    assert len(workshop.voice.spoken) == spoken_count < 100
    assert [result["index"] for result in results] == list(range(200))
    assert sum(result["error"] is None for result in results) == spoken_count
    assert {result["error"]["code"] for result in results if result["error"]} == {"job_cancelled"}


async def test_an_error_for_good_is_that_tasks_outcome(workshop: Workshop) -> None:
    workshop.voice.outcome = lambda _login, task: (
        TextRefusedError("unreadable") if task.text == "text 3" else task.text.encode()
    )
    job_id = await workshop.submit(_texts(10))
    await workshop.slice(job_id)
    told: Any = await workshop.jobs.show(job_id, after=None, limit=None)

    assert (told["state"], told["done"], told["failed"]) == ("done", 9, 1)
    assert told["results"][3]["error"]["code"] == "text_refused"


async def test_a_passing_trouble_is_left_to_a_later_slice(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4: nothing is lost, however long the upstream is out."""
    monkeypatch.setattr("volcengine_client.speech.retry.BASE_MS", 1)
    is_out = True

    def outcome(_login: Login, task: TaskItem) -> bytes | VolcengineError:
        return UpstreamUnavailableError("broken") if is_out else task.text.encode()

    workshop.voice.outcome = outcome
    job_id = await workshop.submit(_texts(20))
    await workshop.slice(job_id)
    waits = [delay_ms for _, delay_ms in workshop.messages.sent]
    is_out = False
    await workshop.slice(job_id)

    assert waits == [0, JOB_STALL_WAIT_MS]
    assert len(await workshop.results(job_id)) == 20


async def test_a_job_that_never_moves_is_over_in_the_end(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcengine_client.speech.retry.BASE_MS", 1)
    workshop.voice.outcome = lambda _login, _task: UpstreamUnavailableError("broken")
    job_id = await workshop.submit(_texts(2))
    for _ in range(JOB_STALLS_MAX):
        await workshop.slice(job_id)
    told: Any = await workshop.jobs.show(job_id, after=None, limit=None)

    assert told["state"] == "failed"
    assert [result["error"]["code"] for result in told["results"]] == ["upstream_unavailable"] * 2
    assert len(workshop.messages.sent) == JOB_STALLS_MAX


async def test_a_rejected_login_ends_the_job(workshop: Workshop) -> None:
    workshop.voice.outcome = lambda _login, _task: LoginRejectedError("rejected")
    job_id = await workshop.submit(_texts(30))
    await workshop.slice(job_id)
    told: Any = await workshop.jobs.show(job_id, after=None, limit="1")

    assert (told["state"], told["error"]["code"]) == ("failed", "login_rejected")
    assert len(workshop.voice.spoken) <= 10


async def test_a_job_whose_account_is_gone_says_so(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    job_id = await workshop.submit(_texts(2))
    workshop.keys = FixedKeys(keyring(login=None))
    await workshop.slice(job_id)
    told = await workshop.jobs.show(job_id, after=None, limit=None)

    assert told["state"] == "failed"
    assert len(told["results"]) == 2
    assert not workshop.voice.spoken


async def test_no_call_starts_after_a_jobs_deadline(workshop: Workshop) -> None:
    job_id = await workshop.submit(_texts(5), deadline_s=10)
    workshop.clock.ahead_ms += 11_000
    await workshop.slice(job_id)
    told: Any = await workshop.jobs.show(job_id, after=None, limit=None)

    assert told["state"] == "failed"
    assert not workshop.voice.spoken
    assert {result["error"]["code"] for result in told["results"]} == {"job_failed"}


async def test_a_job_uses_all_of_a_large_limit(tmp_path: Path) -> None:
    """I1 the other way round: what is allowed is used, also beyond a chunk's tasks."""
    workshop = Workshop(tmp_path, limit=250, speak_ms=2_000)
    job_id = await workshop.submit(_texts(250))
    await workshop.slice(job_id)

    assert workshop.voice.peak[SERVER_LOGIN.app_id] == 250


async def test_a_job_uses_no_more_slots_than_its_caller_wants(workshop: Workshop) -> None:
    job_id = await workshop.submit(_texts(30), credentials={"volcengine_tts_concurrency": 3})
    await workshop.slice(job_id)

    assert workshop.voice.peak[SERVER_LOGIN.app_id] == 3


async def test_a_job_whose_release_was_written_and_not_answered_goes_on(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: the request is sent again behind our back, and meets its own write."""
    workshop.voice.speak_ms = 100
    write = workshop.store.table.write

    async def loses_replies(job: Job) -> bool:
        return await write(job) and bool(job.worker_id)

    monkeypatch.setattr(workshop.store.table, "write", loses_replies)
    job_id = await workshop.submit(_texts(150))
    await workshop.slice(job_id, slice_ms=1_300)

    assert [sent for sent, _ in workshop.messages.sent] == [job_id] * 2


async def test_what_can_not_be_kept_is_not_bought(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: at most the slots' worth is lost while the files are out of reach."""
    monkeypatch.setattr("volcengine_gateway.jobs.kept.KEEP_WAITS_MS", (1, 1))
    put = workshop.store.files.put

    async def refuses_audio(name: str, content: bytes, *, about: Mapping[str, str] | None = None) -> None:
        if name.startswith("speech/"):
            raise StoreError("refused")
        await put(name, content, about=about)

    monkeypatch.setattr(workshop.store.files, "put", refuses_audio)
    job_id = await workshop.submit(_texts(300))
    await workshop.slice(job_id)
    job = await workshop.store.table.get(job_id)

    assert len(workshop.voice.spoken) <= 2 * 10
    assert job is not None
    assert (job.state, job.stalled_count) == ("running", 1)


async def test_what_is_done_behind_a_stubborn_task_counts(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcengine_client.speech.retry.BASE_MS", 1)
    workshop.voice.outcome = lambda _login, task: (
        UpstreamUnavailableError("broken") if task.text == "text 3" else task.text.encode()
    )
    job_id = await workshop.submit(_texts(350))
    await workshop.slice(job_id)
    stubborn = await workshop.jobs.show(job_id, after=None, limit=None)
    workshop.voice.outcome = lambda _login, task: task.text.encode()
    await workshop.slice(job_id)
    done = await workshop.jobs.show(job_id, after=None, limit="0")

    assert (stubborn["state"], stubborn["done"]) == ("running", 349)
    assert [result["index"] for result in stubborn["results"]] == [0, 1, 2]
    assert (done["state"], done["done"]) == ("done", 350)
    assert done["characters_bought"] == sum(map(len, _texts(350)))
