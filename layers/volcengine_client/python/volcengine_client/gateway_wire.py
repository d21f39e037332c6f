"""The HTTP wire to a gateway: requests that are repeated where that is safe, and files that it points to."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from volcengine_client.clock import Clock
from volcengine_client.errors import CallerError, GatewayUnavailableError, InvalidRequestError, VolcengineError
from volcengine_client.gateway_answers import error_of, unreadable, wait_before_repeat_ms
from volcengine_client.limits import (
    CLIENT_ANSWER_BYTES_MAX,
    CLIENT_ANSWER_MS,
    CLIENT_DOWNLOAD_MS,
    CLIENT_FETCH_BYTES_MAX,
    CLIENT_FILE_BYTES_MAX,
    CLIENT_UPLOAD_MS,
    CONNECT_MAX_MS,
)

_READ_BYTES = 64 * 1_024  # bytes a piece of an answer
_WRITE_BYTES = 1_024 * 1_024  # bytes of a file that are written at once
_KEEP_ALIVE_MS = 9_000


Pieces = Callable[[], AsyncIterable[bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as often as it has to be sent; every time with the same `Idempotency-Key`, if it has one.

    Attributes:
        method: Of HTTP.
        url: Whole.
        headers: What is said beside the body; may hold the admin key.
        body: JSON, or what yields the pieces of a file, from its beginning each time; None: there is none.
        answer_ms: How long one attempt may take.
        answer_bytes_max: How much is read.
        silence_ms: How long nothing may come while an answer is read; None: as long as all of it may take.
        into: The file that a good answer is written to; None: it is returned.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Pieces | None = field(default=None, repr=False)
    answer_ms: int = CLIENT_ANSWER_MS
    answer_bytes_max: int = CLIENT_ANSWER_BYTES_MAX
    silence_ms: int | None = None
    into: Path | None = None


class GatewayWire:
    """Carry requests to one gateway, on one event loop.

    It follows no redirect, which could carry the admin key elsewhere, keeps no cookie, and reads neither proxies nor
    credentials from the environment.

    Args:
        url: The gateway's base URL, http or https, with the path of a stage or without.
        admin_api_key: Shown to this gateway only; None: none.
        clock: For waits.

    Raises:
        ValueError: The URL is no plain base URL, or the key could not stand in a header. Neither is repeated.
    """

    def __init__(self, url: str, admin_api_key: str | None, *, clock: Clock) -> None:
        self._base = _checked(url)
        self._login = {} if admin_api_key is None else {"Admin-API-Key": _printable(admin_api_key)}
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    @property
    def address(self) -> str:
        """The gateway's base URL."""
        return str(self._base)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        answer_ms: int = CLIENT_ANSWER_MS,
    ) -> Any:
        """Send a request, and return the JSON of its answer.

        Repeated when that can help: what a request did is not done twice, since reads and cancellations are safe to
        repeat, and each POST has a random `Idempotency-Key` by which the gateway knows it again.

        Raises:
            VolcengineError: What the gateway answered, by its code.
            GatewayUnavailableError: It can't be reached, or the answer is not its own. It may have done its work.
        """
        headers = {**self._login, "Accept": "application/json"}
        if method == "POST":
            headers |= {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        content = None if body is None else await asyncio.to_thread(_encoded, body)
        url = self._under(path).with_query({} if query is None else query)
        answer = await self._repeated(Request(method, url, headers, content, answer_ms))
        try:
            return await asyncio.to_thread(json.loads, answer)
        except ValueError:
            raise unreadable("it is not JSON") from None

    async def fetch(self, address: str) -> bytes:
        """Return the file at an address that the gateway gave out: whole, or relative to the gateway.

        The admin key is not shown, since the address alone opens it.

        Raises:
            CallerError: The address is no longer good; ask the gateway for the results again.
            GatewayUnavailableError: The file can't be had now.
        """
        return await self._fetched(address, bytes_max=CLIENT_FETCH_BYTES_MAX)

    async def fetch_into(self, address: str, path: Path) -> None:
        """Write the file at an address that the gateway gave out to *path*; as `fetch`, but of any size.

        What is left in *path* after an error is a part of the file, or of none.

        Raises:
            OSError: *path* can't be written.
        """
        await self._fetched(address, bytes_max=CLIENT_FILE_BYTES_MAX, into=path)

    async def _fetched(self, address: str, *, bytes_max: int, into: Path | None = None) -> bytes:
        request = Request(
            "GET",
            self._signed(address),
            {"Accept-Encoding": "identity"},
            answer_ms=CLIENT_DOWNLOAD_MS,
            answer_bytes_max=bytes_max,
            silence_ms=CLIENT_ANSWER_MS,
            into=into,
        )
        try:
            return await self._repeated(request)
        except CallerError as exc:
            raise CallerError("the file's address is not good any more; ask for the results again") from exc

    async def put(self, address: str, pieces: Pieces, *, byte_count: int, headers: Mapping[str, str]) -> None:
        """Send a file, piece by piece, to an address that the gateway gave out for it. Safe to repeat.

        The admin key is not shown, since the address alone takes it.

        Raises:
            CallerError: The address takes no such file, or is no longer good.
            GatewayUnavailableError: The file can't be sent now.
        """
        headers = {**headers, "Content-Length": str(byte_count)}
        await self._repeated(Request("PUT", self._signed(address), headers, pieces, answer_ms=CLIENT_UPLOAD_MS))

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _repeated(self, request: Request) -> bytes:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send(request)
            except VolcengineError as error:
                wait_ms = wait_before_repeat_ms(error, attempt=attempt, chance=random.random())
                if wait_ms is None:
                    raise
            await self._clock.sleep(wait_ms)

    async def _send(self, request: Request) -> bytes:
        """Make one attempt."""
        try:
            async with (
                asyncio.timeout(request.answer_ms / 1_000),
                self._opened().request(
                    request.method,
                    request.url,
                    data=request.body() if callable(request.body) else request.body,
                    headers=request.headers,
                    allow_redirects=False,
                    timeout=_timeout(request.silence_ms),
                ) as response,
            ):
                if request.into is not None and response.status < 300:
                    await _pour(response, request.into, request.answer_bytes_max)
                    return b""
                body = await _bounded(response, request.answer_bytes_max)
        except TimeoutError:
            waited_ms = request.silence_ms or request.answer_ms
            raise GatewayUnavailableError(f"the gateway gave no answer within {waited_ms:,} ms") from None
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError) as exc:
            # Without its cause: an error of aiohttp may hold the request's headers.
            raise GatewayUnavailableError(_reason(exc)) from None
        if response.status >= 300:
            raise error_of(response.status, body, retry_after=response.headers.get("Retry-After"))
        return body

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_MS / 1_000),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "volcengine-concurrent-tts"},
                trust_env=False,
            )
        return self._session

    def _signed(self, address: str) -> URL:
        """Return an address that the gateway gave out, as it is: a signature is over its very characters."""
        is_whole = address.startswith(("http://", "https://"))
        return URL(address, encoded=True) if is_whole else self._under(address)

    def _under(self, path: str) -> URL:
        """Return what a path means that is relative to the gateway, however it begins."""
        return URL(f"{self.address.rstrip('/')}/{path.lstrip('/')}", encoded=True)


def _checked(url: str) -> URL:
    try:
        base = URL(url)
    except (TypeError, ValueError):
        base = URL()
    is_plain = base.user is None and base.password is None and not base.raw_query_string and not base.raw_fragment
    if base.scheme not in {"http", "https"} or not base.host or not is_plain:
        raise InvalidRequestError(
            "the gateway's URL should be a base URL such as https://host or http://127.0.0.1:8000"
        )
    return base


def _printable(key: str) -> str:
    if not key.isascii() or not key.isprintable() or not key.strip():
        raise InvalidRequestError("the admin key should be printable ASCII, and not empty")
    return key.strip()


def _encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _timeout(silence_ms: int | None) -> aiohttp.ClientTimeout:
    silence_s = None if silence_ms is None else silence_ms / 1_000
    return aiohttp.ClientTimeout(total=None, connect=CONNECT_MAX_MS / 1_000, sock_read=silence_s)


async def _pour(response: aiohttp.ClientResponse, path: Path, bytes_max: int) -> None:
    """Write an answer to a file, some of it in memory at a time."""
    byte_count = 0
    held = bytearray()
    file = await asyncio.to_thread(path.open, "wb")
    try:
        async for piece in response.content.iter_chunked(_READ_BYTES):
            held += piece
            byte_count += len(piece)
            if byte_count > bytes_max:
                response.close()
                raise unreadable(f"it is larger than {bytes_max:,} bytes")
            if len(held) >= _WRITE_BYTES:
                await asyncio.to_thread(file.write, bytes(held))
                held.clear()
        await asyncio.to_thread(file.write, bytes(held))
    finally:
        await asyncio.to_thread(file.close)


async def _bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(_READ_BYTES):
        body += piece
        if len(body) > bytes_max:
            response.close()
            raise unreadable(f"it is larger than {bytes_max:,} bytes")
    return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return f"the gateway can't be reached ({type(error).__name__})"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the gateway's answer broke off"
    return f"the connection to the gateway broke ({type(error).__name__})"
