"""How much time a batch has left."""

from __future__ import annotations

from volcengine_client.clock import Clock
from volcengine_client.limits import ANSWER_RESERVE_MS


class Deadline:
    """The end of a batch's time, less what leaving the pool and sending the answer take.

    Args:
        at_ms: On the clock's monotonic scale; None: there is none.
        clock: Tells the time.
    """

    def __init__(self, at_ms: int | None, *, clock: Clock) -> None:
        self._clock = clock
        self._end_at_ms = None if at_ms is None else at_ms - ANSWER_RESERVE_MS
        self._window_ms = self.left_ms() or 0

    def left_ms(self) -> int | None:
        """Return the time left, not below 0; None without a deadline."""
        return None if self._end_at_ms is None else max(0, self._end_at_ms - self._clock.monotonic_ms())

    def left_to_start_ms(self, call_time_ms: int) -> int | None:
        """Return for how long calls that take *call_time_ms* may still start: they must end before the end (I5).

        However long calls took lately, the first half of the time is open, or no call could show that it is over.
        """
        left_ms = self.left_ms()
        return None if left_ms is None else left_ms - min(call_time_ms, self._window_ms // 2)


def seconds(duration_ms: int | None) -> float | None:
    """Return a duration as asyncio wants it; None waits for ever."""
    return None if duration_ms is None else duration_ms / 1_000
