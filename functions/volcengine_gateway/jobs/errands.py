"""What messages lead to: a slice of work on a job, or a try to tell of its end."""

from __future__ import annotations

from volcengine_gateway.jobs.callbacks import Callbacks, Try
from volcengine_gateway.jobs.worker import Worker


class Errands:
    """Runs what messages ask for."""

    def __init__(self, worker: Worker, callbacks: Callbacks) -> None:
        self._worker = worker
        self._callbacks = callbacks

    async def begin_invocation(self) -> None:
        """Trust nothing from before: the process may have been frozen."""
        await self._worker.begin_invocation()

    async def run(self, message: str, *, slice_ms: int, claim_ms: int, attempt: int) -> bool:
        """Run an errand.

        Args:
            message: From the queue.
            slice_ms: For how long calls to the upstream may begin; they are heard out while the claim lasts.
            claim_ms: After which this process is surely at an end.
            attempt: How often the message was delivered.

        Returns:
            True: the message has done its duty.

        Raises:
            StoreError: The job can't be reached; the message should come again.
            SecretError: The server's credentials can't be read; the same.
        """
        due = Try.within(message)
        if due is not None:
            return await self._callbacks.attempt(due)
        return await self._worker.work(message, slice_ms=slice_ms, claim_ms=claim_ms, attempt=attempt)

    async def close(self) -> None:
        """Close the connections to the upstream."""
        await self._worker.close()

    def stop(self) -> None:
        """Let no further call to the upstream start."""
        self._worker.stop()
