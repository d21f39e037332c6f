"""How the parts are put together, once a process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from volcengine_client.clock import Clock
from volcengine_client.limits import SLICE_MARGIN_MS
from volcengine_client.pool.table import PoolTable
from volcengine_gateway.gateway import Gateway
from volcengine_gateway.incoming import body_in
from volcengine_gateway.jobs.callbacks import Callbacks
from volcengine_gateway.jobs.errands import Errands
from volcengine_gateway.jobs.lost import LostJobs
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.jobs.worker import Worker
from volcengine_gateway.journal import Journal, note_failure
from volcengine_gateway.pools import Pools
from volcengine_gateway.problems import guarded
from volcengine_gateway.routes import Routes, TimeLeft
from volcengine_gateway.secret import Keys
from volcengine_gateway.settings import JobSettings, Settings
from volcengine_gateway.voice import UpstreamVoice


def gateway_of(
    settings: Settings,
    *,
    keys: Keys,
    table: PoolTable,
    clock: Clock,
    journal: Journal,
    jobs: Jobs | None = None,
) -> Gateway:
    """Return a gateway that speaks through the real upstream, or whatever stands at the endpoint."""
    voice = UpstreamVoice(settings.endpoint, clock=clock)
    return Gateway(settings, keys=keys, table=table, voice=voice, clock=clock, journal=journal, jobs=jobs)


def jobs_of(store: JobStore, settings: JobSettings, *, clock: Clock, callback_test_hosts: frozenset[str]) -> Jobs:
    """Return the jobs in a store."""
    receivers = Receivers(callback_test_hosts)
    return Jobs(store, kept_days=settings.jobs_kept_days, clock=clock, receivers=receivers)


def errands_of(
    settings: Settings, store: JobStore, *, keys: Keys, table: PoolTable, clock: Clock, journal: Journal
) -> Errands:
    """Return what works on jobs through the real upstream, or whatever stands at the endpoint, and tells their end."""
    worker = Worker(
        store,
        keys=keys,
        pools=Pools(table, times=settings.times, clock=clock),
        voice=UpstreamVoice(settings.endpoint, clock=clock),
        weights=settings.weights,
        clock=clock,
        journal=journal,
    )
    receivers = Receivers(settings.callback_test_hosts)
    return Errands(worker, Callbacks(store, keys=keys, receivers=receivers, clock=clock, journal=journal))


class Deliveries:
    """Lambda's way in for messages: one event loop serves all invocations of a process, one after another."""

    def __init__(self, errands: Errands, loop: asyncio.AbstractEventLoop, *, slice_ms: int, journal: Journal) -> None:
        self._errands = errands
        self._loop = loop
        self._slice_ms = slice_ms
        self._journal = journal

    def work(self, event: Mapping[str, Any], context: TimeLeft) -> dict[str, Any]:
        """Run the errand of each message; name the messages that should come again."""
        return self._loop.run_until_complete(self._work(event, context))

    async def _work(self, event: Mapping[str, Any], context: TimeLeft) -> dict[str, Any]:
        await self._errands.begin_invocation()
        return _left_in_queue(
            [record["messageId"] for record in event["Records"] if not await self._is_done(record, context)]
        )

    async def _is_done(self, record: Mapping[str, Any], context: TimeLeft) -> bool:
        remaining_ms = context.get_remaining_time_in_millis()
        running = self._errands.run(
            record["body"],
            slice_ms=min(self._slice_ms, remaining_ms - SLICE_MARGIN_MS),
            claim_ms=remaining_ms,
            attempt=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        return await guarded(running, lambda error: self._failed(error, record["messageId"]))

    def _failed(self, error: Exception, message_id: str) -> bool:
        note_failure(self._journal, error, message_id=message_id)
        return False


def _left_in_queue(message_ids: Sequence[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}


class Invocations:
    """Lambda's way in: one event loop serves all invocations of a process, one after another.

    Connections and what is known of the pools survive between them; what may have gone stale while the process was
    frozen is dropped first.

    Args:
        gateway: Answers requests.
        loop: Of this process.
        lost: Takes messages that no worker came through with; None: there are no jobs.
    """

    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop, *, lost: LostJobs | None = None) -> None:
        self._gateway = gateway
        self._lost = lost
        self._routes = Routes(gateway)
        self._loop = loop

    def answer(self, event: Mapping[str, Any], context: TimeLeft) -> dict[str, Any]:
        """Answer one event: a request, or messages from a queue."""
        if self._lost is not None and "Records" in event:
            return self._loop.run_until_complete(self._take(event, self._lost))
        return self._loop.run_until_complete(self._answer(event, context))

    async def _take(self, event: Mapping[str, Any], lost: LostJobs) -> dict[str, Any]:
        return _left_in_queue(
            [record["messageId"] for record in event["Records"] if not await self._is_taken(record, lost)]
        )

    async def _is_taken(self, record: Mapping[str, Any], lost: LostJobs) -> bool:
        return await guarded(lost.take(record["body"]), lambda error: self._failed(error, record["messageId"]))

    def _failed(self, error: Exception, message_id: str) -> bool:
        note_failure(self._gateway.journal, error, message_id=message_id)
        return False

    async def _answer(self, event: Mapping[str, Any], context: TimeLeft) -> dict[str, Any]:
        await self._gateway.begin_invocation()
        body_bytes_max = self._gateway.settings.body_bytes_max
        return await self._routes.answer(event, context, lambda: body_in(event, body_bytes_max=body_bytes_max))
