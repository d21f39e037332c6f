"""The function in Lambda's runtime: how long it takes to start, and what it adds to the upstream's own time.

    make bench

The processor is this machine's, not Lambda's share of one, and dependencies have their bytecode. Prints the emulator's
own figures: initialisation of fresh processes, then invocations of a warm one.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from tests.support.emulated_function import RULES, Event, emulated_function, event_of
from tests.support.runtime_emulator import Layout

STARTS, INVOCATIONS = 5, 30
UPSTREAM_MS = 100


async def test_a_cold_start(tmp_path: Path, layout: Layout, aws_url: str) -> None:
    inits_ms, firsts_ms = [], []
    for _ in range(STARTS):
        async with emulated_function(tmp_path, layout=layout, aws_url=aws_url) as function:
            assert (await function.emulator.invoke(one_task())).status == 200
            inits_ms += function.emulator.init_ms
            firsts_ms += function.emulator.duration_ms
    first_ms = [first - init - UPSTREAM_MS for first, init in zip(firsts_ms, inits_ms, strict=True)]

    print(f"\ncold start              {told(inits_ms)}")  # noqa: T201
    print(f"then one task, beyond the upstream's time  {told(first_ms)}")  # noqa: T201


async def test_warm_invocations(tmp_path: Path, layout: Layout, aws_url: str) -> None:
    rules = RULES.changed({"mean_ms": UPSTREAM_MS, "sigma": 0})
    async with emulated_function(tmp_path, layout=layout, aws_url=aws_url, rules=rules) as function:
        for event in (event_of("health"), one_task()):
            for _ in range(INVOCATIONS):
                assert (await function.emulator.invoke(event)).status == 200
        durations_ms = function.emulator.duration_ms

    health_ms = durations_ms[1:INVOCATIONS]
    task_ms = [duration - UPSTREAM_MS for duration in durations_ms[INVOCATIONS + 1 :]]
    print(f"\nhealth, warm            {told(health_ms)}")  # noqa: T201
    print(f"one task, warm, beyond the upstream's time  {told(task_ms)}")  # noqa: T201


def one_task() -> Event:
    """Return the event of a batch of one task."""
    return {**event_of("generate_batch"), "body": json.dumps({"tasks": [{"text": "你好，世界。"}]})}


def told(durations_ms: list[float]) -> str:
    """Return median and bounds."""
    low, high = min(durations_ms), max(durations_ms)
    return f"median {statistics.median(durations_ms):.0f} ms ({low:.0f}…{high:.0f}, {len(durations_ms)})"
