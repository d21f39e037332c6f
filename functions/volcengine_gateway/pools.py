"""What this process knows of the pools."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from volcengine_client.clock import Clock
from volcengine_client.limits import PoolTimes
from volcengine_client.pool.holder import Pool, Terms
from volcengine_client.pool.slots import Limit
from volcengine_client.pool.table import PoolTable
from volcengine_client.products import Counter

POOLS_KEPT_MAX = 256  # pools whose state this process remembers


class Pools:
    """The pools that this process has used, the least recently used ones forgotten: the table knows them.

    Args:
        table: Where they are.
        times: By which everyone in them lives.
        clock: Of this process.
    """

    def __init__(self, table: PoolTable, *, times: PoolTimes, clock: Clock) -> None:
        self._table = table
        self._times = times
        self._clock = clock
        self._known: OrderedDict[str, Pool] = OrderedDict()

    def begin_invocation(self) -> None:
        """Trust no clock from before: the process may have been frozen."""
        for pool in self._known.values():
            pool.begin_invocation()

    def of(self, name: str, *, kept_ms: int | None = None) -> Pool:
        """Return a pool to take part in; *kept_ms*: for how long after its last use the table keeps it, None: ever."""
        pool = self._known.get(name)
        if pool is None:
            pool = Pool(name, table=self._table, times=self._times, clock=self._clock, kept_ms=kept_ms)
            self._known[name] = pool
        self._known.move_to_end(name)
        while len(self._known) > POOLS_KEPT_MAX:
            self._known.popitem(last=False)
        return pool

    def counters(
        self, name: str, terms: Terms, *, products: Mapping[str, Limit], wish: int | None, kept_ms: int | None = None
    ) -> dict[str, Counter]:
        """Return where an account's calls are counted: its pool, and one for each product with a limit of its own.

        Args:
            name: Of the account's pool; a product's has the product's name behind it.
            terms: How a batch takes part in that.
            products: The limits of the others.
            wish: Slots that the batch wants to hold at most in each; None: all.
            kept_ms: As `of` says.
        """
        counters = {"": Counter(self.of(name, kept_ms=kept_ms), terms)}
        for product, limit in products.items():
            own = replace(terms, limit=limit, hold_max=min(wish or limit.n, limit.n))
            counters[product] = Counter(self.of(f"{name}:{product}", kept_ms=kept_ms), own)
        return counters

    def looked_at(self, name: str) -> Pool:
        """Return a pool to look at, without remembering it for that."""
        return self._known.get(name) or Pool(name, table=self._table, times=self._times, clock=self._clock)
