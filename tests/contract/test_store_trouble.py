"""What the jobs' store makes of an AWS that throttles, breaks or is silent: it asks again, and tells in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.contract.conftest import REGION
from tests.support.scripted_upstream import Answer, ScriptedUpstream, cuts, raw, raw_answer
from volcengine_client.clock import SystemClock
from volcengine_client.errors import StoreError
from volcengine_client.limits import STORE_PATIENCE_MS
from volcengine_gateway.jobs.aws import store_of
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.settings import JobSettings

pytestmark = pytest.mark.usefixtures("_aws_environment")

MANY = 40  # refusals in a row: more than botocore asks again, and for many requests more than its budget
JOB = Job(
    job_id="0" * 32,
    account="server",
    app="default",
    is_background=True,
    created_at_ms=0,
    kept_until_s=0,
    task_count=1,
    chunk_count=1,
    character_count=1,
)


def _json(status: int, code: str, **headers: str) -> Answer:
    body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "no"}).encode()
    return raw(raw_answer(status, body, **headers))


def _xml(status: int, code: str) -> Answer:
    return raw(raw_answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()))


DONE = raw(raw_answer(200, b"{}"))
PASSING = {
    "s3": _xml(503, "SlowDown"),
    "s3, broken": _xml(500, "InternalError"),
    "s3, late": _xml(400, "RequestTimeout"),
    "dynamodb": _json(400, "ProvisionedThroughputExceededException"),
    "dynamodb, on demand": _json(400, "ThrottlingException"),
    "dynamodb, account": _json(400, "RequestLimitExceeded"),
    "sqs": _json(403, "RequestThrottled", x_amzn_query_error="RequestThrottled;Sender"),
    "sqs, keys": _json(400, "KmsThrottled", x_amzn_query_error="KMS.ThrottlingException;Sender"),
    "a broken connection": cuts,
}
ASK: dict[str, Callable[[JobStore], Awaitable[object]]] = {
    "s3": lambda store: store.files.get("a"),
    "dynamodb": lambda store: store.table.write(JOB),
    "sqs": lambda store: store.queue.send("a"),
}


class HastyClock(SystemClock):
    """This machine's clock, on which nobody really waits."""

    def __init__(self) -> None:
        self.slept_ms = 0

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.slept_ms

    async def sleep(self, duration_ms: int) -> None:
        self.slept_ms += duration_ms


async def _store(server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, clock: HastyClock) -> JobStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    settings = JobSettings(
        table="jobs",
        bucket="bucket",
        queue_url=f"{server.url}/000000000000/jobs",
        jobs_kept_days=7,
        speech_kept_days=30,
    )
    return await asyncio.to_thread(store_of, settings, clock=clock)  # botocore reads files


@pytest.mark.parametrize("trouble", PASSING)
async def test_what_is_refused_for_now_is_asked_for_again(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ASK.get(trouble.partition(",")[0], ASK["sqs"])
    clock = HastyClock()
    async with ScriptedUpstream(*[PASSING[trouble]] * 8, DONE) as server:
        await ask(await _store(server, monkeypatch, clock))

    assert len(server.requests) == 9
    assert 0 < clock.slept_ms <= STORE_PATIENCE_MS


@pytest.mark.parametrize("service", ASK)
async def test_a_service_that_refuses_every_other_request_for_long_stops_nothing(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget for retries that botocore gives a process runs dry then."""
    clock = HastyClock()
    async with ScriptedUpstream(*[PASSING[service], PASSING[service], DONE] * MANY * 2) as server:
        store = await _store(server, monkeypatch, clock)
        for _ in range(MANY * 2 - 1):
            await ASK[service](store)

    assert len(server.requests) == 3 * (MANY * 2 - 1)


@pytest.mark.parametrize("service", ASK)
async def test_patience_ends(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HastyClock()
    async with ScriptedUpstream(PASSING[service]) as server:
        with pytest.raises(StoreError) as caught:
            await ASK[service](await _store(server, monkeypatch, clock))

    assert caught.value.retryable
    assert len(server.requests) > 8
    assert clock.slept_ms <= STORE_PATIENCE_MS


@pytest.mark.parametrize("service", ASK)
async def test_a_refusal_for_good_is_told_at_once(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = _xml(403, "AccessDenied") if service == "s3" else _json(400, "AccessDeniedException")
    clock = HastyClock()
    async with ScriptedUpstream(refusal) as server:
        with pytest.raises(StoreError, match="AccessDenied"):
            await ASK[service](await _store(server, monkeypatch, clock))

    assert len(server.requests) == 1


# --- a large file, whose parts are put together at the end --------------------------------------------------------

PART_BYTES = 1_000
PARTS = 2
NO_UPLOAD = _xml(404, "NoSuchUpload")


def _begun() -> list[Answer]:
    begun = raw(raw_answer(200, b"<Result><UploadId>u</UploadId></Result>"))
    return [begun, *[raw(raw_answer(200, b"", ETag='"e"'))] * PARTS]


def _stored(byte_count: int) -> Answer:
    return raw(f"HTTP/1.1 200 OK\r\nContent-Length: {byte_count}\r\n\r\n".encode())


async def _write(server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcengine_gateway.jobs.s3.PART_BYTES", PART_BYTES)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(PARTS):
            yield bytes(PART_BYTES)

    store = await _store(server, monkeypatch, HastyClock())
    await store.files.write("speech/a.mp3", pieces(), about={})


async def test_a_large_file_is_kept_though_the_reply_to_its_end_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is sent again, to an upload that is complete."""
    async with ScriptedUpstream(*_begun(), cuts, NO_UPLOAD, _stored(PARTS * PART_BYTES)) as server:
        await _write(server, monkeypatch)

    assert len(server.requests) == 1 + PARTS + 3


@pytest.mark.parametrize("found", [_xml(404, "NotFound"), _stored(PART_BYTES)])
async def test_an_upload_that_is_gone_is_an_error_when_its_file_is_not_there(
    found: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it was cleared away; a file of an earlier time is no answer."""
    async with ScriptedUpstream(*_begun(), NO_UPLOAD, found) as server:
        with pytest.raises(StoreError, match="NoSuchUpload"):
            await _write(server, monkeypatch)
