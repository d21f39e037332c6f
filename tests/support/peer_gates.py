"""Other ways to keep a limit over many processes: what lets one call through at a time, blocking until it may start.

Each is used as its users do who read its documentation with care:

- `dynamo-dlm` 2.1.0, a lock on DynamoDB with `concurrency=10`, which tries ten lock names one after the other with a
  conditional write each. One lock object a thread, made beforehand, since each makes a boto3 client of its own. The
  lock lasts as long as a call may take, 60 s; its default of 10 s would let go in the middle of a long call.
- `concurrency-limit` 1.2.0, a hash on Redis with an entry a holder, asked every 0.1 s (its default), which expires
  when nobody came in for as long as a call may take, 60 s (its default too). Its default of giving up after 10 s is
  raised, since a batch wants to wait; it gets a connection pool of redis-py's, since its own passes an argument that
  redis-py refuses.

Both block, so a process has as many threads as calls that it may make at once. With *one waiter a process* only one of
its threads waits at a time, which spares the table and is the kindest use of both.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import boto3
import concurrency_limit
import dynamo_dlm
import redis

WAIT_MAX_S = 600
LOCKS_TABLE = "locks"

Gate = Callable[[], AbstractContextManager[None]]


def counted_requests() -> Counter[str]:
    """Count from now on, by operation, what this process asks of DynamoDB with clients that it makes later."""
    counts: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        counts[event_name.rpartition(".")[2]] += 1

    boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register("before-send.dynamodb", count)
    return counts


def open_gate() -> Gate:
    """Let everything through."""
    return nullcontext


def dynamo_dlm_gate(key: str, limit: int, hold_max_s: int) -> Gate:
    """Hold one of the locks of `dynamo-dlm`; for one thread."""
    lock = dynamo_dlm.DynamoDbLock(key, duration=hold_max_s, table_name=LOCKS_TABLE, concurrency=limit)

    @contextmanager
    def held() -> Iterator[None]:
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    return held


def concurrency_limit_gate(key: str, limit: int, hold_max_s: int, port: int) -> Gate:
    """Hold a place of `concurrency-limit`; for all threads of a process."""
    connections = redis.BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=2 * limit)  # type: ignore[no-untyped-call]
    where = concurrency_limit.RedisConfiguration(connection_pool=connections)
    how = concurrency_limit.LimitConfiguration(key=key, limit=limit, limit_timeout=WAIT_MAX_S, limit_expire=hold_max_s)

    @contextmanager
    def held() -> Iterator[None]:
        with concurrency_limit.limit(where, how):
            yield

    return held


def with_one_waiter(gates: list[Gate]) -> list[Gate]:
    """Return the same gates, at which only one thread of this process waits at a time."""
    turnstile = threading.Lock()

    def patient(gate: Gate) -> Gate:
        @contextmanager
        def held() -> Iterator[None]:
            passage = gate()
            with turnstile:
                passage.__enter__()
            try:
                yield
            finally:
                passage.__exit__(None, None, None)

        return held

    return [patient(gate) for gate in gates]
