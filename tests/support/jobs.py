"""Jobs on this machine's disk with a scripted upstream, and ways to ask for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.gateway import ADMIN_KEY, SERVER_LOGIN, Bench, KeptJournal, ScriptedVoice, keyring
from volcengine_client.clock import SystemClock
from volcengine_client.errors import StoreError
from volcengine_client.limits import PoolTimes
from volcengine_client.models import JobRequest
from volcengine_client.pool.memory import MemoryTable
from volcengine_gateway.jobs.callbacks import Callbacks
from volcengine_gateway.jobs.errands import Errands
from volcengine_gateway.jobs.local import FolderFiles, SQLiteJobTable
from volcengine_gateway.jobs.receivers import Receivers
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.jobs.worker import Worker
from volcengine_gateway.pools import Pools
from volcengine_gateway.secret import FixedKeys, Keys
from volcengine_gateway.settings import Settings

CALL_MS = 5
SLICE_MS = 20_000
TIMES = PoolTimes(upstream_call_max_ms=1_000, skew_ms=200, send_max_ms=200, renew_ms=400, lease_ms=2_000)
DAY_MS = 86_400_000


@dataclass
class Messages:
    """A queue that a test reads: each message and its delay."""

    sent: list[tuple[str, int]] = field(default_factory=list)
    is_out_of_reach: bool = False

    async def send(self, message: str, *, delay_ms: int = 0) -> None:
        if self.is_out_of_reach:
            raise StoreError("no answer in time")
        self.sent.append((message, delay_ms))


@dataclass
class ShiftedClock(SystemClock):
    """This machine's clock; its wall time can be set ahead."""

    ahead_ms: int = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms


class Workshop:
    """Jobs in a folder, and as many workers as a test wants."""

    def __init__(
        self,
        folder: Path,
        *,
        limit: int = 10,
        keys: Keys | None = None,
        speak_ms: int = CALL_MS,
        receivers: Receivers | None = None,
    ) -> None:
        self.folder = folder
        self.receivers = receivers or Receivers()
        self.journal = KeptJournal()
        self.clock = ShiftedClock()
        self.messages = Messages()
        self.dead_letters = Messages()
        self.voice = ScriptedVoice({SERVER_LOGIN.app_id: limit}, speak_ms=speak_ms)
        self.keys = keys or FixedKeys(keyring(n=limit))
        table = SQLiteJobTable(folder / "jobs.sqlite3")
        self.store = JobStore(
            table=table,
            turns=table,
            files=FolderFiles(folder / "files", clock=self.clock, found_max_ms=DAY_MS),
            queue=self.messages,
            dead_letters=self.dead_letters,
        )
        self.jobs = Jobs(self.store, kept_days=7, clock=self.clock, receivers=self.receivers)
        self._table = MemoryTable(clock=self.clock)

    def bench(self, **settings: Any) -> Bench:
        """Return a gateway with these jobs, as if in a process of its own."""
        told = Settings(callers_credentials="with_admin_key", **settings)
        return Bench(
            keys=self.keys, voice=self.voice, table=self._table, clock=self.clock, settings=told, jobs=self.jobs
        )

    def worker(self) -> Worker:
        """Return another worker, as if in a process of its own."""
        return Worker(
            self.store,
            keys=self.keys,
            pools=Pools(self._table, times=TIMES, clock=self.clock),
            voice=self.voice,
            weights={},
            clock=self.clock,
            journal=self.journal,
        )

    def errands(self) -> Errands:
        """Return what runs the errands of messages, as if in a process of its own."""
        callbacks = Callbacks(
            self.store, keys=self.keys, receivers=self.receivers, clock=self.clock, journal=self.journal
        )
        return Errands(self.worker(), callbacks)

    async def submit(self, texts: list[str], **fields: Any) -> str:
        """Submit a job; return its id."""
        tasks = [{"text": text} for text in texts]
        request = JobRequest.model_validate({"tasks": tasks, **fields})
        told = await self.jobs.submit(request, keyring=await self.keys.keyring(), shown_admin_key=ADMIN_KEY)
        return str(told["job_id"])

    async def slice(self, job_id: str, *, slice_ms: int = SLICE_MS, claim_ms: int = 60_000, attempt: int = 1) -> None:
        """Work one slice."""
        await self.worker().work(job_id, slice_ms=slice_ms, claim_ms=claim_ms, attempt=attempt)

    async def results(self, job_id: str) -> list[dict[str, Any]]:
        """Return all results so far, page by page."""
        results: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            told = await self.jobs.show(job_id, after=after, limit="150")
            results += [{**result} for result in told["results"]]
            if told["next_after"] is None or not told["results"]:
                return results
            after = str(told["next_after"])

    async def audio(self, result: dict[str, Any]) -> bytes:
        """Return the audio that a result's address leads to."""
        name = str(result["audio_url"]).removeprefix("/audio/").partition("?")[0]
        content = await self.store.files.get(name)
        assert content is not None
        return content

    def bought(self) -> Counter[str]:
        """Return how often each text was spoken."""
        return Counter(task.text for _, task in self.voice.spoken)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not is_so():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.001)


async def run(workshop: Workshop, message: str) -> bool:
    """Run the errand of a message, as if in a process of its own."""
    return await workshop.errands().run(message, slice_ms=SLICE_MS, claim_ms=60_000, attempt=1)


async def run_all(workshop: Workshop) -> list[int]:
    """Run the errands of all messages, as time goes by, until there are none; return what each one waited."""
    waits_ms = []
    while workshop.messages.sent:
        message, delay_ms = workshop.messages.sent.pop(0)
        waits_ms.append(delay_ms)
        workshop.clock.ahead_ms += delay_ms
        assert await run(workshop, message)
    return waits_ms


async def callback_of(workshop: Workshop, job_id: str) -> Any:
    """Return what a job says of its callback."""
    return (await workshop.jobs.show(job_id, after=None, limit="0"))["callback"]


async def ended(workshop: Workshop, url: str) -> str:
    """Return a job that is over, whose callback waits in the queue."""
    job_id = await workshop.submit(["a"], callback_url=url)
    await workshop.slice(job_id)
    workshop.messages.sent = workshop.messages.sent[1:]
    return job_id
