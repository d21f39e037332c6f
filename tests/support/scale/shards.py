"""One account cut into shards: where a batch joins, how it waits in line, and when it goes elsewhere.

Each shard is an ordinary pool with an item and a part of the limit of its own, so the sum of the shards never exceeds
the account's limit (I1), whatever this layer does. It moves participants, never slots. Before each pool there is a
line (`line.py`), so that the pool's item holds those alone who have a slot or will soon have one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from volcengine_client.pool.slots import PoolState


@dataclass(frozen=True, slots=True)
class Shards:
    """How an account's limit is cut.

    Attributes:
        name: The account's pool.
        limit: The account's.
        count: How many shards.
        has_lines: Whether those who wait for long wait in a line; otherwise everyone is in the pool's item.
    """

    name: str
    limit: int
    count: int
    has_lines: bool = True

    def __post_init__(self) -> None:
        """Every shard has a slot, and together they have the account's (I1)."""
        assert 1 <= self.count <= self.limit
        assert sum(map(self.slots, range(self.count))) == self.limit

    def pool_name(self, shard: int) -> str:
        return f"{self.name}#{shard}"

    def line_name(self, shard: int) -> str:
        return f"{self.name}#{shard}/line"

    def slots(self, shard: int) -> int:
        """Return the shard's part of the limit."""
        return self.limit // self.count + (shard < self.limit % self.count)

    def waiters_low(self, shard: int) -> int:
        """Return below how many waiters in the pool's item the next are called from the line."""
        return self.slots(shard)

    def waiters_high(self, shard: int) -> int:
        """Return up to how many waiters are called or come in without a ticket."""
        return self.slots(shard) * 3 // 2


def work_of(state: PoolState | None) -> int:
    """Return how many tasks a shard has before it is free.

    A slot that is shut, or whose holder is gone from the queue, counts as a task: nobody can take it yet.
    """
    if state is None:
        return 0
    orphan_count = sum(slot.holder_id not in state.queue for slot in state.slots.values())
    return orphan_count + sum(one.want for one in state.queue.values())


def waiters(state: PoolState | None) -> Counter[str]:
    """Return how many of each app are in the item and have no slot."""
    if state is None:
        return Counter()
    holding = {slot.holder_id for slot in state.slots.values()}
    return Counter(one.app for holder_id, one in state.queue.items() if holder_id not in holding)
