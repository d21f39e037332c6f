"""How the parts are put together, once a process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from volcengine_client.clock import Clock
from volcengine_client.pool.table import PoolTable
from volcengine_client.speech.v1 import V1, Login, Wire
from volcengine_gateway.gateway import Gateway
from volcengine_gateway.incoming import body_in
from volcengine_gateway.journal import Journal
from volcengine_gateway.routes import Routes, TimeLeft
from volcengine_gateway.secret import Keys
from volcengine_gateway.settings import Settings


class V1Voice:
    """The upstream's v1 API, over one set of connections."""

    def __init__(self, endpoint: str, *, clock: Clock) -> None:
        self._wire = Wire(endpoint, clock=clock)

    def speaker(self, login: Login) -> V1:
        return V1(self._wire, login)

    async def close_idle(self) -> None:
        await self._wire.close_idle()

    async def close(self) -> None:
        await self._wire.close()


def gateway_of(settings: Settings, *, keys: Keys, table: PoolTable, clock: Clock, journal: Journal) -> Gateway:
    """Return a gateway that speaks through the real upstream, or whatever stands at the endpoint."""
    voice = V1Voice(settings.endpoint, clock=clock)
    return Gateway(settings, keys=keys, table=table, voice=voice, clock=clock, journal=journal)


class Invocations:
    """Lambda's way in: one event loop serves all invocations of a process, one after another.

    Connections and what is known of the pools survive between them; what may have gone stale while the process was
    frozen is dropped first.
    """

    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self._gateway = gateway
        self._routes = Routes(gateway)
        self._loop = loop

    def answer(self, event: Mapping[str, Any], context: TimeLeft) -> dict[str, Any]:
        """Answer one event."""
        return self._loop.run_until_complete(self._answer(event, context))

    async def _answer(self, event: Mapping[str, Any], context: TimeLeft) -> dict[str, Any]:
        await self._gateway.begin_invocation()
        body_bytes_max = self._gateway.settings.body_bytes_max
        return await self._routes.answer(event, context, lambda: body_in(event, body_bytes_max=body_bytes_max))
