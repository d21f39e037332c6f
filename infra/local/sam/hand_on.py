"""A way from containers to what listens on this machine's loopback interface only."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from infra.local.places import LOOPBACK

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_BYTES = 65_536


@asynccontextmanager
async def handed_on(ports: Iterable[int], *, address: str) -> AsyncIterator[None]:
    """Listen at the same ports of *address*, the containers' gateway, and hand connections on to loopback.

    Where that address isn't this machine's, as with Docker Desktop, nothing is done: such engines hand
    `host.docker.internal` on to loopback themselves.
    """
    async with AsyncExitStack() as stack:
        for port in ports:
            try:
                server = await asyncio.start_server(_handler(port), address, port)
            except OSError as exc:
                if exc.errno != errno.EADDRNOTAVAIL:
                    raise
                break
            await stack.enter_async_context(server)
        yield


def _handler(port: int) -> Handler:
    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, port)
            await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
        except ConnectionError:
            writer.close()

    return on_connection


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_BYTES):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
