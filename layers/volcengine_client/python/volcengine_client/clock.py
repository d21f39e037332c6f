"""Time: the only reader of it, and what can be known of the table's clock."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from volcengine_client.limits import CLOCK_DRIFT_PPM


class Clock(Protocol):
    """What the asynchronous rooms know of time; a test brings its own."""

    def monotonic_ms(self) -> int:
        """Return milliseconds since some fixed moment; never goes back."""
        ...

    def wall_ms(self) -> int:
        """Return the host's idea of Unix time in milliseconds; may be wrong."""
        ...

    async def sleep(self, duration_ms: int) -> None:
        """Wait; at least *duration_ms*, any longer when the process is paused."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1_000)


@dataclass(frozen=True, slots=True)
class TableTime:
    """What is known of the table's clock: an interval around our monotonic one.

    The table's time at our monotonic instant *m* lies between `m + lo` and `m + hi`, widened by the drift that two
    clocks may have gathered since `at_ms`.
    """

    lo_ms: int
    hi_ms: int
    at_ms: int

    @classmethod
    def sample(cls, *, date_ms: int, resolution_ms: int, sent_at_ms: int, received_at_ms: int) -> TableTime:
        """Bound the table's clock by one reply.

        Args:
            date_ms: The time the reply says, Unix milliseconds, cut to the resolution.
            resolution_ms: 1,000 for an HTTP `Date` header.
            sent_at_ms: Monotonic time before the request left.
            received_at_ms: Monotonic time after the reply came.
        """
        assert sent_at_ms <= received_at_ms
        return cls(lo_ms=date_ms - received_at_ms, hi_ms=date_ms + resolution_ms - sent_at_ms, at_ms=received_at_ms)

    def now_lo_ms(self, monotonic_ms: int) -> int:
        """Return the earliest that the table's clock can show now."""
        return monotonic_ms + self.lo_ms - self._drift_ms(monotonic_ms)

    def now_hi_ms(self, monotonic_ms: int) -> int:
        """Return the latest that the table's clock can show now."""
        return monotonic_ms + self.hi_ms + self._drift_ms(monotonic_ms)

    def narrowed(self, sample: TableTime) -> TableTime:
        """Return what both say; only *sample* when they contradict, since then one clock has jumped."""
        drift_ms = self._drift_ms(sample.at_ms)
        lo_ms = max(self.lo_ms - drift_ms, sample.lo_ms)
        hi_ms = min(self.hi_ms + drift_ms, sample.hi_ms)
        return TableTime(lo_ms, hi_ms, sample.at_ms) if lo_ms <= hi_ms else sample

    def _drift_ms(self, monotonic_ms: int) -> int:
        age_ms = max(0, monotonic_ms - self.at_ms)
        return -(-age_ms * CLOCK_DRIFT_PPM // 1_000_000)
