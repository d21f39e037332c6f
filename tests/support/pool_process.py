"""Participants of one pool as processes of their own, a table and an upstream for them, and what befalls them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

from infra.local import embedded_aws, settings
from infra.local.simulator import Simulator
from infra.local.upstream.record import Gauge
from tests.support.crowd import LINE_BYTES_MAX, ClientProcess, Seen, Task
from tests.support.cutting_proxy import CuttingProxy
from tests.support.emulated_dynamodb import emulated_dynamodb
from volcengine_client.clock import SystemClock
from volcengine_client.errors import PoolTableError
from volcengine_client.limits import PoolTimes
from volcengine_client.pool.dynamodb import DynamoDBTable
from volcengine_client.pool.slots import PoolState
from volcengine_client.pool.table import Reply

T = TypeVar("T")
LIMIT = 10
LOOKS_MAX = 3
CLOCK = SystemClock()


async def program(module: str, **environment: str) -> asyncio.subprocess.Process:
    """Start a program of ours that is told what to do on its standard input, and may use the emulated AWS."""
    return await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", module],
        env={**settings.inherited(), **embedded_aws.CREDENTIALS, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )


async def all_entered(stack: AsyncExitStack, contexts: Sequence[AbstractAsyncContextManager[T]]) -> list[T]:
    """Enter *contexts* at the same time; when one fails, none stays entered beyond *stack*."""
    async with asyncio.TaskGroup() as entering:
        tasks = [entering.create_task(stack.enter_async_context(context)) for context in contexts]
    return [task.result() for task in tasks]


@contextmanager
def pools_table(scratch: Path) -> Iterator[str]:
    """Run a DynamoDB in a process of its own with the table `pools`, and yield its address."""
    with emulated_dynamodb(scratch) as url:
        embedded_aws.client("dynamodb", url).create_table(
            TableName="pools",
            KeySchema=[{"AttributeName": "pool", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pool", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield url


@asynccontextmanager
async def upstream_process(**rules: Any) -> AsyncIterator[tuple[str, Simulator]]:
    """Run the simulated upstream in a process of its own; yields its address, and a client of its record."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "infra.local.upstream", "--limit", str(LIMIT)],
        env=settings.inherited(),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert url, "the upstream ended at once"
        async with aiohttp.ClientSession() as session:
            simulator = Simulator(url, session)
            await simulator.order(**rules)
            yield url, simulator
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(frozen=True)
class Ground:
    """Where a pool's participants meet: a table, an upstream, and an account and pool that nobody else uses."""

    table_url: str
    upstream_url: str
    simulator: Simulator
    account: str
    table: DynamoDBTable

    @classmethod
    @asynccontextmanager
    async def of(cls, table_url: str, **rules: Any) -> AsyncIterator[Self]:
        """Start an upstream that behaves by *rules*."""
        client = embedded_aws.client("dynamodb", table_url)
        table = DynamoDBTable("pools", client=client, clock=CLOCK)
        async with upstream_process(**rules) as (url, simulator):
            yield cls(table_url, url, simulator, f"account-{secrets.token_hex(4)}", table)

    async def seen(self) -> Seen:
        """Return what the upstream saw of the account, though it be nothing yet."""
        record = await self.simulator.record()
        if self.account not in record.report["accounts"]:
            return Seen(Gauge().report(now_ms=0), [], LIMIT)
        return Seen.of(record, self.account)

    async def look(self) -> Reply:
        """Read the pool; a machine that is very busy may need more than one try."""
        for _ in range(LOOKS_MAX):
            with suppress(PoolTableError):
                return await self.table.read(self.account)
        return await self.table.read(self.account)

    async def state(self) -> PoolState:
        """Return the pool as it stands."""
        return (await self.look()).state or PoolState()


class PoolProcess(ClientProcess):
    """A client of the library in a process of its own, whose way to the table is a proxy.

    Attributes:
        app: Its own application in the pool, by which its entries are known.
    """

    def __init__(self, process: asyncio.subprocess.Process, app: str, way: CuttingProxy) -> None:
        super().__init__(process)
        self.app = app
        self.way = way
        self._holder_ids: set[str] = set()  # an entry in the queue is swept before the slots of its holder expire

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        ground: Ground,
        way: CuttingProxy,
        tasks: Sequence[Task],
        *,
        app: str,
        times: PoolTimes,
        timeout_ms: int | None = None,
        weight: int = 1,
    ) -> AsyncIterator[Self]:
        """Start it, ready to speak *tasks*; end it at the end, whatever it does."""
        login = {"app_id": ground.account, "access_key": "key"}
        orders = {
            "client": {**login, "endpoint": ground.upstream_url, "app": app, "weight": weight, "concurrency": LIMIT},
            "pool": {"table": "pools", "name": ground.account, "region": embedded_aws.REGION, "endpoint_url": way.url},
            "times": asdict(times),
            "tasks": list(tasks),
            "timeout_ms": timeout_ms,
        }
        started = cls(await program("tests.support.client_process"), app, way)
        try:
            await started._tell(json.dumps(orders))
            assert await started._hear() == "ready", f"{app} ended at once"
            yield started
        finally:
            await started.end()

    def kill(self) -> int:
        """Kill it with no chance to leave the pool; returns the instant."""
        return self._signal(signal.SIGKILL)

    def freeze(self) -> int:
        """Stop it where it stands; returns the instant."""
        return self._signal(signal.SIGSTOP)

    def thaw(self) -> int:
        """Let it go on as if nothing had been; returns the instant."""
        return self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> int:
        assert self.process.returncode is None, f"{self.app} has ended already"
        os.kill(self.process.pid, number)
        return CLOCK.monotonic_ms()

    def slots_in(self, state: PoolState) -> dict[int, int]:
        """Return which slots it has in *state*, and until when."""
        self._holder_ids |= {holder_id for holder_id, entry in state.queue.items() if entry.app == self.app}
        return {n: slot.expires_at_ms for n, slot in state.slots.items() if slot.holder_id in self._holder_ids}
