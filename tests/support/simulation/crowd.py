"""Many schedules over all cores, and what became of them in sum."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.support.simulation.mutants import MUTANTS
from tests.support.simulation.run import run
from tests.support.simulation.schedule import Plan, plan_of

TOLD_MAX = 10  # breaches that are told one by one
CHUNK = 50  # schedules that a process plays before it reports


@dataclass
class Tally:
    """What many schedules came to.

    Attributes:
        breached: The first breach by seed.
        befell: How often each thing befell.
    """

    schedule_count: int = 0
    call_count: int = 0
    virtual_ms: float = 0.0
    breached: dict[int, str] = field(default_factory=dict)
    befell: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count another's too."""
        self.schedule_count += other.schedule_count
        self.call_count += other.call_count
        self.virtual_ms += other.virtual_ms
        self.breached |= other.breached
        self.befell += other.befell

    def __str__(self) -> str:
        return (
            f"{self.schedule_count} schedules, {self.virtual_ms / 3_600_000:.1f} h of virtual time, "
            f"{self.call_count} calls, {len(self.breached)} with a breach"
        )

    def told(self) -> str:
        """Return each breach, and how to see its story."""
        return "\n".join(
            f"{law}\n    the story: .venv/bin/python -m tests.support.simulation {seed}"
            for seed, law in sorted(self.breached.items())[:TOLD_MAX]
        )


def play(
    seeds: Sequence[int],
    mutant: str | None = None,
    *,
    has_proof: bool = True,
    sought: str | None = None,
    drawn: Callable[[int], Plan] = plan_of,
) -> Tally:
    """Play schedules one after the other, to the end or until a breach of the law that is *sought*."""
    tally = Tally()
    for seed in seeds:
        outcome = run(drawn(seed), MUTANTS[mutant]() if mutant else None, has_proof=has_proof)
        tally.schedule_count += 1
        tally.call_count += outcome.call_count
        tally.virtual_ms += outcome.virtual_ms
        tally.befell += outcome.befell
        if outcome.breaches:
            tally.breached[seed] = outcome.breaches[0]
        if sought is not None and any(law.startswith(sought) for law in outcome.breaches):
            break
    return tally


def play_over_cores(first_seed: int, count: int | None, *, until_s: float = float("inf")) -> Iterator[Tally]:
    """Play schedules on every core; yields each chunk's tally as it comes.

    Args:
        first_seed: The others follow.
        count: How many; None: until the time is over.
        until_s: On the monotonic clock of `time`.
    """
    cores = os.cpu_count() or 1
    starts = iter(range(first_seed, first_seed + count if count is not None else 1 << 60, CHUNK))
    last = None if count is None else first_seed + count
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        running: set[Future[Tally]] = set()
        while True:
            while len(running) < 2 * cores and time.monotonic() < until_s:
                start = next(starts, None)
                if start is None:
                    break
                end = start + CHUNK if last is None else min(last, start + CHUNK)
                running.add(pool.submit(play, range(start, end)))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
