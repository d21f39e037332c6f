"""A gateway with jobs behind a socket: the real routes, workers beside them, and a porter who may refuse first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.gateway import Remaining
from tests.support.jobs import Workshop

BODY_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Refusal:
    """What the porter says instead of the gateway; status 0: nothing, the connection is cut."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_after: bool = False  # the gateway has done its work before


class JobDoor:
    """One gateway on a free port of this machine.

    Attributes:
        workshop: Its jobs, workers and upstream.
        refusals: What the porter says to the next requests, one each; `refusals_of` says to which.
        asked: Method, path and headers of each request.
        url: Where it is.
    """

    def __init__(self, folder: Path, *, limit: int = 10, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.workshop = Workshop(folder, limit=limit)
        self.refusals: list[Refusal] = []
        self.refused_path = "/"
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.is_working = True
        self.url = ""
        self._routes = self.workshop.bench(**settings).routes

    async def live(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Serve and work until told to stop."""
        application = web.Application(client_max_size=2 * BODY_BYTES_MAX)
        application.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        working = asyncio.create_task(self._work())
        ready.set()
        await stop.wait()
        working.cancel()
        await asyncio.wait({working})
        await runner.cleanup()

    async def _work(self) -> None:
        """Work one slice for each message, all jobs side by side."""
        slices: set[asyncio.Task[None]] = set()
        seen_count = 0
        try:
            while True:
                sent = self.workshop.messages.sent
                while self.is_working and seen_count < len(sent):
                    slices.add(asyncio.create_task(self.workshop.slice(sent[seen_count][0])))
                    seen_count += 1
                await asyncio.sleep(0.005)
        finally:
            for one in slices:
                one.cancel()
            await asyncio.gather(*slices, return_exceptions=True)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, dict(request.headers)))
        refusal = self.refusals.pop(0) if self.refusals and request.path.startswith(self.refused_path) else None
        if refusal is None:
            return await self._answer(request)
        if refusal.is_after:
            await self._answer(request)
        if not refusal.status:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=refusal.status or 500, text=refusal.body, headers=refusal.headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/audio/"):
            return await self._audio(request)
        if request.path.startswith("/uploads/"):
            return await self._upload(request)
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": request.rel_url.raw_path,
            "rawQueryString": request.query_string,
            "headers": dict(request.headers),
            "requestContext": {
                "http": {"method": request.method, "path": request.path},
                "requestId": "request-1",
                "stage": "$default",
                "timeEpoch": self.workshop.clock.wall_ms(),
            },
            "isBase64Encoded": False,
        }
        answer = await self._routes.answer(event, Remaining(), request.read)
        return web.Response(status=answer["statusCode"], headers=answer["headers"], text=answer.get("body") or "")

    async def _audio(self, request: web.Request) -> web.StreamResponse:
        files: Any = self.workshop.store.files
        name = request.path.removeprefix("/audio/")
        if not files.is_signed(
            name, until=request.query.get("until", ""), signature=request.query.get("signature", "")
        ):
            return web.Response(status=403, text="<Error>expired</Error>")
        return web.Response(body=await files.get(name))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        files: Any = self.workshop.store.files
        name, query = request.path.removeprefix("/uploads/"), request.query
        size = query.get("bytes", "")
        if not files.is_signed_for_upload(name, until=query["until"], size=size, signature=query["signature"]):
            return web.Response(status=403, text="<Error>expired</Error>")
        await files.take(name, request.content.iter_any(), byte_count=int(size) if size else None)
        return web.Response()


@contextmanager
def opened(door: JobDoor) -> Iterator[JobDoor]:
    """Let a door serve from a thread of its own, so that a blocking client does not stop it."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(door.live(ready, stop))

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield door
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
