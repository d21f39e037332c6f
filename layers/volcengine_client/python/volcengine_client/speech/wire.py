"""The HTTP wire: one POST at a time over kept connections, and an exact word on when a request leaves."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.tracing import Trace
from yarl import URL

from volcengine_client.clock import Clock
from volcengine_client.errors import UpstreamTimeoutError, UpstreamUnavailableError, VolcengineError
from volcengine_client.limits import (
    CONNECT_MAX_MS,
    IDLE_CONNECTION_MS,
    STREAM_END_MS,
    UPSTREAM_ANSWER_BYTES_MAX,
)
from volcengine_client.speech.call import Call

ENDPOINT = "https://openspeech.bytedance.com"

_KEEP_ALIVE_MS = IDLE_CONNECTION_MS - 1_000  # so that none is used in the very moment in which it is given up
_READ_BYTES = 64 * 1_024  # bytes a piece of an answer
_LAST_PIECES_MAX = 3  # pieces that may come after the end of what is said
_HTTP_GATEWAY_TIMEOUT = 504

Take = Callable[[bytes], bool]  # reads a piece of an answer, and says whether it was the last that counts

assert 0 < _KEEP_ALIVE_MS < IDLE_CONNECTION_MS


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole.

    Attributes:
        http_status: The answer's status.
        log_id: The upstream's name for the call, unchecked.
        body: The bytes, whatever they are.
    """

    http_status: int
    log_id: str | None
    body: bytes = field(repr=False)


class Wire:
    """Carry requests to the upstream: one pool of connections an event loop, for all calls and accounts.

    The wire bounds no concurrency, since the slots of the pool do. It follows no redirect, keeps no cookie, and reads
    neither proxies nor credentials from the environment.

    Args:
        endpoint: Base URL, http or https.
        clock: Tells how long the connections were idle.
        ssl_context: Whom to trust; None means the authorities that the system knows.

    Raises:
        ValueError: The endpoint is no plain base URL. The message does not repeat it.
    """

    def __init__(self, endpoint: str = ENDPOINT, *, clock: Clock, ssl_context: ssl.SSLContext | None = None) -> None:
        self._base = _checked(endpoint)
        self._clock = clock
        self._ssl: ssl.SSLContext | bool = ssl_context or True
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = weakref.WeakKeyDictionary()

    async def post(self, path: str, *, headers: dict[str, str], body: bytes, call: Call, timeout_ms: int) -> Answer:
        """Send *body* as JSON once, and return the answer, whatever its status.

        *path* is relative to the endpoint. Nothing is sent before `call.ready()` returned, and what is not on the wire
        `call.send_max_ms` later never gets there (I1). An answer of HTTP 504 is not reported as answered: behind the
        upstream's gateway the work may go on. Not safe to repeat: the upstream may have done the work. Cancellation
        closes the connection at once.

        Raises:
            LeaseLostError: From `call.ready()`; nothing was sent.
            UpstreamUnavailableError: No connection, a broken one, or an answer too large.
            UpstreamTimeoutError: No whole answer within *timeout_ms*.
        """
        return await self._sent(path, headers, _Request(body, call), timeout_ms)

    async def _sent(
        self, path: str, headers: dict[str, str], request: _Request, timeout_ms: int, take: Take | None = None
    ) -> Answer:
        assert timeout_ms > 0
        line = self._line()
        line.call_count += 1
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                return await _exchange(line.session, self._base / path, headers, request, take)
        except TimeoutError as exc:
            raise UpstreamTimeoutError(f"The upstream gave no whole answer within {timeout_ms} ms") from exc
        finally:
            line.call_count -= 1
            line.used_at_ms = self._now_ms()

    async def stream(
        self, path: str, *, headers: dict[str, str], body: bytes, call: Call, timeout_ms: int, take: Take
    ) -> Answer:
        """Send *body* as JSON once, as `post` does, and hand the answer on piece by piece while it comes.

        An answer with a status of success ends the upstream's work only at its last object. So *take* gets each piece,
        and says whether that was the end; then the call is told that it was answered. Until then it is in doubt, also
        when the answer ended well as HTTP: whoever reads it finds out. Any other answer is returned whole.

        Raises:
            LeaseLostError, UpstreamUnavailableError, UpstreamTimeoutError: As `post` does.
            VolcengineError: From *take*; the connection is closed.
        """
        return await self._sent(path, headers, _Request(body, call), timeout_ms, take)

    async def close_idle(self) -> None:
        """Close connections that idled for so long that the upstream may have cut them.

        For the start of a Lambda invocation, after a freeze of any length. Calls in progress keep theirs.
        """
        line = self._lines.get(asyncio.get_running_loop())
        if line is None or line.call_count:
            return
        # A freeze may hide from the one clock or from the other.
        if any(now - used > IDLE_CONNECTION_MS for now, used in zip(self._now_ms(), line.used_at_ms, strict=True)):
            await self.close()

    async def close(self) -> None:
        """Close all connections of the running event loop; a later call opens new ones."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.session.close()

    def _line(self) -> _Line:
        loop = asyncio.get_running_loop()
        if loop not in self._lines:
            self._lines[loop] = _Line(_session(self._ssl), self._now_ms())
        return self._lines[loop]

    def _now_ms(self) -> tuple[int, int]:
        return self._clock.monotonic_ms(), self._clock.wall_ms()


@dataclass(slots=True)
class _Line:
    """The wire within one event loop."""

    session: aiohttp.ClientSession
    used_at_ms: tuple[int, int]  # by the monotonic and by the wall clock
    call_count: int = 0


def _checked(endpoint: str) -> URL:
    try:
        url = URL(endpoint)
        (url.host or "").encode("idna")  # as looking it up will
    except ValueError:
        url = URL()
    is_plain = url.user is None and url.password is None and not url.raw_query_string and not url.raw_fragment
    if url.scheme not in {"http", "https"} or not url.host or not is_plain:
        raise ValueError("The endpoint should be a base URL such as https://host or http://127.0.0.1:9000")
    return url


def _session(trust: ssl.SSLContext | bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, ssl=trust, keepalive_timeout=_KEEP_ALIVE_MS / 1_000),
        # The whole is bounded around it; only the way to a connection has a bound of its own.
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_MAX_MS / 1_000, ceil_threshold=CONNECT_MAX_MS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "volcengine-concurrent-tts", "Accept-Encoding": "identity"},
        trust_env=False,
    )


async def _exchange(
    session: aiohttp.ClientSession, url: URL, headers: dict[str, str], request: _Request, take: Take | None
) -> Answer:
    try:
        async with session.post(url, data=request, headers=headers, allow_redirects=False) as response:
            if take is not None and 200 <= response.status < 300:
                if await _is_taken_to_the_end(response, take):
                    request.call.answered()
                    await _read_out(response)
                return Answer(response.status, response.headers.get("X-Tt-Logid"), b"")
            if response.status != _HTTP_GATEWAY_TIMEOUT:
                request.call.answered()
            body = await _bounded(response)
            return Answer(response.status, response.headers.get("X-Tt-Logid"), body)
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError) as exc:
        if isinstance(request.failure, (VolcengineError, AssertionError)):
            raise request.failure from None
        # An error of aiohttp may hold the request's headers, so its kind must do.
        raise UpstreamUnavailableError(_reason(exc)) from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(_READ_BYTES):
        body += piece
        if len(body) > UPSTREAM_ANSWER_BYTES_MAX:
            response.close()
            raise UpstreamUnavailableError(f"The upstream's answer is larger than {UPSTREAM_ANSWER_BYTES_MAX} bytes")
    return bytes(body)


async def _is_taken_to_the_end(response: aiohttp.ClientResponse, take: Take) -> bool:
    """Hand the answer on; tell whether its reader has seen the end of it."""
    async for piece in response.content.iter_chunked(_READ_BYTES):
        if take(piece):
            return True
    return False


async def _read_out(response: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of an answer that was understood, so that its connection can be used again."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(STREAM_END_MS / 1_000):
            for _ in range(_LAST_PIECES_MAX):
                if not await response.content.readany():
                    return
    response.close()


def _reason(error: Exception) -> str:
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return f"The upstream can't be reached ({type(error).__name__})"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "The upstream's answer broke off"
    return f"The connection to the upstream broke ({type(error).__name__})"


class _Request(aiohttp.BytesPayload):
    """The bytes of a request, which tell the call when they leave.

    aiohttp holds the headers back until the body's first bytes, so the moment in which the body is asked for is the
    last one before anything is on the wire, on a new connection as on a kept one. In the common case all of it, from
    the last check to the last byte, is one step of the event loop, which nothing can come between.
    """

    def __init__(self, body: bytes, call: Call) -> None:
        super().__init__(body, content_type="application/json")
        self.call = call
        self.failure: BaseException | None = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        try:
            await self._write(cast("StreamWriter", writer), content_length)
        except BaseException as failure:
            self.failure = failure
            raise

    async def _write(self, writer: StreamWriter, content_length: int | None) -> None:
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection closed before it was used")
        assert writer.output_size == 0, "the headers must not leave before the body"
        _bound_delivery(transport, self.call.send_max_ms)
        # `drain` is to wait for the last byte. TLS counts from the bound itself, a plain socket from above it.
        transport.set_write_buffer_limits(1 if transport.get_extra_info("sslcontext") else 0, 0)
        self.call.ready()
        try:
            async with asyncio.timeout(self.call.send_max_ms / 1_000):
                await super().write_with_length(writer, content_length)
                if transport.is_closing():  # the socket refused the bytes
                    raise aiohttp.ClientConnectionResetError("the connection closed before it was used")
                await writer.drain()
        except TimeoutError as exc:
            is_sent = transport.get_write_buffer_size() == 0
            transport.abort()  # drops what is buffered, where closing would go on sending it
            if is_sent:
                self.call.sent()
            raise UpstreamUnavailableError("The request could not be sent in time and was given up") from exc
        except asyncio.CancelledError:
            transport.abort()
            self.call.sent()  # perhaps: nobody can tell what left between closing and aborting
            raise
        self.call.sent()


def _bound_delivery(transport: asyncio.Transport, send_max_ms: int) -> None:
    """Let the kernel, too, give up on bytes that the other side does not acknowledge in time."""
    sock = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, send_max_ms)


class _Connector(aiohttp.TCPConnector):
    """A connector that hands out no kept connection which the other side has closed.

    aiohttp learns of a closed connection when its event loop runs; after a pause of the process that is too late,
    and a request written into such a connection ends in doubt, which shuts its slot for a minute.
    """

    def __init__(self, *, limit: int, ssl: ssl.SSLContext | bool, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, ssl=ssl, keepalive_timeout=keepalive_timeout)
        self._known: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:  # each round takes a connection out of the pool, so the last one is new
            connection = await super().connect(req, traces, timeout)
            protocol, transport = connection.protocol, connection.transport
            assert protocol is not None
            is_new = protocol not in self._known
            self._known.add(protocol)
            if transport is not None and not _is_closed_by_peer(transport):
                return connection
            connection.close()
            if is_new:
                raise aiohttp.ClientConnectionError("the connection was closed as soon as it was made")


def _is_closed_by_peer(transport: asyncio.Transport) -> bool:
    """Ask the kernel, which knows before the event loop does."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))
