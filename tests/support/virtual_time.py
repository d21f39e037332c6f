"""Time that passes only when everything waits, and clocks that can be wrong, frozen or set."""

from __future__ import annotations

import asyncio

import looptime
import pytest

END_S = 3_600  # a test that still waits after an hour of virtual time is dead
IN_VIRTUAL_TIME = pytest.mark.looptime(noop_cycles=0, end=END_S)

EPOCH_MS = 1_800_000_000_000  # where true time begins, Unix milliseconds
BOOT_MS = 1_000_000  # where monotonic clocks begin


class TrueTime:
    """What a perfect clock shows: the event loop's virtual time, and the time in which its machine was suspended."""

    def __init__(self) -> None:
        self._suspended_ms = 0

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return EPOCH_MS + self._suspended_ms + round(asyncio.get_running_loop().time() * 1_000)

    def pause(self, duration_ms: int) -> None:
        """Let time pass in which no task of this event loop runs; what was to happen meanwhile happens at its end."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, looptime.LoopTimeEventLoop)
        loop.setup_looptime(start=loop.time() + duration_ms / 1_000, noop_cycles=0, end=END_S)

    def suspend(self, duration_ms: int) -> None:
        """Let time pass that this event loop never learns of."""
        self._suspended_ms += duration_ms


class VirtualClock:
    """A machine's clocks: right at first, but for an error of the wall clock and a drift of the monotonic one.

    Args:
        truth: The time that they show.
        wall_error_ms: How far the wall clock is ahead.
        drift_ppm: How much too fast the monotonic clock runs.
    """

    def __init__(self, truth: TrueTime | None = None, *, wall_error_ms: int = 0, drift_ppm: int = 0) -> None:
        self.truth = truth or TrueTime()
        self._wall_error_ms = wall_error_ms
        self._drift_ppm = drift_ppm
        self._suspended_ms = 0

    def monotonic_ms(self) -> int:
        passed_ms = self.truth.now_ms() - EPOCH_MS - self._suspended_ms
        return BOOT_MS + passed_ms + passed_ms * self._drift_ppm // 1_000_000

    def wall_ms(self) -> int:
        return self.truth.now_ms() + self._wall_error_ms

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1_000)

    def pause(self, duration_ms: int) -> None:
        """Stop the process, as SIGSTOP does: all clocks go on, no task runs."""
        self.truth.pause(duration_ms)

    def suspend(self, duration_ms: int) -> None:
        """Stop the machine: its monotonic clock stands still, its wall clock is right again afterwards."""
        self.truth.suspend(duration_ms)
        self._suspended_ms += duration_ms

    def set_wall(self, *, ahead_ms: int) -> None:
        """Set the wall clock, as a person or a time service does."""
        self._wall_error_ms = ahead_ms
