"""How far one item of a pool goes, what it costs, and thousands of callers at an account cut into shards.

    make bench                                                           SCALE_SEEDS=5 for more seeds
    .venv/bin/pytest tests/bench/bench_scale.py -o timeout=0 -s

Figures of capacity are DynamoDB's documented rules applied to the item as the adapter writes it. The crowd runs the
pool's real code in virtual time, one process a core; its table throttles what would bring an item over a ceiling.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import pytest

from tests.support.scale.costs import ITEM_BYTES_MAX, Carried, limit_max
from tests.support.scale.crowd import Case
from tests.support.scale.figures import Figures, simulate
from volcengine_client.limits import CONCURRENCY_MAX, QUEUE_MAX

SEEDS = range(1, 1 + int(os.environ.get("SCALE_SEEDS", "3")))
CALLS_MS = (600, 1_200, 3_000)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call took of the pool's table, by the figures of the other benchmarks.

    Attributes:
        name: The case.
        participants: In the item when it is full.
        slots: The limit.
        writes: A call.
        reads: A call.
    """

    name: str
    participants: int
    slots: int
    writes: float
    reads: float


USAGES = (
    Usage("10 callers x 20 tasks, limit 10", 10, 10, 0.35, 2.6),
    Usage("1 caller x 200 tasks, limit 10", 1, 10, 0.02, 0.27),
    Usage("30 callers x 20 tasks in 5 apps, limit 10", 30, 10, 0.57, 11.5),
    Usage("100 callers x 10 tasks, limit 50", 100, 50, 0.61, 5.0),
    Usage("300 callers x 2 tasks over 55 s, limit 10", 70, 10, 1.75, 19.5),
)

CASES = {
    "5,000 callers x 2 tasks, limit 500, 25 shards": Case(),
    "the same in 5 apps, one of which has 80 % of the callers": Case(apps=(16, 1, 1, 1, 1)),
    "400 callers x 2 tasks, limit 40, 2 shards": Case(callers=400, limit=40, shards=2),
    "the same without lines: everyone is in an item": Case(callers=400, limit=40, shards=2, has_lines=False),
}


def test_what_one_item_carries() -> None:
    tell(f"\n{'participants':>12}{'slots':>7}{'bytes':>8}{'units a':>10}{'units a':>9}{'writes/s':>10}{'reads/s':>9}")
    tell(f"{'':>27}{'write':>10}{'read':>9}{'at most':>10}{'at most':>9}")
    for participants in (10, 50, 100, QUEUE_MAX):
        for slots in (10, 50, 200, CONCURRENCY_MAX):
            one = Carried.by(participants=participants, slots=slots)
            tell(
                f"{participants:>12}{slots:>7,}{one.size_bytes:>8,}{one.write_units:>10}{one.read_units:>9}"
                f"{one.writes_a_second_max:>10,}{one.reads_a_second_max:>9,}"
            )
            assert one.size_bytes < ITEM_BYTES_MAX

    tell("\nhighest limit at half an item's write ceiling, by writes a call and duration of a call")
    tell(f"{'writes a call':>15}{'participants a slot':>21}" + "".join(f"{ms / 1_000:>8} s" for ms in CALLS_MS))
    for writes, crowd in ((0.35, 1.0), (0.87, 2.0), (2.3, 2.0), (2.3, 10.0)):
        limits = [
            limit_max(participants_a_slot=crowd, participants_max=QUEUE_MAX, writes_a_call=writes, call_ms=ms)
            for ms in CALLS_MS
        ]
        tell(f"{writes:>15}{crowd:>21}" + "".join(f"{limit:>10}" for limit in limits))


def test_what_a_million_calls_cost() -> None:
    tell("\nus-east-1, on demand: $0.625 a million write units, $0.125 a million read units")
    tell(f"{'':<44}{'bytes':>7}{'writes':>8}{'units':>7}{'reads':>8}{'units':>8}{'$ a million calls':>19}")
    for usage in USAGES:
        one = Carried.by(participants=usage.participants, slots=usage.slots)
        dollars = one.dollars_a_million_calls(writes_a_call=usage.writes, reads_a_call=usage.reads)
        tell(
            f"{usage.name:<44}{one.size_bytes:>7,}{usage.writes:>8.2f}{usage.writes * one.write_units:>7.1f}"
            f"{usage.reads:>8.2f}{usage.reads * one.read_units:>8.1f}{dollars:>19.2f}"
        )


@pytest.mark.parametrize("name", CASES)
def test_thousands_of_callers(name: str) -> None:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        runs = list(processes.map(simulate, [CASES[name]] * len(SEEDS), SEEDS))
    assert all(run.peak <= CASES[name].limit for run in runs)

    tell(f"\n{name}: calls of 1.2 s arriving within {CASES[name].arrivals_ms / 1_000:g} s, each seed and the median")
    for label, value_of in LINES.items():
        values = [value_of(run) for run in runs]
        tell(f"  {label:<44}" + "".join(f"{value:>10.3f}" for value in [*values, statistics.median(values)]))
    tell("  median wait for the first call by app, s     " + " ".join(f"{s:8.2f}" for s in runs[0].waits_s.values()))


LINES: dict[str, Callable[[Figures], float]] = {
    "throughput / one semaphore's": lambda run: run.ratio,
    "the same until 99 % of the calls are over": lambda run: run.ratio_of_most,
    "writes a call": lambda run: run.writes,
    "reads a call": lambda run: run.reads,
    "write units a call": lambda run: run.write_units,
    "read units a call": lambda run: run.read_units,
    "$ a million calls": lambda run: run.dollars,
    "refused conditions, part of the writes": lambda run: run.conflicts,
    "throttled requests a call": lambda run: run.throttles,
    "busiest item, write units in a second": lambda run: run.write_peak,
    "busiest item, read units in a second": lambda run: run.read_peak,
    "largest item, bytes": lambda run: run.size_peak,
    "calls in progress at most": lambda run: run.peak,
    "moves to another shard a caller": lambda run: run.moves,
    "Jain index over apps while all have work": lambda run: run.jain,
    "longest wait for a first call, s": lambda run: run.wait_max_s,
    "real time of the simulation, s": lambda run: run.took_s,
}


def tell(line: str) -> None:
    """Print a line of a table."""
    print(line)  # noqa: T201
