"""The port between a call and whoever must know where it stands."""

from __future__ import annotations

from typing import Protocol


class Call(Protocol):
    """What a call tells of itself while it is under way.

    The order is `ready`, `sent`, `answered`, each at most once; but an upstream that refuses a request which is still
    being written answers before it was sent. A call may end, in failure or by cancellation, after any of them; one that
    was sent and not answered ended in doubt: the upstream may still be at work on it.
    """

    @property
    def send_max_ms(self) -> int:
        """How long after `ready` the request may take to leave; it is aborted after that."""
        ...

    def ready(self) -> None:
        """Say that the connection is ready and that no byte was sent; the first byte leaves when this returns.

        Raises:
            LeaseLostError: The call may not start any more. Then nothing is sent.
        """
        ...

    def sent(self) -> None:
        """Say that the whole request was written to the socket, or may have been when the call was cancelled."""
        ...

    def answered(self) -> None:
        """Say that an answer began that ends the upstream's work on this call."""
        ...
