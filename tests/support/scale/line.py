"""The line before a shard: numbered tickets by app, so that an item holds those alone who are soon served. Pure.

A line decides who joins a pool, never who gets a slot: whatever goes wrong with it, a call is never over the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

LINE_BYTES = 60  # of its item, without apps
LINE_APP_BYTES = 30  # an app: its name and two counters


@dataclass(frozen=True, slots=True)
class Line:
    """Tickets drawn and called, by app; a ticket is called when its number is no higher than `called`.

    Attributes:
        drawn: The last number drawn.
        called: The last number called.
        called_at_ms: When the last were called, on the table's clock.
    """

    drawn: Mapping[str, int] = field(default_factory=dict)
    called: Mapping[str, int] = field(default_factory=dict)
    called_at_ms: int = 0

    @property
    def size_bytes(self) -> int:
        """Of its item."""
        return LINE_BYTES + LINE_APP_BYTES * len(self.drawn)

    @property
    def length(self) -> int:
        """How many tickets wait, those included whose owners are gone."""
        return sum(self.drawn.values()) - sum(self.called.values())

    def waiting(self, app: str) -> int:
        """Return how many tickets of an app wait."""
        return self.drawn.get(app, 0) - self.called.get(app, 0)

    def place(self, app: str, ticket: int) -> int:
        """Return when a ticket's turn comes, apps taking turns: 1 is next; 0 or less has been called."""
        rank = ticket - self.called.get(app, 0)
        if rank <= 0:
            return rank
        return sum(min(rank, self.waiting(other)) for other in self.drawn)

    def with_ticket(self, app: str) -> Line:
        """Return the line after one more ticket was drawn."""
        return Line({**self.drawn, app: self.drawn.get(app, 0) + 1}, self.called, self.called_at_ms)

    def with_called(self, count: int, now_ms: int, *, present: Mapping[str, int]) -> Line:
        """Return the line after the next were called: always of the app with the fewest that wait in the pool.

        Args:
            count: How many are called.
            now_ms: On the table's clock.
            present: Waiters in the pool by app.
        """
        called, inside = Counter(self.called), Counter(present)
        for _ in range(min(count, self.length)):
            app = min((app for app in self.drawn if called[app] < self.drawn[app]), key=lambda app: (inside[app], app))
            called[app] += 1
            inside[app] += 1
        return Line(self.drawn, dict(called), now_ms)
