"""A program: one process that speaks a batch through the pool, or through a peer of it, to compare them.

Reads what to do from standard input as one line of JSON, writes `ready`, waits for a second line, and writes its
results, and what it asked of DynamoDB, as one line of JSON. Wire, retries and results are the library's own for all.
"""

from __future__ import annotations

import asyncio
import json
import queue
import random
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tests.support.peer_gates import (
    Gate,
    concurrency_limit_gate,
    counted_requests,
    dynamo_dlm_gate,
    open_gate,
    with_one_waiter,
)
from volcengine_client import PoolTimes, SharedPool, TaskItem, TaskResult, VolcengineConcurrentTTS, VolcengineError
from volcengine_client.answer import Outcomes
from volcengine_client.clock import SystemClock
from volcengine_client.limits import DEFAULT_TIMES
from volcengine_client.speech.login import Login
from volcengine_client.speech.retry import wait_before_retry_ms
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.v1 import V1
from volcengine_client.speech.wire import Wire

T = TypeVar("T")
Speak = Callable[[Sequence[TaskItem]], list[TaskResult]]
CLOCK = SystemClock()


class UnboundCall:
    """A call that no lease stands behind."""

    send_max_ms = DEFAULT_TIMES.send_max_ms

    def ready(self) -> None:
        pass

    def sent(self) -> None:
        pass

    def answered(self) -> None:
        pass


class Crew:
    """As many threads as gates; each takes one task after the other through its gate."""

    def __init__(self, orders: dict[str, Any], gates: Sequence[Gate]) -> None:
        self._gates = gates
        login = Login(orders["client"]["app_id"], orders["client"]["access_key"])
        self._wire = Wire(orders["client"]["endpoint"], clock=CLOCK)
        self._speaker = V1(self._wire, login)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def speak(self, tasks: Sequence[TaskItem]) -> list[TaskResult]:
        """Speak all tasks, once; one that was tried in vain too often ends as an error."""
        outcomes = Outcomes(tasks)
        waiting: queue.Queue[int] = queue.Queue()
        for index in range(len(tasks)):
            waiting.put(index)

        def work(gate: Gate) -> None:
            try:
                while True:
                    index = waiting.get_nowait()
                    outcomes.settle(index, self._outcome(tasks[index], gate))
            except queue.Empty:
                pass

        with ThreadPoolExecutor(len(self._gates)) as threads:
            for done in [threads.submit(work, gate) for gate in self._gates]:
                done.result()
        self._run(self._wire.close())
        return outcomes.results()

    def _outcome(self, task: TaskItem, gate: Gate) -> Speech | VolcengineError:
        """Try until it is spoken, or not worth another try; between tries the gate is left."""
        attempt = 0
        while True:
            attempt += 1
            try:
                with gate():
                    speaking = self._speaker.speak(
                        task, call=UnboundCall(), timeout_ms=DEFAULT_TIMES.upstream_call_max_ms
                    )
                    return self._run(speaking)
            except VolcengineError as error:
                wait_ms = wait_before_retry_ms(error, attempt=attempt, chance=random.random())
                if wait_ms is None:
                    return error
            self._run(CLOCK.sleep(wait_ms))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def pool_client(orders: dict[str, Any]) -> Speak:
    """Return the library's own way: through the pool, or alone in this process when none is named."""
    times = PoolTimes(**orders["times"])
    shared = SharedPool(**orders["pool"], times=times) if orders["pool"] else None
    client = VolcengineConcurrentTTS(pool=shared, concurrency=orders["calls_max"], **orders["client"])
    return client.generate_batch_sync


def peer(orders: dict[str, Any]) -> Speak:
    """Return how the peer that is named speaks."""
    calls_max = orders["calls_max"]
    how = {"key": orders["client"]["app_id"], "limit": orders["limit"]}
    how["hold_max_s"] = orders["times"]["upstream_call_max_ms"] // 1_000
    kinds: dict[str, Callable[[], list[Gate]]] = {
        "pool": list,
        "open": lambda: [open_gate()] * calls_max,
        "dynamo-dlm": lambda: [dynamo_dlm_gate(**how) for _ in range(calls_max)],
        "concurrency-limit": lambda: [concurrency_limit_gate(**how, port=orders["redis_port"])] * calls_max,
    }
    gates = kinds[orders["peer"]]()
    if not gates:
        return pool_client(orders)
    return Crew(orders, with_one_waiter(gates) if orders["has_one_waiter"] else gates).speak


def main() -> None:
    """Speak one batch."""
    orders = json.loads(sys.stdin.readline())
    requests = counted_requests()
    speak = peer(orders)
    tasks = [TaskItem(**task) for task in orders["tasks"]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    results = [result.to_dict() for result in speak(tasks)]
    sys.stdout.write(json.dumps({"results": results, "requests": requests}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
