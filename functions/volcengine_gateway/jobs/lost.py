"""Jobs that no worker came through with: they say so, and their messages are kept for the operator.

A message that was handed out too often lies in a queue of its own. Whoever takes it from there runs the code that
answers callers, not the workers': what ends every worker, at its import even, doesn't end this.
"""

from __future__ import annotations

from volcengine_client.clock import Clock
from volcengine_gateway.jobs.callbacks import announce
from volcengine_gateway.jobs.job import JOB_ID, lost
from volcengine_gateway.jobs.store import JobStore


class LostJobs:
    """Takes messages that no worker came through with.

    Args:
        store: Where the jobs are.
        clock: Of this process.
    """

    def __init__(self, store: JobStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def take(self, message: str) -> bool:
        """Let a job say that it is lost, whoever waits be told, and keep the message. Safe to repeat.

        A try to call back stays pending, since it goes on when its message is moved back. A job whose letter was moved
        back while this comes a second time may be called lost again; its new message takes it up all the same.

        Returns:
            True: the message has done its duty.

        Raises:
            StoreError: No answer in time; the message should come again.
        """
        assert self._store.dead_letters is not None
        if JOB_ID.fullmatch(message):
            now_ms = self._clock.wall_ms()
            job = await self._store.change(message, lambda job: lost(job, now_ms=now_ms))
            job = job or await self._store.table.get(message)  # it may have ended in a process that came no further
            if job is not None:
                await announce(self._store, job)
        await self._store.dead_letters.send(message)
        return True
