"""The self-hosted door's uploads: streamed to disk, bounded, by signed addresses only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from volcengine_client.clock import SystemClock
from volcengine_client.limits import UPLOAD_BYTES_MAX, UPLOAD_URL_MS
from volcengine_gateway.server import Application
from volcengine_gateway.settings import ServerSettings

ADMIN_KEY = "canary-admin-key"
LIST = b'{"text":"a"}\n{"text":"b"}\n'


@dataclass
class SettableClock(SystemClock):
    """This machine's clock; its wall time can be set ahead."""

    ahead_ms: int = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms


@dataclass
class Door:
    """A server as its callers see it."""

    application: Application
    clock: SettableClock
    folder: Path
    read: list[int] = field(default_factory=list)

    async def ask(
        self, method: str, address: str, *pieces: bytes, is_cut: bool = False, **headers: str
    ) -> tuple[int, Any]:
        """Send a request with its body in pieces; return the status and what was said."""
        path, _, query = address.partition("?")
        told = {"admin-api-key": ADMIN_KEY, **headers} if method == "POST" else headers
        status, said, left = 0, b"", list(pieces or (b"",))
        self.read = []

        async def receive() -> MutableMapping[str, Any]:
            if left:
                piece = left.pop(0)
                self.read.append(len(piece))
                return {"type": "http.request", "body": piece, "more_body": is_cut or bool(left)}
            if is_cut:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, said
            status = message.get("status", status)
            said += message.get("body", b"")

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in told.items()],
        }
        await self.application(scope, receive, send)
        return status, json.loads(said) if said else None

    async def address(self, **wish: int) -> tuple[str, str]:
        """Return the id and the address of an upload."""
        status, said = await self.ask("POST", "/jobs", json.dumps({"upload": True, **wish}).encode())
        assert status == 201
        return said["upload"]["upload_id"], said["upload"]["url"]

    async def started(self, upload_id: str) -> tuple[int, Any]:
        return await self.ask("POST", "/jobs", json.dumps({"upload_id": upload_id}).encode())

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file() and "upload" in path.name)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    settings = ServerSettings(
        callers_credentials="off",
        app_id="1000000001",
        access_key="canary-access-key",
        admin_key=ADMIN_KEY,
        body_bytes_max=1_000,
        data_folder=str(tmp_path),
    )
    clock = SettableClock()
    application = Application(settings, clock=clock)
    yield Door(application, clock, tmp_path)
    await application.close()


async def test_a_list_larger_than_a_body_becomes_a_job(door: Door) -> None:
    upload_id, url = await door.address()
    lines = b"".join(json.dumps({"text": f"Number {n}."}).encode() + b"\n" for n in range(230))
    put = await door.ask("PUT", url, lines[:1_001], lines[1_001:1_002], lines[1_002:])
    status, told = await door.started(upload_id)

    assert len(lines) > 1_000
    assert put == (200, None)
    assert (status, told["tasks"], told["state"]) == (202, 230, "queued")
    assert door.files() == ["upload.jsonl"]
    assert (door.folder / "files").stat().st_mode & 0o077 == 0


async def test_no_other_address_takes_a_list(door: Door) -> None:
    upload_id, url = await door.address()
    _, sized = await door.address(bytes=len(LIST))
    forged = [
        url.replace(upload_id, "0" * 32),
        url.replace("until=", "until=9"),
        url.replace("bytes=", "bytes=1"),
        sized.replace(f"bytes={len(LIST)}", "bytes="),
        url[:-1],
        url.partition("?")[0],
        "/uploads/",
        "/uploads/../jobs.sqlite3?until=1&bytes=&signature=%FF",
        url.replace("/uploads/jobs/", "/uploads/jobs/../jobs/"),
    ]
    for address in forged:
        status, said = await door.ask("PUT", address, LIST)
        assert (status, said["error"]["code"], said["error"]["retryable"]) == (403, "address_refused", False)
        assert door.read == []
    assert [(await door.ask(method, url))[0] for method in ("GET", "POST", "DELETE")] == [404, 404, 404]
    assert door.files() == []


async def test_an_address_that_is_too_old_is_refused(door: Door) -> None:
    _, url = await door.address()
    door.clock.ahead_ms = UPLOAD_URL_MS + 1_000

    assert (await door.ask("PUT", url, LIST))[0] == 403


async def test_no_more_is_read_than_may_be(door: Door) -> None:
    _, url = await door.address()
    _, sized = await door.address(bytes=10)
    told = await door.ask("PUT", url, content_length=str(UPLOAD_BYTES_MAX + 1))
    read = door.read
    over = await door.ask("PUT", sized, b"12345", b"123456", b"1")

    assert (told[0], over[0]) == (413, 413)
    assert (read, door.read) == ([], [5, 6])
    assert door.files() == []


async def test_a_list_that_broke_off_is_not_kept(door: Door) -> None:
    upload_id, url = await door.address()
    short_id, sized = await door.address(bytes=100)
    cut = await door.ask("PUT", url, LIST, is_cut=True)
    short = await door.ask("PUT", sized, LIST)

    assert (cut[0], short[0]) == (422, 422)
    assert door.files() == []
    for unknown in (upload_id, short_id):
        status, told = await door.started(unknown)
        assert (status, told["error"]["details"]["fields"][0]["field"]) == (422, "upload_id")


async def test_a_list_may_be_sent_again_until_it_is_right(door: Door) -> None:
    upload_id, url = await door.address()
    await door.ask("PUT", url, LIST + b"broken")
    broken = await door.started(upload_id)
    await door.ask("PUT", url, LIST)
    mended = await door.started(upload_id)

    assert (broken[0], broken[1]["error"]["details"]["fields"][0]["field"]) == (422, "lines[3]")
    assert (mended[0], mended[1]["tasks"]) == (202, 2)
