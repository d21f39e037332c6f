"""The workers of one process: what SQS and Lambda are in the cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from volcengine_client.clock import Clock
from volcengine_gateway.journal import Journal, note_failure
from volcengine_gateway.problems import guarded

WORKERS_MAX = 4  # messages that are worked on at once
REDELIVERY_MS = 2_000  # before a message whose worker failed comes again; doubled with each failure
REDELIVERY_MAX_MS = 300_000

Deliver = Callable[[str, int], Awaitable[bool]]


class Crew:
    """A queue whose messages are worked on in this process. Messages are not kept: the jobs are.

    Args:
        clock: Of this process.
        journal: Told of mistakes of ours.
    """

    def __init__(self, *, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._deliver: Deliver | None = None
        self._room = asyncio.Semaphore(WORKERS_MAX)
        self._messages: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[bool]] = set()

    def start(self, deliver: Deliver) -> None:
        """Hand messages to *deliver*, with how often each was delivered; False, or an error: it comes again."""
        self._deliver = deliver

    async def send(self, message: str, *, delay_ms: int = 0) -> None:
        handling = asyncio.create_task(self._handle(message, delay_ms))
        self._messages.add(handling)
        handling.add_done_callback(self._messages.discard)

    async def stop(self) -> None:
        """Forget messages that wait, and wait for the work under way, which was told to end."""
        self._deliver = None
        for message in self._messages:
            message.cancel()
        if self._deliveries:
            await asyncio.wait(self._deliveries)

    async def _handle(self, body: str, delay_ms: int) -> None:
        attempt = 1
        while True:
            await self._clock.sleep(delay_ms)
            async with self._room:
                if self._deliver is None:
                    return
                delivery = asyncio.create_task(self._is_done(self._deliver, body, attempt))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)
                if await asyncio.shield(delivery):  # a stop forgets messages, and waits for deliveries
                    return
            delay_ms = min(REDELIVERY_MAX_MS, REDELIVERY_MS << min(attempt, 20))
            attempt += 1

    async def _is_done(self, deliver: Deliver, body: str, attempt: int) -> bool:
        return await guarded(deliver(body, attempt), self._failed)

    def _failed(self, error: Exception) -> bool:
        note_failure(self._journal, error, message_id="job")
        return False
