"""The self-hosted door, as a command and as a process."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.receivers import Receiver
from tests.support.scripted_upstream import Exchange, ScriptedUpstream, hangs, refuses, speaks
from tests.support.server_process import ACCESS_KEY, ADMIN_KEY, running
from volcengine_client import verify
from volcengine_client.clock import SystemClock
from volcengine_gateway.server import main

TEXT = "canary-text"
PCM = bytes(4_800)
BATCH = {"tasks": [{"task_id": "t1", "text": TEXT, "encoding": "pcm"}]}


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


def test_a_shared_table_without_a_region_is_a_clear_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("VOLCENGINE_TTS_POOL_TABLE=pools\n")
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "VOLCENGINE_TTS_APPID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    assert main([]) == 2
    assert "region" in capsys.readouterr().err


async def test_a_body_far_too_large_is_refused_while_it_is_sent(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1024 * 1024)

    headers = {"Admin-API-Key": ADMIN_KEY, "Content-Type": "application/json"}
    async with (
        ScriptedUpstream(hangs) as upstream,
        running(tmp_path, upstream) as serving,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        async with session.post(f"{serving.url}/generate-batch", data=endless()) as answer:
            error = (await answer.json())["error"]
        async with session.get(serving.url) as health:
            assert health.status == 200

    assert (answer.status, error["code"]) == (413, "too_large")
    assert upstream.requests == []


TEXTS = [f"{TEXT} {number}" for number in range(130)]
JOB = {"tasks": [{"text": text, "encoding": "pcm"} for text in TEXTS]}


async def _ended(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    while True:
        async with session.get(url, params={"limit": "1000"}) as answer:
            told: dict[str, Any] = await answer.json()
        if told["ended_at_ms"]:
            return told
        await asyncio.sleep(0.02)


async def test_a_job_is_spoken_and_its_audio_is_fetched_by_signed_addresses_only(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(speaks(PCM)) as upstream,
        running(tmp_path, upstream) as serving,
        aiohttp.ClientSession(serving.url, headers={"Admin-API-Key": ADMIN_KEY}) as session,
    ):
        async with session.post("/jobs", json=JOB) as answer:
            accepted = await answer.json()
        told = await _ended(session, answer.headers["Location"])
        address = told["results"][129]["audio_url"]
        async with session.get(address) as file:
            audio = await file.read()
        statuses = []
        for wrong in (address[:-1] + ("0" if address[-1] != "0" else "1"), address.replace("until=1", "until=2"),
                      address.partition("?")[0], "/audio/../jobs.sqlite3"):  # fmt: skip
            async with session.get(wrong) as refused:
                statuses.append(refused.status)
        await serving.stopped_by(signal.SIGTERM)

    assert (answer.status, accepted["state"]) == (202, "queued")
    assert (told["state"], told["done"]) == ("done", 130)
    assert (file.headers["Content-Type"], audio) == ("audio/pcm", PCM)
    assert statuses == [404] * 4
    assert "canary" not in "".join(serving.log)


async def test_a_job_goes_on_where_a_killed_server_stopped(tmp_path: Path) -> None:
    """I8: what was in the air is bought again, at most the limit."""
    async with ScriptedUpstream(speaks(PCM)) as upstream:
        async with (
            running(tmp_path, upstream) as first,
            aiohttp.ClientSession(first.url, headers={"Admin-API-Key": ADMIN_KEY}) as session,
        ):
            async with session.post("/jobs", json=JOB) as answer:
                address = answer.headers["Location"]
            while len(upstream.requests) < 60:  # noqa: ASYNC110 - nothing else tells how many there were
                await asyncio.sleep(0.001)
            await first.stopped_by(signal.SIGKILL)
        async with (
            running(tmp_path, upstream) as second,
            aiohttp.ClientSession(second.url, headers={"Admin-API-Key": ADMIN_KEY}) as session,
        ):
            told = await _ended(session, address)

    assert (told["state"], told["done"]) == ("done", 130)
    assert {request.said["request"]["text"] for request in upstream.requests} == set(TEXTS)
    assert len(upstream.requests) <= 130 + 2


async def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    async with ScriptedUpstream(speaks(PCM)) as upstream, running(tmp_path, upstream):
        program = "import sys; from volcengine_gateway.server import main; sys.exit(main(['--port', '0']))"
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await second.communicate()

    assert second.returncode == 3
    assert b"in use by another server" in told


async def test_a_jobs_end_is_told_and_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async def elsewhere(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": receiver.url("/elsewhere")})

    job = {"tasks": [{"text": TEXT, "encoding": "pcm"}]}
    async with ScriptedUpstream(speaks(PCM)) as upstream, Receiver() as receiver, Receiver(elsewhere) as redirecting:
        settings = {
            "VOLCENGINE_TTS_CALLBACK_TEST_HOSTS": f"{receiver.test_host()},{redirecting.test_host()}",
            "VOLCENGINE_TTS_WEBHOOK_KEY": "canary-webhook-key",
        }
        callbacks = []
        async with (
            running(tmp_path, upstream, **settings) as serving,
            aiohttp.ClientSession(serving.url, headers={"Admin-API-Key": ADMIN_KEY}) as session,
        ):
            for url in (receiver.url("/canary"), redirecting.url()):
                async with session.post("/jobs", json={**job, "callback_url": url}) as answer:
                    address = answer.headers["Location"]
                while not (told := await _ended(session, address))["callback"]["attempts"]:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.02)
                callbacks.append(told["callback"])
            await serving.stopped_by(signal.SIGTERM)

        [received] = receiver.received
        assert callbacks == [{"state": "delivered", "attempts": 1}, {"state": "pending", "attempts": 1}]
        assert verify(received.headers, received.body, "canary-webhook-key", SystemClock().wall_ms() // 1_000)
        assert len(redirecting.received) == 1
        assert "canary" not in "".join(serving.log)


async def test_a_callback_that_leads_inside_is_refused(tmp_path: Path) -> None:
    urls = ["http://127.0.0.1:9/", "https://127.0.0.1/", "https://localhost/", "https://169.254.169.254/", "file:///a"]
    async with (
        ScriptedUpstream(speaks(PCM)) as upstream,
        running(tmp_path, upstream) as serving,
        aiohttp.ClientSession(serving.url, headers={"Admin-API-Key": ADMIN_KEY}) as session,
    ):
        answers = []
        for url in urls:
            async with session.post("/jobs", json={"tasks": [{"text": TEXT}], "callback_url": url}) as answer:
                error = (await answer.json())["error"]
                answers.append((answer.status, error["code"], [one["field"] for one in error["details"]["fields"]]))

    assert answers == [(422, "invalid_request", ["callback_url"])] * len(urls)
    assert upstream.requests == []
