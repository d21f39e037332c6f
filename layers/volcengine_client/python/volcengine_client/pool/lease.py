"""The right to make one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volcengine_client.pool.holder import Holder


class Lease:
    """The right to make one call, on one slot; also what the call tells of itself.

    Between `ready` and `answered` the call's end is in doubt: when it is released then, its slot goes into drain.
    """

    def __init__(self, holder: Holder, number: int) -> None:
        self.number = number
        self.send_max_ms = holder.pool.times.send_max_ms
        self._holder = holder
        self._began_at_ms: int | None = None
        self._is_answered = False

    def ready(self) -> None:
        """Check the lease, as the last thing before the request's first byte leaves (I1).

        Raises:
            LeaseLostError: The call may not start; nothing was sent.
        """
        self._holder.check(self.number)
        self._began_at_ms = self._holder.pool.clock.monotonic_ms()

    def sent(self) -> None:
        """Note that the request is on the wire."""

    def answered(self) -> None:
        """Note that the upstream has answered: it no longer counts the call."""
        self._is_answered = True

    def ended(self, *, is_refused: bool = False, is_spoken: bool = False) -> None:
        """Note what came of the call: refused for concurrency, failed otherwise, or audio."""
        if self._began_at_ms is not None:
            duration_ms = self._holder.pool.clock.monotonic_ms() - self._began_at_ms
            self._holder.pool.note_call(
                self.number, duration_ms=duration_ms, is_refused=is_refused, is_spoken=is_spoken
            )

    @property
    def in_doubt_since_ms(self) -> int | None:
        """When the call began whose end is unknown; None when there is none."""
        return None if self._is_answered else self._began_at_ms
