"""The self-hosted door: the same routes in one process, without AWS.

`volcengine-tts-server` starts it, or any ASGI server: `uvicorn volcengine_gateway.server:app`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import logging
import math
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from dotenv import dotenv_values

from volcengine_client.clock import Clock, SystemClock
from volcengine_client.errors import InvalidRequestError
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.table import PoolTable
from volcengine_gateway.incoming import too_large
from volcengine_gateway.jobs.embedded import EmbeddedJobs, Retention
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.journal import LogJournal
from volcengine_gateway.problems import BodyLateError
from volcengine_gateway.routes import Routes
from volcengine_gateway.secret import FixedKeys
from volcengine_gateway.settings import ServerSettings, SettingsError, server_settings
from volcengine_gateway.signed_files import Receive, Scope, Send, SignedFiles, send_answer
from volcengine_gateway.wiring import errands_of, gateway_of

BODY_MAX_MS = 30_000  # a body takes no longer to arrive
STOP_EXTRA_MS = 5_000  # beyond the deadline of the last request, for a graceful stop
LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
LOG = "volcengine_gateway"


@dataclass(frozen=True, slots=True)
class Remaining:
    """How long a request may still take, as Lambda's context says it."""

    clock: Clock
    deadline_at_ms: int

    def get_remaining_time_in_millis(self) -> int:
        return self.deadline_at_ms - self.clock.monotonic_ms()


class Application:
    """The routes as an ASGI application; turns each request into an event of API Gateway's.

    Raises:
        SettingsError: A shared table is configured, but not what it takes to reach one.
    """

    def __init__(self, settings: ServerSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        keys, table = FixedKeys.of(settings), table_of(settings, clock=clock)
        journal = LogJournal(logging.getLogger(LOG))
        retention = Retention(jobs_days=settings.jobs_kept_days, speech_days=settings.speech_kept_days)
        self._jobs = EmbeddedJobs(
            Path(settings.data_folder),
            retention=retention,
            clock=clock,
            journal=journal,
            receivers=Receivers(settings.callback_test_hosts),
        )
        self._errands = errands_of(settings, self._jobs.store, keys=keys, table=table, clock=clock, journal=journal)
        self._gateway = gateway_of(settings, keys=keys, table=table, clock=clock, journal=journal, jobs=self._jobs.jobs)
        self._routes = Routes(self._gateway)
        self._files = SignedFiles(self._jobs.files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to the upstream; those who served requests do this at their end."""
        await self._errands.close()
        await self._gateway.voice.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._jobs.start(self._errands)
        except SettingsError as exc:
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._jobs.stop()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not await self._files.serve(scope, receive, send):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        remaining = Remaining(self._clock, self._clock.monotonic_ms() + self._settings.request_deadline_ms)
        event = event_of(scope, request_id=uuid.uuid4().hex, arrived_at_ms=self._clock.wall_ms())
        body_bytes_max = self._settings.body_bytes_max
        answer = await self._routes.answer(
            event, remaining, lambda: read_body(receive, event["headers"], body_bytes_max=body_bytes_max)
        )
        await send_answer(
            send,
            status=answer["statusCode"],
            headers=answer["headers"],
            body=_body_of(answer),
            is_head=scope["method"] == "HEAD",
        )


def _body_of(answer: Mapping[str, Any]) -> bytes:
    body = (answer.get("body") or "").encode()
    return base64.b64decode(body) if answer.get("isBase64Encoded") else body


def table_of(settings: ServerSettings, *, clock: Clock) -> PoolTable:
    """Return where the pools are: in this process, or in a table shared with a gateway and other machines."""
    if settings.pool_table is None:
        return MemoryTable(clock=clock)
    try:
        from volcengine_gateway.aws import dynamodb_table
    except ModuleNotFoundError as exc:
        raise SettingsError("VOLCENGINE_TTS_POOL_TABLE needs boto3; install volcengine-concurrent-tts[aws]") from exc
    return dynamodb_table(settings.pool_table, clock=clock)


def event_of(scope: Scope, *, request_id: str, arrived_at_ms: int) -> dict[str, Any]:
    """Return a request, without its body, as API Gateway's HTTP API would say it (format 2.0)."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": scope["path"],
        "rawQueryString": scope.get("query_string", b"").decode("latin-1"),
        "headers": headers,
        "requestContext": {
            "http": {"method": scope["method"], "path": scope["path"]},
            "requestId": request_id,
            "stage": "$default",
            "timeEpoch": arrived_at_ms,
        },
        "isBase64Encoded": False,
    }


async def read_body(receive: Receive, headers: Mapping[str, str], *, body_bytes_max: int) -> bytes:
    """Read a body, never more than *body_bytes_max* of it, nor for longer than `BODY_MAX_MS`.

    Raises:
        BatchTooLargeError: It is larger, or says so.
        BodyLateError: It took too long.
        InvalidRequestError: The caller went away in the middle.
    """
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > body_bytes_max):
        raise too_large(body_bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_MAX_MS / 1_000):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise InvalidRequestError("The body ended early")
                body += message.get("body", b"")
                if len(body) > body_bytes_max:
                    raise too_large(body_bytes_max)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as exc:
        raise BodyLateError(f"The body should arrive within {BODY_MAX_MS // 1_000} seconds") from exc


@functools.cache
def application() -> Application:
    """Return the application of this process, by its environment and `.env`.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    return Application(_settings(), clock=SystemClock())


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Be the application, for any ASGI server; built when that server starts."""
    try:
        built = application()
    except SettingsError as exc:
        if scope["type"] != "lifespan":
            raise
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(exc)})
        return
    await built(scope, receive, send)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; what is in progress is finished first.

    Returns:
        0 after Ctrl-C, 1 when the address is taken, 2 when a setting is wrong, 3 when it did not start; SIGTERM
        ends it as signals do.
    """
    parser = argparse.ArgumentParser(
        prog="volcengine-tts-server", description="Text-to-speech within the account's limit, for many callers."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=_port, help="port to listen on (%(default)s); 0: any free one")
    parser.add_argument("--log-level", default="info", choices=LOG_LEVELS, help="how much to tell (%(default)s)")
    given = parser.parse_args(arguments)
    _log_to_stderr(given.log_level)
    try:
        settings = _settings()
        built = Application(settings, clock=SystemClock())
        listening = _bound(given.host, given.port)
    except SettingsError as exc:
        return _complain(parser.prog, str(exc), 2)
    except OSError as exc:
        where = f"{given.host}:{given.port}"
        return _complain(parser.prog, f"can't listen on {where}: {exc}; choose another --host or --port", 1)
    server = uvicorn.Server(
        uvicorn.Config(
            built,
            log_level=given.log_level,
            access_log=False,  # it would write query strings, in which a caller may have put anything
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil((settings.request_deadline_ms + STOP_EXTRA_MS) / 1_000),
        )
    )
    host, port = listening.getsockname()[:2]
    logging.getLogger("uvicorn.error").info("Listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    return 0 if server.started else 3


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("a port is a number up to 65535")
    return int(text)


def _settings() -> ServerSettings:
    # Without interpolation, since a key may hold a dollar sign.
    return server_settings(dotenv_values(".env", interpolate=False))


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def _log_to_stderr(level: str) -> None:
    log = logging.getLogger(LOG)
    log.setLevel(level.upper())
    log.handlers = [logging.StreamHandler()]
    log.propagate = False


def _complain(program: str, message: str, status: int) -> int:
    sys.stderr.write(f"{program}: {message}\n")
    return status
