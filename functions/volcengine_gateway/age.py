"""How old a remembered thing is, by two clocks."""

from __future__ import annotations

from dataclasses import dataclass

from volcengine_client.clock import Clock


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was learned.

    By two clocks, since the monotonic one stands still while Lambda freezes the process, and the other may jump.
    """

    monotonic_ms: int
    wall_ms: int

    @classmethod
    def now(cls, clock: Clock) -> Moment:
        """Return the present moment."""
        return cls(clock.monotonic_ms(), clock.wall_ms())

    def is_within(self, age_max_ms: int, clock: Clock) -> bool:
        """Tell whether it is less than *age_max_ms* ago by both clocks."""
        now = Moment.now(clock)
        return all(
            0 <= age_ms < age_max_ms for age_ms in (now.monotonic_ms - self.monotonic_ms, now.wall_ms - self.wall_ms)
        )
