"""Somebody who wants to be called back: a server on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web


@dataclass(frozen=True)
class Received:
    """A callback that came."""

    target: str
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """Takes callbacks, and answers as it is told.

    Args:
        answer: The status of each answer, the last one again and again; or what makes the answers.
        tls: With a certificate; None: plain http.
        port: Where it listens; 0: at a free port.

    Attributes:
        received: What came, in order.
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(
        self, answer: Answering | Sequence[int] = (204,), *, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self.received: list[Received] = []
        self._answer = answer
        self._tls = tls
        self._runner: web.ServerRunner | None = None
        self.port = port

    async def __aenter__(self) -> Self:
        server = web.Server(self._take)
        self._runner = web.ServerRunner(server, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, target: str = "/done", *, host: str = "127.0.0.1") -> str:
        """Return its address, under a name of its own if a test wants one."""
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}{target}"

    def test_host(self, host: str = "127.0.0.1") -> str:
        """Return what a stage calls it."""
        return f"{host}:{self.port}"

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path_qs, headers, await request.read()))
        if callable(self._answer):
            return await self._answer(request)  # type: ignore[arg-type]
        return web.Response(status=self._answer[min(len(self.received), len(self._answer)) - 1])


@dataclass
class Names:
    """A resolver that a test writes: what a name stands for, look-up after look-up.

    Attributes:
        answers: The addresses of each look-up, the last ones again and again.
        asked: The names that were looked up.
    """

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        assert port
        self.asked.append(name)
        await asyncio.sleep(0)
        addresses = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if not addresses:
            raise OSError("no such name")
        return addresses
