"""A simulated upstream on a free port, a caller, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from infra.local.upstream import Rules, Upstream

WORDS = "你好，世界。"


class HandClock:
    """Time that passes only by `advance`."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self._someone_sleeps = asyncio.Event()

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return 1_721_961_427_000 + self.now_ms

    async def sleep(self, duration_ms: int) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_ms + duration_ms, woken))
        self._someone_sleeps.set()
        await woken

    async def until_sleeping(self, count: int) -> None:
        """Wait until so many sleep."""
        while sum(not woken.done() for _, woken in self._sleepers) < count:
            self._someone_sleeps.clear()
            await self._someone_sleeps.wait()

    def advance(self, duration_ms: int) -> None:
        self.now_ms += duration_ms
        for at_ms, woken in self._sleepers:
            if at_ms <= self.now_ms and not woken.done():
                woken.set_result(None)


@dataclass
class Reply:
    status: int
    log_id: str | None
    json: Any
    text: str


@dataclass
class Caller:
    """Sends v1 requests; every one has a request id of its own unless told otherwise."""

    url: str
    session: aiohttp.ClientSession
    app_id: str = "app"
    token: str = "key"
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def body(self, text: str = WORDS, **changes: Any) -> dict[str, Any]:
        """Return a good request's body with *changes*, each named like `audio__encoding`; None leaves a field out."""
        body: dict[str, Any] = {
            "app": {"appid": self.app_id, "token": "any", "cluster": "volcano_tts"},
            "user": {"uid": "someone"},
            "audio": {"voice_type": "BV001_streaming", "encoding": "mp3"},
            "request": {"reqid": f"request-{next(self.numbers)}", "text": text, "operation": "query"},
        }
        for name, value in changes.items():
            section, _, key = name.partition("__")
            if value is None:
                del body[section][key]
            else:
                body[section][key] = value
        return copy.deepcopy(body)

    async def post(self, body: Any = None, *, authorization: str | None = "", raw: bytes | None = None) -> Reply:
        headers = {} if authorization is None else {"Authorization": authorization or f"Bearer;{self.token}"}
        sent: dict[str, Any] = {"data": raw} if raw is not None else {"json": body if body is not None else self.body()}
        async with self.session.post(f"{self.url}/api/v1/tts", headers=headers, **sent) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Reply(
                answer.status, answer.headers.get("X-Tt-Logid"), await answer.json() if is_json else None, text
            )

    async def say(self, text: str = WORDS, **changes: Any) -> Reply:
        return await self.post(self.body(text, **changes))


@dataclass
class Stage:
    """An upstream, its clock and a caller."""

    upstream: Upstream
    clock: HandClock
    caller: Caller

    async def get(self, path: str) -> Any:
        async with self.caller.session.get(self.upstream.url + path) as answer:
            return await answer.json() if answer.content_type == "application/json" else await answer.text()

    async def order(self, **orders: Any) -> tuple[int, Any]:
        async with self.caller.session.post(f"{self.upstream.url}/_simulator", json=orders) as answer:
            return answer.status, await answer.json()

    async def call(self, text: str = WORDS, *, after_ms: int = 100, **changes: Any) -> Reply:
        """Make one call and let its time pass."""
        asked = asyncio.create_task(self.caller.say(text, **changes))
        sleeping = asyncio.create_task(self._pass_time(after_ms))
        reply = await asked
        sleeping.cancel()
        return reply

    async def _pass_time(self, after_ms: int) -> None:
        while True:
            await self.clock.until_sleeping(1)
            self.clock.advance(after_ms)


Starter = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def start() -> AsyncIterator[Starter]:
    """Start upstreams with rules: `stage = await start(limit=2)`; a call takes 100 ms unless told otherwise."""
    stages: list[Stage] = []

    async def starter(**rules: Any) -> Stage:
        clock = HandClock()
        upstream = Upstream(Rules.model_validate({"mean_ms": 100, "sigma": 0, **rules}), clock=clock)
        await upstream.start()
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        stages.append(Stage(upstream, clock, Caller(upstream.url, session)))
        return stages[-1]

    yield starter
    for stage in stages:
        await stage.caller.session.close()
        await stage.upstream.stop()
