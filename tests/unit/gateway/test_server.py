"""The self-hosted door, as an ASGI application and as a process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
from moto import mock_aws

from tests.support.scripted_upstream import Exchange, ScriptedUpstream, hangs, refuses, speaks
from volcengine_client.clock import SystemClock
from volcengine_gateway import server
from volcengine_gateway.server import Application, event_of, main
from volcengine_gateway.settings import ServerSettings

ADMIN_KEY = "canary-admin-key"
ACCESS_KEY = "canary-access-key"
TEXT = "canary-text"
PCM = bytes(4_800)
BATCH = {"tasks": [{"task_id": "t1", "text": TEXT, "encoding": "pcm"}]}


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
        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "query_string": b"",
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
        unknown = await Visit("GET", "/none").to(application)

    [result] = json.loads(spoken.body)["results"]
    assert (spoken.status, base64.b64decode(result["audio_base64"])) == (200, PCM)
    assert spoken.answered_headers["content-type"] == "application/json"
    assert spoken.answered_headers["content-length"] == str(len(spoken.body))
    assert len(spoken.answered_headers["x-request-id"]) == 32
    assert (health.status, json.loads(health.body)["limit"]) == (200, 2)
    assert pool.status == 200
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
        body = said({"tasks": [{"text": str(index), "encoding": "pcm"} for index in range(5)]})

        visits = await asyncio.gather(*(Visit(pieces=(body,)).to(application) for _ in range(8)))

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


async def test_the_application_lives_from_startup_to_shutdown() -> None:
    told: list[str] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": next(asked)}

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message["type"])

    await Application(settings(), clock=SystemClock())({"type": "lifespan"}, receive, send)

    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# --- as a command ---------------------------------------------------------------


def test_a_port_in_use_is_a_clear_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLCENGINE_TTS_APPID", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        status = main(["--port", str(port)])

    assert status == 1
    assert f"can't listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_host_that_is_none_is_a_clear_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLCENGINE_TTS_APPID", raising=False)

    assert main(["--host", "192.0.2.1"]) == 1
    assert "can't listen on 192.0.2.1:8000" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["99999", "-1", "http", ""])
def test_a_port_that_is_none_is_a_clear_message(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port", port])

    assert ended.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_a_wrong_setting_in_the_file_is_a_clear_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"VOLCENGINE_TTS_APPID=1\nVOLCENGINE_TTS_ACCESS_KEY={ACCESS_KEY}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("ADMIN_API_KEY", "VOLCENGINE_TTS_APPID", "VOLCENGINE_TTS_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)

    assert main([]) == 2
    err = capsys.readouterr().err
    assert "ADMIN_API_KEY is not set" in err
    assert ACCESS_KEY not in err


@dataclass
class Process:
    """The server as a process of its own."""

    url: str
    process: asyncio.subprocess.Process
    log: list[str]
    reading: asyncio.Task[None]
    stopping: asyncio.Event

    async def stopped(self) -> int:
        """Wait until it has ended."""
        status = await self.process.wait()
        await self.reading
        return status


@asynccontextmanager
async def running(folder: Path, upstream: ScriptedUpstream) -> AsyncIterator[Process]:
    """Run the server on a free port, with its account in `.env`."""
    (folder / ".env").write_text(
        f"VOLCENGINE_TTS_APPID=1000000001\nVOLCENGINE_TTS_ACCESS_KEY={ACCESS_KEY}\n"
        f"VOLCENGINE_TTS_CONCURRENCY=2\nADMIN_API_KEY={ADMIN_KEY}\nVOLCENGINE_TTS_ENDPOINT={upstream.url}\n"
    )
    program = "import sys; from volcengine_gateway.server import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "--port", "0", "--log-level", "debug",
        cwd=folder, env={"PATH": os.environ["PATH"]}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    log: list[str] = []
    stopping = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            log.append(line.decode())
            if "Shutting down" in log[-1]:
                stopping.set()
            found = re.search(r"Listening on (\S+)", log[-1])
            if found and not listening.done():
                listening.set_result(found[1])
        if not listening.done():
            listening.set_exception(AssertionError(f"it did not start: {log}"))

    reading = asyncio.create_task(read(process.stderr))
    try:
        yield Process(await listening, process, log, reading, stopping)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def test_a_graceful_stop_finishes_what_is_in_progress_and_nothing_secret_is_logged(tmp_path: Path) -> None:
    may_answer = asyncio.Event()

    async def waits(exchange: Exchange) -> bool:
        await may_answer.wait()
        return await speaks(PCM)(exchange)

    async with (
        ScriptedUpstream(waits) as upstream,
        running(tmp_path, upstream) as serving,
        aiohttp.ClientSession(headers={"Admin-API-Key": ADMIN_KEY}) as session,
    ):
        url = f"{serving.url}/generate-batch"
        async with session.post(url, json=BATCH, headers={"Admin-API-Key": "canary-wrong"}) as refused:
            assert refused.status == 401
        async with session.post(url + f"?key={ACCESS_KEY}", data=f"canary {TEXT}") as refused:
            assert refused.status == 415
        asked = asyncio.create_task(session.post(url, json=BATCH))
        await upstream.arrived.wait()
        serving.process.send_signal(signal.SIGTERM)
        await serving.stopping.wait()
        may_answer.set()
        async with await asked as answer:
            [result] = (await answer.json())["results"]
        await serving.stopped()

    assert base64.b64decode(result["audio_base64"]) == PCM
    log = "".join(serving.log)
    assert '"status": 200' in log
    assert "canary" not in log


async def test_the_process_answers_errors_of_the_upstream(tmp_path: Path) -> None:
    script = [refuses(401, 3001, "authenticate request: load grant: requested grant not found"), hangs]

    async with (
        ScriptedUpstream(*script) as upstream,
        running(tmp_path, upstream) as serving,
        aiohttp.ClientSession(headers={"Admin-API-Key": ADMIN_KEY}) as session,
        session.post(f"{serving.url}/generate-batch", json=BATCH) as answer,
    ):
        error = (await answer.json())["error"]

    assert (answer.status, error["code"]) == (502, "login_rejected")
    assert "canary" not in "".join(serving.log)


async def test_the_server_does_without_boto3(tmp_path: Path) -> None:
    program = "import sys, volcengine_gateway.server as s; s.application(); sys.exit('boto3' in sys.modules)"

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=tmp_path, env={})

    assert await process.wait() == 0


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


def test_a_shared_table_without_a_region_is_a_clear_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("VOLCENGINE_TTS_POOL_TABLE=pools\n")
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "VOLCENGINE_TTS_APPID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    assert main([]) == 2
    assert "region" in capsys.readouterr().err
