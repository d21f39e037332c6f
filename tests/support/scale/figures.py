"""What a run with thousands of callers came to."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.scale.costs import dollars
from tests.support.scale.crowd import Case, Scene, played
from tests.support.spans import Span, all_busy_until_ms, busy_ms, first_ms, jain

MOST = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The run in numbers; a call is one of the upstream's.

    Attributes:
        ratio: Throughput beside one semaphore's, until the last call is over.
        ratio_of_most: The same until 99 % of the calls are, so that one long call at the end does not decide.
        writes: Writes a call, refused conditions included.
        reads: Reads a call.
        write_units: A call.
        read_units: A call.
        conflicts: Of the writes, the part whose condition was refused.
        throttles: Requests a call for which an item had no units left.
        write_peak: Units in the busiest second of the busiest item.
        read_peak: The same.
        size_peak: Bytes of the largest item.
        moves: Changes of shard a caller.
        jain: Of apps, over their use of slots while all have work.
        wait_max_s: The longest that a caller waited for its first call.
        waits_s: The median of it by app.
        peak: Calls in progress at once.
        took_s: Real time.
    """

    ratio: float
    ratio_of_most: float
    writes: float
    reads: float
    write_units: float
    read_units: float
    conflicts: float
    throttles: float
    write_peak: int
    read_peak: int
    size_peak: int
    moves: float
    jain: float
    wait_max_s: float
    waits_s: Mapping[str, float]
    peak: int
    took_s: float

    @property
    def dollars(self) -> float:
        """What the table costs for a million calls."""
        return dollars(write_units=self.write_units, read_units=self.read_units)

    @classmethod
    def of(cls, scene: Scene) -> Figures:
        """Count what there is to count."""
        table, spans, callers = scene.table, scene.upstream.spans, scene.callers
        meters = list(table.meters.values())
        waits_s = _waits_s(scene)
        by_app: defaultdict[str, list[float]] = defaultdict(list)
        for caller in callers:
            by_app[caller.app].append(waits_s[caller.name])
        return cls(
            ratio=scene.ideal.ended_ms() / scene.upstream.ended_ms(),
            ratio_of_most=scene.ideal.ended_ms(MOST) / scene.upstream.ended_ms(MOST),
            writes=table.write_count / len(spans),
            reads=table.read_count / len(spans),
            write_units=sum(meter.writes.total() for meter in meters) / len(spans),
            read_units=sum(meter.reads.total() for meter in meters) / len(spans),
            conflicts=table.conflict_count / table.write_count,
            throttles=table.throttle_count / len(spans),
            write_peak=max(max(meter.writes.values()) for meter in meters),
            read_peak=max(max(meter.reads.values()) for meter in meters),
            size_peak=max(meter.size_peak_bytes for meter in meters),
            moves=sum(member.move_count for member in scene.members) / len(callers),
            jain=_jain(spans),
            wait_max_s=max(waits_s.values()),
            waits_s={app: statistics.median(waits) for app, waits in sorted(by_app.items())},
            peak=scene.upstream.peak,
            took_s=scene.took_s,
        )


def simulate(case: Case, seed: int) -> Figures:
    """Play a case, and count."""
    return Figures.of(played(case, seed))


def _waits_s(scene: Scene) -> dict[str, float]:
    """Return how long each caller waited for its first call."""
    began_ms = first_ms(scene.upstream.spans)
    return {caller.name: (began_ms[caller.name] - caller.at_ms) / 1_000 for caller in scene.callers}


def _jain(spans: Sequence[Span]) -> float:
    """Return Jain's index over apps of slot time, until the first of them has nothing left to begin."""
    return jain(list(busy_ms(spans, until_ms=all_busy_until_ms(spans)).values()))
