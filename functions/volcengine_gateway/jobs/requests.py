"""Requests of boto3's clients, which block: each has a thread, and is sent again while that may help.

A throttled service makes jobs slower and nothing else. botocore's own way of asking again is off: it has a budget for a
process, and once a service that refuses a share of all requests has used that up, each refusal would be an error.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from volcengine_client.clock import Clock
from volcengine_client.errors import StoreError
from volcengine_client.limits import STORE_PATIENCE_MS, STORE_REQUESTS_MAX, STORE_RETRY_BASE_MS, STORE_RETRY_MAX_MS

T = TypeVar("T")

PASSING = frozenset(
    {
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OperationAborted",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)  # refusals that say nothing against the request, beside those with a status of 429 and 5xx


class Requests:
    """The threads in which blocking requests run, and the patience to send them again.

    Args:
        clock: To wait by.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(STORE_REQUESTS_MAX, thread_name_prefix="jobs")

    async def send(self, request: Callable[[], T]) -> T:
        """Send a request, and again while what keeps it from being answered may pass.

        Raises:
            StoreError: No answer in time, or a refusal; a write may have happened.
        """
        last_at_ms = self._clock.monotonic_ms() + STORE_PATIENCE_MS
        bound_ms = STORE_RETRY_BASE_MS
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, request)
            except ClientError as exc:
                wait_ms = random.randint(1, bound_ms)
                if not _may_pass(exc) or self._clock.monotonic_ms() + wait_ms > last_at_ms:
                    code = exc.response["Error"]["Code"]
                    raise StoreError(f"what jobs are kept in refused: {code}; ask again later") from exc
            except BotoCoreError as exc:
                wait_ms = random.randint(1, bound_ms)
                if self._clock.monotonic_ms() + wait_ms > last_at_ms:
                    raise StoreError("what jobs are kept in gave no answer in time; ask again later") from exc
            await self._clock.sleep(wait_ms)
            bound_ms = min(STORE_RETRY_MAX_MS, 2 * bound_ms)


def _may_pass(refusal: ClientError) -> bool:
    """Tell whether the same request may be carried out a moment later."""
    status = refusal.response["ResponseMetadata"]["HTTPStatusCode"]
    return status == 429 or status >= 500 or refusal.response["Error"]["Code"] in PASSING
