"""A program: one client of the library, in a process of its own, in a pool shared with others.

Reads what to do from standard input as one line of JSON, writes `ready`, waits for a second line, and writes its
results as one line of JSON.
"""

from __future__ import annotations

import json
import sys

from volcengine_client import PoolTimes, SharedPool, TaskItem, VolcengineConcurrentTTS


def main() -> None:
    """Speak one batch."""
    orders = json.loads(sys.stdin.readline())
    shared = SharedPool(**{**orders["pool"], "times": PoolTimes(**orders["times"])})
    with VolcengineConcurrentTTS(pool=shared, **orders["client"]) as client:
        tasks = [TaskItem(**task) for task in orders["tasks"]]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        results = client.generate_batch_sync(tasks, timeout_ms=orders.get("timeout_ms"))
        sys.stdout.write(json.dumps([result.to_dict() for result in results]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
