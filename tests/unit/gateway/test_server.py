"""The self-hosted door, as an ASGI application."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.support.scripted_upstream import Exchange, ScriptedUpstream, speaks
from volcengine_client.clock import SystemClock
from volcengine_gateway import server
from volcengine_gateway.server import Application, event_of
from volcengine_gateway.settings import ServerSettings

ADMIN_KEY = "canary-admin-key"
ACCESS_KEY = "canary-access-key"
TEXT = "canary-text"
PCM = bytes(4_800)
BATCH = {"tasks": [{"task_id": "t1", "text": TEXT, "encoding": "pcm"}]}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a server keeps, another would find."""
    monkeypatch.chdir(tmp_path)


def settings(**instead: Any) -> ServerSettings:
    given: dict[str, Any] = {
        "callers_credentials": "anyone",
        "app_id": "1000000001",
        "access_key": ACCESS_KEY,
        "admin_key": ADMIN_KEY,
        "concurrency": 2,
        "body_bytes_max": 1_000,
        "request_deadline_ms": 20_000,
    }
    return ServerSettings(**(given | instead))


@dataclass
class Visit:
    """One request to an ASGI application, its body in pieces, and what was answered."""

    method: str = "POST"
    path: str = "/generate-batch"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Admin-API-Key": ADMIN_KEY})
    pieces: tuple[bytes, ...] = (b"",)
    is_cut: bool = False
    read_count: int = 0
    status: int = 0
    answered_headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def error(self) -> Any:
        return json.loads(self.body)["error"]

    async def to(self, application: Application) -> Visit:
        path, _, query = self.path.partition("?")
        scope = {
            "type": "http",
            "method": self.method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()],
        }
        await application(scope, self._receive, self._send)
        return self

    async def _receive(self) -> MutableMapping[str, Any]:
        self.read_count += 1
        if self.read_count <= len(self.pieces):
            more = self.is_cut or self.read_count < len(self.pieces)
            return {"type": "http.request", "body": self.pieces[self.read_count - 1], "more_body": more}
        if self.is_cut:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()  # nothing more ever comes
        raise AssertionError

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answered_headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]


@asynccontextmanager
async def living(**instead: Any) -> AsyncIterator[Application]:
    """Return an application that is closed at the end."""
    application = Application(settings(**instead), clock=SystemClock())
    yield application
    await application.close()


def said(body: Any) -> bytes:
    return json.dumps(body).encode()


async def test_the_same_routes_are_served() -> None:
    async with ScriptedUpstream(speaks(PCM)) as upstream, living(endpoint=upstream.url) as application:
        spoken = await Visit(pieces=(said(BATCH)[:20], said(BATCH)[20:])).to(application)
        health = await Visit("GET", "/").to(application)
        pool = await Visit("GET", "/pools/server").to(application)
        voices = await Visit("GET", "/voices", headers={}).to(application)
        unknown = await Visit("GET", "/none").to(application)

    [result] = json.loads(spoken.body)["results"]
    assert (spoken.status, base64.b64decode(result["audio_base64"])) == (200, PCM)
    assert spoken.answered_headers["content-type"] == "application/json"
    assert spoken.answered_headers["content-length"] == str(len(spoken.body))
    assert len(spoken.answered_headers["x-request-id"]) == 32
    assert (health.status, json.loads(health.body)["limit"]) == (200, 2)
    assert pool.status == 200
    assert (voices.status, json.loads(voices.body)["count"]) == (200, 746)
    assert voices.answered_headers["cache-control"] == "public, max-age=3600"
    assert (unknown.status, unknown.error["code"]) == (404, "unknown_route")
    assert upstream.requests[0].headers["authorization"] == f"Bearer;{ACCESS_KEY}"


async def test_all_requests_share_the_pool_of_their_account() -> None:
    in_progress, peak = 0, 0

    async def counts(exchange: Exchange) -> bool:
        nonlocal in_progress, peak
        in_progress += 1
        peak = max(peak, in_progress)
        await asyncio.sleep(0)
        in_progress -= 1
        return await speaks(PCM)(exchange)

    async with (
        ScriptedUpstream(counts) as upstream,
        living(endpoint=upstream.url, body_bytes_max=10_000) as application,
    ):
        bodies = [
            said({"tasks": [{"text": f"{caller} {index}", "encoding": "pcm"} for index in range(5)]})
            for caller in range(8)
        ]
        visits = await asyncio.gather(*(Visit(pieces=(body,)).to(application) for body in bodies))

    assert [visit.status for visit in visits] == [200] * 8
    assert len(upstream.requests) == 40
    assert peak <= 2


async def test_head_has_the_headers_alone() -> None:
    visit = await Visit("HEAD", "/").to(Application(settings(), clock=SystemClock()))

    assert (visit.status, visit.body) == (200, b"")
    assert int(visit.answered_headers["content-length"]) > 0


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    headers = {"Admin-API-Key": ADMIN_KEY, "Content-Length": "1001"}

    visit = await Visit(headers=headers, pieces=(b"x" * 1_001,)).to(Application(settings(), clock=SystemClock()))

    assert (visit.status, visit.read_count) == (413, 0)


@pytest.mark.parametrize("length", ["", "5", "-1", "many", "9" * 5_000])
async def test_a_body_is_not_read_beyond_its_bound_whatever_it_says(length: str) -> None:
    headers = {"Admin-API-Key": ADMIN_KEY, "Content-Length": length}

    visit = await Visit(headers=headers, pieces=(b"x" * 400,) * 100).to(Application(settings(), clock=SystemClock()))

    assert visit.status == 413
    assert visit.read_count <= 3
    assert visit.error["details"] == {"bound": 1_000}


@pytest.mark.parametrize("headers", [{"Admin-API-Key": "wrong"}, {"Admin-API-Key": "\xff"}])
async def test_a_body_is_not_read_from_those_with_a_wrong_key(headers: Mapping[str, str]) -> None:
    visit = await Visit(headers=headers, pieces=(said(BATCH),)).to(Application(settings(), clock=SystemClock()))

    assert (visit.status, visit.read_count) == (401, 0)


@pytest.mark.looptime
async def test_a_body_that_never_ends_is_given_up() -> None:
    headers = {"Admin-API-Key": ADMIN_KEY, "Content-Length": "500"}
    application = Application(settings(), clock=SystemClock())
    visit = Visit(headers=headers, pieces=(b"{", b""))
    visit.pieces = (b"{",)

    async def slow() -> MutableMapping[str, Any]:
        await asyncio.sleep(1)
        return {"type": "http.request", "body": b" ", "more_body": True}

    visit._receive = slow  # type: ignore[method-assign]
    await visit.to(application)

    assert (visit.status, visit.error["code"]) == (408, "body_late")


async def test_a_caller_that_goes_away_is_forgotten() -> None:
    visit = await Visit(pieces=(b'{"tasks"',), is_cut=True).to(Application(settings(), clock=SystemClock()))

    assert (visit.status, visit.error["message"]) == (422, "The body ended early")


def test_headers_that_are_given_twice_are_joined() -> None:
    scope = {"method": "GET", "path": "/", "headers": [(b"Accept", b"a"), (b"accept", b"\xe9")]}

    event = event_of(scope, request_id="r", arrived_at_ms=5)

    assert event["headers"] == {"accept": "a,é"}
    assert event["requestContext"]["timeEpoch"] == 5


async def test_the_application_of_the_asgi_path_says_why_it_can_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOLCENGINE_TTS_APPID", "1")
    monkeypatch.delenv("VOLCENGINE_TTS_ACCESS_KEY", raising=False)
    server.application.cache_clear()
    told: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    await server.app({"type": "lifespan"}, receive, send)

    assert told[0]["type"] == "lifespan.startup.failed"
    assert "belong together" in told[0]["message"]


async def test_the_application_lives_from_startup_to_shutdown(tmp_path: Path) -> None:
    told: list[str] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": next(asked)}

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message["type"])

    await Application(settings(data_folder=str(tmp_path)), clock=SystemClock())({"type": "lifespan"}, receive, send)

    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_shared_table_is_joined_when_one_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("dynamodb").create_table(
            TableName="pools",
            KeySchema=[{"AttributeName": "pool", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pool", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        async with (
            ScriptedUpstream(speaks(PCM)) as upstream,
            living(endpoint=upstream.url, pool_table="pools") as application,
        ):
            visit = await Visit(pieces=(said(BATCH),)).to(application)
        items = boto3.client("dynamodb").scan(TableName="pools")["Items"]

    assert visit.status == 200
    assert [item["pool"]["S"] for item in items] == ["server"]
    assert "canary" not in json.dumps(items)
