"""The port to the table that keeps the pools, and the law that every table obeys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from volcengine_client.clock import TableTime
from volcengine_client.pool.slots import PoolState


@dataclass(frozen=True, slots=True)
class Reply:
    """What a table said.

    Attributes:
        state: The pool as it stands after the request; None when the item does not exist.
        time: What the reply tells of the table's clock.
        is_applied: Whether the request wrote; False for a read.
    """

    state: PoolState | None
    time: TableTime
    is_applied: bool = False


class PoolTable(Protocol):
    """A table of pools. One request of a participant at a time; no request blocks the event loop.

    Attributes:
        pace_ms: The shortest sensible time between two reads of one waiter.

    A request may take effect though its reply is lost, and later than its time-out. `PoolTableError` therefore
    always means: it may have happened, or may still.
    """

    pace_ms: int

    async def read(self, pool: str) -> Reply:
        """Return the pool as it is now: strongly consistent.

        Raises:
            PoolTableError: No answer in time.
        """
        ...

    async def create(self, pool: str, state: PoolState) -> Reply:
        """Make the item as *state* with `rev` 1 if it does not exist; the reply says what is there now.

        Raises:
            PoolTableError: No answer in time. The item may have been made.
        """
        ...

    async def write(self, pool: str, before: PoolState, after: PoolState) -> Reply:
        """Turn *before* into *after*, or say that it was no longer so.

        Only entries that differ are compared and written, so writers of different slots do not disturb each other.
        All of it happens at once or not at all (I1). A write that takes a slot also compares limit and cap. Applied
        or not, the reply holds the state as it is then, and a write that was applied raised `rev` by one.

        Raises:
            PoolTableError: No answer in time. The write may have happened, or may still.
        """
        ...

    async def names(self) -> list[str]:
        """Return the names of all pools in the table, sorted.

        Raises:
            PoolTableError: No answer in time.
        """
        ...
