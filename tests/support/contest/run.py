"""A load under a way of sharing, played in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median

import looptime

from tests.support.contest.cases import CASES, Case
from tests.support.contest.watch import Line, Upstream
from tests.support.contest.ways import WAYS


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a run, or the medians of several.

    Attributes:
        seconds: From the first caller's coming to the last call's end.
        peak: The most calls at once.
        writes, reads: Requests to the table a call.
        conflicts: Writes whose condition was not met, of all writes.
        first_s: The longest that a caller waited for its first call.
        jain: Over the apps' slot time while all have work.
        wait_ms: From a slot given up, as the table sees it, to the next call on it: 50th and 95th of a hundred.
    """

    seconds: float
    peak: int
    writes: float
    reads: float
    conflicts: float
    first_s: float
    jain: float
    wait_ms: tuple[float, float]


def play(case: Case, way: str, seed: int) -> Figures:
    """Play a load to its end."""
    random.seed(f"{case.name} {way} {seed}")
    with looptime.new_event_loop(noop_cycles=0) as loop:
        return loop.run_until_complete(_played(case, way, seed))
