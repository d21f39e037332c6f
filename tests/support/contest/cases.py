"""The loads under which ways of sharing an account are compared, and what is hoped for."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from random import Random

SIGMA = 0.25  # of the calls' log-normal durations
TABLE_MS, TABLE_SIGMA = 6.0, 0.4  # a request to the table and its reply: median, and log-normal spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is hoped for; None: nothing."""

    throughput: float | None = None
    writes: float | None = None
    reads: float | None = None
    first_s: float | None = None
    jain: float | None = None
    conflicts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A load.

    Attributes:
        name: What it is called in tables.
        callers: Processes, each with one batch.
        tasks: Tasks a batch.
        call_s: How long a call takes on average.
        limit: Calls that the account allows at once.
        apps: Applications, each with as many callers.
        arrive_s: Within which time the callers come, evenly spread.
        seed_count: Over how many runs the median is taken: more where a single late call says much.
        goal: What is hoped for.
    """

    name: str
    callers: int
    tasks: int
    call_s: float
    limit: int
    apps: int = 1
    arrive_s: float = 0.05
    seed_count: int = 5
    goal: Goal = field(default_factory=Goal)

    @property
    def call_count(self) -> int:
        """How many calls there are in all."""
        return self.callers * self.tasks

    def arrivals_s(self, seed: int) -> list[float]:
        """Return when each caller comes, the same for every way of sharing."""
        chance = Random(f"arrivals {self.name} {seed}")
        return [chance.uniform(0, self.arrive_s) for _ in range(self.callers)]

    def durations_s(self, seed: int) -> list[float]:
        """Return how long the first, second … call takes that the upstream sees, the same for every way of sharing."""
        chance = Random(f"durations {self.name} {seed}")
        mean = log(self.call_s) - SIGMA**2 / 2
        return [chance.lognormvariate(mean, SIGMA) for _ in range(self.call_count)]


CASES = (
    Case(
        name="10 callers x 20 tasks of 1.2 s, limit 10",
        callers=10,
        tasks=20,
        call_s=1.2,
        limit=10,
        seed_count=15,
        goal=Goal(throughput=0.995, writes=0.4, reads=3, first_s=2.5),
    ),
    Case(
        name="1 caller x 200 tasks of 1.2 s, limit 10",
        callers=1,
        tasks=200,
        call_s=1.2,
        limit=10,
        seed_count=15,
        goal=Goal(throughput=0.998, writes=0.03, reads=0.3),
    ),
    Case(
        name="30 callers x 20 tasks of 1.2 s in 5 apps, limit 10",
        callers=30,
        tasks=20,
        call_s=1.2,
        limit=10,
        apps=5,
        goal=Goal(throughput=0.99, writes=0.7, reads=12, first_s=15, jain=0.98),
    ),
    Case(
        name="100 callers x 10 tasks of 1.2 s, limit 50",
        callers=100,
        tasks=10,
        call_s=1.2,
        limit=50,
        goal=Goal(throughput=0.985, writes=0.8, reads=8, conflicts=0.04),
    ),
    Case(
        name="10 callers x 20 tasks of 1.2 s, limit 2",
        callers=10,
        tasks=20,
        call_s=1.2,
        limit=2,
        seed_count=15,
        goal=Goal(throughput=0.995, writes=0.9, reads=30),
    ),
    Case(
        name="20 callers x 1 task of 0.6 s, limit 10",
        callers=20,
        tasks=1,
        call_s=0.6,
        limit=10,
        seed_count=15,
        goal=Goal(throughput=0.98, writes=3, reads=6),
    ),
    Case(
        name="10 callers x 100 tasks of 0.2 s, limit 10",
        callers=10,
        tasks=100,
        call_s=0.2,
        limit=10,
        seed_count=15,
        goal=Goal(throughput=0.98, writes=0.1, reads=0.6),
    ),
    Case(
        name="300 callers x 2 tasks of 1.2 s over 55 s, limit 10",
        callers=300,
        tasks=2,
        call_s=1.2,
        limit=10,
        arrive_s=55,
        goal=Goal(throughput=0.985, writes=2.3, reads=20),
    ),
)
