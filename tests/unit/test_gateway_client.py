"""The client of a gateway, over HTTP against the real routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import ADMIN_KEY, SERVER_LOGIN
from tests.support.job_door import JobDoor, Refusal, opened
from volcengine_client import GatewayClient, TaskItem
from volcengine_client.errors import (
    AdminKeyError,
    BatchTooLargeError,
    CallerError,
    CapacityError,
    GatewayUnavailableError,
    InvalidRequestError,
    JobCancelledError,
    TextRefusedError,
    UnknownJobError,
    UnknownPoolError,
    VoiceNotGrantedError,
    VolcengineError,
)
from volcengine_client.jobs import JobResult
from volcengine_client.limits import BODY_BYTES_MAX, JOB_TASKS_MAX

LIMIT = 3
SILENT = "\u200b"  # nothing that a voice could read


def tasks_of(count: int) -> list[TaskItem]:
    return [TaskItem(f"task {n}", f"Number {n}.") for n in range(count)]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[JobDoor]:
    with opened(JobDoor(tmp_path / "server", limit=LIMIT)) as made:
        yield made
    assert made.workshop.voice.peak[SERVER_LOGIN.app_id] <= LIMIT


@pytest.fixture
def client(door: JobDoor) -> Iterator[GatewayClient]:
    with GatewayClient(door.url, ADMIN_KEY) as made:
        yield made


# --- batches and jobs ---------------------------------------------------------------


def test_a_batch_comes_back_in_order(client: GatewayClient) -> None:
    results = client.generate_batch_sync(tasks_of(12), app="bookshop")

    assert [result.audio.decode() for result in results] == [f"Number {n}." for n in range(12)]
    assert client.generate_batch_sync([]) == []


async def test_a_batch_may_be_awaited(door: JobDoor) -> None:
    async with GatewayClient(door.url, ADMIN_KEY) as client:
        results = await client.generate_batch_async(tasks_of(2))

    assert [result.task_id for result in results] == ["task 0", "task 1"]


def test_what_has_no_time_in_one_answer_is_waited_for(tmp_path: Path) -> None:
    """Everything is bought once, and comes back in order."""
    with opened(JobDoor(tmp_path, limit=LIMIT, request_deadline_ms=4_500)) as door:
        door.workshop.voice.speak_ms = 100
        with GatewayClient(door.url, ADMIN_KEY) as client:
            results = client.generate_batch_sync([*tasks_of(59), TaskItem(text="Number 59.", voice_type="no_voice")])
            audio = [client.audio_sync(result) for result in results]

    assert audio == [f"Number {n}.".encode() for n in range(60)]
    assert {result.audio_url is None for result in results} == {True, False}
    assert [result.warning for result in results if result.warning] == ["unknown voice no_voice"]
    assert sum(door.workshop.bought().values()) == 60


def test_a_batch_of_more_than_a_request_takes_is_a_job(client: GatewayClient) -> None:
    tasks = [TaskItem(text=f"Number {n % 40}.") for n in range(1_000)]
    results = client.generate_batch_sync([*tasks, TaskItem(text="Number 0.", voice_type="no_voice")])

    assert len(results) == 1_001
    assert (results[0].warning, results[1_000].warning) == (None, "unknown voice no_voice")
    assert client.audio_sync(results[1_000]) == b"Number 0."


def test_an_estimate_buys_nothing(client: GatewayClient, door: JobDoor) -> None:
    estimate = client.estimate_sync([*tasks_of(10), TaskItem(text="Number 0."), TaskItem(text=SILENT)])

    assert (estimate.tasks, estimate.calls, estimate.saved, len(estimate.refused)) == (12, 10, 1, 1)
    assert (estimate.characters.bought, estimate.characters.saved, estimate.limit) == (90, 9, LIMIT)
    assert not door.workshop.voice.spoken


def test_audio_that_was_spoken_before_is_found_unless_it_should_not_be(client: GatewayClient, door: JobDoor) -> None:
    for cache in (True, True, False):
        client.generate_batch_sync(tasks_of(1), cache=cache)

    assert sum(door.workshop.bought().values()) == 2


def test_a_jobs_results_come_in_order_and_its_audio_downloads(client: GatewayClient, tmp_path: Path) -> None:
    job = client.submit_sync(tasks_of(230), app="bookshop", priority="interactive", deadline_s=600)
    results = list(client.results_sync(job.job_id))

    assert (job.tasks, job.app, job.priority, job.is_over) == (230, "bookshop", "interactive", False)
    assert [result.index for result in results] == list(range(230))
    assert [result.task_id for result in results] == [f"task {n}" for n in range(230)]
    client.download_sync(results[229], tmp_path / "last.mp3")
    assert (tmp_path / "last.mp3").read_text() == "Number 229."
    over = client.wait_sync(job.job_id)
    assert (over.state, over.done, over.failed) == ("done", 230, 0)


async def test_results_come_while_the_job_goes_on(door: JobDoor) -> None:
    """The first hundred are told before the job is over."""
    door.workshop.voice.speak_ms = 10
    async with GatewayClient(door.url, ADMIN_KEY) as client:
        job = await client.submit_async(tasks_of(250))
        results = client.results_async(job.job_id)
        first = await anext(results)
        then = await client.job_async(job.job_id)
        rest = [result async for result in results]

    assert first.index == 0
    assert not then.is_over
    assert [result.index for result in rest] == list(range(1, 250))


def test_a_list_that_is_too_large_for_a_body_is_uploaded(client: GatewayClient, door: JobDoor) -> None:
    """Nobody has to know: the first attempt is cut, the reply to the start is lost, and there is one job."""
    door.is_working = False
    tasks = [TaskItem(f"task {n}", "长" * 300 + str(n)) for n in range(5_000)]
    door.refused_path = "/uploads/"
    door.refusals = [Refusal(0, is_after=True)]
    job = client.submit_sync(tasks, app="bookshop", deadline_s=600)

    assert [(method, path.partition("/jobs/")[0]) for method, path, _ in door.asked] == [
        ("POST", "/jobs"),
        ("PUT", "/uploads"),
        ("PUT", "/uploads"),
        ("POST", "/jobs"),
    ]
    assert (job.tasks, job.app, job.characters) == (5_000, "bookshop", sum(len(task.text) for task in tasks))
    put = door.asked[2][2]
    assert int(put["Content-Length"]) > BODY_BYTES_MAX
    assert "Admin-API-Key" not in put
    assert [one.job_id for one in client.jobs_sync()] == [job.job_id]


def test_what_no_job_takes_is_refused_before_anything_is_sent(client: GatewayClient, door: JobDoor) -> None:
    with pytest.raises(BatchTooLargeError, match="make several jobs"):
        client.submit_sync([TaskItem(text="a")] * (JOB_TASKS_MAX + 1))

    assert door.asked == []


def test_a_reader_goes_on_where_it_stopped(client: GatewayClient) -> None:
    job = client.submit_sync(tasks_of(5))
    client.wait_sync(job.job_id)

    assert [result.index for result in client.results_sync(job.job_id, after=2)] == [3, 4]


def test_a_wait_ends_in_time_and_the_job_goes_on(client: GatewayClient, door: JobDoor) -> None:
    door.is_working = False
    job = client.submit_sync(tasks_of(3))
    with pytest.raises(TimeoutError, match="0 of 3"):
        client.wait_sync(job.job_id, timeout_ms=50)
    door.is_working = True

    assert client.wait_sync(job.job_id, timeout_ms=10_000).state == "done"


def test_a_cancelled_job_tells_so_for_every_task_that_was_not_spoken(
    client: GatewayClient, door: JobDoor, tmp_path: Path
) -> None:
    door.is_working = False
    job = client.submit_sync(tasks_of(3))
    cancelled = client.cancel_sync(job.job_id)
    again = client.cancel_sync(job.job_id)
    results = list(client.results_sync(job.job_id))

    assert cancelled.state == again.state == "cancelled"
    assert [result.error and result.error.code for result in results] == ["job_cancelled"] * 3
    with pytest.raises(JobCancelledError):
        client.download_sync(results[0], tmp_path / "none.mp3")
    assert not (tmp_path / "none.mp3").exists()


def test_jobs_are_listed_by_app_the_youngest_first(client: GatewayClient) -> None:
    made = [client.submit_sync(tasks_of(1), app=app).job_id for app in ("a", "b", "a")]

    assert [job.job_id for job in client.jobs_sync(app="a")] == [made[2], made[0]]
    assert {job.job_id for job in client.jobs_sync()} == set(made)


def test_jobs_are_listed_by_state(client: GatewayClient, door: JobDoor) -> None:
    door.is_working = False
    queued, gone = (client.submit_sync(tasks_of(1), app=app).job_id for app in ("a", "b"))
    client.cancel_sync(gone)

    assert [job.job_id for job in client.jobs_sync(state="queued")] == [queued]
    assert [job.job_id for job in client.jobs_sync(state="cancelled", app="b")] == [gone]
    assert list(client.jobs_sync(state="done")) == []


def test_the_pool_tells_its_limit(client: GatewayClient) -> None:
    client.generate_batch_sync(tasks_of(1))
    status = client.status_sync()

    assert (status.pool, status.limit, status.slots_in_use) == ("server", LIMIT, 0)
    with pytest.raises(UnknownPoolError):
        client.status_sync("no such/pool")


def test_another_account_is_asked_for_by_name(door: JobDoor) -> None:
    with GatewayClient(door.url, ADMIN_KEY, account="nobody") as client, pytest.raises(InvalidRequestError):
        client.submit_sync(tasks_of(1))


# --- errors -------------------------------------------------------------------------


def test_errors_are_the_librarys_own_by_code(client: GatewayClient, door: JobDoor) -> None:
    with pytest.raises(UnknownJobError):
        client.job_sync("0" * 32)
    with pytest.raises(UnknownJobError):
        client.cancel_sync("../../pools/server")
    with pytest.raises(InvalidRequestError, match="callback"):
        client.submit_sync(tasks_of(1), callback="?")  # type: ignore[call-arg]
    with GatewayClient(door.url, "wrong-key") as stranger, pytest.raises(AdminKeyError):
        stranger.job_sync("0" * 32)


def test_a_batch_of_which_nothing_was_spoken_is_an_error_with_all_results(client: GatewayClient, door: JobDoor) -> None:
    door.workshop.voice.outcome = lambda _login, _task: TextRefusedError("can't read this")
    refused = client.generate_batch_sync(tasks_of(2))
    door.workshop.voice.outcome = lambda _login, _task: VolcengineError("our mistake")
    with pytest.raises(VolcengineError) as failed:
        client.generate_batch_sync(tasks_of(2))

    assert [result.error and result.error.code for result in refused] == ["text_refused"] * 2
    assert len(failed.value.details["results"]) == 2
    assert failed.value.details["request_id"]


def test_a_failed_tasks_error_is_raised_when_its_audio_is_wanted(
    client: GatewayClient, door: JobDoor, tmp_path: Path
) -> None:
    door.workshop.voice.outcome = lambda _login, _task: VoiceNotGrantedError("no such voice")
    job = client.submit_sync(tasks_of(1))
    (result,) = client.results_sync(job.job_id)

    with pytest.raises(VoiceNotGrantedError):
        client.download_sync(result, tmp_path / "none.mp3")


@pytest.mark.parametrize(
    ("status", "known", "is_retryable"),
    [
        (413, BatchTooLargeError, False),
        (429, CapacityError, True),
        (500, GatewayUnavailableError, True),
        (503, GatewayUnavailableError, True),
        (404, CallerError, False),
        (403, AdminKeyError, False),
        (302, CallerError, False),
    ],
)
def test_what_api_gateway_says_itself_is_told_too(
    client: GatewayClient, door: JobDoor, status: int, known: type[VolcengineError], is_retryable: bool
) -> None:
    said = {"Retry-After": "61", "Location": "/"}  # longer than anyone waits, so it is not asked again
    door.refusals = [Refusal(status, '{"message":"No."}', said)]
    with pytest.raises(known) as told:
        client.status_sync()

    assert type(told.value) is known
    assert told.value.retryable is is_retryable
    assert told.value.retry_after_ms == 61_000
    assert len(door.asked) == 1


def test_an_answer_that_is_no_gateways_is_told(client: GatewayClient, door: JobDoor) -> None:
    door.refusals = [Refusal(200, "<html>"), Refusal(200, '{"hello": 1}')]
    for _ in range(2):
        with pytest.raises(GatewayUnavailableError, match="not a gateway's") as told:
            client.job_sync("0" * 32)

        assert not told.value.retryable


def test_a_code_that_this_version_does_not_know_keeps_its_name(client: GatewayClient, door: JobDoor) -> None:
    door.refusals = [Refusal(418, '{"error": {"code": "teapot", "message": "Short and stout", "retryable": false}}')]
    with pytest.raises(CallerError, match="stout") as told:
        client.status_sync()

    assert told.value.details == {"code": "teapot"}


# --- what is asked again --------------------------------------------------------------


def test_a_cut_connection_is_asked_again_under_the_same_key(client: GatewayClient, door: JobDoor) -> None:
    door.refusals = [Refusal(0), Refusal(503, '{"message":"Service Unavailable"}')]
    client.submit_sync(tasks_of(1))
    client.submit_sync(tasks_of(1))

    keys = [headers["Idempotency-Key"] for _, _, headers in door.asked]
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert {len(key) for key in keys} == {32}


def test_an_answer_that_was_lost_buys_nothing_twice(client: GatewayClient, door: JobDoor) -> None:
    door.refusals = [Refusal(0, is_after=True)]
    client.generate_batch_sync(tasks_of(3))
    door.refusals = [Refusal(0, is_after=True)]
    job = client.submit_sync(tasks_of(3), app="bookshop")

    assert sum(door.workshop.bought().values()) == 3
    assert [known.job_id for known in client.jobs_sync()] == [job.job_id]


def test_reads_and_cancellations_are_asked_again(client: GatewayClient, door: JobDoor) -> None:
    job = client.submit_sync(tasks_of(1))
    door.refusals = [Refusal(0), Refusal(500, '{"message":"Internal Server Error"}')]

    assert client.wait_sync(job.job_id).is_over
    door.refusals = [Refusal(0, is_after=True)]
    assert client.cancel_sync(job.job_id).state == "done"


def test_a_long_outage_is_waited_out(client: GatewayClient, door: JobDoor) -> None:
    """More than a single request is repeated."""
    job = client.submit_sync(tasks_of(2))
    door.refusals = [Refusal(503, '{"message":"Service Unavailable"}')] * 6

    assert [result.index for result in client.results_sync(job.job_id)] == [0, 1]


def test_a_gateway_that_is_not_there_is_told_so() -> None:
    with (
        GatewayClient("http://127.0.0.1:9") as client,
        pytest.raises(GatewayUnavailableError, match="can't be reached") as told,
    ):
        client.status_sync()

    assert told.value.retryable


def test_a_refusal_for_good_is_asked_once(client: GatewayClient, door: JobDoor) -> None:
    with pytest.raises(InvalidRequestError):
        client.submit_sync(tasks_of(1), priority="urgent")  # type: ignore[arg-type]

    assert len(door.asked) == 1


async def test_a_cancelled_wait_ends_at_once(door: JobDoor) -> None:
    door.is_working = False
    async with GatewayClient(door.url, ADMIN_KEY) as client:
        job = await client.submit_async(tasks_of(1))
        waiting = asyncio.create_task(client.wait_async(job.job_id))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


# --- audio ----------------------------------------------------------------------------


def test_an_address_that_is_no_longer_good_is_told_and_leaves_no_file(client: GatewayClient, tmp_path: Path) -> None:
    job = client.submit_sync(tasks_of(1))
    (result,) = client.results_sync(job.job_id)
    old = result.model_copy(update={"audio_url": f"{result.audio_url}0"})

    with pytest.raises(CallerError, match="ask for the results again"):
        client.download_sync(old, tmp_path / "a.mp3")
    assert list(tmp_path.glob("*.mp3")) == list(tmp_path.glob(".*")) == []


def test_audio_that_breaks_off_is_fetched_again(client: GatewayClient, door: JobDoor, tmp_path: Path) -> None:
    job = client.submit_sync(tasks_of(1))
    (result,) = client.results_sync(job.job_id)
    door.refused_path = "/audio/"
    door.refusals = [Refusal(0)]
    client.download_sync(result, tmp_path / "a.mp3")

    assert (tmp_path / "a.mp3").read_text() == "Number 0."


def test_an_address_elsewhere_is_opened_without_the_key(client: GatewayClient, door: JobDoor, tmp_path: Path) -> None:
    job = client.submit_sync(tasks_of(1))
    (result,) = client.results_sync(job.job_id)
    whole = result.model_copy(update={"audio_url": f"{door.url}{result.audio_url}"})
    client.download_sync(whole, tmp_path / "a.mp3")

    assert (tmp_path / "a.mp3").read_text() == "Number 0."
    assert "Admin-API-Key" not in door.asked[-1][2]


def test_audio_in_the_answer_needs_no_request(client: GatewayClient, tmp_path: Path) -> None:
    (result,) = client.generate_batch_sync(tasks_of(1))
    client.download_sync(result, tmp_path / "a.mp3")

    assert (tmp_path / "a.mp3").read_text() == "Number 0."


def test_a_file_that_can_not_be_had_leaves_what_was_there(client: GatewayClient, door: JobDoor, tmp_path: Path) -> None:
    job = client.submit_sync(tasks_of(1))
    (result,) = client.results_sync(job.job_id)
    door.refused_path = "/audio/"
    door.refusals = [Refusal(404)]
    (tmp_path / "a.mp3").write_text("before")
    with pytest.raises(CallerError):
        client.download_sync(result, tmp_path / "a.mp3")

    assert (tmp_path / "a.mp3").read_text() == "before"
    assert list(tmp_path.glob(".*")) == []


def test_subtitles_come_from_the_answer_or_from_their_address(
    client: GatewayClient, door: JobDoor, tmp_path: Path
) -> None:
    wanted = TaskItem(text="Number 0.", subtitles="vtt")
    (answered,) = client.generate_batch_sync([wanted])
    job = client.submit_sync([wanted])
    (addressed,) = client.results_sync(job.job_id)
    client.download_subtitles_sync(addressed, tmp_path / "a.vtt")

    told = client.subtitles_sync(answered)
    assert told == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nNumber 0.\n"
    assert (tmp_path / "a.vtt").read_text("utf-8") == told
    assert addressed.subtitles_url is not None
    assert "Admin-API-Key" not in door.asked[-1][2]
    assert sum(door.workshop.bought().values()) == 1


def test_subtitles_that_nobody_wanted_are_none(client: GatewayClient) -> None:
    (result,) = client.generate_batch_sync(tasks_of(1))
    with pytest.raises(VolcengineError, match="wanted no subtitles"):
        client.subtitles_sync(result)


# --- what is never told -----------------------------------------------------------------


def test_the_key_is_in_no_repr_no_error_and_no_log(caplog: pytest.LogCaptureFixture, door: JobDoor) -> None:
    caplog.set_level(logging.DEBUG)
    key = "canary-admin-key"
    said = []
    door.refusals = [Refusal(0)] * 5
    with GatewayClient(door.url, key) as client:
        for _ in range(2):
            with pytest.raises(VolcengineError) as told:
                client.status_sync()
            said += [str(told.value), repr(told.value), str(told.value.details), repr(told.value.__cause__)]
        said.append(repr(client))

    assert key not in " ".join(said) + caplog.text


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "https://key@host", "https://host?a=b", "http://"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as told:
        GatewayClient(url)

    assert "key@" not in str(told.value)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "ключ"])
def test_a_key_that_could_not_stand_in_a_header_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="admin key"):
        GatewayClient("https://host", key)


def test_a_result_is_a_result_of_the_library() -> None:
    result = JobResult(task_id="a", audio_url="/audio/a.mp3", index=0, bought=True)

    assert result.audio == b""
