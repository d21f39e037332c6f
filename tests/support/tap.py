"""A tap on the way to a server: bytes pass unchanged, and what passes is noted."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
_BYTES = 65_536


class Tap:
    """Listens on loopback and hands every connection on to a server, one to one.

    Args:
        server_url: Where to.
        notes: Where each request is noted as it comes: what it asks of AWS, as `UpdateItem`, else method and path.
            Several taps may share one list, which then shows the order among them.

    Attributes:
        connection_count: Connections that were opened through it so far.
    """

    def __init__(self, server_url: str, notes: list[str]) -> None:
        address = urlsplit(server_url)
        assert address.hostname is not None
        self._server = (address.hostname, address.port)
        self._notes = notes
        self._listener: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self.connection_count = 0

    @property
    def url(self) -> str:
        """The address to use instead of the server's."""
        assert self._listener is not None
        return f"http://{LOOPBACK}:{self._listener.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._on_connection, LOOPBACK, 0, limit=_BYTES)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        await self.cut()

    async def cut(self) -> None:
        """Close every connection, as the other side does when nothing comes for long."""
        tasks = list(self._pairs)
        for writer in (writer for pair in self._pairs.values() for writer in pair):
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer, server_writer)
        try:
            await asyncio.gather(self._ask(reader, server_writer), _pass(server_reader, writer))
        finally:
            writer.close()
            server_writer.close()
            del self._pairs[task]

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Hand requests on one by one until the client closes."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self._notes.append(headers.get("x-amz-target", " ".join(request.split(" ")[:2])).rpartition(".")[2])
                server.write(head)
                server.write(await reader.readexactly(int(headers.get("content-length", "0"))))
                await server.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it went away, which is its right
        finally:
            server.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on whatever comes until there is no more."""
    try:
        while piece := await reader.read(_BYTES):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # as above
    finally:
        writer.close()
