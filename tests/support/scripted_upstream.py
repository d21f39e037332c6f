"""An upstream on loopback that answers each request with the next line of a script, raw."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request that arrived whole."""

    connection: int  # which connection it came over, from 0
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes = field(repr=False)

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.body)
        return said

    @property
    def reqid(self) -> str:
        reqid: str = self.said["request"]["reqid"]
        return reqid


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the connection on which it is to be answered."""

    request: SeenRequest
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()


Answer = Callable[[Exchange], Awaitable[bool]]  # whether the connection is kept


class ScriptedUpstream:
    """A server that records; each request gets the next line of the script, the last line goes on for ever.

    Attributes:
        requests: What arrived whole, in order.
        byte_counts: Bytes that arrived, by connection.
        arrived: Set by each request that arrived whole.
        all_closed: Set while no connection is open.
    """

    def __init__(self, *script: Answer, ssl_context: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.requests: list[SeenRequest] = []
        self.byte_counts: list[int] = []
        self.arrived = asyncio.Event()
        self.all_closed = asyncio.Event()
        self._ssl = ssl_context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0, ssl=self._ssl)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"https://localhost:{port}" if self._ssl else f"http://127.0.0.1:{port}"

    @property
    def connection_count(self) -> int:
        return len(self.byte_counts)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.all_closed.clear()
        self.byte_counts.append(0)
        try:
            await self._serve(len(self.byte_counts) - 1, reader, writer)
        except ConnectionError:
            pass  # the client went away, which is its right
        finally:
            self._tasks.discard(task)
            writer.close()
            if not self._tasks:
                self.all_closed.set()

    async def _serve(self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_kept = True
        while is_kept:
            request = await self._read(connection, reader)
            if request is None:
                return
            self.requests.append(request)
            self.arrived.set()
            answer = self.script[0] if len(self.script) == 1 else self.script.pop(0)
            is_kept = await answer(Exchange(request, reader, writer))

    async def _read(self, connection: int, reader: asyncio.StreamReader) -> SeenRequest | None:
        """Read a request; None when the client closed the connection first."""
        arrived = b""
        while b"\r\n\r\n" not in arrived:
            piece = await reader.read(65_536)
            if not piece:
                return None
            self.byte_counts[connection] += len(piece)
            arrived += piece
        head, _, body = arrived.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        while len(body) < int(headers.get("content-length", "0")):
            piece = await reader.read(65_536)
            if not piece:
                return None
            self.byte_counts[connection] += len(piece)
            body += piece
        return SeenRequest(connection, lines[0].split(" ")[1], headers, body)


def raw_answer(status: int, body: bytes, **headers: str) -> bytes:
    """Return an answer as it stands on the wire."""
    head = {"Content-Type": "application/json", "Content-Length": str(len(body)), "X-Tt-Logid": "20240726log"}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + body


def raw(answer: bytes, *, is_kept: bool = True) -> Answer:
    """Answer with these very bytes."""

    async def write(exchange: Exchange) -> bool:
        await exchange.write(answer)
        return is_kept

    return write


def says(status: int, said: dict[str, Any]) -> Answer:
    """Answer with JSON."""
    return raw(raw_answer(status, json.dumps(said).encode()))


def refuses(status: int, code: int, message: str) -> Answer:
    """Answer as v1 does when it fails."""

    async def write(exchange: Exchange) -> bool:
        said = {"reqid": exchange.request.reqid, "code": code, "message": message}
        await exchange.write(raw_answer(status, json.dumps(said).encode()))
        return True

    return write


def speaks(audio: bytes, **instead: Any) -> Answer:
    """Answer as v1 does when it succeeds; fields given by name replace its own, None leaves them out."""

    async def write(exchange: Exchange) -> bool:
        said = {
            "reqid": exchange.request.reqid,
            "code": 3000,
            "operation": "query",
            "message": "Success",
            "sequence": -1,
            "data": base64.b64encode(audio).decode(),
        } | instead
        said = {name: value for name, value in said.items() if value is not None}
        await exchange.write(raw_answer(200, json.dumps(said).encode()))
        return True

    return write


def streams(*pieces: bytes, is_whole: bool = True, gap: Callable[[], Awaitable[object]] | None = None) -> Answer:
    """Answer as v3 does: status 200, and each piece as a chunk of its own; unless it is whole, the end is missing."""

    async def write(exchange: Exchange) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Tt-Logid: 20240726log\r\n"
        await exchange.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            await exchange.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            if gap is not None:
                await gap()
        await exchange.write(b"0\r\n\r\n" if is_whole else b"")
        return is_whole

    return write


def objects(*audio: bytes, end: dict[str, Any] | None = None, others: tuple[dict[str, Any], ...] = ()) -> list[bytes]:
    """Return the objects of a v3 answer, each on a line of its own; *end* is a success unless it is given."""
    said = [{"code": 0, "message": "", "data": base64.b64encode(piece).decode()} for piece in audio]
    said += [*others, end or {"code": 20_000_000, "message": "ok", "data": None, "usage": {"text_words": 6}}]
    return [json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in said]


cuts = raw(b"", is_kept=False)  # closes the connection without an answer


async def hangs(exchange: Exchange) -> bool:
    """Never answer; end when the client goes away."""
    await exchange.reader.read()
    return False


class RecordedCall:
    """A call that keeps what it is told, and may refuse to start."""

    def __init__(self, *, refusal: BaseException | None = None, send_max_ms: int = 2_000) -> None:
        self.send_max_ms = send_max_ms
        self.told: list[str] = []
        self.heard = {step: asyncio.Event() for step in ("ready", "sent", "answered")}
        self._refusal = refusal

    def ready(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        self._hear("ready")

    def sent(self) -> None:
        self._hear("sent")

    def answered(self) -> None:
        self._hear("answered")

    def _hear(self, step: str) -> None:
        self.told.append(step)
        self.heard[step].set()
