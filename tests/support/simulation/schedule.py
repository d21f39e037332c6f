"""Schedules: who takes part when, and what befalls them, all drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random

from tests.support.simulation.table import Weather
from tests.support.simulation.upstream import Mood, Turn
from tests.support.simulation.world import Freeze
from volcengine_client.limits import TEST_TIMES, PoolTimes
from volcengine_client.pool.slots import Limit

TIMES = (
    PoolTimes(upstream_call_max_ms=1_000, skew_ms=400, send_max_ms=200, renew_ms=600, lease_ms=3_500),
    PoolTimes(upstream_call_max_ms=2_000, skew_ms=1_000, send_max_ms=500, renew_ms=800, lease_ms=5_600),
    TEST_TIMES,
)


class Chaos(Enum):
    """What can befall the world."""

    FREEZE = auto()
    KILL = auto()
    CANCEL = auto()  # one batch
    WALL = auto()  # a wall clock is set
    OUTAGE = auto()  # of the table
    CUT = auto()  # of one machine's way to it
    FOREIGN = auto()  # somebody else uses the account


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One thing that befalls.

    Attributes:
        at_ms: When.
        kind: What.
        machine: Whom, by number.
        steps: How many callbacks later, so that it comes in the middle of something.
        duration_ms: How long it lasts.
        how: How a freeze is.
        amount: How far ahead a wall clock is set, milliseconds; how many calls others have; which batch.
    """

    at_ms: float
    kind: Chaos
    machine: int = 0
    steps: int = 0
    duration_ms: float = 0.0
    how: Freeze = Freeze.STOPPED
    amount: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """One machine: its clocks, and whether it is a function, which lives one invocation after another."""

    is_function: bool
    drift_ppm: float
    boot_ms: float
    wall_error_ms: float
    parked: Freeze
    weather: Weather
    pace_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """One batch: where, when, how large, and how it takes part."""

    name: str
    machine: int
    at_ms: float
    task_ids: tuple[str, ...]
    limit: Limit
    hold_max: int
    app: str
    weight: int
    is_background: bool
    deadline_ms: int | None
    answer_bytes_max: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole schedule.

    Attributes:
        seed: Whence it came.
        faults_end_ms: When all that is wrong becomes right.
        allowed: How many calls the upstream allows.
        queue_max: How many participants the pool takes.
        date_error_ms: How wrong the table's servers are, either way.
        pause_error_ms: How long a machine may have been suspended without anybody noticing.
    """

    seed: int
    times: PoolTimes
    resolution_ms: int
    date_error_ms: float
    pause_error_ms: float
    allowed: int
    queue_max: int
    mood: Mood
    faults_end_ms: float
    machines: tuple[MachinePlan, ...]
    batches: tuple[BatchPlan, ...]
    strikes: tuple[Strike, ...]


def plan_of(seed: int) -> Plan:
    """Draw a schedule: small, and each with some kinds of trouble only, so that every mixture comes up."""
    chance = Random(f"plan {seed}")
    times = chance.choices(TIMES, (8, 3, 1))[0]
    faults_end_ms = chance.uniform(2_000, 2.2 * times.lease_ms)
    versions = _versions(chance)
    date_error_ms = chance.choice((0.0, times.skew_ms / 4, times.skew_ms / 2))
    # All errors together are tolerated up to the skew, so either the one may be as large as this or the other.
    pause_error_ms = times.skew_ms / 2 if date_error_ms <= times.skew_ms / 4 else 0.0
    machines = tuple(_machine(chance, times) for _ in range(chance.randint(2, 5)))
    batches = tuple(_batches(chance, times, versions, machines, faults_end_ms))
    return Plan(
        seed=seed,
        times=times,
        resolution_ms=chance.choice((1_000, 1_000, 100)),
        date_error_ms=date_error_ms,
        pause_error_ms=pause_error_ms,
        allowed=max(limit.n for limit in versions),
        queue_max=chance.choice((200, 200, 200, 3)),
        mood=_mood(chance, times),
        faults_end_ms=faults_end_ms,
        machines=machines,
        batches=batches,
        strikes=tuple(_strikes(chance, times, machines, batches, faults_end_ms, pause_error_ms)),
    )


def contended_plan_of(seed: int) -> Plan:
    """Draw a schedule in which batches are long, slots change hands, and writes come just after their time-out."""
    plan = plan_of(seed)
    weather = Weather(spread=0.5, late=0.5, late_max_ms=250.0, unanswered=0.1)
    long = tuple(f"t{number}" for number in range(16))
    return replace(
        plan,
        queue_max=200,
        machines=tuple(replace(one, weather=weather, pace_ms=30) for one in plan.machines),
        batches=tuple(replace(one, task_ids=long, deadline_ms=None, answer_bytes_max=None) for one in plan.batches),
    )


def _sometimes(chance: Random, share: float, most: float) -> float:
    """Return 0 mostly, or anything up to *most*."""
    return chance.uniform(0, most) if chance.random() < share else 0.0


def _versions(chance: Random) -> tuple[Limit, ...]:
    """Return the account's limits, one after the other."""
    count = chance.choices((1, 2, 3), (4, 2, 1))[0]
    return tuple(Limit(chance.choices((1, 2, 3, 4), (3, 4, 2, 1))[0], version + 1) for version in range(count))


def _machine(chance: Random, times: PoolTimes) -> MachinePlan:
    weather = Weather(
        lag_ms=chance.choice((6.0, 6.0, 25.0, 80.0)),
        spread=chance.choice((0.3, 0.6, 1.2)),
        lost=_sometimes(chance, 0.3, 0.2),
        unanswered=_sometimes(chance, 0.4, 0.3),
        late=_sometimes(chance, 0.3, 0.2),
        late_max_ms=chance.choice((500.0, times.lease_ms * 0.9, 30_000.0)),
        repeated=_sometimes(chance, 0.3, 0.4),
        throttled=_sometimes(chance, 0.2, 0.4),
    )
    return MachinePlan(
        is_function=chance.random() < 0.4,
        drift_ppm=chance.choice((0.0, -490.0, 490.0)),
        boot_ms=chance.uniform(1_000, 10_000_000),
        wall_error_ms=chance.choice((0.0, 0.0, chance.uniform(-1e9, 1e9), chance.uniform(-5_000, 5_000))),
        parked=chance.choice(tuple(Freeze)),
        weather=weather,
        pace_ms=chance.choice((25, 60, 60, 100)),
    )


def _batches(
    chance: Random,
    times: PoolTimes,
    versions: tuple[Limit, ...],
    machines: tuple[MachinePlan, ...],
    faults_end_ms: float,
) -> list[BatchPlan]:
    turns_ms = sorted(chance.uniform(0, faults_end_ms) for _ in versions[1:])
    has_versions = chance.random() < 0.8
    has_apps = chance.random() < 0.4
    batches = []
    for number in range(chance.randint(len(machines), len(machines) + 3)):
        machine = number if number < len(machines) else chance.randrange(len(machines))
        at_ms = chance.choice((0.0, chance.uniform(0, 300), chance.uniform(0, faults_end_ms)))
        newest = sum(turn_ms <= at_ms for turn_ms in turns_ms)
        limit = versions[max(0, newest - (chance.random() < 0.2))]
        if not has_versions:
            limit = Limit(chance.choice(versions).n, 0)
        count = chance.choices((1, 2, 3, 5, 8), (3, 3, 3, 2, 1))[0]
        batches.append(
            BatchPlan(
                name=f"b{number}",
                machine=machine,
                at_ms=at_ms,
                task_ids=tuple(_task_ids(chance, count)),
                limit=limit,
                hold_max=chance.choice((limit.n, limit.n, chance.randint(1, limit.n))),
                app=chance.choice("xy") if has_apps else "x",
                weight=chance.choice((1, 1, 3)) if has_apps else 1,
                is_background=has_apps and chance.random() < 0.2,
                deadline_ms=chance.choice((None, None, int(chance.uniform(600, 4 * times.lease_ms)))),
                answer_bytes_max=chance.choice((None, None, None, chance.randint(10_000, 200_000))),
            )
        )
    return batches


def _task_ids(chance: Random, count: int) -> list[str]:
    how = chance.randrange(3)
    return [
        "same" if how == 0 else f"t{(number * 7 + 3) % 11}" if how == 1 else f"t{number}" for number in range(count)
    ]


def _mood(chance: Random, times: PoolTimes) -> Mood:
    turns = (Turn.BREAK, Turn.REFUSE, Turn.CUT, Turn.HANG, Turn.UNREACHABLE)
    return Mood(
        call_ms=chance.choice((60.0, 200.0, times.upstream_call_max_ms / 3)),
        chances=tuple((turn, share) for turn in turns if (share := _sometimes(chance, 0.25, 0.25))),
        slow=_sometimes(chance, 0.4, 0.6),
        send=_sometimes(chance, 0.4, 0.8),
        lag_ms=chance.choice((0.0, 0.0, 0.0, 80.0)),
    )


def _strikes(
    chance: Random,
    times: PoolTimes,
    machines: tuple[MachinePlan, ...],
    batches: tuple[BatchPlan, ...],
    faults_end_ms: float,
    pause_error_ms: float,
) -> list[Strike]:
    likely = {
        Chaos.FREEZE: (0.4, 3),
        Chaos.KILL: (0.35, 2),
        Chaos.CANCEL: (0.25, 2),
        Chaos.WALL: (0.2, 3),
        Chaos.OUTAGE: (0.12, 2),
        Chaos.CUT: (0.25, 2),
        Chaos.FOREIGN: (0.08, 1),
    }
    strikes = []
    for kind, (share, most) in likely.items():
        for _ in range(chance.randint(1, most) if chance.random() < share else 0):
            short_ms, long_ms = chance.uniform(50, 1_500), chance.uniform(500, 1.6 * times.lease_ms)
            how = chance.choice((Freeze.STOPPED, Freeze.SUSPENDED))
            duration_ms = chance.choice((short_ms, long_ms, times.lease_ms + times.skew_ms))
            if how is Freeze.SUSPENDED and kind is Chaos.FREEZE and not pause_error_ms:
                duration_ms = max(duration_ms, times.skew_ms * 0.7)
            strikes.append(
                Strike(
                    at_ms=chance.uniform(0, faults_end_ms),
                    kind=kind,
                    machine=chance.randrange(len(machines)),
                    steps=chance.choice((0, chance.randint(1, 40))),
                    duration_ms=duration_ms,
                    how=how,
                    amount=_amount(chance, kind, len(batches)),
                )
            )
    if pause_error_ms and chance.random() < 0.1:
        strikes += _short_pauses(chance, times, len(machines), faults_end_ms)
    return sorted(strikes, key=lambda strike: strike.at_ms)


def _short_pauses(chance: Random, times: PoolTimes, machine_count: int, faults_end_ms: float) -> list[Strike]:
    """Return many suspensions of one machine, each too short to be noticed."""
    machine = chance.randrange(machine_count)
    return [
        Strike(
            at_ms=chance.uniform(0, faults_end_ms),
            kind=Chaos.FREEZE,
            machine=machine,
            steps=chance.randint(0, 20),
            duration_ms=chance.uniform(0.05, 0.45) * times.skew_ms,
            how=Freeze.SUSPENDED,
        )
        for _ in range(chance.randint(2, 12))
    ]


def _amount(chance: Random, kind: Chaos, batch_count: int) -> int:
    if kind is Chaos.WALL:
        return round(chance.choice((chance.uniform(-1e9, 1e9), chance.uniform(-3_000, 3_000))))
    return chance.randrange(batch_count) if kind is Chaos.CANCEL else chance.randint(1, 2)
