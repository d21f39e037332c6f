"""Callbacks: whoever wanted to know is told when a job is over, again and again until it is heard.

The message that leads to a try says which one it is. When a try has failed, that is written down first, then the next
one is sent for, and only then has the message done its duty. So wherever a process ends, the message comes again, and
at worst a try is made twice, under the same `Webhook-Id`.

Tables and queues hold no address (I6): it lies in a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from volcengine_client.clock import Clock
from volcengine_client.webhooks import signed_headers
from volcengine_gateway.jobs.job import Job, announced, called_back, status_url_of, wait_before_next_try_ms
from volcengine_gateway.jobs.receivers import Receivers, Reply
from volcengine_gateway.jobs.store import JobStore
from volcengine_gateway.journal import CalledBack, Journal
from volcengine_gateway.secret import Keys
from volcengine_gateway.told import CallbackTold

VERSION = 1  # of the message


@dataclass(frozen=True, slots=True)
class Try:
    """A message: one try to tell of a job's end. A message that is no such one is the id of a job to work on.

    Attributes:
        job_id: The job.
        attempt: Which try it is, from 1.
    """

    job_id: str
    attempt: int = 1

    @classmethod
    def within(cls, message: str) -> Try | None:
        """Return the try that a message asks for; None: it asks for work."""
        if not message.startswith("{"):
            return None
        told = json.loads(message)
        assert told["version"] == VERSION, "a message of a later version waits for the code of that version"
        return cls(told["callback"], told["attempt"])

    @property
    def message(self) -> str:
        """What the queue is given."""
        return json.dumps({"version": VERSION, "callback": self.job_id, "attempt": self.attempt})


def address_file(job_id: str) -> str:
    """Return the name of the file in which the address of a job's callback is."""
    return f"jobs/{job_id}/callback.json"


def written_address(url: str) -> bytes:
    """Return such a file."""
    return json.dumps({"url": url}).encode()


def _read_address(content: bytes) -> str:
    return str(json.loads(content)["url"])


async def announce(store: JobStore, job: Job) -> None:
    """Have a callback sent when it is time for it. Safe to repeat; does nothing when it was done before.

    Raises:
        StoreError: No answer in time; say it again.
    """
    if announced(job) is not None:
        await store.queue.send(Try(job.job_id).message)
        await store.change(job.job_id, announced)


def message_of(job: Job) -> str:
    """Return the message that leads to what is next for a job which may have lost its own."""
    return Try(job.job_id, job.callback_attempt_count + 1).message if job.is_over else job.job_id


class Callbacks:
    """Sends callbacks.

    Args:
        store: Where the jobs are.
        keys: The server's; one of them signs.
        receivers: The way to them.
        clock: Of this process.
        journal: Told of each try.
    """

    def __init__(self, store: JobStore, *, keys: Keys, receivers: Receivers, clock: Clock, journal: Journal) -> None:
        self._store = store
        self._keys = keys
        self._receivers = receivers
        self._clock = clock
        self._journal = journal

    async def attempt(self, due: Try) -> bool:
        """Make a try, and have the next one made when it fails. Safe to repeat: what was done is not done again.

        Returns:
            True: the message has done its duty.

        Raises:
            StoreError: The job can't be reached; the message should come again.
            SecretError: The key can't be read; the same.
        """
        job = await self._store.table.get(due.job_id)
        if job is None or not job.is_to_be_told:
            return True
        if job.callback_attempt_count < due.attempt:
            job = await self._made(job, due)
        if job is not None and job.is_to_be_told:
            following = Try(due.job_id, due.attempt + 1)
            await self._store.queue.send(following.message, delay_ms=wait_before_next_try_ms(due.attempt))
        return True

    async def _made(self, job: Job, due: Try) -> Job | None:
        """Make a try and write down what came of it; None when the job is gone, or was told of meanwhile."""
        reply = await self._send(job)
        made = await self._store.change(
            due.job_id, lambda job: called_back(job, attempt=due.attempt, verdict=reply.verdict)
        )
        state = "gone" if made is None else made.callback_state
        self._journal.called_back(CalledBack(due.job_id, due.attempt, state, reply.reason))
        return made

    async def _send(self, job: Job) -> Reply:
        kept = await self._store.files.get(address_file(job.job_id))
        if kept is None:
            return Reply("gone", "expired")
        key = (await self._keys.keyring()).webhook_key
        body = json.dumps(told_of_end(job)).encode()
        headers = signed_headers(
            body, webhook_id=f"{job.job_id}-{job.state}", key=key, now_s=self._clock.wall_ms() // 1_000
        )
        return await self._receivers.post(_read_address(kept), headers=headers, body=body)


def told_of_end(job: Job) -> dict[str, object]:
    """Return what a callback says: no text, no audio."""
    return {
        "job_id": job.job_id,
        "state": job.state,
        "tasks": job.task_count,
        "done": job.counts.done_count,
        "failed": job.counts.failed_count,
        "characters": job.character_count,
        "characters_bought": job.counts.bought_character_count,
        "created_at_ms": job.created_at_ms,
        "ended_at_ms": job.ended_at_ms,
        "status_url": status_url_of(job.job_id),
    }


def told_of_callback(job: Job) -> CallbackTold | None:
    """Return how a job's callback stands; None when nobody wanted one."""
    if job.callback_state == "none":
        return None
    state = "pending" if job.callback_state in {"wanted", "announced"} else job.callback_state
    return {"state": state, "attempts": job.callback_attempt_count}
