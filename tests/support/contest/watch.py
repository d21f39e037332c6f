"""What the upstream and the table see while a way of sharing is tried, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from random import Random

from tests.support.contest.cases import TABLE_MS, TABLE_SIGMA, Case
from tests.support.spans import jain


def now_s() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


class Upstream:
    """Counts calls in progress, and lets the n-th take as long as the n-th takes for everyone.

    Attributes:
        peak: The most calls at once.
        first_s: How long each caller waited for its first call, by number.
        ended_at_s: When the last call ended.
        ended_count: How many have.
    """

    def __init__(self, case: Case, seed: int) -> None:
        self.peak = 0
        self.first_s: dict[int, float] = {}
        self.ended_at_s = 0.0
        self.ended_count = 0
        self._case = case
        self._durations_s = iter(case.durations_s(seed))
        self._arrived_at_s: dict[int, float] = {}
        self._left = [case.tasks] * case.callers
        self._calling: Counter[int] = Counter()
        self._changed_at_s = 0.0
        self._shares: list[tuple[float, tuple[int, ...]]] = []

    def arrive(self, caller: int) -> None:
        """Note that a caller has come."""
        self._arrived_at_s[caller] = now_s()

    async def call(self, caller: int) -> None:
        """Take as long as a call takes."""
        with self._under_way(caller):
            await asyncio.sleep(next(self._durations_s))
        self.ended_at_s = now_s()
        self.ended_count += 1

    @contextmanager
    def _under_way(self, caller: int) -> Iterator[None]:
        self._note()
        self._calling[caller % self._case.apps] += 1
        self.peak = max(self.peak, self._calling.total())
        self.first_s.setdefault(caller, now_s() - self._arrived_at_s[caller])
        try:
            yield
        finally:
            self._note()
            self._left[caller] -= 1
            self._calling[caller % self._case.apps] -= 1

    def _note(self) -> None:
        """Remember for how long each app had how many calls, while all of them had more to do than that."""
        now = now_s()
        open_count: Counter[int] = Counter()
        for caller in self._arrived_at_s:
            open_count[caller % self._case.apps] += self._left[caller]
        calling = tuple(self._calling[app] for app in range(self._case.apps))
        if all(open_count[app] > calling[app] for app in range(self._case.apps)):
            self._shares.append((now - self._changed_at_s, calling))
        self._changed_at_s = now

    @property
    def waiting_count(self) -> int:
        """How many calls could begin now if there were slots."""
        return sum(self._left[caller] for caller in self._arrived_at_s) - self._calling.total()

    @property
    def jain(self) -> float:
        """Jain's index over the apps' slot time while all have work: 1 when all have the same."""
        used_s = [sum(span_s * calling[app] for span_s, calling in self._shares) for app in range(self._case.apps)]
        return jain(used_s) if any(used_s) else 1.0


class Line:
    """The way to a table: how long requests take, and how many there were.

    Attributes:
        reads, writes, conflicts: Requests, and those of the writes whose condition was not met.
        freed_at_s: Since when a slot is free that was given up while somebody waited.
        waits_s: How long such a slot was free until a call began on it.
    """

    def __init__(self, case: Case, seed: int) -> None:
        self.reads = 0
        self.writes = 0
        self.conflicts = 0
        self.freed_at_s: dict[int, float] = {}
        self.waits_s: list[float] = []
        self._chance = Random(f"table {case.name} {seed}")

    async def travel(self) -> None:
        """Take as long as half of a request and its reply."""
        await asyncio.sleep(self._chance.lognormvariate(log(TABLE_MS / 1_000), TABLE_SIGMA) / 2)

    def take(self, number: int) -> None:
        """Note that a call begins on a slot."""
        freed_at_s = self.freed_at_s.pop(number, None)
        if freed_at_s is not None:
            self.waits_s.append(now_s() - freed_at_s)
