"""All that a participant goes by when it decides. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from volcengine_client.limits import CALL_TIME_GUESS_MS, CONCURRENCY_MAX, READ_SLOWEST_MS, WEIGHT_MAX, PoolTimes
from volcengine_client.pool.share import Standing, standing_of
from volcengine_client.pool.slots import Entry, Limit, PoolState, Slot, bound_of, settled_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a batch takes part in a pool.

    Attributes:
        limit: The account's limit as this participant knows it, and the version of what set it: the secret's date
            in Unix milliseconds; 0 for callers' own accounts and direct clients, who follow any other.
        hold_max: Slots that it may hold at most.
        app: Whose share it takes from.
        weight: The app's share against other apps', 1 to 100.
        is_background: Served after all that is not.
    """

    limit: Limit
    hold_max: int
    app: str = "default"
    weight: int = 1
    is_background: bool = False

    def __post_init__(self) -> None:
        """Hold the bounds."""
        assert 1 <= self.limit.n <= CONCURRENCY_MAX
        assert 1 <= self.hold_max <= CONCURRENCY_MAX
        assert 1 <= self.weight <= WEIGHT_MAX


@dataclass(frozen=True, kw_only=True)
class View:
    """All that a participant goes by when it decides.

    Attributes:
        holder_id: Its name in the pool.
        terms: How it takes part.
        times: The pool's times.
        state: The newest snapshot.
        want: Slots that it has work for.
        owned: Slots that its last applied write left it; never learned from a read.
        busy: Those of them with a call in progress.
        shut: Those in drain: the number and when the drain is over, on the table's clock at the latest.
        free_for_ms: For how long a free slot has been seen free, by number.
        revision: The highest that it ever wrote in its own entry.
        now_lo_ms: The earliest that the table's clock can show; None without a sample of this invocation.
        now_hi_ms: The latest that it can show.
        estimate_ms: A guess at it from an earlier invocation when there is no sample; never used to reclaim.
        call_ms: How long a call takes on average; 0: it knows of none.
        has_yielded: Its last write let a slot go for another, and met another's: it does not take it back for that.
        is_crowded: Its last write met another's: it joins first, and takes when the others reckon with it.
        refused: Slots whose last call was lately refused for concurrency.
        refused_count: How many of them somebody else seems to use, though the pool kept its limit: foreign use.
        kept_until_s: When the table may forget the item; None: never.
        unused: Slots taken for which no call was tried yet, while one waits for it here.
    """

    holder_id: str
    terms: Terms
    times: PoolTimes
    state: PoolState
    want: int
    owned: Mapping[int, Slot]
    busy: frozenset[int]
    shut: Mapping[int, int]
    free_for_ms: Mapping[int, int]
    revision: int
    now_lo_ms: int | None
    now_hi_ms: int
    estimate_ms: int
    call_ms: int
    has_yielded: bool = False
    is_crowded: bool = False
    refused: frozenset[int] = frozenset()
    refused_count: int = 0
    kept_until_s: int | None = None
    unused: frozenset[int] = frozenset()

    @cached_property
    def settled(self) -> Limit:
        """The account's limit, once this participant has written."""
        return settled_limit(self.state.limit, self.terms.limit)

    @cached_property
    def bound(self) -> int:
        """It uses slot numbers below this, limit and cap apart."""
        return bound_of(self.terms.limit, self.settled)

    @cached_property
    def height(self) -> int:
        """It may start calls on slot numbers below this now."""
        return self._height(self.bound)

    @cached_property
    def pool_height(self) -> int:
        """Anybody may start calls on slot numbers below this now, whatever its own bound."""
        return self._height(self.settled.n)

    def _height(self, bound: int) -> int:
        return replace(self.state, limit=self.settled).height(bound, self.now_lo_ms)

    @cached_property
    def resting(self) -> frozenset[int]:
        """Refused slots that wait for calls beyond a cut of the limit to end: until then those have the room."""
        is_cut = self.state.cap is not None and any(number >= self.pool_height for number in self.state.slots)
        return self.refused if is_cut else frozenset()

    @cached_property
    def idle(self) -> frozenset[int]:
        """Slots without a call in progress or in doubt."""
        return frozenset(self.owned.keys() - self.busy - self.shut.keys())

    @cached_property
    def leftover(self) -> frozenset[int]:
        """Slots that the table still ties to it, though it gave them up or never learned that it got them."""
        return frozenset(self.state.held_by(self.holder_id).keys() - self.owned.keys() - self.busy - self.shut.keys())

    @cached_property
    def useful(self) -> frozenset[int]:
        """Slots that serve tasks now or at the next boundary."""
        return frozenset(number for number in self.owned if number not in self.shut and number < self.height)

    @cached_property
    def missing(self) -> int:
        """How many more slots it has work for."""
        return max(0, min(self.want, self.terms.hold_max) - len(self.useful))

    @cached_property
    def served_ms(self) -> int:
        """How long ago it was last served a slot, or let one go."""
        seen = self.state.queue.get(self.holder_id)
        return 0 if seen is None else self.estimate_ms - seen.since_ms

    @cached_property
    def has_just_given(self) -> bool:
        """Whether it let a slot go a moment ago: those for whom it did so come first."""
        seen = self.state.queue.get(self.holder_id)
        return seen is not None and not seen.is_new and not self.useful and self.served_ms < READ_SLOWEST_MS

    @cached_property
    def usual_call_ms(self) -> int:
        """How long a call takes on average: as seen here, else as others say, else a guess."""
        known = [entry.call_ms for entry in self.state.queue.values() if entry.call_ms]
        return self.call_ms or (sum(known) // len(known) if known else CALL_TIME_GUESS_MS)

    @cached_property
    def standing(self) -> Standing:
        """Its own standing, by what it knows better than the snapshot."""
        entry = self.entry(revision=0, is_served=self.has_yielded)
        return standing_of(self.holder_id, entry, held=len(self.useful | self.busy), bound=self.height)

    def entry(self, *, revision: int, is_served: bool = False) -> Entry:
        """Return its entry in the queue, written now."""
        seen = self.state.queue.get(self.holder_id)
        return Entry(
            revision=revision,
            app=self.terms.app,
            weight=self.terms.weight,
            want=min(self.want, self.terms.hold_max),
            limit=self.bound,
            since_ms=self.estimate_ms if seen is None or is_served else seen.since_ms,
            expires_at_ms=self.estimate_ms + entry_lease_ms(self.times),
            is_background=self.terms.is_background,
            is_new=not (is_served or self.owned) and (seen is None or seen.is_new),
            left_count=self.want,
            call_ms=self.call_ms,
        )


def written_at_ms(entry: Entry, times: PoolTimes) -> int:
    """Return when its owner last wrote an entry, by its clock."""
    return entry.expires_at_ms - entry_lease_ms(times)


def entry_lease_ms(times: PoolTimes) -> int:
    """Return for how long an entry counts after its last write.

    Whoever wrote it may have thought that it was earlier by the resolution of a reply's time, and still counts.
    """
    return times.renew_ms * 5 // 2 + times.skew_ms
