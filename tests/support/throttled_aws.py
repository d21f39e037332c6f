"""Throttled AWS: between the functions and the emulator, a proxy that refuses, delays and loses by the card."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from random import Random
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

from infra.local.lifecycle import Stack
from infra.local.places import LOOPBACK
from tests.support.local_stack import Aws
from volcengine_client.clock import Clock, SystemClock

HAND = 20  # fates are dealt like cards, so that each comes up among that many requests, whatever the seed
SLOW_MS = 1_500  # longer than a participant waits for the pools' table, shorter than jobs wait for their store
BODY_BYTES_MAX = 64 * 1024 * 1024
HOPS = frozenset({"connection", "content-length", "expect", "keep-alive", "transfer-encoding"})  # of one connection
ENDPOINT = "AWS_ENDPOINT_URL"


class Fate(Enum):
    """What becomes of a request."""

    PASSED = "passed"
    THROTTLED = "refused, and not carried out"
    SLOW = "answered late"
    LOST = "carried out, and the answer lost"


def _s3(_request: web.Request) -> web.Response:
    told = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
        "</Message><RequestId>4442587FB7D0A2F9</RequestId><HostId>x</HostId></Error>"
    )
    return web.Response(status=503, reason="Slow Down", text=told, content_type="application/xml")


def _dynamodb(_request: web.Request) -> web.Response:
    told = {
        "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "message": "The level of configured provisioned throughput for the table was exceeded. Consider increasing your"
        " provisioning level with the UpdateTable API.",
    }
    return _json(told)


def _sqs(_request: web.Request) -> web.Response:
    told = {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "Request is throttled."}
    return _json(told, {"x-amzn-query-error": "RequestThrottled;Sender"})


def _json(told: Mapping[str, str], headers: Mapping[str, str] | None = None) -> web.Response:
    body = json.dumps(told).encode()
    return web.Response(
        status=400, body=body, headers={"Content-Type": "application/x-amz-json-1.0", **(headers or {})}
    )


REFUSALS: Mapping[str, Callable[[web.Request], web.Response]] = {"s3": _s3, "dynamodb": _dynamodb, "sqs": _sqs}


class ThrottlingProxy:
    """Listens on loopback, and carries what SDKs ask of S3, DynamoDB and SQS as its fate is.

    Whatever else comes passes: other services, and callers who fetch a file by its signed address.

    Args:
        server_url: The emulated AWS.
        seed: Decides all chance.
        throttled: How many of `HAND` requests to each service it refuses; one more each is slow, and lost.
        clock: To delay by.

    Attributes:
        befell: How many requests to which service met which fate.
    """

    def __init__(self, server_url: str, *, seed: str, throttled: int, clock: Clock | None = None) -> None:
        assert 0 <= throttled <= HAND - 2
        self._server_url = server_url
        self._chance = Random(seed)
        self._throttled = throttled
        self._clock = clock or SystemClock()
        self._hands: dict[str, list[Fate]] = {service: [] for service in REFUSALS}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.befell: Counter[tuple[str, Fate]] = Counter()

    @property
    def url(self) -> str:
        """The address to use instead of the emulator's."""
        assert self._runner is not None
        return f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_route("*", "/{path:.*}", self._carry)
        self._runner = web.AppRunner(application, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    def told(self) -> str:
        """Return in one line how many requests to which service met which fate."""
        counts = {service: [self.befell[service, fate] for fate in Fate] for service in REFUSALS}
        names = ", ".join(fate.value for fate in Fate)
        return f"requests ({names}): " + "; ".join(f"{service} {told}" for service, told in counts.items())

    async def _carry(self, request: web.Request) -> web.StreamResponse:
        """Let a request's fate happen."""
        body = await request.read()
        service = _service_of(request)
        fate = self._drawn(service)
        if service is not None:
            self.befell[service, fate] += 1
        if service is not None and fate is Fate.THROTTLED:
            return REFUSALS[service](request)
        if fate is Fate.SLOW:
            await self._clock.sleep(SLOW_MS)
        answer = await self._answer(request, body)
        if fate is Fate.LOST:
            assert request.transport is not None
            request.transport.abort()
        return answer

    def _drawn(self, service: str | None) -> Fate:
        if service is None:
            return Fate.PASSED
        hand = self._hands[service]
        if not hand:
            hand += [Fate.SLOW, Fate.LOST, *[Fate.THROTTLED] * self._throttled]
            hand += [Fate.PASSED] * (HAND - len(hand))
            self._chance.shuffle(hand)
        return hand.pop()

    async def _answer(self, request: web.Request, body: bytes) -> web.Response:
        """Hand a request to the emulator, and return its answer."""
        assert self._session is not None
        async with self._session.request(
            request.method,
            URL(self._server_url + request.raw_path, encoded=True),
            headers=_between(request.headers),
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as response:
            content = await response.read()
            headers = _between(response.headers)
        return web.Response(status=response.status, reason=response.reason, body=content, headers=headers)


def _service_of(request: web.Request) -> str | None:
    """Return which throttled service an SDK asks; None when it is another one, or nobody's SDK."""
    if "boto" not in request.headers.get("User-Agent", "").lower():
        return None
    target = request.headers.get("X-Amz-Target")
    if target is None:
        return "s3"
    name = target.partition(".")[0].partition("_")[0].lower().removeprefix("amazon")
    return name if name in REFUSALS else None


def _between(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOPS}


@asynccontextmanager
async def throttled_aws(stack: Stack, *, seed: str, throttled: int) -> AsyncIterator[ThrottlingProxy]:
    """Let the functions of a stack reach AWS through a throttling proxy; new processes of theirs start with it."""
    async with ThrottlingProxy(stack.aws_endpoint_url, seed=seed, throttled=throttled) as proxy:
        try:
            await asyncio.to_thread(_lead, stack, {ENDPOINT: proxy.url})
            yield proxy
        finally:
            await asyncio.to_thread(_lead, stack, {})


def _lead(stack: Stack, way: Mapping[str, str]) -> None:
    """Give every function of the stack this way to AWS; none: the emulator's own."""
    client = Aws(stack).client("lambda")
    for function in client.list_functions()["Functions"]:
        variables: dict[str, Any] = function.get("Environment", {}).get("Variables", {})
        if variables.get("VOLCENGINE_TTS_POOL_TABLE") == stack.pool_table:
            kept = {name: value for name, value in variables.items() if name != ENDPOINT}
            client.update_function_configuration(
                FunctionName=function["FunctionName"], Environment={"Variables": {**kept, **way}}
            )
