"""A bad way to the table: a proxy on loopback that delays, cuts and falls silent, by a seed."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from random import Random
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from volcengine_client.clock import Clock, SystemClock

LOOPBACK = "127.0.0.1"
DELAY_MS, DELAY_SIGMA = 3, 0.6  # median and spread of each way of a request, log-normal
LATE_MS = (100, 1_200)  # between a cut connection and the arrival of its request
STALL_MS = 1_500  # longer than a participant waits for an answer
ANSWER_MAX_S = 30


class Fate(Enum):
    """What becomes of a request."""

    PASSED = "passed"
    CUT_BEFORE = "cut before it arrived"
    CUT_AFTER = "answered, the answer lost"
    LATE = "given up for lost, arrived later"
    STALLED = "answered too late"


Deck = Mapping[Fate, int]
# Fates are dealt like cards, so that each comes up after that many requests, whatever the seed.
READS: Deck = {Fate.PASSED: 37, Fate.CUT_BEFORE: 1, Fate.CUT_AFTER: 1, Fate.STALLED: 1}
WRITES: Deck = {Fate.PASSED: 6, Fate.CUT_BEFORE: 1, Fate.CUT_AFTER: 1, Fate.LATE: 1, Fate.STALLED: 1}


@dataclass(frozen=True)
class Request:
    """One request to the table, whole."""

    operation: str
    content: bytes

    @property
    def is_write(self) -> bool:
        """Whether it changes something."""
        return self.operation in {"UpdateItem", "PutItem"}


class CuttingProxy:
    """Listens on loopback, and carries each request to a server as its fate is.

    Args:
        server_url: Where to.
        seed: Decides all chance: the n-th request meets the same fate in every run.
        clock: To delay by.

    Attributes:
        befell: How many requests met which fate, by operation.
        applied: How many of these the server answered with 200: such a write was applied, whatever its sender knows.
    """

    def __init__(self, server_url: str, *, seed: str, clock: Clock | None = None) -> None:
        address = urlsplit(server_url)
        assert address.hostname is not None
        assert address.port is not None
        self._server = (address.hostname, address.port)
        self._chance = Random(seed)
        self._clock = clock or SystemClock()
        self._hands: dict[bool, list[Fate]] = {False: [], True: []}
        self._listener: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_shut = False
        self.befell: Counter[tuple[str, Fate]] = Counter()
        self.applied: Counter[tuple[str, Fate]] = Counter()

    @property
    def url(self) -> str:
        """The address to use instead of the server's."""
        assert self._listener is not None
        return f"http://{LOOPBACK}:{self._listener.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._on_connection, LOOPBACK, 0)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def shut(self) -> None:
        """From now on swallow every request, and say nothing."""
        self._is_shut = True

    def open(self) -> None:
        """Carry requests again."""
        self._is_shut = False

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            while await self._carry(await _request(reader), writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the participant went away, or was killed
        except asyncio.CancelledError:
            pass  # the proxy ends; Python 3.11 complains of a connection's task that ends as cancelled
        finally:
            writer.close()
            self._under_way.discard(task)

    async def _carry(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Let a request's fate happen; False when its connection is over."""
        if self._is_shut:
            await self._clock.sleep(STALL_MS)
            return False
        fate, there_ms, back_ms, late_ms = self._drawn(request)
        self.befell[request.operation, fate] += 1
        if fate is Fate.CUT_BEFORE:
            return False
        if fate is Fate.LATE:
            late = asyncio.create_task(self._arrive_late(request, late_ms))
            self._under_way.add(late)
            late.add_done_callback(self._under_way.discard)
            return False
        await self._clock.sleep(there_ms)
        answer = await self._answer(request, fate)
        await self._clock.sleep(STALL_MS if fate is Fate.STALLED else back_ms)
        if fate is Fate.CUT_AFTER:
            return False
        writer.write(answer)
        await writer.drain()
        return True

    def _drawn(self, request: Request) -> tuple[Fate, int, int, int]:
        """Draw the next fate, and times; always as many draws, so that one request's fate does not move another's."""
        hand = self._hands[request.is_write]
        if not hand:
            deck = WRITES if request.is_write else READS
            hand += [fate for fate, count in deck.items() for _ in range(count)]
            self._chance.shuffle(hand)
        there_ms, back_ms = (round(DELAY_MS * math.exp(self._chance.gauss(0, DELAY_SIGMA))) for _ in range(2))
        return hand.pop(), there_ms, back_ms, self._chance.randint(*LATE_MS)

    async def _arrive_late(self, request: Request, late_ms: int) -> None:
        await self._clock.sleep(late_ms)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._answer(request, Fate.LATE)

    async def _answer(self, request: Request, fate: Fate) -> bytes:
        """Hand a request to the server, and return its answer."""
        async with asyncio.timeout(ANSWER_MAX_S):
            reader, writer = await asyncio.open_connection(*self._server)
            try:
                writer.write(request.content)
                answer = await _message(reader)
            finally:
                writer.close()
        if answer.split(b" ", maxsplit=2)[1] == b"200":
            self.applied[request.operation, fate] += 1
        return answer


async def _request(reader: asyncio.StreamReader) -> Request:
    content = await _message(reader)
    target = _headers(content)["x-amz-target"]
    return Request(target.rpartition(".")[2], content)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(int(_headers(head).get("content-length", "0")))


def _headers(message: bytes) -> dict[str, str]:
    _, *lines = message.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
