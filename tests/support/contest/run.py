"""Loads under ways of sharing an account, played in virtual time over all cores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from statistics import median

import looptime

from tests.support.contest.cases import CASES, Case
from tests.support.contest.watch import Line, Upstream
from tests.support.contest.ways import WAYS

IDEAL = "one process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of a run, or the medians of several.

    Attributes:
        throughput: Over that of one process with a semaphore, the same arrivals and durations.
        seconds: From the first caller's coming to the last call's end.
        peak: The most calls at once.
        writes, reads: Requests to the table a call.
        conflicts: Share of the writes whose condition was not met.
        first_s: The longest that a caller waited for its first call.
        jain: Over the apps' slot time while all have work.
        wait_50_ms, wait_95_ms: From a slot given up, as the table sees it, to the next call on it: half, and 95 of a
            hundred, take no longer.
    """

    throughput: float
    seconds: float
    peak: float
    writes: float
    reads: float
    conflicts: float
    first_s: float
    jain: float
    wait_50_ms: float
    wait_95_ms: float


def play(case: Case, way: str, seed: int) -> Figures:
    """Play a load to its end.

    Raises:
        AssertionError: More calls at once than the limit allows, or one was lost.
    """
    ideal_s = _watched(case, IDEAL, seed)[0].ended_at_s
    upstream, line = _watched(case, way, seed)
    assert upstream.peak <= case.limit
    assert upstream.ended_count == case.call_count
    waits_ms = sorted(wait_s * 1_000 for wait_s in line.waits_s) or [0.0]
    return Figures(
        throughput=ideal_s / upstream.ended_at_s,
        seconds=upstream.ended_at_s,
        peak=upstream.peak,
        writes=line.writes / case.call_count,
        reads=line.reads / case.call_count,
        conflicts=line.conflicts / max(1, line.writes),
        first_s=max(upstream.first_s.values()),
        jain=upstream.jain,
        wait_50_ms=waits_ms[len(waits_ms) // 2],
        wait_95_ms=waits_ms[len(waits_ms) * 95 // 100],
    )


def _watched(case: Case, way: str, seed: int) -> tuple[Upstream, Line]:
    random.seed(f"{case.name} {way} {seed}")
    upstream, line = Upstream(case, seed), Line(case, seed)

    async def come(batch: Callable[[int], Awaitable[None]], caller: int, arrival_s: float) -> None:
        await asyncio.sleep(arrival_s)
        upstream.arrive(caller)
        await batch(caller)

    async def all_come() -> None:
        batch = WAYS[way](case, seed, upstream, line)
        await asyncio.gather(*(come(batch, caller, at_s) for caller, at_s in enumerate(case.arrivals_s(seed))))

    loop = looptime.new_event_loop(noop_cycles=0)
    try:
        loop.run_until_complete(all_come())
    finally:
        loop.close()
    return upstream, line


def play_all(way: str, cases: Sequence[Case] = CASES, *, seed_count_max: int | None = None) -> list[Figures]:
    """Return the medians over its seeds for each case, played on every core."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        runs = [
            [
                pool.submit(play, case, way, seed)
                for seed in range(min(case.seed_count, seed_count_max or case.seed_count))
            ]
            for case in cases
        ]
        return [medians([run.result() for run in row]) for row in runs]


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure, but the highest peak."""
    middle = {one.name: median(getattr(run, one.name) for run in runs) for one in fields(Figures)}
    return Figures(**middle | {"peak": max(run.peak for run in runs)})
